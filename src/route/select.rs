//! Which tables a task takes.

use std::collections::BTreeSet;

use crate::model::TableName;

use super::pattern::{PatternError, TablePattern};

/// Schemas that belong to the server; no pattern takes them.
const SYSTEM_SCHEMAS: [&str; 7] = [
    "mysql",
    "information_schema",
    "performance_schema",
    "sys",
    // TiDB's own.
    "metrics_schema",
    "inspection_schema",
    // The rest of an upgrade by the operating system's folder `lost+found`, seen as a schema.
    "#mysql50#lost+found",
];

/// Whether `schema` belongs to the server. Their names are not case-sensitive.
pub fn is_system_schema(schema: &str) -> bool {
    SYSTEM_SCHEMAS
        .iter()
        .any(|system| system.eq_ignore_ascii_case(schema))
}

/// An ordered list of patterns; the last that matches a table decides. Without one that matches, and in
/// the server's own schemas and ours, nothing is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    rules: Vec<Rule>,
    excluded_schemas: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    pattern: TablePattern,
    takes: bool,
}

impl Selection {
    /// Reads patterns; `!` in front of one leaves out what it matches.
    pub fn parse(patterns: &[String]) -> Result<Self, PatternError> {
        let mut rules = Vec::with_capacity(patterns.len());
        for (index, text) in patterns.iter().enumerate() {
            let text = text.trim();
            let (takes, rest) = match text.strip_prefix('!') {
                Some(rest) => (false, rest),
                None => (true, text),
            };
            let pattern =
                TablePattern::parse(rest).map_err(|message| PatternError::new(index, message))?;
            if let Some(schema) = pattern.exact_schema()
                && takes
                && is_system_schema(schema)
            {
                return Err(PatternError::new(
                    index,
                    format!("`{schema}` is a schema of the server's own and is never taken"),
                ));
            }
            rules.push(Rule { pattern, takes });
        }
        if !rules.iter().any(|rule| rule.takes) {
            return Err(PatternError::new(
                0,
                if rules.is_empty() {
                    "no table is selected; write `[\"schema.*\"]`, or `[\"*.*\"]` for all"
                } else {
                    "the patterns only leave tables out; begin with one that takes some, such as `*.*`"
                },
            ));
        }
        if let Some(rule) = rules.first()
            && !rule.takes
        {
            return Err(PatternError::new(
                0,
                format!(
                    "`!{}` comes first, where there is nothing yet to leave out; later patterns win",
                    rule.pattern
                ),
            ));
        }
        Ok(Self {
            rules,
            excluded_schemas: Vec::new(),
        })
    }

    /// Leaves out one more schema, whatever the patterns say: that of our own tables.
    #[must_use]
    pub fn without_schema(mut self, schema: &str) -> Self {
        self.excluded_schemas.push(schema.to_owned());
        self
    }

    /// Whether `table` is taken.
    pub fn takes(&self, table: &TableName) -> bool {
        self.is_open(&table.schema)
            && self
                .rules
                .iter()
                .rfind(|rule| rule.pattern.matches(table))
                .is_some_and(|rule| rule.takes)
    }

    /// Whether some table of `schema` could be taken; never wrong when it says no.
    pub fn may_take_schema(&self, schema: &str) -> bool {
        self.is_open(schema)
            && self.rules.iter().fold(false, |may, rule| {
                if rule.takes {
                    may || rule.pattern.may_match_schema(schema)
                } else {
                    may && !rule.pattern.covers_schema(schema)
                }
            })
    }

    /// Whether every table of `schema` is taken, whatever it is called.
    pub fn takes_whole_schema(&self, schema: &str) -> bool {
        self.is_open(schema)
            && self.rules.iter().fold(false, |whole, rule| {
                if rule.takes {
                    whole || rule.pattern.covers_schema(schema)
                } else {
                    whole && !rule.pattern.may_match_schema(schema)
                }
            })
    }

