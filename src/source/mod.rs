//! The statements the source side understands, with typed results.

pub mod server_info;
pub mod snapshot;

pub use server_info::{BinlogFile, ServerInfo, binary_logs, binlog_end, binlog_position};
