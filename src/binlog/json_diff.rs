//! MySQL's partial updates of JSON documents (`binlog_row_value_options = PARTIAL_JSON`): lists of
//! changes, applied to the document as it was.
//!
//! Only what a change's path leads through is taken apart; everything else stays the bytes it is, so
//! every value keeps its type. A change that does not fit the document is an error: the two then do
//! not belong together.
//!
//! Source of the layout: MySQL's documentation of `Json_diff_vector`, of `json_binary.h` and of the
//! path's syntax.

use std::borrow::Cow;

use super::cursor::Cursor;
use super::damaged;
use super::json::{kind, variable_length};
use crate::model::{Error, Result};

/// What is done at a path.
mod operation {
    pub(super) const REPLACE: u8 = 0;
    pub(super) const INSERT: u8 = 1;
    pub(super) const REMOVE: u8 = 2;
}

/// No document is nested deeper.
const MAX_DEPTH: usize = 100;
/// The largest offset and count in the small forms of containers.
const SMALL: usize = 0xffff;

/// The document that `changes` make of `document`, in the same binary form.
pub fn apply_diffs(document: &[u8], changes: &[u8]) -> Result<Vec<u8>> {
    let mut root = Node::document(document)?;
    let mut cursor = Cursor::new(changes);
    while !cursor.is_empty() {
        let operation = cursor.u8()?;
        let path = cursor.lenenc_bytes()?;
        let legs = Path(path).legs()?;
        let value = if operation == operation::REMOVE {
            None
        } else {
            Some(Node::document(cursor.lenenc_bytes()?)?)
        };
        change(&mut root, operation, &legs, value).map_err(|why| {
            damaged(format!(
                "a change of a JSON document at `{}`: {why}",
                String::from_utf8_lossy(path).escape_debug()
            ))
        })?;
    }
    let mut out = Vec::with_capacity(document.len() + changes.len());
    let kind = root.write(&mut out)?;
    out.insert(0, kind);
    Ok(out)
}

/// Why a change cannot be made.
type Refusal = Cow<'static, str>;

fn change<'a>(
    root: &mut Node<'a>,
    operation: u8,
    legs: &[Leg<'_>],
    value: Option<Node<'a>>,
) -> Result<(), Refusal> {
    let Some((last, way)) = legs.split_last() else {
        return match (operation, value) {
            (operation::REPLACE, Some(value)) => {
                *root = value;
                Ok(())
            }
            _ => Err("the whole document can only be replaced".into()),
        };
    };
    let mut node = root;
    for leg in way {
        node = node.child(leg)?;
    }
    match (operation, value) {
        (operation::REPLACE, Some(value)) => {
            *node.child(last)? = value;
            Ok(())
        }
        (operation::INSERT, Some(value)) => node.insert(last, value),
        (operation::REMOVE, None) => node.remove(last),
        (other, _) => Err(format!("operation {other} is not known").into()),
    }
}

/// A step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Leg<'a> {
    /// A member of an object.
    Member(Cow<'a, [u8]>),
    /// An element of an array, counted from its start.
    Cell(usize),
    /// An element of an array, counted back from its last one.
    FromEnd(usize),
}

impl Leg<'_> {
    /// The element's number in an array of `count`, which may be beyond its end; `None` before its
    /// start, or where a member is meant.
    fn index(&self, count: usize) -> Option<usize> {
        match self {
            Self::Member(_) => None,
            Self::Cell(index) => Some(*index),
            Self::FromEnd(back) => count.checked_sub(1)?.checked_sub(*back),
        }
    }
}

/// A path's text.
struct Path<'a>(&'a [u8]);

impl<'a> Path<'a> {
    fn legs(&self) -> Result<Vec<Leg<'a>>> {
        self.read().ok_or_else(|| {
            damaged(format!(
                "`{}` is no path in a JSON document",
                String::from_utf8_lossy(self.0).escape_debug()
            ))
        })
    }

    fn read(&self) -> Option<Vec<Leg<'a>>> {
        let mut rest = self.0.strip_prefix(b"$")?;
        let mut legs = Vec::new();
        while let Some((first, behind)) = rest.split_first() {
            let (leg, behind) = match first {
                b'.' if behind.first() == Some(&b'"') => quoted(behind)?,
                b'.' => {
                    let end = memchr::memchr2(b'.', b'[', behind).unwrap_or(behind.len());
                    let (name, behind) = behind.split_at_checked(end)?;
                    if name.is_empty() || name == b"*" {
                        return None;
                    }
                    (Leg::Member(Cow::Borrowed(name)), behind)
                }
                b'[' => {
                    let end = memchr::memchr(b']', behind)?;
                    let (inner, behind) = behind.split_at_checked(end)?;
                    (cell(inner)?, behind.get(1..)?)
                }
                _ => return None,
            };
            if legs.len() == MAX_DEPTH {
                return None;
            }
            legs.push(leg);
            rest = behind;
        }
        Some(legs)
    }
}

