//! The acceptance of the project on real price history.
