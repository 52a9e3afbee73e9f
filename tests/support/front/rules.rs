//! Where TiDB answers otherwise than MySQL does, by the texts of statements.
//!
//! Sources: TiDB's pages on MySQL compatibility, on character sets and collations, on limits and on
//! error codes. Where versions differ the stricter one is followed.

use std::collections::BTreeMap;

use super::VERSION;

/// Which statements an injected error answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// A change of rows, but of our own tables.
    Change,
    /// A COMMIT behind such a change.
    Commit,
    /// `SHOW GRANTS`.
    Grants,
}

/// What a connection has changed since its BEGIN.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    bytes: usize,
    has_changes: bool,
}

/// What it knows and has seen.
#[derive(Debug)]
pub(super) struct Rules {
    grants: Vec<String>,
    injected: Option<(u16, At, u32)>,
    transaction_limit: usize,
    entry_limit: usize,
    refused: BTreeMap<u16, u32>,
    ddl: Vec<String>,
    settings: Vec<String>,
}

const COLLATIONS: &[&str] = &[
    "utf8mb4_bin",
    "utf8mb4_general_ci",
    "utf8mb4_unicode_ci",
    "utf8mb4_0900_ai_ci",
    "utf8mb4_0900_bin",
    "utf8_bin",
    "utf8_general_ci",
    "utf8_unicode_ci",
    "latin1_bin",
    "ascii_bin",
    "gbk_bin",
    "gbk_chinese_ci",
    "binary",
];
const CHARSETS: &[&str] = &["utf8mb4", "utf8", "latin1", "ascii", "binary", "gbk"];
const SPATIAL: &[&str] = &[
    "geometry",
    "point",
    "linestring",
    "polygon",
    "multipoint",
    "multilinestring",
    "multipolygon",
    "geometrycollection",
    "geomcollection",
    "spatial",
];

impl Rules {
    pub(super) fn new(grants: Vec<String>) -> Self {
        Self {
            grants,
            injected: None,
            transaction_limit: 100 << 20,
            entry_limit: 6 << 20,
            refused: BTreeMap::new(),
            ddl: Vec::new(),
            settings: Vec::new(),
        }
    }

    pub(super) fn inject(&mut self, number: u16, at: At, times: u32) {
        self.injected = Some((number, at, times));
    }

    pub(super) fn left(&self) -> u32 {
        self.injected.map_or(0, |(_, _, left)| left)
    }

    pub(super) fn limit(&mut self, transaction: usize, entry: usize) {
        (self.transaction_limit, self.entry_limit) = (transaction, entry);
    }

    pub(super) fn refused(&self, number: u16) -> u32 {
        self.refused.get(&number).copied().unwrap_or(0)
    }

    pub(super) fn ddl(&self) -> Vec<String> {
        self.ddl.clone()
    }

    pub(super) fn settings(&self) -> Vec<String> {
        self.settings.clone()
    }

    /// What the server is asked instead of a packet's statements.
    pub(super) fn meet(&mut self, text: &[u8], transaction: &mut Transaction) -> Vec<u8> {
        statements(text)
            .into_iter()
            .map(|statement| self.statement(statement, transaction))
            .collect::<Vec<_>>()
            .join(&b';')
    }

    fn statement(&mut self, statement: &[u8], transaction: &mut Transaction) -> Vec<u8> {
        let head = String::from_utf8_lossy(&statement[..statement.len().min(4096)]).into_owned();
        let words = words(&head);
        let word = |at: usize| words.get(at).map_or("", String::as_str);
        if let Some(answered) = name_case(&head) {
            return answered;
        }
        match (word(0), word(1)) {
            ("begin" | "rollback", _) | ("start", "transaction") => {
                *transaction = Transaction::default();
            }
            ("commit", _) => {
                let had_changes = std::mem::take(transaction).has_changes;
                if had_changes && let Some(number) = self.due(At::Commit) {
                    return self.refuse(number, "injected at the commit");
                }
            }
            ("insert" | "update" | "delete" | "replace", _) => {
                if let Some(refusal) = self.change(statement, &head, transaction) {
                    return refusal;
                }
            }
            ("create" | "alter" | "drop" | "rename" | "truncate", _) => {
                return self.structure(&String::from_utf8_lossy(statement));
            }
            ("show", "grants") => {
                return match self.due(At::Grants) {
                    Some(number) => self.refuse(number, "injected before the grants"),
                    None => self.show_grants(),
                };
            }
            ("show", "config") => {
                return format!(
                    "SELECT 'tidb' AS Type, '127.0.0.1:4000' AS Instance, \
                     'performance.txn-total-size-limit' AS Name, '{}' AS Value",
                    self.transaction_limit
                )
                .into_bytes();
            }
            ("set", _) if head.contains("tidb_") => {
                self.settings.push(head);
                return b"DO 0".to_vec();
            }
            ("select", _) if head.contains("information_schema.DDL_JOBS") => {
                return b"SELECT 1 FROM DUAL WHERE 1 = 0".to_vec();
            }
            ("select", _) if head.contains("VERSION()") && statement.len() == head.len() => {
                return head
                    .replace("VERSION()", &format!("'{VERSION}'"))
                    .into_bytes();
            }
            _ => {}
        }
        statement.to_vec()
    }