/// `3`, `last` or `last-3`.
fn cell(text: &[u8]) -> Option<Leg<'static>> {
    let text = std::str::from_utf8(text).ok()?;
    match text.strip_prefix("last") {
        Some("") => Some(Leg::FromEnd(0)),
        Some(back) => Some(Leg::FromEnd(back.strip_prefix('-')?.trim().parse().ok()?)),
        None => Some(Leg::Cell(text.parse().ok()?)),
    }
}

/// A name in double quotes, escaped as a JSON string is, and what stands behind it.
fn quoted(text: &[u8]) -> Option<(Leg<'static>, &[u8])> {
    let mut at = 1;
    loop {
        match text.get(at)? {
            b'"' => break,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    let (name, behind) = text.split_at_checked(at + 1)?;
    let name: String = serde_json::from_slice(name).ok()?;
    Some((Leg::Member(Cow::Owned(name.into_bytes())), behind))
}

/// A value of a document.
#[derive(Clone, Debug)]
enum Node<'a> {
    /// As it stands in the document: its type, and all of its bytes.
    Raw(u8, &'a [u8]),
    /// An object taken apart, its members in the order of the document.
    Object(Vec<(Cow<'a, [u8]>, Node<'a>)>),
    /// An array taken apart.
    Array(Vec<Node<'a>>),
}

impl<'a> Node<'a> {
    /// A whole document.
    fn document(bytes: &'a [u8]) -> Result<Self> {
        match bytes.split_first() {
            Some((kind, value)) => Self::raw(*kind, value),
            // What the server leaves where it could not convert a value reads as null.
            None => Ok(Self::Raw(kind::LITERAL, &[0])),
        }
    }

    /// The value of type `kind` at the start of `bytes`.
    fn raw(kind: u8, bytes: &'a [u8]) -> Result<Self> {
        let mut cursor = Cursor::new(bytes);
        let length = match kind {
            kind::SMALL_OBJECT | kind::SMALL_ARRAY => {
                cursor.u16()?;
                usize::from(cursor.u16()?)
            }
            kind::LARGE_OBJECT | kind::LARGE_ARRAY => {
                cursor.u32()?;
                cursor.u32()? as usize
            }
            kind::LITERAL => 1,
            kind::INT16 | kind::UINT16 => 2,
            kind::INT32 | kind::UINT32 => 4,
            kind::INT64 | kind::UINT64 | kind::DOUBLE => 8,
            kind::STRING | kind::OPAQUE => {
                if kind == kind::OPAQUE {
                    cursor.u8()?;
                }
                let length = variable_length(&mut cursor)?;
                bytes.len() - cursor.len() + length
            }
            other => {
                return Err(super::unsupported(format!(
                    "a JSON value of type {other}, which this program does not know"
                )));
            }
        };
        Ok(Self::Raw(kind, Cursor::new(bytes).take(length)?))
    }

    /// Takes a container apart, one level.
    fn open(&mut self) -> Result<(), Refusal> {
        let Self::Raw(kind, bytes) = *self else {
            return Ok(());
        };
        let opened = match kind {
            kind::SMALL_OBJECT => open(bytes, 2, true),
            kind::LARGE_OBJECT => open(bytes, 4, true),
            kind::SMALL_ARRAY => open(bytes, 2, false),
            kind::LARGE_ARRAY => open(bytes, 4, false),
            _ => return Ok(()),
        };
        *self = opened.map_err(|error: Error| error.to_string())?;
        Ok(())
    }

    fn child(&mut self, leg: &Leg<'_>) -> Result<&mut Node<'a>, Refusal> {
        self.open()?;
        let found = match (self, leg) {
            (Self::Object(members), Leg::Member(name)) => members
                .iter_mut()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value),
            (Self::Array(elements), leg) => {
                let index = leg.index(elements.len());
                index.and_then(|index| elements.get_mut(index))
            }
            // The server takes what is no array for one of a single element.
            (node, Leg::Cell(0) | Leg::FromEnd(0)) => Some(node),
            _ => None,
        };
        found.ok_or_else(|| "the document has nothing there".into())
    }

    fn insert(&mut self, leg: &Leg<'_>, value: Node<'a>) -> Result<(), Refusal> {
        self.open()?;
        match (self, leg) {
            (Self::Object(members), Leg::Member(name)) => {
                // Members are sorted by the length of their names, then by the names.
                let order = |key: &[u8]| key.len().cmp(&name.len()).then_with(|| key.cmp(name));
                match members.binary_search_by(|(key, _)| order(key)) {
                    Ok(_) => Err("the document has a member of that name".into()),
                    Err(at) => {
                        members.insert(at, (Cow::Owned(name.to_vec()), value));
                        Ok(())
                    }
                }
            }
            (Self::Array(elements), leg) => match leg.index(elements.len()) {
                Some(index) => {
                    // Beyond the end is at the end.
                    elements.insert(index.min(elements.len()), value);
                    Ok(())
                }
                None => Err("the document has no array element there".into()),
            },
            _ => Err("the document has nothing there that could hold a value".into()),
        }
    }

    fn remove(&mut self, leg: &Leg<'_>) -> Result<(), Refusal> {
        self.open()?;
        let is_removed = match (self, leg) {
            (Self::Object(members), Leg::Member(name)) => {
                let at = members.iter().position(|(key, _)| key == name);
                at.map(|at| drop(members.remove(at))).is_some()
            }
            (Self::Array(elements), leg) => {
                let at = leg.index(elements.len());
                let at = at.filter(|at| *at < elements.len());
                at.map(|at| drop(elements.remove(at))).is_some()
            }
            _ => false,
        };
        if is_removed {
            Ok(())
        } else {
            Err("the document has nothing there".into())
        }
    }

    /// Appends the value; gives its type.
    fn write(&self, out: &mut Vec<u8>) -> Result<u8> {
        match self {
            Self::Raw(kind, bytes) => {
                out.extend_from_slice(bytes);
                Ok(*kind)
            }
            Self::Object(members) => {
                let keys: Vec<&[u8]> = members.iter().map(|(key, _)| &**key).collect();
                let values = members.iter().map(|(_, value)| value);
                let is_large = write_container(out, Some(&keys), values)?;
                Ok(if is_large {
                    kind::LARGE_OBJECT
                } else {
                    kind::SMALL_OBJECT
                })
            }
            Self::Array(elements) => {
                let is_large = write_container(out, None, elements.iter())?;
                Ok(if is_large {
                    kind::LARGE_ARRAY
                } else {
                    kind::SMALL_ARRAY
                })
            }
        }
    }
}

/// Takes an object or an array apart, whose offsets have `width` bytes and count from its start.
fn open(bytes: &[u8], width: usize, keyed: bool) -> Result<Node<'_>> {
    let mut cursor = Cursor::new(bytes);
    let count = cursor.uint_le(width)? as usize;
    cursor.uint_le(width)?;
    let entries = if keyed { width + 2 } else { 0 } + 1 + width;
    if count.saturating_mul(entries) > cursor.len() {
        return Err(damaged("a JSON document that is cut off"));
    }
    let mut keys = Vec::with_capacity(if keyed { count } else { 0 });
    // Each value has bytes of its own. Where many name the same ones, a small document could be
    // written as a huge one.
    let mut left = bytes.len();
    let mut spend = |bytes: usize| -> Result<()> {
        left = left
            .checked_sub(bytes)
            .ok_or_else(|| damaged("a JSON document whose values overlap"))?;
        Ok(())
    };
    if keyed {
        for _ in 0..count {
            let offset = cursor.uint_le(width)? as usize;
            let length = usize::from(cursor.u16()?);
            spend(length)?;
            let key = Cursor::new(bytes.get(offset..).unwrap_or_default()).take(length)?;
            keys.push(Cow::Borrowed(key));
        }
    }
    let mut values = Vec::with_capacity(count);
    for _ in 0..count {
        let kind = cursor.u8()?;
        let entry = cursor.take(width)?;
        let value = if kind::is_inline(kind, width) {
            Node::raw(kind, entry)?
        } else {
            let offset = Cursor::new(entry).uint_le(width)? as usize;
            Node::raw(kind, bytes.get(offset..).unwrap_or_default())?
        };
        if let Node::Raw(_, bytes) = &value {
            spend(bytes.len())?;
        }
        values.push(value);
    }
    Ok(if keyed {
        Node::Object(keys.into_iter().zip(values).collect())
    } else {
        Node::Array(values)
    })
}

/// Appends an object, or without `keys` an array; gives whether it took the large form.
fn write_container<'n, 'a: 'n>(
    out: &mut Vec<u8>,
    keys: Option<&[&[u8]]>,
    values: impl Iterator<Item = &'n Node<'a>>,
) -> Result<bool> {
    // The values first, because their sizes decide which form it takes.
    let mut body = Vec::new();
    let mut parts = Vec::new();
    for value in values {
        let start = body.len();
        let kind = value.write(&mut body)?;
        parts.push((kind, start));
    }
    let key_bytes: usize = keys.unwrap_or_default().iter().map(|key| key.len()).sum();
    let head = |width: usize| {
        let key = if keys.is_some() { width + 2 } else { 0 };
        2 * width + parts.len() * (key + 1 + width)
    };
    // The inline values are counted although they will not be written: at the border the large form
    // is as right.
    let is_large = head(2) + key_bytes + body.len() > SMALL;
    let width = if is_large { 4 } else { 2 };
    let size = |number: usize| -> Result<[u8; 4]> {
        let number = u32::try_from(number);
        Ok(number
            .map_err(|_| damaged("a JSON document of more than 4 GiB"))?
            .to_le_bytes())
    };
    let put = |out: &mut Vec<u8>, at: usize, number: [u8; 4]| {
        if let (Some(to), Some(from)) = (out.get_mut(at..at + width), number.get(..width)) {
            to.copy_from_slice(from);
        }
    };
    let start = out.len();
    out.resize(start + head(width), 0);
    put(out, start, size(parts.len())?);
    let mut entry = start + 2 * width;
    for key in keys.unwrap_or_default() {
        put(out, entry, size(out.len() - start)?);
        let length = u16::try_from(key.len())
            .map_err(|_| damaged("a JSON document with a name of more than 64 KiB"))?;
        if let Some(to) = out.get_mut(entry + width..entry + width + 2) {
            to.copy_from_slice(&length.to_le_bytes());
        }
        out.extend_from_slice(key);
        entry += width + 2;
    }
    for (index, (kind, from)) in parts.iter().enumerate() {
        let to = parts.get(index + 1).map_or(body.len(), |(_, next)| *next);
        let value = body.get(*from..to).unwrap_or_default();
        if let Some(byte) = out.get_mut(entry) {
            *byte = *kind;
        }
        if kind::is_inline(*kind, width) {
            let room = out.get_mut(entry + 1..entry + 1 + value.len());
            if let Some(room) = room {
                room.copy_from_slice(value);
            }
        } else {
            put(out, entry + 1, size(out.len() - start)?);
            out.extend_from_slice(value);
        }
        entry += 1 + width;
    }
    let length = size(out.len() - start)?;
    put(out, start + width, length);
    Ok(is_large)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binlog::json;

    /// {"a": 1, "b": [null]}
    const DOCUMENT: [u8; 29] = [
        0, 2, 0, 28, 0, 18, 0, 1, 0, 19, 0, 1, 0, 5, 1, 0, 2, 20, 0, b'a', b'b', 1, 0, 8, 0, 4, 0,
        0, 0,
    ];
    const TRUE: [u8; 2] = [kind::LITERAL, 1];

    fn text(document: &[u8]) -> String {
        let mut out = Vec::new();
        json::to_text(document, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn one(operation: u8, path: &str, value: &[u8]) -> Vec<u8> {
        let mut change = vec![operation, path.len() as u8];
        change.extend(path.as_bytes());
        if operation != operation::REMOVE {
            change.push(value.len() as u8);
            change.extend(value);
        }
        change
    }

    fn changed(operation: u8, path: &str, value: &[u8]) -> Result<String> {
        apply_diffs(&DOCUMENT, &one(operation, path, value)).map(|document| text(&document))
    }

    #[test]
    fn each_operation_at_each_place() {
        use operation::{INSERT, REMOVE, REPLACE};
        assert_eq!(
            text(&apply_diffs(&DOCUMENT, &[]).unwrap()),
            r#"{"a": 1, "b": [null]}"#
        );
        for (operation, path, result) in [
            (REPLACE, "$", "true"),
            (REPLACE, "$.a", r#"{"a": true, "b": [null]}"#),
            (REPLACE, "$.b[0]", r#"{"a": 1, "b": [true]}"#),
            (REPLACE, "$.b[last]", r#"{"a": 1, "b": [true]}"#),
            (REPLACE, "$.a[0]", r#"{"a": true, "b": [null]}"#),
            (INSERT, "$.c", r#"{"a": 1, "b": [null], "c": true}"#),
            (INSERT, r#"$."""#, r#"{"": true, "a": 1, "b": [null]}"#),
            (
                INSERT,
                r#"$."\"\u00e9""#,
                r#"{"a": 1, "b": [null], "\"é": true}"#,
            ),
            (INSERT, "$.b[0]", r#"{"a": 1, "b": [true, null]}"#),
            (INSERT, "$.b[7]", r#"{"a": 1, "b": [null, true]}"#),
            (REMOVE, "$.a", r#"{"b": [null]}"#),
            (REMOVE, "$.b[0]", r#"{"a": 1, "b": []}"#),
            (REMOVE, "$.b", r#"{"a": 1}"#),
        ] {
            assert_eq!(changed(operation, path, &TRUE).unwrap(), result, "{path}");
        }
    }

    #[test]
    fn a_change_that_does_not_fit_is_an_error() {
        use operation::{INSERT, REMOVE, REPLACE};
        for (operation, path) in [
            (REPLACE, "$.c"),
            (REPLACE, "$.b[1]"),
            (INSERT, "$"),
            (INSERT, "$.a"),
            (INSERT, "$.a.b"),
            (REMOVE, "$"),
            (REMOVE, "$.a.b"),
            (REMOVE, "$.b[1]"),
            (REMOVE, "$.b[last-1]"),
            (3, "$.a"),
            (REPLACE, ""),
            (REPLACE, "$a"),
            (REPLACE, "$."),
            (REPLACE, "$.*"),
            (REPLACE, "$[*]"),
            (REPLACE, "$[1"),
            (REPLACE, r#"$."a"#),
            (REPLACE, r#"$."a\"#),
        ] {
            assert!(
                changed(operation, path, &TRUE).is_err(),
                "{operation} {path}"
            );
        }
        assert!(apply_diffs(&DOCUMENT, &[operation::REPLACE, 9, b'$']).is_err());
    }

    #[test]
    fn a_container_takes_the_large_form_when_it_must() {
        let mut long = vec![kind::STRING, 0xf0, 0xa2, 0x04];
        long.resize(4 + 70_000, b'x');
        let mut change = vec![operation::REPLACE, 3];
        change.extend(b"$.a");
        change.push(0xfd);
        change.extend((long.len() as u32).to_le_bytes().get(..3).unwrap());
        change.extend(&long);
        let grown = apply_diffs(&DOCUMENT, &change).unwrap();
        assert_eq!(grown.first(), Some(&kind::LARGE_OBJECT));
        assert_eq!(
            text(&grown).len(),
            70_000 + r#"{"a": "", "b": [null]}"#.len()
        );
        let shrunk = apply_diffs(&grown, &one(operation::REPLACE, "$.a", &TRUE)).unwrap();
        assert_eq!(shrunk.first(), Some(&kind::SMALL_OBJECT));
        assert_eq!(text(&shrunk), r#"{"a": true, "b": [null]}"#);
    }

    #[test]
    fn values_that_overlap_do_not_grow_the_document() {
        // An array whose 200 values are all the same long text.
        let mut array = vec![kind::SMALL_ARRAY, 200, 0, 0, 0];
        for _ in 0..200 {
            array.extend([kind::STRING, 0x5c, 0x02]);
        }
        array.push(100);
        array.extend([b'x'; 100]);
        let size = (array.len() - 1) as u16;
        array
            .get_mut(3..5)
            .unwrap()
            .copy_from_slice(&size.to_le_bytes());
        assert!(apply_diffs(&array, &one(operation::REMOVE, "$[0]", &[])).is_err());
    }
}
