//! Places in a binlog.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The first event of every binlog file starts behind the four magic bytes.
pub const FIRST_OFFSET: u64 = 4;

/// A place in a source's binlog: file and byte offset, `bin.000123:4`.
///
/// Offsets are ours, counted in 64 bits: the field in the event wraps at 4 GiB.
/// Ordered by the file's number, then by the offset; files of another base name compare as text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The file's name, as the source has it.
    pub file: String,
    /// The offset in bytes from the file's start.
    pub offset: u64,
}

impl Position {
    /// The place `offset` in `file`.
    pub fn new(file: impl Into<String>, offset: u64) -> Self {
        Self {
            file: file.into(),
            offset,
        }
    }
}

/// Splits `bin.000123` into `bin` and 123.
pub fn file_number(file: &str) -> Option<(&str, u64)> {
    let (base, digits) = file.rsplit_once('.')?;
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((base, digits.parse().ok()?))
}

/// Orders two binlog files of one source: by number, so that `bin.999999` is before `bin.1000000`.
pub fn compare_files(a: &str, b: &str) -> Ordering {
    match (file_number(a), file_number(b)) {
        (Some((base_a, number_a)), Some((base_b, number_b))) if base_a == base_b => {
            number_a.cmp(&number_b)
        }
        _ => a.cmp(b),
    }
}

impl Ord for Position {
    fn cmp(&self, other: &Self) -> Ordering {
        compare_files(&self.file, &other.file).then(self.offset.cmp(&other.offset))
    }
}

impl PartialOrd for Position {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.offset)
    }
}

impl FromStr for Position {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a position such as `bin.000123:4`");
        let (file, offset) = text.rsplit_once(':').ok_or_else(wrong)?;
        if file_number(file).is_none() {
            return Err(wrong());
        }
        Ok(Self::new(file, offset.parse().map_err(|_| wrong())?))
    }
}

/// A place in the relay log: the sub-folder says which server's binlog it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The relay sub-folder, `<server uuid or server_id>.<n>`.
    pub folder: String,
    /// The place in that server's binlog.
    #[serde(flatten)]
    pub position: Position,
}

impl Place {
    /// The place `position` in `folder`.
    pub fn new(folder: impl Into<String>, position: Position) -> Self {
        Self {
            folder: folder.into(),
            position,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.folder, self.position)
    }
}

/// An event or a row of one, fully named: `FOLDER/FILE:OFFSET#inner.row`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EventPlace {
    /// Where the (outer) event starts.
    #[serde(flatten)]
    pub place: Place,
    /// The event's number within a compressed transaction, from 0.
    pub inner: Option<u32>,
    /// The row within a rows event, from 0.
    pub row: Option<u32>,
}

impl fmt::Display for EventPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.place)?;
        write_within(f, self.inner, self.row)
    }
}

/// Writes what stands behind a place for what is within its event: `#inner.row`.
pub(super) fn write_within(
    f: &mut fmt::Formatter<'_>,
    inner: Option<u32>,
    row: Option<u32>,
) -> fmt::Result {
    if let Some(inner) = inner {
        write!(f, "#{inner}")?;
    }
    if let Some(row) = row {
        write!(f, ".{row}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_by_number() {
        let p = |text: &str| text.parse::<Position>().unwrap();
        assert!(p("bin.999999:900") < p("bin.1000000:4"));
        assert!(p("bin.000002:4") < p("bin.000002:5"));
        assert!(p("bin.000001:5000000000") < p("bin.000002:4"));
    }

    #[test]
    fn text_and_back() {
        let position: Position = "mysql-bin.000123:5000000000".parse().unwrap();
        assert_eq!(position.to_string(), "mysql-bin.000123:5000000000");
        for wrong in ["bin.000123", "bin:4", ":4", "bin.000123:x", "bin.:4", ""] {
            assert!(wrong.parse::<Position>().is_err(), "{wrong}");
        }
    }
}
