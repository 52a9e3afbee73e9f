//! Dumps that other tools made: mydumper's, and SQL files that are named like its.
//!
//! Such a dump is taken up by reading all of it once: every file must be one of the layout, hold whole
//! statements, and rows of the table it is named for. What was read is written down as a manifest, so
//! that the load works, goes on and notices damage as with a dump of our own.
//!
//! Names of files are not relied on to tell names of tables: the statements within say them.

use std::collections::BTreeMap;
use std::path::Path;

use super::manifest::{DumpFile, DumpTable, DumpView, Packed};
use super::names;
use super::read::{StatementReader, damaged};
use super::statement::Insert;
use crate::model::{
    Error, ErrorKind, Flavor, GtidSet, Packing, Position, Result, TableName, Timestamp,
};
use crate::schema::tracker::{ServerDefaults, structure_of};
use crate::schema::{Ddl, DdlKind, SqlMode};

/// A dump of another tool, as far as its files tell.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ForeignDump {
    /// The databases with the statements that create them.
    pub schemas: BTreeMap<String, String>,
    /// The tables, with their files.
    pub tables: BTreeMap<TableName, DumpTable>,
    /// The views.
    pub views: BTreeMap<TableName, DumpView>,
    /// What its `metadata` says.
    pub metadata: Metadata,
    /// What is to be known of it, and what was left out.
    pub notes: Vec<String>,
}

/// What the file `metadata` says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    /// The place in the source's binlog.
    pub position: Option<Position>,
    /// The transactions in the rows.
    pub gtid_set: Option<GtidSet>,
    /// When it was begun, by the clock of the machine it was made on.
    pub started_at: Option<Timestamp>,
    /// The rows of tables, by the middle of their files' names, `db.table`; of newer versions.
    pub rows: BTreeMap<String, u64>,
}

/// What a file of a dump is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Schema,
    Table,
    View,
    Rows,
    LeftOut(&'static str),
}

/// The role of a file by its name, and what its name begins with; `None` if it is no file of a dump.
fn role(name: &str) -> Option<(Role, &str)> {
    let (_, plain) = Packing::of_name(name);
    let stem = plain.strip_suffix(".sql")?;
    for (end, role) in [
        ("-schema-create", Role::Schema),
        ("-schema-view", Role::View),
        ("-schema-triggers", Role::LeftOut("triggers")),
        ("-schema-post", Role::LeftOut("routines and events")),
        ("-schema-sequence", Role::LeftOut("sequences")),
        ("-schema", Role::Table),
    ] {
        if let Some(stem) = stem.strip_suffix(end) {
            return Some((role, stem));
        }
    }
    // `db.table`, then up to two numbers.
    let mut stem = stem;
    for _ in 0..2 {
        match stem.rsplit_once('.') {
            Some((rest, number))
                if rest.contains('.')
                    && !number.is_empty()
                    && number.bytes().all(|b| b.is_ascii_digit()) =>
            {
                stem = rest;
            }
            _ => break,
        }
    }
    stem.contains('.').then_some((Role::Rows, stem))
}

