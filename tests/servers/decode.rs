//! Every column type, from a real server's binlog back into a table, compared byte by byte.
//!
//! Rows are written, updated and deleted at the source; the binlog files are read from the server's
//! own folder and decoded; each value goes as a literal into a copy of the table; at the end of each
//! step the two tables must agree in every cell, and every literal must be equal to its cell.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use tideway::binlog::view::{Surroundings, view};
use tideway::binlog::{
    Event, EventKind, FormatDescription, GtidEvent, Payload, QueryEvent, RotateEvent, RowShape,
    RowsEvent, TableMap, gtid_list, parse_gtid_list, parse_previous_gtids, parse_xid,
};
use tideway::config::{Address, ServerConfig, TlsConfig};
use tideway::connect::Session;
use tideway::model::value::{Row, RowChange, Value};
use tideway::model::{GtidSet, Place, Position, Secret, TableName};
use tideway::schema::charset::charset_of_number;
use tideway::schema::literal::write_value;
use tideway::schema::{Column, ColumnKind, Generated, Structure};
use tideway::source::read_structures;
use tideway::target::execute;

use crate::column_types::{Case, numbers, own, shapes, texts, times};
use crate::support::server::PASSWORD;
use crate::support::{Flavor, Server, ServerSpec};

/// The state of one run over a server's binlog.
struct Replay {
    server: Server,
    target: Session,
    structures: BTreeMap<TableName, Structure>,
    files_read: BTreeSet<PathBuf>,
    kinds: BTreeSet<String>,
    cells: usize,
    unequal: BTreeSet<String>,
    gtids: GtidSet,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_comes_back_from_mariadb_10_11() {
    every_type(Flavor::MariaDb1011).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_comes_back_from_mariadb_11_8() {
    every_type(Flavor::MariaDb118).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_comes_back_from_mysql_9_7() {
    every_type(Flavor::MySql97).await;
}

async fn every_type(flavor: Flavor) {
    let mut spec = ServerSpec::new(flavor);
    if flavor.is_mariadb() {
        spec = spec.option("--log-bin-compress-min-len=10");
    }
    let server = Server::start(spec);
    server.account("tideway", &[("ALL", "*.*")]);
    let config = ServerConfig {
        name: "server".into(),
        address: Address::Tcp {
            host: "127.0.0.1".into(),
            port: server.port(),
        },
        user: "tideway".into(),
        password: Some(Secret::new(PASSWORD.to_owned())),
        password_file: None,
        tls: TlsConfig::default(),
    };
    let model_flavor = if flavor.is_mariadb() {
        tideway::model::Flavor::MariaDB
    } else {
        tideway::model::Flavor::MySQL
    };
    let mut target = execute::open(&config).await.unwrap();
    target.execute(b"SET sql_log_bin = 0").await.unwrap();
    let mut replay = Replay {
        server,
        target,
        structures: BTreeMap::new(),
        files_read: BTreeSet::new(),
        kinds: BTreeSet::new(),
        cells: 0,
        unequal: BTreeSet::new(),
        gtids: GtidSet::empty(model_flavor),
    };
    for setting in ["plain", "full metadata", "compressed"] {
        replay.run(setting).await;
    }
    let kinds: Vec<&str> = replay.kinds.iter().map(String::as_str).collect();
    println!(
        "{flavor:?}: {} cells equal; event kinds: {}; literals not equal to their cells: {:?}",
        replay.cells,
        kinds.join(" "),
        replay.unequal
    );
    let needed: &[&str] = if flavor.is_mariadb() {
        &[
            "WRITE_ROWS_COMPRESSED_V1",
            "UPDATE_ROWS_COMPRESSED_V1",
            "QUERY_COMPRESSED",
            "WRITE_ROWS_V1",
        ]
    } else {
        &[
            "TRANSACTION_PAYLOAD",
            "WRITE_ROWS",
            "DELETE_ROWS",
            "GTID_TAGGED",
        ]
    };
    for kind in needed {
        assert!(replay.kinds.contains(*kind), "{kind} was not seen");
    }
    assert!(replay.unequal.is_empty());
    let executed = replay.server.client().value(if flavor.is_mariadb() {
        "SELECT @@global.gtid_binlog_pos"
    } else {
        "SELECT @@global.gtid_executed"
    });
    let executed = GtidSet::parse(model_flavor, &executed).unwrap();
    assert!(
        executed.is_superset(&replay.gtids),
        "{executed} and {}",
        replay.gtids
    );
    replay.target.close().await;
}

impl Replay {
    async fn run(&mut self, setting: &str) {
        let flavor = self.server.flavor();
        let mut client = self.server.client();
        client.run("DROP DATABASE IF EXISTS t; DROP DATABASE IF EXISTS copy; CREATE DATABASE t; CREATE DATABASE copy");
        client.run("SET SESSION sql_mode = 'ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO'");
        if setting != "plain" {
            client.run("SET GLOBAL binlog_row_metadata = FULL");
        }
        if setting == "compressed" {
            client.run(if flavor.is_mariadb() {
                "SET GLOBAL log_bin_compress = ON"
            } else {
                "SET SESSION binlog_transaction_compression = ON, gtid_next = 'AUTOMATIC:tagged'"
            });
        }
        let mut cases = vec![numbers(), times("times"), texts(), shapes()];
        cases.extend(own(flavor));
        for case in &cases {
            create(&mut client, case);
        }
        if flavor.is_mariadb() {
            client.run("SET GLOBAL mysql56_temporal_format = OFF; SET GLOBAL column_compression_zlib_wrap = ON");
            let old = times("old_times");
            create(&mut client, &old);
            cases.push(old);
            client.run("SET GLOBAL mysql56_temporal_format = ON; SET SESSION column_compression_zlib_wrap = ON");
        }
        let structures = read_structures(&mut self.target, |table| table.schema == "t");
        for structure in structures.await.unwrap() {
            self.structures.insert(structure.table.clone(), structure);
        }
        self.pass_over();
        for case in &cases {
            for row in &case.rows {
                client.run(&format!(
                    "INSERT INTO t.{} ({}) VALUES ({row})",
                    case.name, case.inserted
                ));
            }
        }
        self.step(&cases).await;
        for case in &cases {
            if case.name == "hashed" {
                client.run("UPDATE t.hashed SET n = n + 10, t = CONCAT(t, 'é')");
                continue;
            }
            let set: Vec<String> = case
                .inserted
                .split(", ")
                .map(|c| format!("a.{c} = b.{c}"))
                .collect();
            client.run(&format!(
                "UPDATE t.{0} a JOIN t.{0} b ON b.id = a.id + 1 SET {1}",
                case.name,
                set.join(", ")
            ));
        }
        client.run(&format!(
            "CREATE TABLE t.later (a INT COMMENT '{}')",
            "long ".repeat(50)
        ));
        self.step(&cases).await;
        for case in &cases {
            client.run(&format!("DELETE FROM t.{} WHERE id % 2 = 1", case.name));
        }
        self.step(&cases).await;
    }

    /// The binlog files, the last one just begun and so left out.
    fn finished_files(&self) -> Vec<PathBuf> {
        self.server.run("FLUSH BINARY LOGS");
        let mut files: Vec<PathBuf> = std::fs::read_dir(self.server.data_folder())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| {
                let name = path.file_name().unwrap().to_str().unwrap();
                name.strip_prefix("bin.")
                    .is_some_and(|number| number.bytes().all(|b| b.is_ascii_digit()))
            })
            .collect();
        files.sort();
        files.pop();
        files
    }

    /// Nothing before this moment is applied.
    fn pass_over(&mut self) {
        self.files_read.extend(self.finished_files());
    }

    /// Applies what was logged since the last step and compares.
    async fn step(&mut self, cases: &[Case]) {
        for file in self.finished_files() {
            if self.files_read.insert(file.clone()) {
                self.apply_file(&std::fs::read(file).unwrap()).await;
            }
        }
        for case in cases {
            let table = TableName::new("t", case.name);
            let structure = &self.structures[&table];
            let shown: Vec<String> = structure.columns.iter().map(exactly).collect();
            let rows = |schema: &str| {
                format!(
                    "SELECT {} FROM {schema}.{} ORDER BY id",
                    shown.join(", "),
                    case.name
                )
            };
            let mut client = self.server.client();
            let original = client.rows(&rows("t"));
            let copy = client.rows(&rows("copy"));
            assert_eq!(original.len(), copy.len(), "{table}");
            for (a, b) in original.iter().zip(&copy) {
                for ((a, b), column) in a.iter().zip(b).zip(&structure.columns) {
                    assert_eq!(
                        a.as_deref().map(String::from_utf8_lossy),
                        b.as_deref().map(String::from_utf8_lossy),
                        "{table}.{}",
                        column.name
                    );
                    self.cells += 1;
                }
            }
        }
    }

    async fn apply_file(&mut self, bytes: &[u8]) {
        let mut rest = &bytes[4..];
        let mut format: Option<FormatDescription> = None;
        let mut maps = BTreeMap::new();
        while !rest.is_empty() {
            let size = u32::from_le_bytes(rest[9..13].try_into().unwrap()) as usize;
            let (bytes, behind) = rest.split_at(size);
            rest = behind;
            let format = format.get_or_insert_with(|| FormatDescription::parse(bytes).unwrap());
            let event = format.open(bytes).unwrap();
            if event.header.kind == EventKind::TRANSACTION_PAYLOAD {
                self.kinds.insert(event.header.kind.to_string());
                let mut events = Payload::parse(event.body).unwrap().events().unwrap();
                while let Some(inner) = events.next_event().unwrap() {
                    let event = format.open_inner(inner).unwrap();
                    self.apply_event(&event, format, &mut maps).await;
                }
            } else {
                self.apply_event(&event, format, &mut maps).await;
            }
        }
    }

    async fn apply_event(
        &mut self,
        event: &Event<'_>,
        format: &FormatDescription,
        maps: &mut BTreeMap<u64, TableMap>,
    ) {
        let kind = event.header.kind;
        assert!(kind.is_known(), "{kind}");
        self.kinds.insert(kind.to_string());
        if kind.is_gtid() {
            let opening = GtidEvent::parse(event).unwrap();
            self.gtids.insert(&opening.gtid().expect("GTIDs are on"));
            if !self.server.flavor().is_mariadb() {
                assert!(opening.committed_at().is_some());
            }
        } else if kind.is_rows() {
            let rows = RowsEvent::parse(event, format).unwrap();
            let map = &maps[&rows.table_id];
            let Some(structure) = self.structures.get(&map.table).cloned() else {
                return;
            };
            assert!(rows.is_full_image());
            check_metadata(map, &structure);
            let shape = RowShape::new(map, &structure).unwrap();
            for change in rows.rows(&shape).unwrap() {
                self.apply(&change.unwrap(), &structure).await;
            }
        } else {
            match kind {
                EventKind::TABLE_MAP => {
                    let map = TableMap::parse(event, format).unwrap();
                    maps.insert(map.table_id, map);
                }
                EventKind::QUERY | EventKind::QUERY_COMPRESSED => {
                    let query = QueryEvent::parse(event).unwrap();
                    assert!(query.status.unknown.is_empty(), "{query:?}");
                    assert!(query.status.charset.is_some());
                    std::str::from_utf8(&query.statement).unwrap();
                }
                EventKind::GTID_LIST => {
                    gtid_list::gtid_list_set(&parse_gtid_list(event.body).unwrap());
                }
                EventKind::PREVIOUS_GTIDS => {
                    parse_previous_gtids(event.body).unwrap();
                }
                EventKind::ROTATE => {
                    RotateEvent::parse(event.body).unwrap();
                }
                EventKind::XID => {
                    parse_xid(event.body).unwrap();
                }
                _ => {}
            }
        }
    }

    async fn apply(&mut self, change: &RowChange<'_>, structure: &Structure) {
        let table = format!("copy.{}", structure.table.name);
        let statement = match change {
            RowChange::Insert { after } => {
                let (names, values): (Vec<_>, Vec<_>) =
                    assignments(structure, after).into_iter().unzip();
                format!(
                    "INSERT INTO {table} ({}) VALUES ({})",
                    names.join(", "),
                    values.join(", ")
                )
            }
            RowChange::Update { before, after } => {
                self.compare_literals(&table, before, structure).await;
                let set: Vec<String> = assignments(structure, after)
                    .into_iter()
                    .map(|(name, value)| format!("{name} = {value}"))
                    .collect();
                format!(
                    "UPDATE {table} SET {} WHERE id = {}",
                    set.join(", "),
                    id(before, structure)
                )
            }
            RowChange::Delete { before } => {
                self.compare_literals(&table, before, structure).await;
                format!("DELETE FROM {table} WHERE id = {}", id(before, structure))
            }
        };
        let (RowChange::Insert { after } | RowChange::Update { after, .. }) = change else {
            return self.execute(&statement).await;
        };
        // The one value that strict mode refuses: an ENUM's invalid member.
        let relaxed = after.contains(&Some(Value::Enum(0)));
        if relaxed {
            self.target
                .execute(b"SET @mode = @@sql_mode, sql_mode = 'ALLOW_INVALID_DATES'")
                .await
                .unwrap();
        }
        self.execute(&statement).await;
        if relaxed {
            self.target.execute(b"SET sql_mode = @mode").await.unwrap();
        }
    }

    async fn execute(&mut self, statement: &str) {
        let shown: String = statement.chars().take(2000).collect();
        let done = self.target.execute(statement.as_bytes()).await;
        let done = done.unwrap_or_else(|error| panic!("{}\n{shown}", error.report()));
        assert_eq!(done.affected, 1, "{shown}");
    }

    /// Each value of the before image must be equal to what the copy has, as a WHERE sees it.
    async fn compare_literals(&mut self, table: &str, before: &Row<'_>, structure: &Structure) {
        // MySQL compares a document only with a document, and a vector with nothing.
        let comparable = |name: &str| {
            let index = structure.column_index(name).unwrap();
            !matches!(
                structure.columns[index].kind,
                ColumnKind::Json | ColumnKind::Vector
            )
        };
        let mut pairs = assignments(structure, before);
        pairs.retain(|(name, _)| comparable(name));
        let compared: Vec<String> = pairs
            .iter()
            .map(|(name, value)| format!("{name} <=> {value}"))
            .collect();
        let rows = self
            .target
            .rows(&format!(
                "SELECT {} FROM {table} WHERE id = {}",
                compared.join(", "),
                id(before, structure)
            ))
            .await
            .unwrap();
        let row = rows.first().expect("the row is there");
        for ((name, value), equal) in pairs.iter().zip(row) {
            if equal.as_deref() != Some(b"1") {
                let value: String = value.chars().take(60).collect();
                self.unequal.insert(format!("{table}.{name} {value}"));
            }
        }
    }
}

fn create(client: &mut crate::support::Client, case: &Case) {
    client.run(&format!(
        "CREATE TABLE t.{0} (id INT PRIMARY KEY AUTO_INCREMENT{1}); CREATE TABLE copy.{0} LIKE t.{0}",
        case.name, case.columns
    ));
}

/// Column names and literals of all that is not generated.
fn assignments(structure: &Structure, row: &Row<'_>) -> Vec<(String, String)> {
    assert_eq!(structure.columns.len(), row.len());
    structure
        .columns
        .iter()
        .zip(row)
        .filter(|(column, _)| column.generated == Generated::No)
        .map(|(column, value)| {
            let value = value.as_ref().expect("images are full");
            (column.name.clone(), literal(value, column))
        })
        .collect()
}

fn literal(value: &Value<'_>, column: &Column) -> String {
    let mut out = Vec::new();
    write_value(&mut out, value, column).unwrap_or_else(|error| panic!("{}", error.report()));
    String::from_utf8(out).unwrap()
}

fn id(row: &Row<'_>, structure: &Structure) -> String {
    literal(row[0].as_ref().unwrap(), &structure.columns[0])
}

/// An expression that shows every bit of a column.
fn exactly(column: &Column) -> String {
    let name = &column.name;
    match column.kind {
        ColumnKind::Text { .. }
        | ColumnKind::Binary { .. }
        | ColumnKind::FixedBinary { .. }
        | ColumnKind::Geometry
        | ColumnKind::Vector
        | ColumnKind::Uuid
        | ColumnKind::Inet4
        | ColumnKind::Inet6 => format!("HEX({name})"),
        ColumnKind::Bit { .. } | ColumnKind::Enum { .. } | ColumnKind::Set { .. } => {
            format!("CAST({name} + 0 AS UNSIGNED)")
        }
        ColumnKind::Float => format!("CAST({name} + 0e0 AS CHAR)"),
        ColumnKind::Json => format!("CONCAT(JSON_TYPE({name}), CAST({name} AS CHAR))"),
        _ => format!("CAST({name} AS CHAR)"),
    }
}

/// What FULL metadata says must be what the catalogue says.
fn check_metadata(map: &TableMap, structure: &Structure) {
    let metadata = &map.metadata;
    for (index, column) in structure.columns.iter().enumerate() {
        if let Some(name) = metadata.names.get(index) {
            assert_eq!(*name, column.name);
        }
        if let (Some(Some(unsigned)), ColumnKind::Integer { unsigned: told, .. }) =
            (metadata.unsigned.get(index), &column.kind)
        {
            assert_eq!(unsigned, told, "{}", column.name);
        }
        let listed = matches!(
            column.kind,
            ColumnKind::Enum { .. } | ColumnKind::Set { .. }
        );
        // MINIMAL has the character set of text columns, but not of ENUM and SET.
        if !(metadata.collations.is_empty() || listed && metadata.names.is_empty()) {
            let collation = metadata.collations[index];
            assert_eq!(
                collation.is_some_and(|number| number != 63),
                column.charset.is_some(),
                "{}.{} {collation:?}",
                map.table,
                column.name
            );
        }
        if let (
            Some(members),
            ColumnKind::Enum { members: told } | ColumnKind::Set { members: told },
        ) = (metadata.members.get(index), &column.kind)
        {
            assert_eq!(members.len(), told.len(), "{}", column.name);
        }
    }
    if !metadata.names.is_empty() {
        assert_eq!(metadata.primary_key, [(0, 0)]);
        assert!(!metadata.unsigned.is_empty());
    }
}

#[test]
fn collations_have_the_numbers_that_the_servers_give_them() {
    for flavor in [Flavor::MariaDb1011, Flavor::MySql97] {
        let server = Server::start(flavor);
        let rows = server.client().texts(
            "SELECT ID, CHARACTER_SET_NAME FROM information_schema.COLLATIONS \
             WHERE ID IS NOT NULL AND CHARACTER_SET_NAME IS NOT NULL",
        );
        assert!(rows.len() > 200);
        for row in rows {
            let number = row[0].parse().unwrap();
            let charset = if row[1] == "utf8" { "utf8mb3" } else { &row[1] };
            if let Some(known) = charset_of_number(number) {
                assert_eq!(known, charset, "{flavor:?}: collation {number}");
            }
        }
    }
}

/// What an image leaves out is told from NULL, and the columns behind it are read right.
#[test]
fn images_that_leave_columns_out_are_read() {
    const OUT: &str = "(not logged)";
    for flavor in [Flavor::MariaDb1011, Flavor::MariaDb118, Flavor::MySql97] {
        let server = Server::start(ServerSpec::new(flavor).option("--binlog-row-metadata=FULL"));
        let mut client = server.client();
        client.run(
            "CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY, b BLOB, n INT UNSIGNED, \
             t TEXT CHARACTER SET utf8mb4, s VARCHAR(20) CHARACTER SET utf8mb4)",
        );
        for (image, id) in [("NOBLOB", 1), ("MINIMAL", 2)] {
            client.run(&format!("SET binlog_row_image = {image}"));
            client.run(&format!(
                "INSERT INTO d.t VALUES ({id}, 'bytes', 4000000000, 'long', 'short'); \
                 UPDATE d.t SET s = NULL WHERE id = {id}; \
                 UPDATE d.t SET t = 'longer', n = 7 WHERE id = {id}; \
                 DELETE FROM d.t WHERE id = {id}"
            ));
        }
        let mut maps = BTreeMap::new();
        let mut images = Vec::new();
        for file in crate::binlog_files::complete(&server) {
            crate::binlog_files::read(&file, |event, format| {
                if event.header.kind == EventKind::TABLE_MAP {
                    let map = TableMap::parse(event, format).unwrap();
                    maps.insert(map.table_id, map);
                }
                if !event.header.kind.is_rows() {
                    return;
                }
                let rows = RowsEvent::parse(event, format).unwrap();
                let around = Surroundings {
                    place: Place::new("f", Position::new("bin.000001", 4)),
                    end_offset: 4,
                    inner: None,
                    gtid: None,
                    statement: None,
                    map: maps.get(&rows.table_id),
                    structure: None,
                    max_rows: 9,
                };
                let shown = view(event, format, &around);
                assert_eq!(shown.undecoded, None);
                images.extend(shown.images);
            });
        }
        let text = |row: &Option<Vec<Option<String>>>| -> Option<String> {
            let row = row.as_ref()?.iter();
            let row: Vec<&str> = row
                .map(|value| match value.as_deref() {
                    Some(OUT) => "-",
                    Some(value) => value,
                    None => "NULL",
                })
                .collect();
            Some(row.join(" "))
        };
        let found: Vec<(Option<String>, Option<String>)> = images
            .iter()
            .map(|image| (text(&image.before), text(&image.after)))
            .collect();
        let row = |text: &str| Some(text.to_owned());
        let wanted = [
            (None, row("1 0x6279746573 4000000000 long short")),
            (row("1 - 4000000000 - short"), row("1 - 4000000000 - NULL")),
            (row("1 - 4000000000 - NULL"), row("1 - 7 longer NULL")),
            (row("1 - 7 - NULL"), None),
            (None, row("2 0x6279746573 4000000000 long short")),
            (row("2 - - - -"), row("- - - - NULL")),
            (row("2 - - - -"), row("- - 7 longer -")),
            (row("2 - - - -"), None),
        ];
        assert_eq!(found, wanted, "{flavor:?}");
    }
}
