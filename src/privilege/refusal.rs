//! What a server's refusal says is missing, and the statement that gives it.
//!
//! The texts differ: MariaDB names the table with its database, MySQL without; one joins alternatives
//! by "or", the other by commas. What a text leaves open is taken from who knows what the unit was at.

use crate::model::TableName;

use super::name::canonical;
use super::need::Object;

/// What is missing, as far as the refusal tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The privileges, by their canonical names: each of them, or any where `any_of`.
    pub privileges: Vec<String>,
    /// Whether one of them does.
    pub any_of: bool,
    /// On what, where the text says so in full.
    pub object: Option<Object>,
    /// The table's name, where the text leaves its database open.
    pub table: Option<String>,
    /// What does as well, where that is no privilege.
    pub instead: Option<&'static str>,
}

impl Refusal {
    /// Reads a server's error; `None` where it is no refusal of a privilege. `statement` is what was
    /// refused, or its beginning: some texts do not say what was wanted.
    pub fn read(number: u16, message: &str, statement: Option<&str>) -> Option<Self> {
        match number {
            1142 | 1143 => Self::of_table(message),
            1044 => {
                let schema = quoted_after(message, "to database ")?;
                Some(Self::plain(
                    vec![wanted_of_schema(statement).to_owned()],
                    Some(Object::schema(schema)),
                ))
            }
            1227 => {
                let list = between(message, "(at least one of) the ", " privilege(s)")?;
                let privileges: Vec<String> = list
                    .replace(" or ", ",")
                    .split(',')
                    .map(canonical)
                    .filter(|name| !name.is_empty())
                    .collect();
                let any_of = privileges.len() > 1;
                (!privileges.is_empty()).then(|| Self {
                    any_of,
                    ..Self::plain(privileges, Some(Object::Global))
                })
            }
            1370 => {
                let command = canonical(message.split(" command denied").next()?);
                let routine = quoted_after(message, "for routine ")?;
                let schema = routine.split_once('.').map_or(routine.as_str(), |(s, _)| s);
                Some(Self::plain(vec![command], Some(Object::schema(schema))))
            }
            1419 => Some(Self {
                instead: Some("SET GLOBAL log_bin_trust_function_creators = 1;"),
                ..Self::plain(vec!["SUPER".to_owned()], Some(Object::Global))
            }),
            // A replica without REPLICATION SLAVE is turned away as if its password were wrong.
            1045 => Some(Self::plain(
                vec!["REPLICATION SLAVE".to_owned()],
                Some(Object::Global),
            )),
            _ => None,
        }
    }

    fn plain(privileges: Vec<String>, object: Option<Object>) -> Self {
        Self {
            privileges,
            any_of: false,
            object,
            table: None,
            instead: None,
        }
    }

    /// `DROP, ALTER command denied to user 'u'@'h' for table …`, and the like for a column.
    fn of_table(message: &str) -> Option<Self> {
        let commands = message.split(" command denied").next()?;
        let mut privileges: Vec<String> = commands
            .split(',')
            .map(|command| match canonical(command).as_str() {
                // Looking at a table asks for any privilege on it; this is the least that is of use.
                "SHOW" | "ANY" => "SELECT".to_owned(),
                other => other.to_owned(),
            })
            .filter(|name| !name.is_empty())
            .collect();
        privileges.dedup();
        if privileges.is_empty() {
            return None;
        }
        let at = [" for table ", " in table "]
            .iter()
            .find_map(|word| Some(message.find(word)? + word.len()))?;
        let mut names = names(&message[at..]);
        let name = names.pop()?;
        Some(match names.pop() {
            Some(schema) => Self::plain(
                privileges,
                Some(Object::Table(TableName::new(schema, name))),
            ),
            None => Self {
                table: Some(name),
                ..Self::plain(privileges, None)
            },
        })
    }
}

/// 1044 does not say what was wanted of the database: the statement does.
fn wanted_of_schema(statement: Option<&str>) -> &'static str {
    let upper = statement
        .unwrap_or_default()
        .trim_start()
        .to_ascii_uppercase();
    for (beginning, privilege) in [
        ("LOCK TABLES", "LOCK TABLES"),
        ("CREATE", "CREATE"),
        ("DROP", "DROP"),
        ("ALTER", "ALTER"),
        ("SHOW EVENTS", "EVENT"),
        ("SHOW TRIGGERS", "TRIGGER"),
    ] {
        if upper.starts_with(beginning) {
            return privilege;
        }
    }
    "SELECT"
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let start = text.find(before)? + before.len();
    let rest = &text[start..];
    Some(&rest[..rest.find(after)?])
}

