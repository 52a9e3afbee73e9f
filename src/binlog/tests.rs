//! Real binlog files, as they are and damaged in every way: what is right is read whole, and what is
//! wrong is an error, never a panic.

#![expect(
    clippy::indexing_slicing,
    reason = "a test that goes beyond the end fails"
)]

use std::collections::{BTreeMap, HashMap};

use super::*;
use crate::model::value::{RowChange, Value};
use crate::model::{Place, Position, Result};
use view::{Surroundings, view};

/// Written by MySQL 9.7: all column types, a tagged GTID, a compressed transaction, ROWS_QUERY, a
/// JSON document with opaque values, a partial update of it, XA.
const MYSQL: &[u8] = include_bytes!("../../tests/fixtures/binlog/mysql-9.7.bin");
/// Written by MariaDB 10.11: all column types, plain and then compressed with full metadata, XA.
const MARIADB: &[u8] = include_bytes!("../../tests/fixtures/binlog/mariadb-10.11.bin");

/// The events of a file.
fn split(file: &[u8]) -> Vec<&[u8]> {
    let mut rest = file.strip_prefix(&MAGIC).unwrap();
    let mut events = Vec::new();
    while !rest.is_empty() {
        let size = EventHeader::parse(rest).unwrap().event_size as usize;
        let (event, behind) = rest.split_at(size);
        events.push(event);
        rest = behind;
    }
    events
}

/// What reading has gathered.
#[derive(Default)]
struct Reader {
    maps: HashMap<u64, TableMap>,
    kinds: BTreeMap<String, usize>,
    rows: Vec<String>,
    gtids: Vec<String>,
    documents: Vec<String>,
}

