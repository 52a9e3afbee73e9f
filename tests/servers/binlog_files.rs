//! A server's binlog files, read by the library as they lie in its folder.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use tideway::binlog::{
    Event, EventHeader, EventKind, FormatDescription, HEADER_LEN, MAGIC, Payload,
};

use crate::support::Server;

/// The names of a server's binlog files, oldest first.
pub(crate) fn names(server: &Server) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(server.data_folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| {
            name.strip_prefix("bin.")
                .is_some_and(|number| number.bytes().all(|b| b.is_ascii_digit()))
        })
        .collect();
    names.sort();
    names
}

/// The files that the server writes no more, after it has begun a new one.
pub(crate) fn complete(server: &Server) -> Vec<PathBuf> {
    server.run("FLUSH BINARY LOGS");
    ended(server)
}

/// The files that the server writes no more: all but its newest.
pub(crate) fn ended(server: &Server) -> Vec<PathBuf> {
    let mut names = names(server);
    names.pop();
    let folder = server.data_folder();
    names.iter().map(|name| folder.join(name)).collect()
}

/// Hands on every event of a file, those within compressed transactions behind their payload.
pub(crate) fn read(path: &Path, mut take: impl FnMut(&Event<'_>, &FormatDescription)) {
    let mut file = BufReader::with_capacity(1 << 20, File::open(path).unwrap());
    let mut magic = [0; MAGIC.len()];
    file.read_exact(&mut magic).unwrap();
    assert_eq!(magic, MAGIC, "a binlog file");
    let mut format = None;
    let mut event = Vec::new();
    while !file.fill_buf().unwrap().is_empty() {
        event.resize(HEADER_LEN, 0);
        file.read_exact(&mut event).unwrap();
        let header = EventHeader::parse(&event).unwrap();
        event.resize(header.event_size as usize, 0);
        file.read_exact(&mut event[HEADER_LEN..]).unwrap();
        let event = event.as_slice();
        if header.kind == EventKind::FORMAT_DESCRIPTION {
            format = Some(FormatDescription::parse(event).unwrap());
        }
        let format = format.as_ref().expect("it begins with its format");
        let event = format.open(event).unwrap();
        take(&event, format);
        if header.kind == EventKind::TRANSACTION_PAYLOAD {
            let mut events = Payload::parse(event.body).unwrap().events().unwrap();
            while let Some(inner) = events.next_event().unwrap() {
                take(&format.open_inner(inner).unwrap(), format);
            }
        }
    }
}

/// Where the last transaction that ends before `limit` ends.
pub(crate) fn last_transaction_before(path: &Path, limit: u64) -> u64 {
    let mut found = 0;
    read(path, |event, _| {
        let end = u64::from(event.header.log_pos);
        if event.header.kind == EventKind::XID && end < limit {
            found = end;
        }
    });
    assert!(found > 0, "no transaction ends before {limit}");
    found
}
