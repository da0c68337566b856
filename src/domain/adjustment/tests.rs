//! Series by hand: what a split divides, what a dividend takes out, and against which close.
