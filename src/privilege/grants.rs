//! What `SHOW GRANTS` says, read tolerantly: every server writes it in its own way.
//!
//! Names that are not known are kept, and a line that is not understood is kept as such. A password's
//! hash, which MariaDB prints, is cut off before anything is kept.

use super::name::canonical;

/// The answer to `SHOW GRANTS`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    lines: Vec<GrantLine>,
}

/// One line of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantLine {
    /// The line, without anything secret.
    pub text: String,
    /// What it says.
    pub line: Line,
    /// The account, role or `PUBLIC` that it is for, as `user@host` or a name; empty where not told.
    pub grantee: String,
}

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// `GRANT … ON … TO …`.
    Grant {
        /// What is granted.
        granted: Vec<Granted>,
        /// On what.
        level: Level,
    },
    /// `REVOKE … ON … FROM …`: MySQL's partial revokes.
    Revoke {
        /// What is taken back.
        granted: Vec<Granted>,
        /// On what.
        level: Level,
    },
    /// `GRANT role TO …`.
    Roles(Vec<String>),
    /// `SET DEFAULT ROLE … FOR …`.
    DefaultRole(String),
    /// `GRANT PROXY …`: of no use to us.
    Proxy,
    /// Anything else.
    NotUnderstood,
}

/// One privilege of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// Its canonical name.
    pub name: String,
    /// The columns it is limited to; empty: all.
    pub columns: Vec<String>,
}

/// What a line's privileges are on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Level {
    /// `*.*`.
    Global,
    /// A database, by a pattern or a name.
    Schema(String),
    /// A table.
    Table {
        /// Its database.
        schema: String,
        /// Its name.
        name: String,
    },
    /// A procedure, function or package.
    Routine,
}

impl Grants {
    /// Reads lines; nothing is lost, and nothing fails.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            lines: lines.into_iter().map(parse_line).collect(),
        }
    }

    /// These lines and those of another answer.
    #[must_use]
    pub fn with(&self, more: &Self) -> Self {
        let mut lines = self.lines.clone();
        lines.extend(
            more.lines
                .iter()
                .filter(|line| !self.lines.contains(line))
                .cloned(),
        );
        Self { lines }
    }

    /// The lines.
    pub fn lines(&self) -> &[GrantLine] {
        &self.lines
    }

    /// The roles granted, as `name` or `name@host`.
    pub fn roles(&self) -> Vec<String> {
        let mut roles: Vec<String> = self
            .lines
            .iter()
            .filter_map(|line| match &line.line {
                Line::Roles(roles) => Some(roles.clone()),
                _ => None,
            })
            .flatten()
            .collect();
        roles.sort();
        roles.dedup();
        roles
    }

    /// The first line that is not understood.
    pub fn not_understood(&self) -> Option<&str> {
        self.lines
            .iter()
            .find(|line| line.line == Line::NotUnderstood)
            .map(|line| line.text.as_str())
    }
}

/// A word, a quoted name or a sign, with where it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Quoted(String),
    Sign(char),
}

impl Token {
    fn is_word(&self, word: &str) -> bool {
        matches!(self, Self::Word(text) if text.eq_ignore_ascii_case(word))
    }

    fn name(&self) -> Option<&str> {
        match self {
            Self::Word(text) | Self::Quoted(text) => Some(text),
            Self::Sign(_) => None,
        }
    }
}

fn parse_line(text: &str) -> GrantLine {
    let text = text.trim();
    let (tokens, is_whole) = tokens(text);
    let kept = without_secret(text, if is_whole { &tokens } else { &[] });
    // A quote that is not closed may be one of a user's name, which older servers print as it is; then
    // what is granted on what stands before it all the same.
    let tokens: Vec<Token> = tokens.into_iter().map(|(_, token)| token).collect();
    let (line, grantee) = statement(&tokens)
        .filter(|(line, _)| is_whole || !matches!(line, Line::Roles(_)))
        .unwrap_or((Line::NotUnderstood, String::new()));
    GrantLine {
        text: kept,
        line,
        grantee,
    }
}

