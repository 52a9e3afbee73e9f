//! What tables look like, and what statements do to them. Rules and parsing, no I/O.

pub mod structure;

pub use structure::{Column, ColumnKind, ForeignKey, Generated, Key, KeyPart, Structure};
