//! What a change of a batch must keep its order by: the values that it takes, gives up or relies on.
//!
//! Two changes may trade places only if no value of any unique key of the target, and none of a
//! foreign key, is in both. Values are compared by hashes that may report too much and never too
//! little: what the target may hold equal has one hash. Where that cannot be had, in a collation whose
//! equalities are not known here, in a column that only the target has, the change keeps its place
//! among all of its table.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

use super::cascade::changes_rows;
use super::plan::is_same;
use crate::binlog::text;
use crate::model::TableName;
use crate::model::value::{Date, Row, RowChange, Value};
use crate::schema::{Column, ColumnKind, ForeignKey, Generated, Structure};

/// How the changes of a source table's rows are kept in order.
#[derive(Debug)]
pub(super) struct Order {
    /// The target's table, or all the tables that foreign keys tie to it.
    domain: u64,
    /// Every change keeps its place among all of the domain: no value tells them apart for certain.
    is_wild: bool,
    keys: Vec<Ordered>,
    /// For each foreign key under the table that changes rows of other tables: the columns that set it
    /// in motion. Such a change keeps its place among all of the domain.
    cascading: Vec<Vec<usize>>,
    /// The source's columns of which a key of the target is made, unique or foreign.
    of_keys: BTreeSet<usize>,
}

/// A key whose values are hashed.
#[derive(Debug)]
struct Ordered {
    seed: u64,
    /// Whether the change takes or gives up the value; else it relies on it, as a child on its parent.
    takes: bool,
    /// Of a parent's key: a change that leaves it as it is does not concern the children.
    only_changed: bool,
    parts: Vec<(usize, Form)>,
}

/// In which form a value is hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// As it is: a number, a moment, bytes.
    Exact,
    /// Bytes, without the zeros that pad them.
    Padded,
    /// Text of a collation that tells all bytes but trailing spaces apart.
    Binary,
    /// Text of a collation that tells letters and digits apart, at most.
    Folded,
    /// Not at all: only a part of it counts.
    Left,
}

/// The foreign keys of the target's tables, as far as they were met.
#[derive(Debug, Default)]
pub(super) struct Ties {
    tables: BTreeMap<TableName, Vec<ForeignKey>>,
    /// How often something became known that bears on other tables.
    pub(super) version: u64,
}

impl Ties {
    /// Whether the table was met.
    pub(super) fn knows(&self, table: &TableName) -> bool {
        self.tables.contains_key(table)
    }

    /// Takes up a table with the foreign keys of which it is the child.
    pub(super) fn add(&mut self, table: &TableName, keys: &[ForeignKey]) {
        if self.tables.insert(table.clone(), keys.to_vec()).is_none() && !keys.is_empty() {
            self.version += 1;
        }
    }

    fn of_parent<'a>(&'a self, parent: &'a TableName) -> impl Iterator<Item = &'a ForeignKey> {
        self.tables
            .values()
            .flatten()
            .filter(|key| is_same_table(&key.parent, parent))
    }

    /// All tables that are tied to one, itself among them.
    fn tied(&self, table: &TableName) -> BTreeSet<(String, String)> {
        let mut found = BTreeSet::from([lower(table)]);
        loop {
            let before = found.len();
            for (child, keys) in &self.tables {
                for key in keys {
                    let (child, parent) = (lower(child), lower(&key.parent));
                    if found.contains(&child) || found.contains(&parent) {
                        found.extend([child, parent]);
                    }
                }
            }
            if found.len() == before {
                return found;
            }
        }
    }
}

fn lower(table: &TableName) -> (String, String) {
    (table.schema.to_lowercase(), table.name.to_lowercase())
}

fn is_same_table(a: &TableName, b: &TableName) -> bool {
    lower(a) == lower(b)
}

impl Order {
    /// Of `source`'s rows on `target`.
    pub(super) fn new(source: &Structure, target: &Structure, ties: &Ties) -> Self {
        let tied = ties.tied(&target.table);
        let mut order = Self {
            domain: names_hash(tied.iter().flat_map(|(schema, name)| [schema, name])),
            is_wild: false,
            keys: Vec::new(),
            cascading: Vec::new(),
            of_keys: BTreeSet::new(),
        };
        let (schema, name) = lower(&target.table);
        let mut is_told_apart = false;
        for key in target.keys.iter().filter(|key| key.unique) {
            let names = key.parts.iter().map(|part| part.column.as_deref());
            order
                .of_keys
                .extend(names.clone().filter_map(|name| source.column_index(name?)));
            let columns = names
                .map(|name| place(source, target, name?))
                .collect::<Option<Vec<_>>>();
            let Some(columns) = columns else {
                order.is_wild = true;
                continue;
            };
            is_told_apart |= columns
                .iter()
                .all(|(_, here, there)| !here.nullable && !there.nullable);
            let parts = columns
                .iter()
                .zip(&key.parts)
                .map(|((index, here, there), part)| match part.prefix {
                    None => Some((*index, form(here, there)?)),
                    Some(_) => Some((*index, Form::Left)),
                })
                .collect();
            order.push([&schema, &name, &key.name], true, false, parts);
        }
        // Rows that nothing tells apart are found by all their columns.
        order.is_wild |= !is_told_apart;
        let as_child = ties.tables.get(&target.table).into_iter().flatten();
        for key in as_child {
            order.tie(source, target, key, &key.columns, false);
        }
        for key in ties.of_parent(&target.table) {
            order.tie(source, target, key, &key.parent_columns, true);
            if changes_rows(key) {
                let columns = key.parent_columns.iter();
                order.cascading.push(
                    columns
                        .filter_map(|name| source.column_index(name))
                        .collect(),
                );
            }
        }
        order
    }