    fn refuse(&mut self, number: u16, message: &str) -> Vec<u8> {
        *self.refused.entry(number).or_default() += 1;
        format!(
            "SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = {number}, MESSAGE_TEXT = '{}'",
            message.replace(['\'', '\\'], "")
        )
        .into_bytes()
    }

    fn due(&mut self, kind: At) -> Option<u16> {
        let (number, at, left) = self.injected.as_mut()?;
        if *at != kind || *left == 0 {
            return None;
        }
        *left -= 1;
        Some(*number)
    }

    fn change(
        &mut self,
        statement: &[u8],
        head: &str,
        transaction: &mut Transaction,
    ) -> Option<Vec<u8>> {
        let (all, entry) = sizes(statement);
        transaction.bytes += all;
        if head.contains("`tideway`.") {
            return None;
        }
        transaction.has_changes = true;
        if let Some(number) = self.due(At::Change) {
            return Some(self.refuse(number, "injected at a change"));
        }
        if entry > self.entry_limit {
            let message = format!(
                "entry too large, the max entry size is {}, the size of data is {entry}",
                self.entry_limit
            );
            return Some(self.refuse(8025, &message));
        }
        if transaction.bytes > self.transaction_limit {
            let message = format!("Transaction is too large, size: {}", transaction.bytes);
            return Some(self.refuse(8004, &message));
        }
        None
    }

    /// TiDB writes the privileges without a space behind their commas.
    fn show_grants(&self) -> Vec<u8> {
        let lines: Vec<String> = self
            .grants
            .iter()
            .map(|line| {
                let (privileges, rest) = line.split_once(" ON ").unwrap_or((line, ""));
                let shown = format!("{} ON {rest}", privileges.replace(", ", ","));
                format!(
                    "SELECT '{}' AS `Grants for User`",
                    shown.replace('\'', "''")
                )
            })
            .collect();
        lines.join(" UNION ALL ").into_bytes()
    }

    fn structure(&mut self, text: &str) -> Vec<u8> {
        let words = words(text);
        let all: Vec<&str> = words.iter().map(String::as_str).collect();
        if let Some((number, why)) = refusal(&all) {
            return self.refuse(number, &why);
        }
        self.ddl.push(text.to_owned());
        // This MySQL has the old names of `utf8` no more.
        text.replace("utf8_", "utf8mb3_").into_bytes()
    }
}

/// Why TiDB refuses a statement on tables, if it does.
fn refusal(words: &[&str]) -> Option<(u16, String)> {
    let has = |word: &str| words.contains(&word);
    let behind = |at: usize| match words.get(at + 1) {
        Some(&"=") => words.get(at + 2),
        other => other,
    };
    for (at, word) in words.iter().enumerate() {
        let named = match *word {
            "collate" => behind(at).map(|name| (COLLATIONS, name, 1273, "collation")),
            "charset" => behind(at).map(|name| (CHARSETS, name, 1115, "character set")),
            "set" if at > 0 && matches!(words[at - 1], "character" | "char") => {
                behind(at).map(|name| (CHARSETS, name, 1115, "character set"))
            }
            _ => None,
        };
        if let Some((known, name, number, what)) = named
            && !known.contains(name)
        {
            return Some((number, format!("Unknown {what}: {name}")));
        }
        if SPATIAL.contains(word) {
            return Some((8108, format!("Unsupported type: {word}")));
        }
    }
    match words {
        [
            "create",
            ..,
            "trigger" | "procedure" | "function" | "event",
            _,
        ]
        | [
            "create",
            "trigger" | "procedure" | "function" | "event" | "definer",
            ..,
        ] => {
            return Some((8108, "Unsupported: triggers, routines and events".into()));
        }
        ["create", "table", ..] if has("select") => {
            return Some((8200, "Unsupported CREATE TABLE ... SELECT".into()));
        }
        _ => {}
    }
    if has("fulltext") {
        return Some((8200, "Unsupported FULLTEXT index".into()));
    }
    if words.first() != Some(&"alter") {
        return None;
    }
    if is_multiple(words) {
        return Some((8200, "Unsupported multi schema change".into()));
    }
    let pair = |first: &str, second: &str| words.windows(2).any(|two| two == [first, second]);
    if pair("drop", "primary") {
        return Some((
            8200,
            "Unsupported drop primary key when the table is using clustered index".into(),
        ));
    }
    if has("stored") && has("add") {
        return Some((
            3106,
            "Adding generated stored column through ALTER TABLE is not supported".into(),
        ));
    }
    None
}