/// The text up to where a password or its hash could follow.
fn without_secret(text: &str, tokens: &[(usize, Token)]) -> String {
    let end = if tokens.is_empty() {
        // Not even readable: by the word, wherever it stands.
        text.to_ascii_lowercase().find("identified")
    } else {
        tokens
            .iter()
            .find(|(_, token)| token.is_word("IDENTIFIED"))
            .map(|(start, _)| *start)
    };
    let text = &text[..end.unwrap_or(text.len())];
    text[..hash(text).unwrap_or(text.len())]
        .trim_end()
        .to_owned()
}

/// Where a password's hash starts, in a line that was cut wrongly: a star and 40 hexadecimal digits.
fn hash(text: &str) -> Option<usize> {
    text.match_indices('*').map(|(at, _)| at).find(|at| {
        text[at + 1..]
            .bytes()
            .take_while(u8::is_ascii_hexdigit)
            .count()
            >= 40
    })
}

fn statement(tokens: &[Token]) -> Option<(Line, String)> {
    let (first, rest) = tokens.split_first()?;
    if first.is_word("SET") {
        return default_role(rest);
    }
    let (is_grant, towards) = if first.is_word("GRANT") {
        (true, "TO")
    } else if first.is_word("REVOKE") {
        (false, "FROM")
    } else {
        return None;
    };
    let to = rest.iter().position(|token| token.is_word(towards))?;
    let head = &rest[..to];
    let grantee = account(&rest[to + 1..]);
    let Some(on) = head.iter().position(|token| token.is_word("ON")) else {
        let roles = split(head, ',')
            .into_iter()
            .map(account)
            .collect::<Option<Vec<_>>>()?;
        return is_grant.then_some((Line::Roles(roles), grantee?));
    };
    let grantee = grantee.unwrap_or_default();
    if head.first()?.is_word("PROXY") {
        return Some((Line::Proxy, grantee));
    }
    let granted = split(&head[..on], ',')
        .into_iter()
        .map(privilege)
        .collect::<Option<Vec<_>>>()?;
    let level = level(&head[on + 1..])?;
    let line = if is_grant {
        Line::Grant { granted, level }
    } else {
        Line::Revoke { granted, level }
    };
    Some((line, grantee))
}

/// ``SET DEFAULT ROLE `r` FOR `u`@`%` ``, as MariaDB prints it among the grants.
fn default_role(tokens: &[Token]) -> Option<(Line, String)> {
    let [default, role, rest @ ..] = tokens else {
        return None;
    };
    if !default.is_word("DEFAULT") || !role.is_word("ROLE") {
        return None;
    }
    let split_at = rest
        .iter()
        .position(|token| token.is_word("FOR") || token.is_word("TO"))?;
    let role = account(&rest[..split_at])?;
    Some((Line::DefaultRole(role), account(&rest[split_at + 1..])?))
}

/// `name` or `name@host`; what follows is left.
fn account(tokens: &[Token]) -> Option<String> {
    let user = tokens.first()?.name()?;
    match tokens.get(1) {
        Some(Token::Sign('@')) => Some(format!("{user}@{}", tokens.get(2)?.name()?)),
        _ => Some(user.to_owned()),
    }
}

/// One privilege: a run of words, with columns in brackets behind it.
fn privilege(tokens: &[Token]) -> Option<Granted> {
    let open = tokens
        .iter()
        .position(|token| *token == Token::Sign('('))
        .unwrap_or(tokens.len());
    let words = tokens[..open]
        .iter()
        .map(|token| match token {
            Token::Word(word) => Some(word.as_str()),
            _ => None,
        })
        .collect::<Option<Vec<_>>>()?;
    if words.is_empty() {
        return None;
    }
    let columns = tokens[open..]
        .iter()
        .filter_map(Token::name)
        .map(str::to_owned)
        .collect();
    Some(Granted {
        name: canonical(&words.join(" ")),
        columns,
    })
}

