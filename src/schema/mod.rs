//! What tables look like, and what statements do to them. Rules and parsing, no I/O.

pub mod charset;
mod client_text;
mod collations;
pub mod column_type;
mod counter;
pub(crate) mod cursor;
pub mod ddl;
mod ddl_kind;
mod ddl_read;
#[cfg(test)]
mod ddl_tests;
pub mod dialect;
#[cfg(test)]
mod dialect_tests;
pub mod engine;
pub mod fit;
mod json_decimals;
pub mod literal;
pub mod meaning;
pub mod packed;
pub mod structure;
pub mod tokens;
pub mod tracker;

pub use client_text::ClientCharset;
pub use column_type::parse_type;
pub use counter::without_counter;
pub use ddl::{Ddl, DdlClass, DdlKind, SchemaRef, TableRef, TableRole};
pub use dialect::{Adapted, adapt_create_table, adapt_ddl};
pub use meaning::Meaning;
pub use packed::Structures;
pub use structure::{
    Column, ColumnKind, ForeignKey, Generated, Key, KeyPart, SchemaDefaults, Structure,
};
pub use tokens::SqlMode;
pub use tracker::{Changes, ServerDefaults, SessionDefaults, StructureSet, structure_of};
