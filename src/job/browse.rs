//! Events of a relay log, decoded for people, from any place on.
//!
//! What an event means may be told before it: its transaction's id, its statement's text, its table's
//! map. So the file is read from its start, and shown from the place that was asked for.

use std::collections::HashMap;
use std::path::Path;

use crate::binlog::view::{Surroundings, view};
use crate::binlog::{
    Event, EventKind, FormatDescription, GtidEvent, Payload, RowsEvent, TableMap, simple,
};
use crate::model::{Error, ErrorKind, EventView, Gtid, Place, Position, Result};
use crate::relay_log::Browser;

/// Where to begin: a place as `[FOLDER/]FILE[:OFFSET]` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct From {
    folder: Option<String>,
    file: String,
    offset: Option<u64>,
}

impl From {
    /// Reads it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no place such as `bin.000123:4` or `bin.000123`");
        let (folder, rest) = match text.rsplit_once('/') {
            Some((folder, rest)) => (Some(folder.to_owned()), rest),
            None => (None, text),
        };
        let (file, offset) = match rest.rsplit_once(':') {
            Some((file, offset)) => (file, Some(offset.parse().map_err(|_| wrong())?)),
            None => (rest, None),
        };
        // A position's own rule for what a file is called.
        format!("{file}:4")
            .parse::<Position>()
            .map_err(|_| wrong())?;
        Ok(Self {
            folder,
            file: file.to_owned(),
            offset,
        })
    }

    /// A place of the relay log.
    pub fn place(place: &Place) -> Self {
        Self {
            folder: Some(place.folder.clone()),
            file: place.position.file.clone(),
            offset: Some(place.position.offset),
        }
    }
}

/// Shows `see` each event from `from` on, or from the oldest, until it answers `false` or there are no
/// more; of each at most `max_rows` rows. Gives whether there is a relay log at all.
pub fn browse(
    folder: &Path,
    from: Option<&From>,
    max_rows: usize,
    mut see: impl FnMut(EventView) -> Result<bool>,
) -> Result<bool> {
    let file = from.map(|from| (from.folder.as_deref(), from.file.as_str()));
    let Some(mut browser) = Browser::open(folder, file)? else {
        return Ok(false);
    };
    let mut asked = from.and_then(|from| from.offset).unwrap_or(0);
    let mut before = Before {
        max_rows,
        ..Before::default()
    };
    let mut last = browser.place();
    loop {
        let here = browser.place();
        let Some(raw) = browser.next_event()? else {
            return match from {
                Some(from) if here.as_ref().is_some_and(|h| h.position.offset < asked) => {
                    Err(ends_before(from, here.as_ref()))
                }
                _ => Ok(true),
            };
        };
        let start = raw.place.position.offset;
        if let Some(from) = from
            && asked > 0
            && raw.place.position.file != from.file
        {
            return Err(ends_before(from, last.as_ref()));
        }
        if start < asked {
            if raw.end_offset > asked {
                return Err(Error::new(
                    ErrorKind::Config,
                    format!("no event starts at `{}:{asked}`", raw.place.position.file),
                )
                .with_fix(format!(
                    "the nearest events start at `{file}:{start}` and `{file}:{}`",
                    raw.end_offset,
                    file = raw.place.position.file
                )));
            }
            before.take(&raw.event, raw.format);
        } else {
            asked = 0;
            if !show(
                &raw.event,
                raw.format,
                &raw.place,
                raw.end_offset,
                &mut before,
                &mut see,
            )? {
                return Ok(true);
            }
        }
        last = Some(Place::new(
            raw.place.folder,
            Position::new(raw.place.position.file, raw.end_offset),
        ));
    }
}

fn ends_before(from: &From, end: Option<&Place>) -> Error {
    let end = end.map_or_else(String::new, |end| {
        format!(" ends at {}", end.position.offset)
    });
    Error::new(
        ErrorKind::Config,
        format!(
            "the relay file `{}`{end}, before the place asked for",
            from.file
        ),
    )
    .with_fix("give a place that `tideway relay list` has, or leave the offset out")
}

