//! The statements of `tests/fixtures/ddl_corpus.sql`, with what is expected of each. What stands on
//! the target is worked out here from the marks in the file alone, not by the program's own code.

#![allow(dead_code, reason = "each test binary uses a part of it")]

/// The file.
const CORPUS: &str = include_str!("../fixtures/ddl_corpus.sql");

/// A statement.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Its line in the file.
    pub(crate) line: usize,
    /// `all`, `my`, `ma` or `m11`.
    servers: String,
    flags: Vec<String>,
    /// The kind, in the configuration's words.
    pub(crate) kind: String,
    /// The statement at the source.
    pub(crate) sql: String,
    /// The tables it names: role, schema, name; `subject` has no role's name.
    pub(crate) tables: Vec<(String, String, String)>,
    /// The statement with the target's names.
    pub(crate) renamed: String,
}

impl Entry {
    /// Whether the flag stands at it.
    pub(crate) fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|other| other == flag)
    }

    /// Whether a server of that family and version takes it.
    pub(crate) fn is_for(&self, is_mariadb: bool, major: u32) -> bool {
        match self.servers.as_str() {
            "all" => true,
            "my" => !is_mariadb,
            "ma" => is_mariadb,
            _ => is_mariadb && major >= 11,
        }
    }

    /// Whether it is MariaDB's alone.
    pub(crate) fn is_mariadb(&self) -> bool {
        self.servers.starts_with('m') && self.servers != "my"
    }

    /// The default database.
    pub(crate) fn default_schema(&self) -> &str {
        self.flags
            .iter()
            .find_map(|flag| flag.strip_prefix("in="))
            .unwrap_or("d")
    }
}

/// The name of a table on the target.
pub(crate) fn on_target(schema: &str, name: &str) -> (String, String) {
    let (schema, name) = match (schema, name) {
        ("d", "ren") => ("r", "renamed"),
        ("e", "keep") => ("e", "kept"),
        ("d", name) => ("r", name),
        other => other,
    };
    (schema.to_owned(), name.to_owned())
}

/// All statements, in their order.
pub(crate) fn entries() -> Vec<Entry> {
    CORPUS
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.is_empty() && !line.starts_with("--"))
        .map(|(index, line)| read(index + 1, line))
        .collect()
}

fn read(line: usize, text: &str) -> Entry {
    let mut parts = text.splitn(3, " | ");
    let mut next = || {
        parts
            .next()
            .unwrap_or_else(|| panic!("line {line}: {text}"))
    };
    let mut words = next().split(',').map(str::to_owned);
    let mut entry = Entry {
        line,
        servers: words.next().unwrap_or_default(),
        flags: words.collect(),
        kind: next().to_owned(),
        sql: String::new(),
        tables: Vec::new(),
        renamed: String::new(),
    };
    let default = entry.default_schema().to_owned();
    let mut rest = next();
    while let Some((plain, marked)) = rest.split_once('«') {
        let (mark, behind) = marked.split_once('»').expect("a mark is closed");
        let plain = plain.replace('↵', "\n");
        entry.sql.push_str(&plain);
        entry.renamed.push_str(&plain);
        table(&mut entry, &default, mark);
        rest = behind;
    }
    let plain = rest.replace('↵', "\n");
    entry.sql.push_str(&plain);
    entry.renamed.push_str(&plain);
    entry
}

fn table(entry: &mut Entry, default: &str, mark: &str) {
    let (role, mark) = match mark.split_once(':') {
        Some((role, mark)) if role.chars().all(|c| c.is_ascii_lowercase()) => (role, mark),
        _ => ("subject", mark),
    };
    let (written, given) = match mark.split_once("=>") {
        Some((written, given)) => (written, Some(given.to_owned())),
        None => (mark, None),
    };
    entry.sql.push_str(written);
    if role == "schema" {
        let name = unquoted(written);
        let name = if name.is_empty() { default } else { &name };
        let (target, _) = on_target(name, "*");
        let renamed = if target == name {
            written.to_owned()
        } else {
            format!("`{target}`")
        };
        entry.renamed.push_str(&given.unwrap_or(renamed));
        entry.tables.push((role.into(), name.into(), String::new()));
        return;
    }
    let (schema, name) = split(written);
    let subject = entry
        .tables
        .iter()
        .find(|(role, ..)| role == "subject")
        .cloned();
    let implied = match (&subject, role) {
        (Some((_, schema, _)), "parent") => schema.clone(),
        _ => default.to_owned(),
    };
    let full = (schema.map_or(implied, unquoted), unquoted(name));
    let (new_schema, new_name) = on_target(&full.0, &full.1);
    let new_name = if new_name == full.1 {
        name.to_owned()
    } else {
        quoted(&new_name)
    };
    let renamed = match schema {
        Some(_) if new_schema == full.0 => format!("{}.{new_name}", schema.unwrap_or_default()),
        Some(_) => format!("{}.{new_name}", quoted(&new_schema)),
        // A parent is looked for beside the child.
        None if role == "parent" => {
            let beside = subject.map(|(_, schema, name)| on_target(&schema, &name).0);
            if beside.as_ref() == Some(&new_schema) {
                new_name
            } else {
                format!(
                    "{}.{}",
                    quoted(&new_schema),
                    quoted(&on_target(&full.0, &full.1).1)
                )
            }
        }
        None => format!(
            "{}.{}",
            quoted(&new_schema),
            quoted(&on_target(&full.0, &full.1).1)
        ),
    };
    entry.renamed.push_str(&given.unwrap_or(renamed));
    entry.tables.push((role.into(), full.0, full.1));
}

/// Cuts at the dot outside quotes.
fn split(written: &str) -> (Option<&str>, &str) {
    let mut quote = None;
    for (at, byte) in written.bytes().enumerate() {
        match (quote, byte) {
            (None, b'`' | b'"') => quote = Some(byte),
            (Some(open), byte) if open == byte => quote = None,
            (None, b'.') if at > 0 => {
                return (Some(written[..at].trim()), written[at + 1..].trim());
            }
            _ => {}
        }
    }
    (None, written.trim_start_matches('.'))
}

fn unquoted(written: &str) -> String {
    let written = written.trim();
    for quote in ['`', '"'] {
        if let Some(inner) = written
            .strip_prefix(quote)
            .and_then(|rest| rest.strip_suffix(quote))
        {
            return inner.replace(&format!("{quote}{quote}"), &quote.to_string());
        }
    }
    written.to_owned()
}

fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}