    /// Whether a key of the target, unique or foreign, has the column in it.
    pub(super) fn is_of_key(&self, column: usize) -> bool {
        self.of_keys.contains(&column)
    }

    fn tie(
        &mut self,
        source: &Structure,
        target: &Structure,
        key: &ForeignKey,
        columns: &[String],
        is_parent: bool,
    ) {
        let named = columns.iter().filter_map(|name| source.column_index(name));
        self.of_keys.extend(named);
        let columns = columns
            .iter()
            .map(|name| place(source, target, name))
            .collect::<Option<Vec<_>>>();
        let Some(columns) = columns else {
            self.is_wild = true;
            return;
        };
        // Parent and child may be read from tables of different character sets, and padded otherwise.
        let parts = columns
            .iter()
            .map(|(index, here, there)| {
                let form = match form(here, there)? {
                    Form::Binary => Form::Folded,
                    Form::Exact if matches!(there.kind, ColumnKind::Binary { .. }) => Form::Padded,
                    form => form,
                };
                Some((*index, form))
            })
            .collect();
        let (schema, name) = lower(&key.parent);
        let of_parent = key.parent_columns.iter().map(|name| name.to_lowercase());
        let of_parent: Vec<String> = of_parent.collect();
        self.push(
            [&schema, &name, &of_parent.join(",")],
            is_parent,
            is_parent,
            parts,
        );
    }

    fn push(
        &mut self,
        names: [&String; 3],
        takes: bool,
        only_changed: bool,
        parts: Option<Vec<(usize, Form)>>,
    ) {
        let Some(parts) = parts else {
            self.is_wild = true;
            return;
        };
        self.keys.push(Ordered {
            seed: names_hash(names).rotate_left(u32::from(only_changed || !takes)),
            takes,
            only_changed,
            parts,
        });
    }

    /// What a change touches.
    pub(super) fn touches(&self, change: &RowChange<'_>, touched: &mut Touched) {
        touched.taken.clear();
        touched.relied.clear();
        touched.domain = self.domain;
        touched.is_wild = self.is_wild || self.cascades(change);
        let (first, second) = match change {
            RowChange::Insert { after } => (after, None),
            RowChange::Delete { before } => (before, None),
            RowChange::Update { before, after } => (before, Some(after)),
        };
        for key in &self.keys {
            let changed = second.filter(|after| {
                key.parts
                    .iter()
                    .any(|(index, _)| !is_left(first, after, *index))
            });
            if key.only_changed && second.is_some() && changed.is_none() {
                continue;
            }
            for row in [Some(first), changed].into_iter().flatten() {
                match key.hash(row) {
                    Hashed::Value(hash) if key.takes => touched.taken.push(hash),
                    Hashed::Value(hash) => touched.relied.push(hash),
                    Hashed::None => {}
                    Hashed::Unknown => touched.is_wild = true,
                }
            }
        }
    }

    /// Whether foreign keys change rows of other tables along with it.
    fn cascades(&self, change: &RowChange<'_>) -> bool {
        match change {
            RowChange::Insert { .. } => false,
            RowChange::Delete { .. } => !self.cascading.is_empty(),
            RowChange::Update { before, after } => self
                .cascading
                .iter()
                .flatten()
                .any(|index| !is_left(before, after, *index)),
        }
    }
}

/// Whether a column has the same value in both rows, for certain.
fn is_left(before: &Row<'_>, after: &Row<'_>, index: usize) -> bool {
    matches!((before.get(index), after.get(index)), (Some(Some(a)), Some(Some(b))) if is_same(a, b))
}

/// The source's column, and the target's, of a name; `None` where what the target holds there cannot be
/// told from the source's row.
fn place<'a>(
    source: &'a Structure,
    target: &'a Structure,
    name: &str,
) -> Option<(usize, &'a Column, &'a Column)> {
    let index = source.column_index(name)?;
    let there = target.columns.get(target.column_index(name)?)?;
    if there.generated != Generated::No {
        return None;
    }
    Some((index, source.columns.get(index)?, there))
}

