//! Looking through a stretch of the relay log: before something relies on it, or to find where
//! something begins.

use std::sync::Arc;

use super::group::{Groups, Step};
use super::received::{Errant, Received, Seen};
use super::{RawEvent, RelayLog};
use crate::binlog::{Event, EventKind, GtidEvent, head_set, parse_gtid_list};
use crate::model::position::{FIRST_OFFSET, compare_files};
use crate::model::{Error, ErrorKind, Flavor, Gtid, GtidSet, Place, Position, Result, Timestamp};

/// What a survey found out about the place it began at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stretch {
    /// Whether an event starts there.
    pub is_event: bool,
    /// Whether a transaction ends there, so that nothing is cut in two by beginning there.
    pub is_boundary: bool,
    /// Where the event starts that the place is in, or the one before it.
    pub before: u64,
    /// Where the next event behind the place starts.
    pub after: Option<u64>,
    /// The transactions before the place, as far as the source tells.
    pub gtid_set: Option<GtidSet>,
    /// Whether the transaction that ends there has no GTID: the set then says nothing about it.
    pub is_anonymous: bool,
}

/// A place that was looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The end of a transaction, or a file's start.
    pub place: Place,
    /// The transactions before it, as far as the source tells.
    pub gtid_set: Option<GtidSet>,
}

/// What the first events of a binlog file say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileHead {
    /// When the file was begun.
    pub begun_at: Timestamp,
    /// The transactions of the files before it.
    pub gtid_set: Option<GtidSet>,
    /// MariaDB: the last of them of each domain and server.
    pub gtid_list: Vec<Gtid>,
}

impl FileHead {
    /// Takes the next of the file's events; gives whether that was the last of its head.
    pub fn take(&mut self, event: &Event<'_>) -> Result<bool> {
        match event.header.kind {
            EventKind::FORMAT_DESCRIPTION => {
                self.begun_at = Timestamp::from_seconds(u64::from(event.header.timestamp));
                return Ok(false);
            }
            EventKind::START_ENCRYPTION => return Ok(false),
            EventKind::GTID_LIST => self.gtid_list = parse_gtid_list(event.body)?,
            _ => {}
        }
        self.gtid_set = head_set(event)?;
        Ok(true)
    }

    /// Whether it says what was before the file, and all of that is in `set`.
    pub fn is_within(&self, set: &GtidSet) -> bool {
        let before = self.gtid_set.as_ref();
        before.is_some_and(|before| set.is_superset(before))
    }
}

/// Finds the last of several that fits, where those that fit stand before those that do not, and asks
/// for as few as can be.
#[derive(Clone, Copy, Debug)]
pub struct Halving {
    low: usize,
    high: usize,
}

impl Halving {
    /// Of `count` of them none is known.
    pub fn of(count: usize) -> Self {
        Self {
            low: 0,
            high: count,
        }
    }

    /// The one to look at next; `None` once all is known.
    pub fn ask(&self) -> Option<usize> {
        (self.low < self.high).then(|| self.middle())
    }

    /// Takes whether the one that was asked for fits.
    pub fn tell(&mut self, fits: bool) {
        if fits {
            self.low = self.middle() + 1;
        } else {
            self.high = self.middle();
        }
    }

    /// The last that fits; `None` if not even the first one does.
    pub fn last_fitting(&self) -> Option<usize> {
        self.low.checked_sub(1)
    }

    /// The last that fits, of the files that were asked for.
    pub fn last_of<'a>(&self, files: &'a [String]) -> Option<&'a str> {
        let file = files.get(self.last_fitting()?)?;
        Some(file)
    }

    fn middle(&self) -> usize {
        self.low + (self.high - self.low) / 2
    }
}

/// The transactions that come by.
#[derive(Default)]
struct Count {
    groups: Groups,
    set: Option<GtidSet>,
}

impl Count {
    fn step(&mut self, raw: &RawEvent<'_>) -> Result<Step> {
        if let Some(set) = head_set(&raw.event)? {
            self.set = Some(set);
        }
        let step = self.groups.step(raw.offset, &raw.event)?;
        if let Step::Ends { gtid, .. } = &step
            && let (Some(set), Some(gtid)) = (&mut self.set, gtid)
        {
            set.insert(gtid);
        }
        Ok(step)
    }

    /// Whether all of `wanted` has come by.
    fn has(&self, wanted: &GtidSet) -> bool {
        let set = self.set.as_ref();
        set.is_some_and(|set| set.is_superset(wanted))
    }
}