impl Reader {
    /// Reads an event with everything there is for its kind.
    fn read(&mut self, event: &Event<'_>, format: &FormatDescription) -> Result<()> {
        let kind = event.header.kind;
        *self.kinds.entry(kind.to_string()).or_default() += 1;
        if kind.is_gtid() {
            let gtid = GtidEvent::parse(event)?.gtid();
            self.gtids.extend(gtid.map(|gtid| gtid.to_string()));
        }
        if kind.is_rows() {
            self.read_rows(event, format)?;
        }
        match kind {
            EventKind::TABLE_MAP => {
                let map = TableMap::parse(event, format)?;
                self.maps.insert(map.table_id, map);
            }
            EventKind::QUERY | EventKind::QUERY_COMPRESSED => {
                QueryEvent::parse(event)?;
            }
            EventKind::TRANSACTION_PAYLOAD => {
                let mut events = Payload::parse(event.body)?.events()?;
                while let Some(inner) = events.next_event()? {
                    let inner = inner.to_vec();
                    self.read(&format.open_inner(&inner)?, format)?;
                }
            }
            EventKind::ROTATE => {
                RotateEvent::parse(event.body)?;
            }
            EventKind::GTID_LIST => {
                parse_gtid_list(event.body)?;
            }
            EventKind::PREVIOUS_GTIDS => {
                parse_previous_gtids(event.body)?;
            }
            EventKind::XID => {
                parse_xid(event.body)?;
            }
            EventKind::XA_PREPARE => {
                XaPrepareEvent::parse(event.body)?;
            }
            EventKind::ROWS_QUERY => {
                simple::parse_rows_query(event.body)?;
            }
            EventKind::BINLOG_CHECKPOINT => {
                simple::parse_binlog_checkpoint(event.body)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn read_rows(&mut self, event: &Event<'_>, format: &FormatDescription) -> Result<()> {
        let rows = RowsEvent::parse(event, format)?;
        let Some(map) = self.maps.get(&rows.table_id) else {
            return Err(damaged("rows without a table map"));
        };
        let around = Surroundings {
            place: Place::new("f", Position::new("bin.000001", 4)),
            end_offset: 4,
            inner: None,
            gtid: None,
            statement: None,
            map: Some(map),
            structure: None,
            max_rows: view::MAX_ROWS,
        };
        let shown = view(event, format, &around);
        self.rows
            .extend(shown.images.iter().map(|image| format!("{image:?}")));
        let Some(shape) = RowShape::for_display(map) else {
            return Ok(());
        };
        for change in rows.rows(&shape)? {
            if let RowChange::Insert { after } | RowChange::Update { after, .. } = change? {
                for value in after.into_iter().flatten() {
                    if let Value::Json(document) = value {
                        let mut text = Vec::new();
                        json::to_text(&document, &mut text)?;
                        self.documents
                            .push(String::from_utf8_lossy(&text).into_owned());
                    }
                }
            }
        }
        Ok(())
    }
}

fn read_whole(file: &[u8]) -> Reader {
    let events = split(file);
    let format = FormatDescription::parse(events.first().unwrap()).unwrap();
    let mut reader = Reader::default();
    for bytes in events {
        let event = format.open(bytes).unwrap();
        reader.read(&event, &format).unwrap();
    }
    reader
}

#[test]
fn mysql_is_read_whole() {
    let reader = read_whole(MYSQL);
    for kind in [
        "TRANSACTION_PAYLOAD",
        "GTID_TAGGED",
        "PARTIAL_UPDATE_ROWS",
        "ROWS_QUERY",
        "XA_PREPARE",
        "WRITE_ROWS",
    ] {
        assert!(
            reader.kinds.contains_key(kind),
            "{kind} in {:?}",
            reader.kinds
        );
    }
    assert!(reader.gtids.iter().any(|gtid| gtid.contains(":tag:")));
    assert_eq!(
        reader.documents.first().map(String::as_str),
        Some(
            r#"{"a": 1.5, "b": "base64:type15:AQI=", "d": "2024-01-01", "k": [1, "x", null], "n": 1.50}"#
        )
    );
    let first = reader.rows.first().unwrap();
    for value in [
        "\"-1234567890.1234567\"",
        "\"-01:02:03.45\"",
        "\"18446744073709551615\"",
    ] {
        assert!(first.contains(value), "{value} in {first}");
    }
}

#[test]
fn mariadb_is_read_whole() {
    let reader = read_whole(MARIADB);
    for kind in [
        "WRITE_ROWS_V1",
        "WRITE_ROWS_COMPRESSED_V1",
        "QUERY_COMPRESSED",
        "XA_PREPARE",
        "GTID_LIST",
        "ANNOTATE_ROWS",
    ] {
        assert!(
            reader.kinds.contains_key(kind),
            "{kind} in {:?}",
            reader.kinds
        );
    }
    assert!(reader.gtids.iter().all(|gtid| gtid.starts_with("0-93-")));
}

/// What cannot be decoded is said, and what is shown by assumption.
#[test]
fn a_picture_says_what_it_lacks() {
    for (file, is_told) in [(MYSQL, true), (MARIADB, false)] {
        let events = split(file);
        let mut format = FormatDescription::parse(events[0]).unwrap();
        format.checksum = ChecksumAlgorithm::Off;
        let mut map = None;
        let rows = events.iter().skip(1).find_map(|event| {
            let event = event.get(..event.len() - 4).unwrap();
            let mut bytes = event.to_vec();
            bytes[9..13].copy_from_slice(&(event.len() as u32).to_le_bytes());
            let event = format.open(&bytes).unwrap();
            if event.header.kind == EventKind::TABLE_MAP {
                map = Some(TableMap::parse(&event, &format).unwrap());
            }
            event.header.kind.is_rows().then_some(bytes)
        });
        let (rows, map) = (rows.unwrap(), map.unwrap());
        let picture = |bytes: &[u8], map: Option<&TableMap>, max_rows| {
            let mut bytes = bytes.to_vec();
            let size = (bytes.len() as u32).to_le_bytes();
            bytes[9..13].copy_from_slice(&size);
            let around = Surroundings {
                place: Place::new("f", Position::new("bin.000001", 4)),
                end_offset: 4,
                inner: None,
                gtid: None,
                statement: None,
                map,
                structure: None,
                max_rows,
            };
            view(&format.open(&bytes).unwrap(), &format, &around)
        };
        let whole = picture(&rows, Some(&map), 20);
        assert_eq!(whole.undecoded, None);
        assert!(whole.rows > 0 && !whole.images.is_empty());
        assert_eq!(whole.assumed.is_empty(), is_told, "{:?}", whole.assumed);
        let counted = picture(&rows, Some(&map), 0);
        assert_eq!((counted.rows, counted.images.len()), (whole.rows, 0));
        // Its map is missing; its last bytes are.
        assert!(picture(&rows, None, 20).undecoded.is_some());
        let torn = picture(&rows[..rows.len() - 1], Some(&map), 20);
        assert!(torn.undecoded.is_some() && torn.rows < whole.rows);
    }
}

/// Also the one that says whether there are checksums at all.
#[test]
fn each_flipped_bit_of_a_format_description_is_found() {
    for file in [MYSQL, MARIADB] {
        let event = split(file)[0].to_vec();
        let format = FormatDescription::parse(&event).unwrap();
        assert_eq!(format.checksum, ChecksumAlgorithm::Crc32);
        for place in 0..event.len() {
            for bit in 0..8 {
                let mut flipped = event.clone();
                flipped[place] ^= 1 << bit;
                // The server sets its in-use flag when it opens the file, and takes it back.
                let is_in_use = place == 17 && bit == 0;
                let parsed = FormatDescription::parse(&flipped);
                assert_eq!(parsed.is_ok(), is_in_use, "byte {place}, bit {bit}");
                if place > 18 {
                    let kind = parsed.unwrap_err().kind();
                    assert_eq!(kind, ErrorKind::Damaged, "byte {place}, bit {bit}");
                }
            }
        }
    }
}

#[test]
fn a_flipped_bit_is_found_by_the_checksum() {
    for file in [MYSQL, MARIADB] {
        let events = split(file);
        let format = FormatDescription::parse(events.first().unwrap()).unwrap();
        for event in events {
            for place in [4, 17, event.len() / 2, event.len() - 1] {
                let mut damaged = event.to_vec();
                *damaged.get_mut(place).unwrap() ^= 0x40;
                assert!(format.open(&damaged).is_err());
            }
        }
    }
}

/// The same files without checksums, so that the damage reaches the parsers.
#[test]
fn no_damage_makes_a_panic() {
    for file in [MYSQL, MARIADB] {
        let events = split(file);
        let mut format = FormatDescription::parse(events.first().unwrap()).unwrap();
        format.checksum = ChecksumAlgorithm::Off;
        let mut reader = Reader::default();
        for event in events.iter().skip(1) {
            let event = event.get(..event.len() - 4).unwrap();
            let sized = |mut bytes: Vec<u8>| {
                let size = (bytes.len() as u32).to_le_bytes();
                bytes.get_mut(9..13).unwrap().copy_from_slice(&size);
                bytes
            };
            let mut attempt = |bytes: &[u8]| {
                let known = reader.maps.clone();
                if let Ok(event) = format.open(bytes) {
                    let _ = reader.read(&event, &format);
                }
                reader.rows.clear();
                reader.maps = known;
            };
            for length in HEADER_LEN..event.len() {
                attempt(&sized(event.get(..length).unwrap().to_vec()));
            }
            for place in HEADER_LEN..event.len() {
                for flip in [0x01, 0x80, 0xff, 0x7e] {
                    let mut damaged = event.to_vec();
                    *damaged.get_mut(place).unwrap() ^= flip;
                    attempt(&sized(damaged));
                }
            }
            let whole = sized(event.to_vec());
            reader.read(&format.open(&whole).unwrap(), &format).unwrap();
        }
    }
}

/// Bits flipped, bytes set, pieces taken out, doubled or moved, lengths and kinds changed, several at
/// a time: `TIDEWAY_MUTATIONS` times, from `TIDEWAY_SEED` on.
#[test]
fn no_mutation_makes_a_panic_or_a_giant() {
    let number =
        |name: &str, usual: u64| std::env::var(name).map_or(usual, |text| text.parse().unwrap());
    let count = number("TIDEWAY_MUTATIONS", 4000);
    let mut state = number("TIDEWAY_SEED", 5);
    println!("TIDEWAY_MUTATIONS={count} TIDEWAY_SEED={state}");
    let mut below = move |bound: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % bound.max(1)
    };
    let (mut taken, mut refused) = (0u64, 0u64);
    for file in [MYSQL, MARIADB] {
        let events = split(file);
        let mut format = FormatDescription::parse(events.first().unwrap()).unwrap();
        format.checksum = ChecksumAlgorithm::Off;
        let mut whole = Reader::default();
        for _ in 0..count / 2 {
            let mut reader = Reader {
                maps: std::mem::take(&mut whole.maps),
                ..Reader::default()
            };
            for event in events.iter().skip(1 + below(events.len() - 1)).take(3) {
                let mut bytes = event.get(..event.len() - 4).unwrap().to_vec();
                for _ in 0..below(4) {
                    mutate(&mut bytes, &mut below);
                }
                let size = (bytes.len() as u32).to_le_bytes();
                if let Some(place) = bytes.get_mut(9..13) {
                    place.copy_from_slice(&size);
                }
                let largest = bytes.len();
                match format
                    .open(&bytes)
                    .and_then(|event| reader.read(&event, &format))
                {
                    Ok(()) => taken += 1,
                    Err(_) => refused += 1,
                }
                let made: usize = reader.documents.iter().map(String::len).sum();
                // Six characters for a byte that is escaped; a payload's bytes are many more than its own.
                assert!(
                    made < (largest << 12) + (1 << 20),
                    "{made} bytes of text from {largest}"
                );
            }
            whole.maps = reader.maps;
            if below(8) == 0 {
                whole.maps.clear();
            }
        }
    }
    println!("{taken} read, {refused} refused");
    assert!(taken > 0 && refused > 0);
}

fn mutate(bytes: &mut Vec<u8>, below: &mut impl FnMut(usize) -> usize) {
    const TELLING: [u8; 12] = [0, 1, 2, 4, 0x7f, 0x80, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe, 0xff];
    if bytes.len() <= HEADER_LEN {
        return;
    }
    let at = HEADER_LEN + below(bytes.len() - HEADER_LEN);
    let length = 1 + below(16).min(bytes.len() - at - 1);
    match below(7) {
        0 => bytes[at] ^= 1 << below(8),
        1 => bytes[at] = TELLING[below(TELLING.len())],
        2 => drop(bytes.drain(at..at + length)),
        3 => {
            let piece = bytes[at..at + length].to_vec();
            let to = HEADER_LEN + below(bytes.len() - HEADER_LEN);
            drop(bytes.splice(to..to, piece));
        }
        4 => bytes[at..at + length].fill(TELLING[below(TELLING.len())]),
        5 => bytes.truncate(at),
        // The event of one kind read as another.
        _ => {
            bytes[4] = [
                2, 4, 16, 19, 23, 24, 25, 29, 30, 31, 32, 33, 38, 39, 40, 42, 162, 163, 165, 166,
                167, 169, 170,
            ][below(23)];
        }
    }
}