/// Reads a dump that another tool made. `wanted` says which tables; `defaults` and `flavor` are those
/// of the server it was made of, by which its statements are meant.
pub async fn survey(
    folder: &Path,
    flavor: Flavor,
    defaults: &ServerDefaults,
    wanted: impl Fn(&TableName) -> bool,
) -> Result<ForeignDump> {
    let mut files = list(folder)?;
    let mut dump = ForeignDump {
        metadata: metadata(folder, flavor)?,
        ..ForeignDump::default()
    };
    // Databases and tables first: the files of rows are matched with them.
    files.sort_by_key(|(name, role, _)| (*role == Role::Rows, *role != Role::Schema, name.clone()));
    let mut schemas: BTreeMap<String, String> = BTreeMap::new();
    let mut tables: BTreeMap<String, TableName> = BTreeMap::new();
    let mut unwanted = 0u64;
    for (name, role, stem) in files {
        let path = folder.join(&name);
        let first = stem
            .split_once('.')
            .map_or(stem.as_str(), |(first, _)| first);
        let schema = schemas
            .get(first)
            .cloned()
            .or_else(|| names::decode(first))
            .unwrap_or_else(|| first.to_owned());
        match role {
            Role::LeftOut(what) => dump.notes.push(format!("left out: {what} in `{name}`")),
            Role::Schema => {
                let create = one_of(&path, &[DdlKind::CreateDatabase], &schema, flavor).await?;
                let ddl = Ddl::read(create.as_bytes(), &schema, SqlMode::default(), flavor);
                let own = ddl
                    .schema
                    .as_ref()
                    .map_or(schema, |named| named.name.clone());
                schemas.insert(stem, own.clone());
                dump.schemas.insert(own, create);
            }
            Role::Table => {
                let create = one_of(&path, &[DdlKind::CreateTable], &schema, flavor).await?;
                let ddl = Ddl::read(create.as_bytes(), &schema, SqlMode::default(), flavor);
                let Some(table) = ddl
                    .tables
                    .first()
                    .map(|t| TableName::new(&schema, &t.name.name))
                else {
                    return Err(damaged(&path, "creates no table"));
                };
                tables.insert(stem, table.clone());
                if !wanted(&table) {
                    continue;
                }
                let default = schema_default(&dump.schemas, &schema, flavor, defaults);
                let mut structure = structure_of(&ddl, defaults, default)?;
                structure.table = table.clone();
                dump.tables.insert(
                    table,
                    DumpTable {
                        structure,
                        create,
                        files: Vec::new(),
                        strict_from: None,
                    },
                );
            }
            Role::View => {
                let create = one_of(&path, &[DdlKind::CreateView], &schema, flavor).await?;
                let ddl = Ddl::read(create.as_bytes(), &schema, SqlMode::default(), flavor);
                if let Some(view) = ddl.tables.first() {
                    let view = TableName::new(&schema, &view.name.name);
                    tables.insert(stem, view.clone());
                    if wanted(&view) {
                        let columns = Vec::new();
                        dump.views.insert(view, DumpView { create, columns });
                    }
                }
            }
            Role::Rows => {
                let Some(table) = tables.get(&stem) else {
                    return Err(damaged(
                        &path,
                        &format!("is of no table of the dump: there is no `{stem}-schema.sql`"),
                    ));
                };
                let Some(entry) = dump.tables.get_mut(table) else {
                    unwanted += 1;
                    continue;
                };
                let file = read_rows(&path, name, table).await?;
                if file.rows > 0 {
                    entry.files.push(file);
                }
            }
        }
    }
    // A table that stands in for a view until that is made.
    for view in dump.views.keys() {
        dump.tables.remove(view);
    }
    if unwanted > 0 {
        dump.notes.push(format!(
            "{unwanted} files of tables that the task does not take are passed over"
        ));
    }
    for (stem, rows) in &dump.metadata.rows {
        if let Some((table, entry)) = tables
            .get(stem)
            .and_then(|t| Some((t, dump.tables.get(t)?)))
            && entry.rows() != *rows
        {
            return Err(Error::new(
                ErrorKind::Damaged,
                format!(
                    "the files of {table} hold {} rows, the dump's `metadata` says {rows}",
                    entry.rows()
                ),
            )
            .with_fix("put the missing files back")
            .at(|c| c.path = Some(folder.display().to_string())));
        }
    }
    if dump.tables.is_empty() {
        return Err(Error::new(
            ErrorKind::Refused,
            format!("`{}` holds no table that the task takes", folder.display()),
        )
        .with_fix("mend `task.load.from`, or the task's `tables`"));
    }
    Ok(dump)
}