impl RelayLog {
    /// Shows `see` every event from `from` up to `to`, which the log must have, and says what `from`
    /// is. All in one sub-folder.
    pub async fn survey(
        self: &Arc<Self>,
        from: &Place,
        to: &Position,
        mut see: impl FnMut(&RawEvent<'_>) -> Result<()> + Send,
    ) -> Result<Stretch> {
        let start = Position::new(from.position.file.clone(), FIRST_OFFSET);
        let asked = from.position.offset.max(FIRST_OFFSET);
        let mut reader = self.reader(&Place::new(from.folder.clone(), start))?;
        let mut count = Count::default();
        if asked == FIRST_OFFSET && from.position < *to {
            // What was before a file is in its head, behind the place.
            let head = self.head(&from.folder, &from.position.file).await?;
            count.set = head.gtid_set;
        }
        let mut stretch = Stretch {
            is_event: asked == FIRST_OFFSET,
            is_boundary: asked == FIRST_OFFSET,
            before: FIRST_OFFSET,
            ..Stretch::default()
        };
        while reader.place().position < *to {
            let raw = reader.next().await?;
            if raw.file == from.position.file && raw.offset < asked {
                let step = count.step(&raw)?;
                let is_inside = matches!(step, Step::Inside);
                if let Step::Ends { gtid, .. } = step {
                    stretch.is_anonymous = gtid.is_none();
                }
                stretch.before = raw.offset;
                if raw.end_offset == asked {
                    stretch.is_event = true;
                    stretch.is_boundary = !is_inside;
                    stretch.before = asked;
                } else if raw.end_offset > asked {
                    stretch.after = Some(raw.end_offset);
                }
            } else {
                see(&raw)?;
            }
        }
        stretch.gtid_set = count.set;
        Ok(stretch)
    }

    /// The first events of a file.
    async fn head(self: &Arc<Self>, folder: &str, file: &str) -> Result<FileHead> {
        let place = Place::new(folder, Position::new(file, FIRST_OFFSET));
        let mut reader = self.reader(&place)?;
        let mut head = FileHead::default();
        while !head.take(&reader.next().await?.event)? {}
        Ok(head)
    }

    /// The last of a sub-folder's files whose head fits; those that fit stand before the others.
    async fn last_file<'a>(
        self: &Arc<Self>,
        folder: &str,
        files: &'a [String],
        fits: impl Fn(&FileHead) -> bool,
    ) -> Result<Option<&'a str>> {
        let mut halving = Halving::of(files.len());
        while let Some(file) = halving.ask().and_then(|at| files.get(at)) {
            halving.tell(fits(&self.head(folder, file).await?));
        }
        Ok(halving.last_of(files))
    }

    /// The files of a sub-folder up to that of `to`, oldest first.
    fn files_upto(&self, folder: &str, to: &Position) -> Vec<String> {
        let files = self.files().into_iter();
        files
            .filter(|file| file.folder == folder && compare_files(&file.name, &to.file).is_le())
            .map(|file| file.name)
            .collect()
    }

    /// The place behind the transactions of `wanted`, which must be the very ones before some place:
    /// up to `to`, which the log must have, in one sub-folder. Those of `unlogged` are in no binlog of
    /// the source any more, if they ever were.
    pub async fn find_gtids(
        self: &Arc<Self>,
        folder: &str,
        wanted: &GtidSet,
        unlogged: &GtidSet,
        to: &Position,
    ) -> Result<Found> {
        let logged = &wanted.without(unlogged);
        let files = self.files_upto(folder, to);
        let fits = |head: &FileHead| head.is_within(wanted);
        let Some(file) = self.last_file(folder, &files, fits).await? else {
            let oldest = match files.first() {
                Some(file) => self.head(folder, file).await?.gtid_set,
                None => None,
            };
            return Err(begins_later(wanted, oldest));
        };
        let mut reader = self.reader(&Place::new(folder, Position::new(file, FIRST_OFFSET)))?;
        let mut count = Count::default();
        let mut received = Received::new(wanted.clone(), Errant::new());
        let mut found = Found {
            place: reader.place(),
            gtid_set: None,
        };
        // The first transaction that is not wanted, with its place.
        let mut first_out: Option<(Place, String)> = None;
        while reader.place().position < *to {
            let raw = reader.next().await?;
            let step = count.step(&raw)?;
            let seen = received.step(raw.offset, &raw.event)?;
            match (step, seen) {
                (Step::Ends { gtid, .. }, Seen::Ends) => {
                    if let Some((place, out)) = &first_out {
                        let gtid = gtid.map_or_else(String::new, |gtid| gtid.to_string());
                        return Err(not_one_place(&gtid, &raw.place(), out, place));
                    }
                    found.place = raw.end_place();
                    found.gtid_set.clone_from(&count.set);
                }
                (Step::Ends { start, gtid }, _) if first_out.is_none() => {
                    let name = gtid.map_or_else(|| "one without".into(), |gtid| gtid.to_string());
                    let place = Place::new(raw.folder, Position::new(raw.file, start));
                    first_out = Some((place, name));
                }
                // The head of a file before anything else: the place is behind it.
                (Step::Alone, _) if first_out.is_none() => {
                    found.place = raw.end_place();
                    found.gtid_set.clone_from(&count.set);
                }
                (Step::Inside | Step::Alone | Step::Ends { .. }, _) => continue,
            }
            // What is behind cannot be wanted any more.
            if received.is_met() && count.has(logged) {
                return Ok(found);
            }
        }
        let missing = match &count.set {
            Some(set) => logged.without(set),
            None => logged.clone(),
        };
        if !missing.is_empty() || !received.is_met() {
            let missing = if missing.is_empty() { wanted } else { &missing };
            return Err(Error::new(
                ErrorKind::Checkpoint,
                format!(
                    "the source's binlog does not have all of `{wanted}`: `{missing}` is not in it"
                ),
            )
            .with_fix("give a set that this source has executed"));
        }
        Ok(found)
    }

    /// The place of the first transaction that was committed at `time` or later: up to `to`, which the
    /// log must have, in one sub-folder.
    pub async fn find_time(
        self: &Arc<Self>,
        folder: &str,
        time: Timestamp,
        to: &Position,
    ) -> Result<Found> {
        let files = self.files_upto(folder, to);
        let fits = |head: &FileHead| head.begun_at < time;
        let fitting = self.last_file(folder, &files, fits).await?;
        let Some(file) = fitting.or(files.first().map(String::as_str)) else {
            return Err(Error::new(ErrorKind::Internal, "the relay log has no file"));
        };
        if fitting.is_none() {
            let head = self.head(folder, file).await?;
            if !head.gtid_set.is_some_and(|set| set.is_empty()) {
                return Err(Error::new(
                    ErrorKind::Purged,
                    format!(
                        "the relay log begins at {}, which is after {time}",
                        head.begun_at
                    ),
                )
                .with_fix(
                    "give a later time; or, if the source still has older files, move the relay \
                     log's folder away: it then begins where the task starts",
                ));
            }
        }
        let mut reader = self.reader(&Place::new(folder, Position::new(file, FIRST_OFFSET)))?;
        let mut count = Count::default();
        while reader.place().position < *to {
            let raw = reader.next().await?;
            if raw.event.header.kind.is_gtid() {
                let committed_at = match GtidEvent::parse(&raw.event)? {
                    GtidEvent::MySql(event) => event.immediate_commit,
                    GtidEvent::MariaDb(_) => None,
                };
                // MariaDB writes the event when it commits, in whole seconds.
                // Of a stamp in whole seconds the rest is not known: it may be later than it looks.
                let is_asked = match committed_at {
                    Some(at) => at >= time,
                    None => u64::from(raw.event.header.timestamp) >= time.0 / 1_000_000,
                };
                if is_asked {
                    return Ok(Found {
                        place: raw.place(),
                        gtid_set: count.set,
                    });
                }
            }
            count.step(&raw)?;
        }
        Ok(Found {
            place: reader.place(),
            gtid_set: count.set,
        })
    }
}