/// Shows an event, and those within a compressed transaction behind it.
fn show(
    event: &Event<'_>,
    format: &FormatDescription,
    place: &Place,
    end_offset: u64,
    before: &mut Before,
    see: &mut impl FnMut(EventView) -> Result<bool>,
) -> Result<bool> {
    before.take(event, format);
    if !see(before.view(event, format, place, end_offset, None))? {
        return Ok(false);
    }
    before.leave(event, format);
    if event.header.kind != EventKind::TRANSACTION_PAYLOAD {
        return Ok(true);
    }
    let payload = Payload::parse(event.body)?;
    let mut events = payload.events()?;
    let mut inner = 0;
    while let Some(bytes) = events.next_event()? {
        let event = format.open_inner(bytes)?;
        before.take(&event, format);
        if !see(before.view(&event, format, place, end_offset, Some(inner)))? {
            return Ok(false);
        }
        before.leave(&event, format);
        inner += 1;
    }
    Ok(true)
}

/// What events before told.
#[derive(Default)]
struct Before {
    gtid: Option<Gtid>,
    statement: Option<Vec<u8>>,
    maps: HashMap<u64, TableMap>,
    max_rows: usize,
}

impl Before {
    /// What cannot be read is left out: the event itself says so.
    fn take(&mut self, event: &Event<'_>, format: &FormatDescription) {
        match event.header.kind {
            EventKind::FORMAT_DESCRIPTION
            | EventKind::ROTATE
            | EventKind::STOP
            | EventKind::PREVIOUS_GTIDS
            | EventKind::GTID_LIST => {
                *self = Self {
                    max_rows: self.max_rows,
                    ..Self::default()
                }
            }
            EventKind::ROWS_QUERY => {
                let text = simple::parse_rows_query(event.body).ok();
                self.statement = text.map(<[u8]>::to_vec);
            }
            EventKind::ANNOTATE_ROWS => self.statement = Some(event.body.to_vec()),
            EventKind::TABLE_MAP => {
                if let Ok(map) = TableMap::parse(event, format) {
                    self.maps.insert(map.table_id, map);
                }
            }
            kind if kind.is_gtid() => {
                let gtid = GtidEvent::parse(event).ok();
                self.gtid = gtid.and_then(|gtid| gtid.gtid());
                self.statement = None;
                self.maps.clear();
            }
            _ => {}
        }
    }

    fn view(
        &self,
        event: &Event<'_>,
        format: &FormatDescription,
        place: &Place,
        end_offset: u64,
        inner: Option<u32>,
    ) -> EventView {
        let is_rows = event.header.kind.is_rows();
        let rows = is_rows
            .then(|| RowsEvent::parse(event, format).ok())
            .flatten();
        view(
            event,
            format,
            &Surroundings {
                place: place.clone(),
                end_offset,
                inner,
                gtid: self.gtid.as_ref(),
                statement: self.statement.as_deref().filter(|_| is_rows),
                map: rows.and_then(|rows| self.maps.get(&rows.table_id)),
                structure: None,
                max_rows: self.max_rows,
            },
        )
    }

    /// A statement's text is that of its rows, and of no others.
    fn leave(&mut self, event: &Event<'_>, format: &FormatDescription) {
        if event.header.kind.is_rows()
            && RowsEvent::parse(event, format).is_ok_and(|rows| rows.ends_statement())
        {
            self.statement = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_with_and_without_folder_and_offset() {
        let from = |text: &str| {
            let from = From::parse(text)?;
            Ok::<_, String>((from.folder, from.file, from.offset))
        };
        let file = "bin.000007".to_owned();
        assert_eq!(from("bin.000007"), Ok((None, file.clone(), None)));
        assert_eq!(
            from("bin.000007:5000000000"),
            Ok((None, file.clone(), Some(5_000_000_000)))
        );
        assert_eq!(
            from("7.1795/bin.000007:4"),
            Ok((Some("7.1795".into()), file, Some(4)))
        );
        for wrong in ["", "bin", "bin.7:x", ":4", "bin.000007:"] {
            assert!(from(wrong).is_err(), "{wrong}");
        }
    }
}