/// The files of the folder, by name. One that is of no dump is refused: it may be a part of one.
fn list(folder: &Path) -> Result<Vec<(String, Role, String)>> {
    let failed = |error| Error::file("read", folder, error);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let Ok(name) = entry.file_name().into_string() else {
            return Err(foreign(&entry.path()));
        };
        if matches!(
            name.as_str(),
            names::METADATA | "metadata.partial" | names::MANIFEST
        ) || name.starts_with('.')
        {
            if name == "metadata.partial" {
                return Err(damaged(
                    &entry.path(),
                    "says that the dump was not finished",
                ));
            }
            continue;
        }
        match role(&name) {
            Some((role, stem)) if entry.path().is_file() => {
                let stem = stem.to_owned();
                files.push((name, role, stem));
            }
            _ => return Err(foreign(&entry.path())),
        }
    }
    Ok(files)
}

fn foreign(path: &Path) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("`{}` is no file of a dump", path.display()),
    )
    .with_fix("move it out of that folder; or name it `db.table.sql`, if it holds rows of a table")
    .at(|c| c.path = Some(path.display().to_string()))
}

/// The one statement of these kinds in a file.
async fn one_of(path: &Path, kinds: &[DdlKind], schema: &str, flavor: Flavor) -> Result<String> {
    let mut reader = StatementReader::open(path).await?;
    while let Some(statement) = reader.next_statement().await? {
        let text = statement.text.trim_ascii();
        let ddl = Ddl::read(text, schema, SqlMode::default(), flavor);
        if kinds.contains(&ddl.kind) {
            return String::from_utf8(text.to_vec()).map_err(|error| {
                damaged(path, "has a statement that is not in UTF-8").with_source(error)
            });
        }
    }
    Err(damaged(path, "does not hold the statement it is named for"))
}

/// The default character set and collation of a database, by the statement that creates it.
fn schema_default(
    schemas: &BTreeMap<String, String>,
    schema: &str,
    flavor: Flavor,
    defaults: &ServerDefaults,
) -> (String, String) {
    use crate::schema::StructureSet;
    let mut set = StructureSet::new(defaults.clone(), [], BTreeMap::new());
    if let Some(create) = schemas.get(schema) {
        let ddl = Ddl::read(create.as_bytes(), schema, SqlMode::default(), flavor);
        // What it does not understand leaves the server's own default.
        let _ = set.apply(&ddl);
    }
    set.schemas()
        .values()
        .next()
        .cloned()
        .unwrap_or_else(|| (defaults.charset.clone(), defaults.collation.clone()))
}

/// Reads a file of rows whole: its entry for the manifest.
async fn read_rows(path: &Path, name: String, table: &TableName) -> Result<DumpFile> {
    let packed = if Packing::of_name(&name).0 == Packing::None {
        None
    } else {
        let (bytes, crc32) = super::read::sum(path).await?;
        Some(Packed { bytes, crc32 })
    };
    let mut reader = StatementReader::open(path).await?.with_checksum();
    let mut rows = 0;
    while let Some(statement) = reader.next_statement().await? {
        if let Some(insert) = Insert::parse(&statement) {
            if insert.table != table.name {
                return Err(damaged(
                    path,
                    &format!("has rows of `{}`, not of {table}", insert.table),
                ));
            }
            rows += insert.row_count() as u64;
        }
    }
    Ok(DumpFile {
        name,
        rows,
        bytes: reader.bytes(),
        crc32: reader.checksum(),
        packed,
    })
}

/// What the `metadata` of the dump in `folder` says; nothing where there is none.
pub fn metadata(folder: &Path, flavor: Flavor) -> Result<Metadata> {
    let path = folder.join(names::METADATA);
    match std::fs::read(&path) {
        Ok(text) => Ok(parse_metadata(&String::from_utf8_lossy(&text), flavor)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Metadata::default()),
        Err(error) => Err(Error::file("read", &path, error)),
    }
}