    /// The tables that are named without a wildcard and taken: they are expected to exist.
    pub fn exact_tables(&self) -> Vec<TableName> {
        let mut tables: Vec<TableName> = self
            .rules
            .iter()
            .filter(|rule| rule.takes)
            .filter_map(|rule| rule.pattern.exact())
            .filter(|table| self.takes(table))
            .collect();
        tables.sort();
        tables.dedup();
        tables
    }

    /// The patterns in order, each with whether it takes what it matches or leaves it out.
    pub fn rules(&self) -> impl Iterator<Item = (&TablePattern, bool)> {
        self.rules.iter().map(|rule| (&rule.pattern, rule.takes))
    }

    /// The databases that rules which take something name in full.
    pub fn exact_schemas(&self) -> BTreeSet<String> {
        self.rules
            .iter()
            .filter(|rule| rule.takes)
            .filter_map(|rule| rule.pattern.exact_schema().map(str::to_owned))
            .collect()
    }

    /// The rules in canonical form, one a line.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.rules.iter().map(|rule| {
            format!(
                "{} {}",
                if rule.takes { "take" } else { "leave" },
                rule.pattern
            )
        })
    }

    fn is_open(&self, schema: &str) -> bool {
        !is_system_schema(schema)
            && !self
                .excluded_schemas
                .iter()
                .any(|excluded| excluded.eq_ignore_ascii_case(schema))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(patterns: &[&str]) -> Selection {
        let patterns: Vec<String> = patterns.iter().map(|&text| text.to_owned()).collect();
        Selection::parse(&patterns).unwrap()
    }

    fn takes(selection: &Selection, schema: &str, name: &str) -> bool {
        selection.takes(&TableName::new(schema, name))
    }

    #[test]
    fn later_patterns_win() {
        let s = selection(&["shop.*", "!shop.tmp_*", "shop.tmp_keep"]);
        assert!(takes(&s, "shop", "orders"));
        assert!(!takes(&s, "shop", "tmp_1"));
        assert!(takes(&s, "shop", "tmp_keep"));
        assert!(!takes(&s, "other", "orders"));
    }

    #[test]
    fn system_schemas_and_ours_are_never_taken() {
        let s = selection(&["*.*", "/mysql\\..*/"]).without_schema("tideway");
        for schema in [
            "mysql",
            "INFORMATION_SCHEMA",
            "sys",
            "performance_schema",
            "tideway",
        ] {
            assert!(!takes(&s, schema, "t"), "{schema}");
            assert!(!s.may_take_schema(schema), "{schema}");
        }
        assert!(takes(&s, "shop", "t"));
    }

    #[test]
    fn whole_schemas() {
        let s = selection(&["*.*", "!old_*.*", "!shop.tmp", "old_2.kept"]);
        assert!(s.may_take_schema("shop") && !s.takes_whole_schema("shop"));
        assert!(s.takes_whole_schema("other"));
        assert!(!s.may_take_schema("old_1"));
        assert!(s.may_take_schema("old_2") && !s.takes_whole_schema("old_2"));
    }

    #[test]
    fn exact_tables_are_those_still_taken() {
        let s = selection(&["a.x", "a.y", "b.*", "!a.y", "a.x"]);
        assert_eq!(s.exact_tables(), [TableName::new("a", "x")]);
    }

    #[test]
    fn faults_name_the_pattern() {
        let parse = |patterns: &[&str]| {
            let patterns: Vec<String> = patterns.iter().map(|&text| text.to_owned()).collect();
            Selection::parse(&patterns).unwrap_err()
        };
        assert_eq!(parse(&["a.*", "b"]).index, 1);
        assert_eq!(
            parse(&["a.*", "mysql.user"]).message,
            "`mysql` is a schema of the server's own and is never taken"
        );
        assert!(parse(&[]).message.starts_with("no table is selected"));
        assert!(parse(&["!a.*"]).message.starts_with("the patterns only"));
        assert!(
            parse(&["!a.*", "b.*"])
                .message
                .starts_with("`!a.*` comes first")
        );
    }
}