fn level(tokens: &[Token]) -> Option<Level> {
    let star = Token::Sign('*');
    let dot = Token::Sign('.');
    match tokens {
        [a, b, c] if *a == star && *b == dot && *c == star => Some(Level::Global),
        [Token::Word(_) | Token::Quoted(_), b, c] if *b == dot && *c == star => {
            Some(Level::Schema(tokens[0].name()?.to_owned()))
        }
        [
            Token::Word(_) | Token::Quoted(_),
            b,
            Token::Word(_) | Token::Quoted(_),
        ] if *b == dot => Some(Level::Table {
            schema: tokens[0].name()?.to_owned(),
            name: tokens[2].name()?.to_owned(),
        }),
        [kind, rest @ ..] if kind.is_word("TABLE") => level(rest),
        [kind, ..]
            if ["PROCEDURE", "FUNCTION", "PACKAGE", "LIBRARY"]
                .iter()
                .any(|word| kind.is_word(word)) =>
        {
            Some(Level::Routine)
        }
        _ => None,
    }
}

/// The parts between signs that stand outside brackets.
fn split(tokens: &[Token], sign: char) -> Vec<&[Token]> {
    let mut parts = Vec::new();
    let (mut start, mut depth) = (0, 0_usize);
    for (index, token) in tokens.iter().enumerate() {
        match token {
            Token::Sign('(') => depth += 1,
            Token::Sign(')') => depth = depth.saturating_sub(1),
            Token::Sign(c) if *c == sign && depth == 0 => {
                parts.push(&tokens[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&tokens[start..]);
    parts
}

/// Takes a line apart, and says whether it could to its end: a quote may not be closed.
fn tokens(text: &str) -> (Vec<(usize, Token)>, bool) {
    let mut tokens = Vec::new();
    let mut chars = text.char_indices().peekable();
    while let Some((start, c)) = chars.next() {
        match c {
            '`' | '\'' | '"' => {
                let mut name = String::new();
                loop {
                    let Some((_, inner)) = chars.next() else {
                        return (tokens, false);
                    };
                    if inner == c {
                        // A doubled quote is one of the name's own.
                        if chars.peek().is_some_and(|(_, next)| *next == c) {
                            chars.next();
                        } else {
                            break;
                        }
                    }
                    name.push(inner);
                }
                tokens.push((start, Token::Quoted(name)));
            }
            c if c.is_whitespace() => {}
            c if is_word_char(c) => {
                let mut end = start + c.len_utf8();
                while let Some((at, next)) = chars.peek().copied()
                    && is_word_char(next)
                {
                    end = at + next.len_utf8();
                    chars.next();
                }
                tokens.push((start, Token::Word(text[start..end].to_owned())));
            }
            other => tokens.push((start, Token::Sign(other))),
        }
    }
    (tokens, true)
}

/// Older TiDB prints names without quotes, patterns among them.
fn is_word_char(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '$' | '%' | '-' | '\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> GrantLine {
        Grants::parse([text]).lines.remove(0)
    }

    fn names(line: &Line) -> Vec<&str> {
        match line {
            Line::Grant { granted, .. } | Line::Revoke { granted, .. } => {
                granted.iter().map(|g| g.name.as_str()).collect()
            }
            _ => Vec::new(),
        }
    }

    #[test]
    fn shapes_of_every_server() {
        // MySQL: quoted by back quotes, dynamic ones without a space behind the comma.
        let mysql =
            one("GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO `u`@`%` WITH GRANT OPTION");
        assert_eq!(
            names(&mysql.line),
            ["REPLICATION SLAVE", "REPLICATION CLIENT"]
        );
        assert_eq!(mysql.grantee, "u@%");
        let dynamic = one("GRANT BACKUP_ADMIN,FLUSH_TABLES ON *.* TO `u`@`%`");
        assert_eq!(names(&dynamic.line), ["BACKUP_ADMIN", "FLUSH_TABLES"]);
        // MariaDB: its own names.
        let mariadb = one("GRANT BINLOG MONITOR, SLAVE MONITOR ON *.* TO `u`@`%`");
        assert_eq!(
            names(&mariadb.line),
            ["REPLICATION CLIENT", "SLAVE MONITOR"]
        );
        // TiDB: mixed case, no space, names without quotes.
        let tidb = one("GRANT Insert,Update ON test.write_table TO 'u'@'%'");
        assert_eq!(names(&tidb.line), ["INSERT", "UPDATE"]);
        assert!(matches!(
            tidb.line,
            Line::Grant { level: Level::Table { ref schema, ref name }, .. }
                if schema == "test" && name == "write_table"
        ));
        let pattern = one("GRANT Select ON te%.* TO 'u'@'%'");
        assert!(matches!(
            pattern.line,
            Line::Grant { level: Level::Schema(ref name), .. } if name == "te%"
        ));
    }

    #[test]
    fn secrets_are_not_kept() {
        for text in [
            "GRANT USAGE ON *.* TO `u`@`%` IDENTIFIED BY PASSWORD '*94BDCEBE19083CE2A1F959FD02F964C7AF4CFC29'",
            "GRANT ALL PRIVILEGES ON *.* TO `r`@`localhost` IDENTIFIED VIA mysql_native_password USING '*94BDCEBE19083CE2A1F959FD02F964C7AF4CFC29' OR unix_socket WITH GRANT OPTION",
            "GRANT USAGE ON *.* TO 'broken identified by password '*94BDCEBE19083CE2A1F959FD02F964C7AF4CFC29",
        ] {
            let line = one(text);
            assert!(!format!("{line:?}").contains("94BDCEBE"), "{line:?}");
        }
        let named = one("GRANT SELECT ON `identified`.* TO `identified`@`%`");
        assert_eq!(
            named.text,
            "GRANT SELECT ON `identified`.* TO `identified`@`%`"
        );
    }

    #[test]
    fn columns_are_kept_apart() {
        let line = one("GRANT SELECT (`c`, `id`), INSERT (`id`), UPDATE ON `db`.`t` TO `u`@`%`");
        let Line::Grant { granted, .. } = line.line else {
            panic!("no grant");
        };
        assert_eq!(granted[0].columns, ["c", "id"]);
        assert_eq!(granted[1].columns, ["id"]);
        assert!(granted[2].columns.is_empty());
    }

    #[test]
    fn roles_and_what_is_no_grant() {
        let grants = Grants::parse([
            "GRANT `r1`@`%`,`r2`@`%` TO `u`@`%` WITH ADMIN OPTION",
            "GRANT `r3` TO `u`@`%`",
            "SET DEFAULT ROLE `r3` FOR `u`@`%`",
            "GRANT SELECT ON *.* TO `r3`",
            "GRANT SELECT, CREATE ON `test\\_%`.* TO PUBLIC",
            "REVOKE SELECT ON `mysql`.* FROM `u`@`%`",
            "GRANT PROXY ON ''@'%' TO 'root'@'localhost' WITH GRANT OPTION",
            "GRANT EXECUTE ON PROCEDURE `db`.`p` TO `u`@`%`",
        ]);
        assert_eq!(grants.roles(), ["r1@%", "r2@%", "r3"]);
        let lines = grants.lines();
        assert_eq!(lines[2].line, Line::DefaultRole("r3".into()));
        assert_eq!(lines[3].grantee, "r3");
        assert_eq!(lines[4].grantee, "PUBLIC");
        assert!(matches!(lines[5].line, Line::Revoke { .. }));
        assert_eq!(lines[6].line, Line::Proxy);
        assert!(matches!(
            lines[7].line,
            Line::Grant {
                level: Level::Routine,
                ..
            }
        ));
        assert_eq!(grants.not_understood(), None);
    }

    #[test]
    fn odd_names() {
        let line = one("GRANT SELECT ON `o``d.d`.`t ON x` TO `u TO v`@`%`");
        assert_eq!(line.grantee, "u TO v@%");
        assert!(matches!(
            line.line,
            Line::Grant { level: Level::Table { ref schema, ref name }, .. }
                if schema == "o`d.d" && name == "t ON x"
        ));
    }

    #[test]
    fn what_is_not_understood_says_so() {
        for text in [
            "",
            "GRANT",
            "GRANT SELECT ON TO `u`",
            "DENY SELECT ON *.* TO `u`@`%`",
            "GRANT `x ON",
        ] {
            assert_eq!(one(text).line, Line::NotUnderstood, "{text}");
        }
    }
}
