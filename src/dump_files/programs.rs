//! What a database runs by itself: triggers, routines and events, in a dump that was asked to take them.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};

use super::names;
use crate::model::TableName;

/// What kind of program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProgramKind {
    /// A stored procedure.
    Procedure,
    /// A stored function.
    Function,
    /// A trigger.
    Trigger,
    /// An event of the scheduler.
    Event,
}

impl ProgramKind {
    /// As a statement has it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Procedure => "PROCEDURE",
            Self::Function => "FUNCTION",
            Self::Trigger => "TRIGGER",
            Self::Event => "EVENT",
        }
    }
}

impl fmt::Display for ProgramKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Procedure => "procedure",
            Self::Function => "function",
            Self::Trigger => "trigger",
            Self::Event => "event",
        })
    }
}

/// A program with what its text means beyond its words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DumpProgram {
    /// What it is.
    pub kind: ProgramKind,
    /// Its database and name.
    pub name: TableName,
    /// A trigger's table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<TableName>,
    /// The `sql_mode` that it was written in, and runs in.
    pub sql_mode: String,
    /// The collation that its literals have.
    pub collation: String,
    /// The zone of an event's times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// The statement that creates it, as the source writes it, in UTF-8.
    pub create: String,
}

/// The files that hold the programs for other loaders, with their text: triggers by table, the rest by
/// database.
pub(super) fn files(programs: &[DumpProgram]) -> BTreeMap<String, String> {
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    for program in programs {
        let name = match &program.table {
            Some(table) => names::triggers_file(table),
            None => names::programs_file(&program.name.schema),
        };
        let text = files
            .entry(name)
            .or_insert_with(|| "/*!40101 SET NAMES utf8mb4*/;\n".to_owned());
        if let Some(zone) = &program.time_zone {
            let _ = writeln!(text, "/*!40103 SET TIME_ZONE='{zone}'*/;");
        }
        let _ = writeln!(text, "/*!40101 SET SQL_MODE='{}'*/;", program.sql_mode);
        // A line that ends so is where those loaders cut.
        text.push_str(&program.create.replace(";\n", "; \n"));
        text.push_str(";\n");
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_loaders_find_one_statement_to_a_line_end() {
        let program = |kind, table: Option<&str>| DumpProgram {
            kind,
            name: TableName::new("s", "p"),
            table: table.map(|table| TableName::new("s", table)),
            sql_mode: "ANSI_QUOTES".into(),
            collation: "utf8mb4_bin".into(),
            time_zone: None,
            create: "CREATE … BEGIN\nA;\nB;\nEND".into(),
        };
        let made = files(&[
            program(ProgramKind::Trigger, Some("t")),
            program(ProgramKind::Function, None),
        ]);
        let names: Vec<&String> = made.keys().collect();
        assert_eq!(names, ["s-schema-post.sql", "s.t-schema-triggers.sql"]);
        for text in made.values() {
            assert_eq!(text.matches(";\n").count(), 3, "{text}");
            assert!(text.ends_with("BEGIN\nA; \nB; \nEND;\n"), "{text}");
        }
    }
}
