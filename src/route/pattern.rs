//! Patterns for tables: `shop.*`, `shop_?.orders`, `` `odd.name`.t ``, `/shop_\d+/.*`,
//! `/shop_(\d+)\.t_.*/`.
//!
//! A pattern has a part for the schema and one for the table, with a dot between them. In a part `*`
//! stands for any characters and `?` for one; a part in back quotes is taken letter by letter, and a part
//! between slashes is a regular expression that must match the whole name. One regular expression
//! without a second part is matched against `schema.table`.

use std::fmt;

use regex::Regex;

use crate::model::TableName;

/// A pattern that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PatternError {
    /// Which of the patterns given, from 0.
    pub index: usize,
    /// What is wrong with it.
    pub message: String,
}

impl PatternError {
    pub(super) fn new(index: usize, message: impl Into<String>) -> Self {
        Self {
            index,
            message: message.into(),
        }
    }
}

/// A pattern for tables, as written and as matched.
#[derive(Clone, Debug)]
pub struct TablePattern {
    text: String,
    shape: Shape,
}

#[derive(Clone, Debug)]
enum Shape {
    /// Each part on its own.
    Parts { schema: Part, table: Part },
    /// One expression for `schema.table`.
    Whole(Regex),
}

/// A pattern for one name.
#[derive(Clone, Debug)]
enum Part {
    /// `*` alone.
    Any,
    /// A name without wildcards.
    Exact(String),
    /// With `*` or `?`.
    Glob(Vec<char>),
    /// A regular expression for the whole name.
    Regex(Regex),
}

impl TablePattern {
    /// Reads a pattern; the error says what is wrong, with what to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() {
            return Err("an empty pattern; write `schema.table`".to_owned());
        }
        if text.chars().any(char::is_control) {
            return Err(format!(
                "the pattern {text:?} has a control character in it"
            ));
        }
        let (first, rest) = split_part(text)?;
        if rest.is_empty() {
            let Token::Regex(source) = first else {
                return Err(format!(
                    "`{text}` names no table; write `{text}.*` for every table of that schema"
                ));
            };
            return Ok(Self {
                text: text.to_owned(),
                shape: Shape::Whole(compile(&source)?),
            });
        }
        let Some(rest) = rest.strip_prefix('.') else {
            return Err(format!(
                "`{text}` has `{rest}` where the dot between schema and table should be"
            ));
        };
        let (second, more) = split_part(rest)?;
        if !more.is_empty() {
            return Err(format!(
                "`{text}` has more than two parts; put a name with a dot in back quotes"
            ));
        }
        Ok(Self {
            text: text.to_owned(),
            shape: Shape::Parts {
                schema: first.into_part(text)?,
                table: second.into_part(text)?,
            },
        })
    }

    /// Whether it is for `table`.
    pub fn matches(&self, table: &TableName) -> bool {
        match &self.shape {
            Shape::Parts {
                schema,
                table: name,
            } => schema.matches(&table.schema) && name.matches(&table.name),
            Shape::Whole(regex) => regex.is_match(&table.to_string()),
        }
    }

    /// Whether some table of `schema` could match. An expression for the whole name is never ruled out.
    pub fn may_match_schema(&self, schema: &str) -> bool {
        match &self.shape {
            Shape::Parts { schema: part, .. } => part.matches(schema),
            Shape::Whole(_) => true,
        }
    }

    /// Whether every table of `schema` matches, so that the schema itself is meant too.
    pub fn covers_schema(&self, schema: &str) -> bool {
        match &self.shape {
            Shape::Parts {
                schema: part,
                table: Part::Any,
            } => part.matches(schema),
            _ => false,
        }
    }

    /// The one table it can match, where it has no wildcard.
    pub fn exact(&self) -> Option<TableName> {
        match &self.shape {
            Shape::Parts {
                schema: Part::Exact(schema),
                table: Part::Exact(name),
            } => Some(TableName::new(schema, name)),
            _ => None,
        }
    }

    /// The one schema it can match in, where that part has no wildcard.
    pub fn exact_schema(&self) -> Option<&str> {
        match &self.shape {
            Shape::Parts {
                schema: Part::Exact(schema),
                ..
            } => Some(schema),
            _ => None,
        }
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for TablePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Equal when written alike.
impl PartialEq for TablePattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for TablePattern {}

impl Part {
    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(text) => text == name,
            Self::Glob(glob) => glob_matches(glob, name),
            Self::Regex(regex) => regex.is_match(name),
        }
    }
}

/// One part as written.
pub(super) enum Token {
    /// Without quotes.
    Plain(String),
    /// From back quotes.
    Quoted(String),
    /// From between slashes.
    Regex(String),
}

impl Token {
    fn into_part(self, whole: &str) -> Result<Part, String> {
        match self {
            Self::Plain(text) | Self::Quoted(text) if text.is_empty() => {
                Err(format!("`{whole}` has an empty part"))
            }
            Self::Plain(text) if text == "*" => Ok(Part::Any),
            Self::Plain(text) if text.contains(['*', '?']) => {
                Ok(Part::Glob(text.chars().collect()))
            }
            Self::Plain(text) | Self::Quoted(text) => Ok(Part::Exact(text)),
            Self::Regex(source) => compile(&source).map(Part::Regex),
        }
    }
}

