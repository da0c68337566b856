//! The API over real connections, by noun.

mod smoke;