fn quoted_after(text: &str, before: &str) -> Option<String> {
    let at = text.rfind(before)? + before.len();
    names(&text[at..]).into_iter().next()
}

/// Names with dots between them, each in quotes of some kind.
fn names(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = text;
    while let Some(quote) = rest
        .chars()
        .next()
        .filter(|c| matches!(c, '`' | '\'' | '"'))
    {
        let body = &rest[1..];
        let mut name = String::new();
        let mut chars = body.char_indices().peekable();
        let mut end = body.len();
        while let Some((at, c)) = chars.next() {
            if c == quote {
                if chars.peek().is_some_and(|(_, next)| *next == quote) {
                    chars.next();
                } else {
                    end = at + 1;
                    break;
                }
            }
            name.push(c);
        }
        names.push(name);
        rest = body[end..].strip_prefix('.').unwrap_or("");
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privilege::object_text;

    fn read(number: u16, message: &str) -> Refusal {
        Refusal::read(number, message, None).unwrap_or_else(|| panic!("{message}"))
    }

    // The texts are those of MariaDB 10.11.19 and 11.8.6 and of MySQL 9.7.4.
    #[test]
    fn tables() {
        let mariadb = read(
            1142,
            "INSERT command denied to user 'non'@'localhost' for table `db_1`.`t`",
        );
        let t = Object::Table(TableName::new("db_1", "t"));
        assert_eq!(mariadb.object, Some(t));
        assert_eq!(mariadb.privileges, ["INSERT"]);
        let mysql = read(
            1142,
            "INSERT command denied to user 'non'@'localhost' for table 't'",
        );
        assert_eq!((mysql.object, mysql.table.as_deref()), (None, Some("t")));
        let two = read(
            1142,
            "DROP, ALTER command denied to user 'ins'@'localhost' for table `a``b`.` table x`",
        );
        assert_eq!(two.privileges, ["DROP", "ALTER"]);
        let shown = read(
            1142,
            "SHOW command denied to user 'non'@'localhost' for table 't'",
        );
        assert_eq!(shown.privileges, ["SELECT"]);
        let column = read(
            1143,
            "SELECT command denied to user 'u'@'localhost' for column 'c' in table 't'",
        );
        assert_eq!(
            (column.privileges[0].as_str(), column.table.as_deref()),
            ("SELECT", Some("t"))
        );
    }

    #[test]
    fn the_whole_server() {
        let mysql = read(
            1227,
            "Access denied; you need (at least one of) the RELOAD or FLUSH_TABLES privilege(s) for this operation",
        );
        assert!(mysql.any_of);
        assert_eq!(mysql.privileges, ["RELOAD", "FLUSH_TABLES"]);
        assert_eq!(mysql.object, Some(Object::Global));
        let mariadb = read(
            1227,
            "Access denied; you need (at least one of) the SUPER, BINLOG MONITOR privilege(s) for this operation",
        );
        assert_eq!(mariadb.privileges, ["SUPER", "REPLICATION CLIENT"]);
        assert_eq!(mariadb.object, Some(Object::Global));
        let replica = read(
            1045,
            "Access denied for user 'u'@'localhost' (using password: YES)",
        );
        assert_eq!(replica.privileges, ["REPLICATION SLAVE"]);
    }

    #[test]
    fn databases_and_routines() {
        let text = "Access denied for user 'non'@'%' to database 'db_1'";
        for (statement, privilege) in [
            (Some("CREATE DATABASE db_1"), "CREATE"),
            (Some("LOCK TABLES db_1.t READ"), "LOCK TABLES"),
            (None, "SELECT"),
        ] {
            let refusal = Refusal::read(1044, text, statement).unwrap();
            assert_eq!(refusal.privileges, [privilege]);
            let object = refusal.object.clone().unwrap();
            assert_eq!(object_text(&object, false), "`db\\_1`.*");
        }
        let routine = read(
            1370,
            "alter routine command denied to user 'u'@'localhost' for routine 'db_1.p'",
        );
        assert_eq!(
            (routine.privileges[0].as_str(), routine.object),
            ("ALTER ROUTINE", Some(Object::schema("db_1")))
        );
        assert!(
            read(1419, "You do not have the SUPER privilege")
                .instead
                .is_some()
        );
        assert_eq!(Refusal::read(1062, "Duplicate entry", None), None);
    }
}
