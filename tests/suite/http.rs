//! The API over real connections, by noun.

mod bad_input;
mod smoke;
mod transcripts;