/// Takes one part off the front of `text`.
pub(super) fn split_part(text: &str) -> Result<(Token, &str), String> {
    if let Some(body) = text.strip_prefix('`') {
        let mut name = String::new();
        let mut from = 0;
        while let Some(at) = body[from..].find('`').map(|at| from + at) {
            name.push_str(&body[from..at]);
            if body[at + 1..].starts_with('`') {
                name.push('`');
                from = at + 2;
            } else {
                return Ok((Token::Quoted(name), &body[at + 1..]));
            }
        }
        return Err(format!("`{text}` has a back quote that is not closed"));
    }
    if let Some(body) = text.strip_prefix('/') {
        let mut source = String::new();
        let mut chars = body.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '/' => return Ok((Token::Regex(source), &body[at + 1..])),
                '\\' => match chars.next() {
                    Some((_, '/')) => source.push('/'),
                    Some((_, escaped)) => {
                        source.push('\\');
                        source.push(escaped);
                    }
                    None => source.push('\\'),
                },
                _ => source.push(c),
            }
        }
        return Err(format!(
            "`{text}` has a slash that is not closed; a regular expression stands between two"
        ));
    }
    let end = text.find('.').unwrap_or(text.len());
    let (part, rest) = text.split_at(end);
    if let Some(odd) = part.chars().find(|c| c.is_whitespace() || *c == '`') {
        return Err(format!(
            "`{text}` has {odd:?} in a name; put such a name in back quotes"
        ));
    }
    Ok((Token::Plain(part.to_owned()), rest))
}

/// Compiles an expression that must match the whole text.
fn compile(source: &str) -> Result<Regex, String> {
    // First alone, so that the error shows the operator's own text.
    Regex::new(source)
        .and_then(|_| Regex::new(&format!("^(?:{source})$")))
        .map_err(|error| format!("`/{source}/` is no regular expression: {}", reason(&error)))
}

/// The last line of a regex error is its reason; those before draw the place.
pub(super) fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default().trim();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

/// Matches `*` and `?`. Each star is widened only when what follows it fails, so time is bounded by the
/// product of the two lengths.
fn glob_matches(glob: &[char], name: &str) -> bool {
    let name: Vec<char> = name.chars().collect();
    let (mut g, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match glob.get(g) {
            Some('*') => {
                star = Some((g, n));
                g += 1;
            }
            Some('?') => {
                g += 1;
                n += 1;
            }
            Some(c) if *c == name[n] => {
                g += 1;
                n += 1;
            }
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    g = at + 1;
                    n = taken + 1;
                }
                None => return false,
            },
        }
    }
    glob[g..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, schema: &str, name: &str) -> bool {
        TablePattern::parse(pattern)
            .unwrap()
            .matches(&TableName::new(schema, name))
    }

    #[test]
    fn patterns_match_what_they_say() {
        for (pattern, schema, name, expected) in [
            ("shop.orders", "shop", "orders", true),
            ("shop.orders", "shop", "Orders", false),
            ("shop.*", "shop", "", true),
            ("shop_*.orders_?", "shop_a", "orders_1", true),
            ("shop_*.orders_?", "shop_", "orders_12", false),
            ("*a*b.*", "xaxbxb", "t", true),
            ("*a*b.*", "xaxbx", "t", false),
            ("`a.b`.`c``d`", "a.b", "c`d", true),
            ("`shop*`.t", "shop1", "t", false),
            ("`shop*`.t", "shop*", "t", true),
            (r"/shop_\d+/.*", "shop_12", "t", true),
            (r"/shop_\d+/.*", "myshop_12", "t", false),
            (r"/shop_\d+/./a|b/", "shop_12", "b", true),
            (r"/shop\..*_tmp/", "shop", "a_tmp", true),
            (r"/a\/b/.t", "a/b", "t", true),
            ("größe.t?", "größe", "tü", true),
        ] {
            assert_eq!(
                matches(pattern, schema, name),
                expected,
                "{pattern} on {schema}.{name}"
            );
        }
    }

    #[test]
    fn a_long_run_of_stars_ends_soon() {
        let pattern = format!("{}b.t", "*a".repeat(30));
        assert!(!matches(&pattern, &"a".repeat(2_000), "t"));
    }

    #[test]
    fn faults_are_named() {
        for (pattern, expected) in [
            ("", "an empty pattern; write `schema.table`"),
            (
                "shop",
                "`shop` names no table; write `shop.*` for every table of that schema",
            ),
            ("shop.", "`shop.` has an empty part"),
            (".t", "`.t` has an empty part"),
            (
                "a.b.c",
                "`a.b.c` has more than two parts; put a name with a dot in back quotes",
            ),
            ("`a.b", "``a.b` has a back quote that is not closed"),
            (
                "/a.b",
                "`/a.b` has a slash that is not closed; a regular expression stands between two",
            ),
            (
                "`a`b.c",
                "``a`b.c` has `b.c` where the dot between schema and table should be",
            ),
            (
                "my shop.t",
                "`my shop.t` has ' ' in a name; put such a name in back quotes",
            ),
            ("/(/.t", "`/(/` is no regular expression: unclosed group"),
        ] {
            assert_eq!(TablePattern::parse(pattern).unwrap_err(), expected);
        }
    }

    #[test]
    fn schemas() {
        let part = TablePattern::parse("shop_*.*").unwrap();
        assert!(part.covers_schema("shop_1") && part.may_match_schema("shop_1"));
        assert!(!part.may_match_schema("other"));
        let some = TablePattern::parse("shop.a*").unwrap();
        assert!(!some.covers_schema("shop") && some.may_match_schema("shop"));
        assert!(TablePattern::parse("/x/").unwrap().may_match_schema("any"));
    }
}