fn begins_later(wanted: &GtidSet, oldest: Option<GtidSet>) -> Error {
    let before = oldest.map_or_else(String::new, |set| {
        format!(
            "; its first file is behind `{set}`, and of that `{}` is not wanted",
            set.without(wanted)
        )
    });
    Error::new(
        ErrorKind::Purged,
        format!("the relay log begins behind `{wanted}`{before}"),
    )
    .with_fix(
        "give a set that holds all of it; or, if the source still has older files, move the relay \
         log's folder away: it then begins where the task starts",
    )
}

fn not_one_place(inside: &str, at: &Place, outside: &str, before: &Place) -> Error {
    Error::new(
        ErrorKind::Checkpoint,
        format!(
            "the GTID set is no single place of this source's binlog: {inside} at {} is in it, {outside} \
             before it at {} is not",
            at.position, before.position
        ),
    )
    .with_fix("take the set and the position from one moment of this source, and give the position")
}

/// A `start` that is within an event.
pub fn no_event_start(asked: &Position, before: u64, after: Option<u64>) -> Error {
    let file = &asked.file;
    let after = after.map_or_else(String::new, |after| format!(" and `{file}:{after}`"));
    Error::new(
        ErrorKind::Config,
        format!("`start` is {asked}, where no event starts"),
    )
    .with_fix(format!(
        "the nearest events start at `{file}:{before}`{after}; give one that begins a transaction"
    ))
}

/// A flavor's name for what tells its transactions, for messages.
pub fn set_of(flavor: Flavor, text: &str) -> Result<GtidSet> {
    GtidSet::parse(flavor, text).map_err(|wrong| {
        Error::new(ErrorKind::Config, wrong).with_fix(match flavor {
            Flavor::MariaDB => "MariaDB writes them as `0-1-5,1-2-7`",
            Flavor::MySQL | Flavor::TiDB => {
                "MySQL writes them as `3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5`"
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halving_finds_the_last_that_fits() {
        let newest = |count: usize, limit: usize| {
            let mut halving = Halving::of(count);
            let mut asked = 0;
            while let Some(at) = halving.ask() {
                asked += 1;
                halving.tell(at < limit);
            }
            (halving.last_fitting(), asked)
        };
        for count in 0..40 {
            for limit in 0..=count {
                let (found, asked) = newest(count, limit);
                assert_eq!(found, limit.checked_sub(1), "{count} files, {limit} fit");
                assert!(asked <= 6, "{asked} asked of {count}");
            }
        }
        let (found, asked) = newest(100_000, 77_777);
        assert_eq!(found, Some(77_776));
        assert!(asked <= 17, "{asked}");
    }
}