/// Reads both forms: the older one of `Log:`, `Pos:` and `GTID:` under `SHOW MASTER STATUS:`, and the
/// newer one in sections.
fn parse_metadata(text: &str, flavor: Flavor) -> Metadata {
    let mut metadata = Metadata::default();
    let (mut section, mut file, mut offset, mut gtids) = (String::new(), None, None, String::new());
    for line in text.lines() {
        let trimmed = line.trim().trim_start_matches('#').trim();
        if let Some(time) = trimmed.strip_prefix("Started dump at:") {
            metadata.started_at = parse_time(time.trim());
        } else if let Some(name) = trimmed
            .strip_suffix(':')
            .filter(|name| name.starts_with("SHOW "))
        {
            section = name.to_ascii_lowercase();
        } else if let Some(name) = trimmed.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
            section = name.to_ascii_lowercase();
        } else if let Some((key, value)) = trimmed.split_once([':', '=']) {
            let is_source = section.starts_with("show master")
                || section.starts_with("show binary")
                || section == "master"
                || section == "source";
            let value = value.trim().trim_matches('"');
            match key.trim().to_ascii_lowercase().as_str() {
                "log" | "file" | "source_log_file" if is_source => file = Some(value.to_owned()),
                "pos" | "position" | "source_log_pos" if is_source => offset = value.parse().ok(),
                "gtid" | "executed_gtid_set" if is_source => value.clone_into(&mut gtids),
                "rows" if section.contains('.') => {
                    if let Ok(rows) = value.parse() {
                        metadata.rows.insert(section.replace('`', ""), rows);
                    }
                }
                _ => {}
            }
        }
    }
    if let (Some(file), Some(offset)) = (file, offset) {
        metadata.position = Some(Position::new(file, offset));
    }
    metadata.gtid_set = (!gtids.is_empty())
        .then(|| GtidSet::parse(flavor, &gtids).ok())
        .flatten();
    metadata
}

/// `2026-11-23 12:34:56`, taken as UTC.
fn parse_time(text: &str) -> Option<Timestamp> {
    let text = text.get(..19)?.replace(' ', "T");
    let time = humantime::parse_rfc3339(&format!("{text}Z")).ok()?;
    Some(Timestamp::from(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_files_are_for() {
        for (name, expected) in [
            ("shop-schema-create.sql", Some((Role::Schema, "shop"))),
            (
                "shop.orders-schema.sql.gz",
                Some((Role::Table, "shop.orders")),
            ),
            ("shop.v-schema-view.sql", Some((Role::View, "shop.v"))),
            ("shop.orders.sql", Some((Role::Rows, "shop.orders"))),
            (
                "shop.orders.00003.sql.zst",
                Some((Role::Rows, "shop.orders")),
            ),
            (
                "shop.orders.00003.00001.sql",
                Some((Role::Rows, "shop.orders")),
            ),
            ("shop.7.sql", Some((Role::Rows, "shop.7"))),
            ("notes.txt", None),
            ("orders.sql", None),
        ] {
            assert_eq!(role(name), expected, "{name}");
        }
        assert!(matches!(
            role("s.t-schema-triggers.sql"),
            Some((Role::LeftOut(_), _))
        ));
    }

    #[test]
    fn both_forms_of_metadata_are_read() {
        let old = "Started dump at: 2026-11-23 12:34:56\nSHOW MASTER STATUS:\n\tLog: bin.000002\n\
                   \tPos: 345\n\tGTID:0-1-7\n\nSHOW SLAVE STATUS:\n\tHost: x\n\tLog: other\n\tPos: 1\n\nFinished dump at: x\n";
        let new = "# Started dump at: 2026-11-23 12:34:56\n[config]\nquote = BACKTICK\n\n[source]\n\
                   # Channel_Name = ''\nFile = bin.000002\nPosition = 345\nExecuted_Gtid_Set = \"0-1-7\"\n\n\
                   [`shop`.`orders`]\nreal_table_name=orders\nrows = 12\n";
        for (text, rows) in [(old, 0), (new, 1)] {
            let metadata = parse_metadata(text, Flavor::MariaDB);
            assert_eq!(metadata.position, Some(Position::new("bin.000002", 345)));
            assert_eq!(metadata.gtid_set.unwrap().to_string(), "0-1-7");
            assert_eq!(
                metadata.started_at.unwrap().to_string().get(..19),
                Some("2026-11-23T12:34:56")
            );
            assert_eq!(metadata.rows.len(), rows);
        }
    }
}