/// Collations that tell ASCII's letters and digits apart but for their case, by what their names have
/// behind the character set. Those of one language may hold `v` and `w`, or `i` and `j`, for the same.
const PLAIN: [&str; 11] = [
    "general_ci",
    "general_cs",
    "general_nopad_ci",
    "unicode_ci",
    "unicode_nopad_ci",
    "unicode_520_ci",
    "unicode_520_nopad_ci",
    "0900_ai_ci",
    "0900_as_ci",
    "0900_as_cs",
    "swedish_ci",
];
/// MariaDB's newer ones, with what may follow.
const UCA: &str = "uca1400_";

/// The form in which values are hashed, which must be the same for all tables of the source that go to
/// one of the target; `None`: what the target holds equal is not known.
fn form(here: &Column, there: &Column) -> Option<Form> {
    match (&here.kind, &there.kind) {
        (ColumnKind::Integer { .. }, ColumnKind::Integer { .. })
        | (ColumnKind::Binary { .. }, ColumnKind::Binary { .. }) => Some(Form::Exact),
        (ColumnKind::FixedBinary { .. }, ColumnKind::FixedBinary { .. }) => Some(Form::Padded),
        (ColumnKind::Text { .. }, ColumnKind::Text { .. }) => form_of_text(here, there),
        (
            ColumnKind::Float
            | ColumnKind::Double
            | ColumnKind::Json
            | ColumnKind::Geometry
            | ColumnKind::Vector,
            _,
        ) => None,
        (here, there) => (here == there).then_some(Form::Exact),
    }
}

fn form_of_text(here: &Column, there: &Column) -> Option<Form> {
    let is_unicode = |column: &Column| {
        matches!(
            column.charset.as_deref(),
            Some("utf8mb4" | "utf8mb3" | "utf8" | "ascii")
        )
    };
    let collation = there.collation.as_deref()?;
    let is_binary = collation.ends_with("_bin");
    if is_binary && is_unicode(there) {
        return is_unicode(here).then_some(Form::Binary);
    }
    let is_latin1 = |column: &Column| column.charset.as_deref() == Some("latin1");
    if !is_unicode(there) && !is_latin1(there) {
        return None;
    }
    let (charset, rest) = collation.split_once('_')?;
    let is_plain = is_binary
        // In Unicode's character sets the collation of that name is one of Swedish.
        || (PLAIN.contains(&rest) && (rest != "swedish_ci" || charset == "latin1"))
        || collation
            .split_once(UCA)
            .is_some_and(|(_, rest)| matches!(rest.split('_').next(), Some("ai" | "as" | "nopad")));
    let is_read = is_unicode(here) || is_latin1(here);
    (is_plain && is_read).then_some(Form::Folded)
}

enum Hashed {
    Value(u64),
    /// A NULL is in it, which is equal to nothing.
    None,
    /// It may be equal to any other.
    Unknown,
}

impl Ordered {
    fn hash(&self, row: &Row<'_>) -> Hashed {
        let mut hash = Fold(self.seed);
        let mut is_unknown = false;
        for (index, form) in &self.parts {
            let Some(Some(value)) = row.get(*index) else {
                return Hashed::Unknown;
            };
            if *value == Value::Null {
                return Hashed::None;
            }
            is_unknown |= !hash.value(value, *form);
        }
        if is_unknown {
            Hashed::Unknown
        } else {
            Hashed::Value(hash.end())
        }
    }
}

/// A hash under way.
struct Fold(u64);

