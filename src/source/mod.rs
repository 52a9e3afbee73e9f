//! The statements the source side understands, with typed results.

pub mod load;
pub mod server_info;
pub mod snapshot;
pub mod structure;

pub use server_info::{
    BinlogFile, ServerInfo, binary_logs, binlog_end, binlog_filters, binlog_position,
    gtid_executed, gtid_purged, gtids_at,
};
pub use structure::{
    NAMES_AT_ONCE, TableInfo, TableType, expect_visible, list_tables, list_tables_with_sizes,
    read_defaults, read_schema_defaults, read_source_defaults, read_structure_set, read_structures,
    read_structures_in, read_structures_of,
};
