//! Writes what the targets begin with, from the binlog files of the tests: `seeds FIXTURES CORPUS`.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use tideway::binlog::{
    Event, EventKind, FormatDescription, Payload, RowShape, RowsEvent, TableMap,
};
use tideway::model::Flavor;
use tideway::model::value::{RowChange, Value};
use tideway_fuzz::{ROWS, events};

type Done = Result<(), Box<dyn Error>>;

struct Corpus {
    folder: PathBuf,
    count: usize,
    /// The last table map, and how to read the rows behind it.
    map: Option<(Vec<u8>, TableMap)>,
}

fn main() -> Done {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(fixtures), Some(folder)) = (arguments.next(), arguments.next()) else {
        return Err("usage: seeds FIXTURES CORPUS".into());
    };
    for target in ["framing", "rows", "json"] {
        fs::create_dir_all(folder.join(target))?;
    }
    let mut corpus = Corpus {
        folder,
        count: 0,
        map: None,
    };
    for entry in fs::read_dir(fixtures)? {
        corpus.file(&entry?.path())?;
    }
    println!("{} seeds", corpus.count);
    Ok(())
}

impl Corpus {
    fn add(&mut self, target: &str, bytes: &[u8]) -> Done {
        let name = format!("seed-{:04}", self.count);
        self.count += 1;
        Ok(fs::write(self.folder.join(target).join(name), bytes)?)
    }

    fn file(&mut self, path: &Path) -> Done {
        let file = fs::read(path)?;
        self.add("framing", &file)?;
        let events = events(&file);
        let first = events.first().ok_or("an empty file")?;
        let format = FormatDescription::parse(first)?;
        for event in &events {
            // Each one alone too, behind the description of its file.
            self.add("framing", &[&first[..], event].concat())?;
            self.event(&format.open(event)?, &format)?;
        }
        Ok(())
    }

    fn event(&mut self, event: &Event<'_>, format: &FormatDescription) -> Done {
        let kind = event.header.kind;
        if kind == EventKind::TABLE_MAP {
            self.map = Some((event.body.to_vec(), TableMap::parse(event, format)?));
        } else if kind == EventKind::TRANSACTION_PAYLOAD {
            let mut events = Payload::parse(event.body)?.events()?;
            while let Some(inner) = events.next_event()? {
                self.event(&format.open_inner(inner)?, format)?;
            }
        } else if let Some(number) = ROWS.iter().position(|rows| *rows == kind.0)
            && let Some((body, map)) = self.map.clone()
        {
            let family = u8::from(format.flavor() == Flavor::MariaDB);
            let length = u16::try_from(body.len())?.to_le_bytes();
            let head = [family << 7 | number as u8, length[0], length[1]];
            self.add("rows", &[&head[..], &body, event.body].concat())?;
            self.documents(&map, event, format)?;
        }
        Ok(())
    }

    fn documents(&mut self, map: &TableMap, event: &Event<'_>, format: &FormatDescription) -> Done {
        let Some(shape) = RowShape::for_display(map) else {
            return Ok(());
        };
        let rows = RowsEvent::parse(event, format)?;
        for change in rows.rows(&shape)? {
            let (before, after) = match change? {
                RowChange::Insert { after } => (Vec::new(), after),
                RowChange::Delete { before } => (before, Vec::new()),
                RowChange::Update { before, after } => (before, after),
            };
            for value in before.iter().chain(&after).flatten() {
                if let Value::Json(document) = value {
                    let length = u16::try_from(document.len())?.to_le_bytes();
                    self.add("json", &[&length[..], document].concat())?;
                }
            }
        }
        Ok(())
    }
}