impl Fold {
    fn word(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            let mut word = [0; 8];
            word.copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word));
        }
        for byte in chunks.remainder() {
            self.word(u64::from(*byte));
        }
        self.word(bytes.len() as u64);
    }

    fn end(self) -> u64 {
        let mixed = (self.0 ^ (self.0 >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ (mixed >> 29)
    }

    /// Takes a value; `false` if what the target may hold equal to it is not known.
    fn value(&mut self, value: &Value<'_>, form: Form) -> bool {
        match (form, value) {
            (Form::Left, _) => {}
            (Form::Padded, Value::Bytes(bytes)) => self.bytes(without(bytes, 0)),
            (Form::Binary, Value::Bytes(bytes)) => self.bytes(without(bytes, b' ')),
            (Form::Folded, Value::Bytes(bytes)) => {
                if !bytes.iter().all(|byte| (b' '..=b'~').contains(byte)) {
                    return false;
                }
                // Some collations pass over what is neither a letter nor a digit.
                let mut length = 0;
                for byte in bytes.iter().filter(|byte| byte.is_ascii_alphanumeric()) {
                    self.word(u64::from(byte.to_ascii_lowercase()));
                    length += 1;
                }
                self.word(length);
            }
            (Form::Exact, Value::Bytes(bytes)) => self.bytes(bytes),
            (_, value) => return self.plain(value),
        }
        true
    }

    fn plain(&mut self, value: &Value<'_>) -> bool {
        match value {
            // One number, signed or not.
            Value::Int(number) => self.word(*number as u64),
            Value::UInt(number) => self.word(*number),
            Value::Decimal(decimal) => {
                let mut digits = Vec::with_capacity(72);
                if text::write_decimal(&mut digits, decimal).is_err() {
                    return false;
                }
                // Zero may have a sign.
                self.bytes(digits.strip_prefix(b"-").unwrap_or(&digits));
            }
            Value::Date(date) => self.date(*date),
            Value::Time(time) => self.time(time),
            Value::DateTime(date, time) => {
                self.date(*date);
                self.time(time);
            }
            Value::UnixTime(time) => {
                self.word(time.seconds);
                self.word(u64::from(time.micros));
            }
            Value::Year(year) => self.word(u64::from(*year)),
            Value::Bit(bits) => {
                let zeros = bits.iter().take_while(|byte| **byte == 0).count();
                self.bytes(bits.get(zeros..).unwrap_or_default());
            }
            Value::Enum(index) => self.word(u64::from(*index)),
            Value::Set(members) => self.word(*members),
            Value::Null
            | Value::Float(_)
            | Value::Double(_)
            | Value::Bytes(_)
            | Value::Json(_)
            | Value::JsonDiff(_) => return false,
        }
        true
    }

    fn date(&mut self, date: Date) {
        self.word(u64::from(date.year) << 16 | u64::from(date.month) << 8 | u64::from(date.day));
    }

    fn time(&mut self, time: &crate::model::value::Time) {
        let clock =
            u64::from(time.hours) << 16 | u64::from(time.minutes) << 8 | u64::from(time.seconds);
        self.word(clock << 20 | u64::from(time.micros));
    }
}

/// The bytes without those of one kind at their end.
fn without(bytes: &[u8], pad: u8) -> &[u8] {
    let kept = bytes.iter().rposition(|byte| *byte != pad);
    bytes
        .get(..kept.map_or(0, |last| last + 1))
        .unwrap_or_default()
}

fn names_hash<'a>(names: impl IntoIterator<Item = &'a String>) -> u64 {
    let mut hash = Fold(0);
    for name in names {
        hash.bytes(name.as_bytes());
    }
    hash.end()
}

/// What one change touches: kept to be filled again for the next.
#[derive(Debug, Default)]
pub(super) struct Touched {
    domain: u64,
    is_wild: bool,
    taken: Vec<u64>,
    relied: Vec<u64>,
}

/// Which group of changes last touched each value.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    values: HashMap<u64, Last, BuildHasherDefault<Given>>,
    domains: HashMap<u64, Last, BuildHasherDefault<Given>>,
}

/// Groups by number, from 1; 0: none yet. Of a domain: by a change that keeps its place among all, and
/// by any.
#[derive(Clone, Copy, Debug, Default)]
struct Last {
    taken: u32,
    any: u32,
}

impl Ledger {
    /// The last group, by number from 1, that a change must stay behind; 0: none.
    pub(super) fn behind(&self, touched: &Touched) -> u32 {
        let of = |map: &HashMap<u64, Last, _>, hash: &u64| -> Last {
            map.get(hash).copied().unwrap_or_default()
        };
        let domain = of(&self.domains, &touched.domain);
        let mut behind = if touched.is_wild {
            domain.any
        } else {
            domain.taken
        };
        for hash in &touched.taken {
            behind = behind.max(of(&self.values, hash).any);
        }
        for hash in &touched.relied {
            behind = behind.max(of(&self.values, hash).taken);
        }
        behind
    }

    /// Takes down that a change is in a group, by its number from 1.
    pub(super) fn enter(&mut self, touched: &Touched, group: u32) {
        let domain = self.domains.entry(touched.domain).or_default();
        domain.any = domain.any.max(group);
        if touched.is_wild {
            domain.taken = domain.taken.max(group);
        }
        for hash in &touched.taken {
            let last = self.values.entry(*hash).or_default();
            last.taken = last.taken.max(group);
            last.any = last.any.max(group);
        }
        for hash in &touched.relied {
            let last = self.values.entry(*hash).or_default();
            last.any = last.any.max(group);
        }
    }

    /// How many values are kept in mind.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        self.values.clear();
        self.domains.clear();
    }
}

/// The values are hashes already.
#[derive(Debug, Default)]
struct Given(u64);

impl Hasher for Given {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut hash = Fold(self.0);
        hash.bytes(bytes);
        self.0 = hash.end();
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
