//! What tables are called on the target.

use crate::model::TableName;

use super::pattern::{PatternError, TablePattern, Token, split_part};
use super::select::is_system_schema;

/// Rename rules; the first that matches a table decides. A table without one keeps its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    routes: Vec<Route>,
}

/// One rename rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    from: TablePattern,
    /// `None`: the source's name (`*`).
    schema: Option<String>,
    /// `None`: the source's name (`*`).
    name: Option<String>,
    to: String,
}

impl Route {
    /// Reads a rule. Each part of `to` is a name (in back quotes where it has a dot), or `*` alone,
    /// which keeps that part as it is on the source.
    pub fn parse(from: &str, to: &str) -> Result<Self, String> {
        let from = TablePattern::parse(from)?;
        let (schema, name) = parse_to(to.trim())?;
        Ok(Self {
            from,
            schema,
            name,
            to: to.trim().to_owned(),
        })
    }

    /// The pattern for the source's tables.
    pub fn from(&self) -> &TablePattern {
        &self.from
    }

    /// The schema on the target, where the rule names one.
    pub fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    fn apply(&self, table: &TableName) -> TableName {
        TableName {
            schema: self.schema.as_ref().unwrap_or(&table.schema).clone(),
            name: self.name.as_ref().unwrap_or(&table.name).clone(),
        }
    }
}

impl Routes {
    /// Reads pairs of `from` and `to`.
    pub fn parse(pairs: &[(String, String)]) -> Result<Self, PatternError> {
        pairs
            .iter()
            .enumerate()
            .map(|(index, (from, to))| {
                Route::parse(from, to).map_err(|message| PatternError::new(index, message))
            })
            .collect::<Result<_, _>>()
            .map(|routes| Self { routes })
    }

    /// Rules already read.
    pub fn new(routes: Vec<Route>) -> Self {
        Self { routes }
    }

    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// The name of the source's `table` on the target.
    pub fn target(&self, table: &TableName) -> TableName {
        self.routes
            .iter()
            .find(|route| route.from.matches(table))
            .map_or_else(|| table.clone(), |route| route.apply(table))
    }

    /// The name of the source's `schema` on the target, for statements about the schema itself. A rule
    /// counts where it takes every table of the schema; else the schema keeps its name.
    pub fn target_schema(&self, schema: &str) -> String {
        self.routes
            .iter()
            .find(|route| route.from.covers_schema(schema))
            .and_then(|route| route.schema.clone())
            .unwrap_or_else(|| schema.to_owned())
    }

    /// The rules, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter()
    }

    /// The rules in canonical form, one a line.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.routes
            .iter()
            .map(|route| format!("route {} to {}", route.from, route.to))
    }
}

type Parts = (Option<String>, Option<String>);

fn parse_to(to: &str) -> Result<Parts, String> {
    if to.is_empty() {
        return Err("`to` is empty; write `schema.table`, or `schema.*`".to_owned());
    }
    let (schema, rest) = split_part(to)?;
    let Some(rest) = rest.strip_prefix('.') else {
        return Err(format!(
            "`{to}` names no table; write `{to}.*` for tables that keep their names"
        ));
    };
    let (name, more) = split_part(rest)?;
    if !more.is_empty() {
        return Err(format!(
            "`{to}` has more than two parts; put a name with a dot in back quotes"
        ));
    }
    let schema = literal(schema, to)?;
    let name = literal(name, to)?;
    if let Some(schema) = &schema
        && is_system_schema(schema)
    {
        return Err(format!(
            "`{schema}` is a schema of the server's own; nothing is written there"
        ));
    }
    Ok((schema, name))
}

fn literal(part: Token, whole: &str) -> Result<Option<String>, String> {
    match part {
        Token::Plain(text) if text == "*" => Ok(None),
        Token::Plain(text) if text.contains(['*', '?']) => Err(format!(
            "`{whole}` has a wildcard within a name; a part of `to` is a name, or `*` alone, which keeps the source's"
        )),
        Token::Plain(text) | Token::Quoted(text) if text.is_empty() => {
            Err(format!("`{whole}` has an empty part"))
        }
        Token::Plain(text) | Token::Quoted(text) => {
            // The servers' bound on a name is in characters.
            if text.chars().count() > 64 {
                return Err(format!("`{text}` is longer than 64 characters"));
            }
            Ok(Some(text))
        }
        Token::Regex(_) => Err(format!(
            "`{whole}` has a regular expression; a part of `to` is a name, or `*` alone"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(pairs: &[(&str, &str)]) -> Routes {
        let pairs: Vec<_> = pairs
            .iter()
            .map(|&(from, to)| (from.to_owned(), to.to_owned()))
            .collect();
        Routes::parse(&pairs).unwrap()
    }

    #[test]
    fn first_match_decides() {
        let r = routes(&[
            ("shop_*.orders_*", "shop.orders"),
            ("shop_*.*", "shop.*"),
            ("*.log", "*.`log.old`"),
        ]);
        for (schema, name, expected) in [
            ("shop_1", "orders_2", "shop.orders"),
            ("shop_1", "items", "shop.items"),
            ("shop_1", "log", "shop.log"),
            ("x", "log", "x.log.old"),
            ("x", "y", "x.y"),
        ] {
            assert_eq!(
                r.target(&TableName::new(schema, name)).to_string(),
                expected
            );
        }
        assert_eq!(r.target_schema("shop_1"), "shop");
        assert_eq!(r.target_schema("x"), "x");
    }

    #[test]
    fn faults_are_named() {
        for (to, expected) in [
            ("", "`to` is empty"),
            ("shop", "`shop` names no table"),
            ("shop.a.b", "`shop.a.b` has more than two parts"),
            ("shop_*.t", "`shop_*.t` has a wildcard within a name"),
            ("/a/.t", "`/a/.t` has a regular expression"),
            ("mysql.t", "`mysql` is a schema of the server's own"),
            (".t", "`.t` has an empty part"),
        ] {
            let message = Route::parse("a.b", to).unwrap_err();
            assert!(message.starts_with(expected), "{to}: {message}");
        }
    }
}