/// Whether an ALTER has several clauses.
fn is_multiple(words: &[&str]) -> bool {
    let mut depth = 0;
    for word in words {
        match *word {
            "(" => depth += 1,
            ")" => depth -= 1,
            "," if depth == 0 => return true,
            _ => {}
        }
    }
    false
}

/// Walks over bytes that stand outside quotes and comments.
fn outside(text: &[u8], mut each: impl FnMut(usize, u8)) {
    let mut at = 0;
    while let Some(byte) = text.get(at).copied() {
        match byte {
            b'\'' | b'"' | b'`' => {
                at += 1;
                while let Some(inner) = text.get(at) {
                    if *inner == byte {
                        break;
                    }
                    at += if *inner == b'\\' && byte != b'`' {
                        2
                    } else {
                        1
                    };
                }
            }
            b'/' if text.get(at + 1) == Some(&b'*') && text.get(at + 2) != Some(&b'!') => {
                while at < text.len() && !text[at..].starts_with(b"*/") {
                    at += 1;
                }
                at += 1;
            }
            _ => each(at, byte),
        }
        at += 1;
    }
}

/// A packet's statements.
fn statements(text: &[u8]) -> Vec<&[u8]> {
    let mut ends = Vec::new();
    outside(text, |at, byte| {
        if byte == b';' {
            ends.push(at);
        }
    });
    let mut all = Vec::new();
    let mut begin = 0;
    for end in ends {
        all.push(&text[begin..end]);
        begin = end + 1;
    }
    all.push(&text[begin..]);
    all
}

/// The words outside quotes, in lower case, and the marks between them.
fn words(text: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut last = usize::MAX;
    outside(text.as_bytes(), |at, byte| {
        if byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' {
            let letter = byte.to_ascii_lowercase() as char;
            match all.last_mut() {
                Some(word) if last.wrapping_add(1) == at => word.push(letter),
                _ => all.push(letter.to_string()),
            }
            last = at;
        } else if matches!(byte, b'(' | b')' | b',' | b'=') {
            all.push((byte as char).to_string());
        }
    });
    all
}

/// What a change writes, roughly as TiDB counts it: all of it, and the largest row. Hexadecimal digits
/// are half a byte.
fn sizes(statement: &[u8]) -> (usize, usize) {
    let mut halves = 0;
    let (mut depth, mut begin, mut largest) = (0_u32, 0, 0);
    let mut quote = None;
    let mut is_hex = false;
    let mut before = 0;
    for byte in statement.iter().copied() {
        halves += if is_hex { 1 } else { 2 };
        match (quote, byte) {
            (None, b'\'') => {
                quote = Some(byte);
                is_hex = matches!(before, b'x' | b'X');
            }
            (Some(_), b'\'') if before != b'\\' => {
                quote = None;
                is_hex = false;
            }
            (None, b'(') => {
                depth += 1;
                if depth == 1 {
                    begin = halves;
                }
            }
            (None, b')') => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    largest = largest.max(halves - begin);
                }
            }
            _ => {}
        }
        before = byte;
    }
    let is_insert = statement
        .first()
        .is_some_and(|byte| matches!(byte, b'I' | b'i' | b'R' | b'r'));
    let all = halves / 2;
    (all, if is_insert { largest / 2 } else { all })
}

/// TiDB keeps names as they are written and compares them without case, always.
fn name_case(statement: &str) -> Option<Vec<u8>> {
    if statement == "SELECT @@lower_case_table_names" {
        return Some(b"SELECT 2".to_vec());
    }
    let list = statement.strip_prefix("SHOW GLOBAL VARIABLES WHERE Variable_name IN ")?;
    Some(
        format!(
            "SELECT VARIABLE_NAME, IF(VARIABLE_NAME = 'lower_case_table_names', '2', VARIABLE_VALUE) \
             FROM performance_schema.global_variables WHERE VARIABLE_NAME IN {list}"
        )
        .into_bytes(),
    )
}
