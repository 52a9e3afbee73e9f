//! The files of a full copy: how they are called, written, read, and known to be whole.
//!
//! The dump unit writes a folder, the load unit reads it. The layout is the one that mydumper made
//! common (`metadata`, `db-schema-create.sql`, `db.table-schema.sql`, `db.table.000000001.sql`), so
//! that other loaders can read our dumps. Beside it stands our own `manifest.json`, which is written
//! last: a folder without it holds nothing that a later run may load. What runs at the same time as
//! the dump hears of each file through a [`feed()`](feed::feed).

pub mod feed;
pub mod foreign;
pub mod manifest;
pub mod names;
mod pack;
pub mod programs;
pub mod progress;
pub mod read;
pub mod statement;
pub mod write;

pub use feed::{Announcement, Feed, FeedReader, FeedWriter, Opening};
pub use manifest::{
    DumpFile, DumpHeader, DumpSpan, DumpTable, DumpView, Manifest, Packed, StrictFrom,
};
pub use programs::{DumpProgram, ProgramKind};
pub use progress::{Begun, DoneChunk, Left, ProgressWriter, Range};
pub use read::StatementReader;
pub use statement::{Insert, Splitter};
pub use write::{DumpFolder, FileWriter};
