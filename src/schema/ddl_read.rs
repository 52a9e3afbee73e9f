//! The grammar behind `Ddl::read`: heads of statements and the names in them, no more.
//!
//! A function gives `None` where the statement is not what its head promised; the statement then
//! counts as unknown, which is never passed over if it may concern a table.

use super::cursor::Cursor;
use super::ddl::{Ddl, DdlKind, SchemaRef, TableRef, TableRole};
use super::tokens::TokenKind;
use crate::model::TableName;

/// Reads a whole statement into `ddl`.
pub(super) fn read(ddl: &mut Ddl, mut c: Cursor<'_>) -> Option<DdlKind> {
    // MariaDB: SET STATEMENT variable = value, … FOR statement.
    if c.is("set") && c.is_at(1, "statement") && !c.is_punctuation_at(2, b'=') {
        while !c.is("for") {
            c.advance()?;
        }
        c.advance();
    }
    while c.eat_punctuation(b'(') || c.eat_punctuation(b';') {}
    let Some(first) = c.advance() else {
        return Some(DdlKind::Empty);
    };
    let word = first.name(c.statement)?.to_ascii_lowercase();
    if first.kind != TokenKind::Word {
        return None;
    }
    let kind = match word.as_str() {
        "create" => return create(ddl, c),
        "alter" => return alter(ddl, c),
        "drop" => return drop(ddl, c),
        "rename" => return rename(ddl, c),
        "truncate" => {
            c.eat(&["table"]);
            table(ddl, &mut c, TableRole::Subject)?;
            DdlKind::TruncateTable
        }
        "begin" => {
            // BEGIN NOT ATOMIC opens a block of statements.
            if c.is("not") {
                return None;
            }
            DdlKind::Begin
        }
        "start" if c.is("transaction") => DdlKind::Begin,
        "commit" => DdlKind::Commit,
        "rollback" => DdlKind::Rollback,
        "savepoint" | "release" => DdlKind::Savepoint,
        "xa" => DdlKind::Xa,
        "insert" => return Some(dml(ddl, c, DdlKind::Insert)),
        "update" => return Some(dml(ddl, c, DdlKind::Update)),
        "delete" => return Some(dml(ddl, c, DdlKind::Delete)),
        "replace" => return Some(dml(ddl, c, DdlKind::Replace)),
        "load" if c.is_any(&["data", "xml"]) => return Some(dml(ddl, c, DdlKind::LoadData)),
        "call" | "do" | "select" | "with" | "values" | "table" | "import" | "execute" => {
            return Some(dml(ddl, c, DdlKind::OtherDml));
        }
        "grant" | "revoke" => DdlKind::Account,
        "set" if c.is_any(&["password", "role"]) || (c.is("default") && c.is_at(1, "role")) => {
            DdlKind::Account
        }
        "set" | "analyze" | "optimize" | "repair" | "check" | "checksum" | "flush" | "reset"
        | "purge" | "cache" | "load" | "install" | "uninstall" | "kill" | "shutdown"
        | "restart" | "lock" | "unlock" | "use" | "show" | "explain" | "describe" | "desc"
        | "help" | "handler" | "change" | "start" | "stop" | "binlog" | "clone" | "backup"
        | "prepare" | "deallocate" | "signal" | "resignal" | "get" => DdlKind::Maintenance,
        _ => return None,
    };
    Some(kind)
}

fn create(ddl: &mut Ddl, mut c: Cursor<'_>) -> Option<DdlKind> {
    ddl.or_replace = c.eat(&["or", "replace"]);
    loop {
        if c.eat(&["temporary"]) {
            ddl.temporary = true;
        } else if !modifier(&mut c) {
            break;
        }
    }
    let word = next_word(&mut c)?;
    let kind = match word.as_str() {
        "table" => return create_table(ddl, c),
        "database" | "schema" => {
            ddl.if_not_exists = c.eat(&["if", "not", "exists"]);
            schema(ddl, &mut c)?;
            DdlKind::CreateDatabase
        }
        "unique" | "fulltext" | "spatial" | "vector" | "index"
            if word == "index" || c.is("index") =>
        {
            if word != "index" {
                c.advance();
            }
            ddl.set_body(c.at());
            c.eat(&["if", "not", "exists"]);
            c.name()?;
            while !c.is("on") {
                c.advance()?;
            }
            c.advance();
            table(ddl, &mut c, TableRole::Subject)?;
            DdlKind::CreateIndex
        }
        "view" => {
            ddl.if_not_exists = c.eat(&["if", "not", "exists"]);
            table(ddl, &mut c, TableRole::Subject)?;
            query(ddl, &mut c);
            DdlKind::CreateView
        }
        "trigger" => {
            ddl.if_not_exists = c.eat(&["if", "not", "exists"]);
            let object = table(ddl, &mut c, TableRole::Object)?;
            while !c.is("on") {
                c.advance()?;
            }
            c.advance();
            // A trigger's table is looked for beside the trigger.
            table_in(ddl, &mut c, TableRole::Subject, &object.schema)?;
            query(ddl, &mut c);
            DdlKind::CreateTrigger
        }
        "procedure" => return routine(ddl, c, DdlKind::CreateProcedure),
        "function" => return routine(ddl, c, DdlKind::CreateFunction),
        "package" => {
            c.eat(&["body"]);
            return routine(ddl, c, DdlKind::CreatePackage);
        }
        "event" => return routine(ddl, c, DdlKind::CreateEvent),
        "sequence" => {
            ddl.if_not_exists = c.eat(&["if", "not", "exists"]);
            table(ddl, &mut c, TableRole::Subject)?;
            DdlKind::CreateSequence
        }
        "user" | "role" => DdlKind::Account,
        "server" | "tablespace" | "undo" | "logfile" | "resource" | "spatial" | "catalog" => {
            DdlKind::Maintenance
        }
        _ => return None,
    };
    Some(kind)
}

/// Takes one of the words that may stand between CREATE or ALTER and the kind of object.
fn modifier(c: &mut Cursor<'_>) -> bool {
    if c.eat_any(&["online", "offline", "aggregate", "ignore", "materialized"])
        || c.eat(&["json", "relational", "duality"])
        || c.eat(&["json", "duality"])
    {
        return true;
    }
    if c.is("algorithm") && c.is_punctuation_at(1, b'=') {
        c.go_to(c.at() + 3);
        return true;
    }
    if c.eat(&["sql", "security"]) {
        c.advance();
        return true;
    }
    if c.is("definer") && c.is_punctuation_at(1, b'=') {
        c.go_to(c.at() + 3);
        if c.eat_punctuation(b'@') {
            c.advance();
        } else if c.is_punctuation(b'(') {
            c.group();
        }
        return true;
    }
    false
}

fn create_table(ddl: &mut Ddl, mut c: Cursor<'_>) -> Option<DdlKind> {
    ddl.if_not_exists = c.eat(&["if", "not", "exists"]);
    let subject = table(ddl, &mut c, TableRole::Subject)?;
    ddl.set_body(c.at());
    if c.eat(&["like"]) {
        table(ddl, &mut c, TableRole::Like)?;
        return Some(DdlKind::CreateTable);
    }
    if c.is_punctuation(b'(') && c.is_at(1, "like") {
        c.go_to(c.at() + 2);
        table(ddl, &mut c, TableRole::Like)?;
        return Some(DdlKind::CreateTable);
    }
    if c.is_punctuation(b'(') {
        let mut ahead = c.clone();
        while ahead.eat_punctuation(b'(') {}
        if !ahead.is_any(&["select", "with", "values", "table"]) {
            let columns = c.group()?;
            parents(ddl, c.within(columns), &subject);
        }
    }
    // Options, partitions, and a query, if any; none of the words looked for is an option's value.
    while let Some(token) = c.peek() {
        if c.is_any(&["select", "with", "values"])
            || (c.is_punctuation(b'(')
                && (c.is_at(1, "select") || c.is_at(1, "with") || c.is_punctuation_at(1, b'(')))
        {
            // WITH SYSTEM VERSIONING and WITHOUT are options, WITH PARSER belongs to keys.
            if c.is("with") && c.is_at(1, "system") {
                c.advance();
                continue;
            }
            // VALUES belongs to partitions as well.
            if c.is("values") && (c.is_at(1, "less") || c.is_at(1, "in")) {
                c.advance();
                continue;
            }
            ddl.selects = true;
            query(ddl, &mut c);
            return Some(DdlKind::CreateTable);
        }
        if c.is("start") && c.is_at(1, "transaction") {
            let end = c.peek_at(1).map_or(token.end, |token| token.end);
            ddl.start_transaction = Some(token.start..end);
            c.go_to(c.at() + 2);
        } else if c.is("union") {
            union_tables(ddl, &mut c)?;
        } else if c.is_punctuation(b'(') {
            c.group();
        } else {
            c.advance();
        }
    }
    Some(DdlKind::CreateTable)
}

fn union_tables(ddl: &mut Ddl, c: &mut Cursor<'_>) -> Option<()> {
    c.advance();
    c.eat_punctuation(b'=');
    if c.eat_punctuation(b'(') {
        while !c.is_punctuation(b')') {
            table(ddl, c, TableRole::Union)?;
            c.eat_punctuation(b',');
        }
    }
    Some(())
}

/// Notes the parents of foreign keys: what follows each REFERENCES, a reserved word.
fn parents(ddl: &mut Ddl, mut c: Cursor<'_>, child: &TableName) {
    while !c.is_done() {
        if c.eat(&["references"]) {
            if table_in(ddl, &mut c, TableRole::Parent, &child.schema).is_none() {
                ddl.complete = false;
            }
        } else {
            c.advance();
        }
    }
}

fn alter(ddl: &mut Ddl, mut c: Cursor<'_>) -> Option<DdlKind> {
    while modifier(&mut c) {}
    let word = next_word(&mut c)?;
    let kind = match word.as_str() {
        "table" => return alter_table(ddl, c),
        "database" | "schema" => {
            // The name may be left out: what follows then is an option.
            let is_option = c.is_any(&[
                "character",
                "charset",
                "collate",
                "default",
                "encryption",
                "read",
                "upgrade",
                "comment",
            ]) && c.peek().is_some_and(|token| token.kind == TokenKind::Word);
            if is_option {
                ddl.schema = Some(SchemaRef {
                    name: ddl.default_schema().to_owned(),
                    span: None,
                    respelled: false,
                });
            } else {
                schema(ddl, &mut c)?;
            }
            ddl.set_body(c.at());
            DdlKind::AlterDatabase
        }
        "view" => {
            table(ddl, &mut c, TableRole::Subject)?;
            query(ddl, &mut c);
            DdlKind::AlterView
        }
        "procedure" => return routine(ddl, c, DdlKind::AlterProcedure),
        "function" => return routine(ddl, c, DdlKind::AlterFunction),
        "event" => return routine(ddl, c, DdlKind::AlterEvent),
        "sequence" => {
            ddl.if_exists = c.eat(&["if", "exists"]);
            table(ddl, &mut c, TableRole::Subject)?;
            DdlKind::AlterSequence
        }
        "user" | "role" => DdlKind::Account,
        "server" | "tablespace" | "undo" | "logfile" | "resource" | "instance" => {
            DdlKind::Maintenance
        }
        _ => return None,
    };
    Some(kind)
}

fn alter_table(ddl: &mut Ddl, mut c: Cursor<'_>) -> Option<DdlKind> {
    ddl.if_exists = c.eat(&["if", "exists"]);
    let subject = table(ddl, &mut c, TableRole::Subject)?;
    if c.eat(&["wait"]) {
        c.advance();
    } else {
        c.eat(&["nowait"]);
    }
    ddl.set_body(c.at());
    for clause in c.split_at_commas(c.at()..c.len()) {
        let mut c = c.within(clause);
        if c.eat(&["rename"]) {
            if !c.is_any(&["column", "index", "key"]) {
                let _ = c.eat_any(&["to", "as"]) || c.eat_punctuation(b'=');
                table(ddl, &mut c, TableRole::NewName)?;
            }
        } else if c.eat(&["exchange", "partition"]) {
            c.name()?;
            if !c.eat(&["with", "table"]) {
                return None;
            }
            table(ddl, &mut c, TableRole::Exchange)?;
        } else if c.eat(&["convert", "partition"]) {
            c.name()?;
            if !c.eat(&["to", "table"]) {
                return None;
            }
            table(ddl, &mut c, TableRole::Exchange)?;
        } else if c.eat(&["convert", "table"]) {
            table(ddl, &mut c, TableRole::Exchange)?;
        } else if c.is("union") {
            union_tables(ddl, &mut c)?;
        } else {
            parents(ddl, c, &subject);
        }
    }
    Some(DdlKind::AlterTable)
}

fn drop(ddl: &mut Ddl, mut c: Cursor<'_>) -> Option<DdlKind> {
    ddl.temporary = c.eat(&["temporary"]);
    c.eat_any(&["online", "offline"]);
    let word = next_word(&mut c)?;
    let kind = match word.as_str() {
        "table" | "tables" => DdlKind::DropTable,
        "view" => DdlKind::DropView,
        "sequence" => DdlKind::DropSequence,
        "database" | "schema" => {
            ddl.if_exists = c.eat(&["if", "exists"]);
            schema(ddl, &mut c)?;
            return Some(DdlKind::DropDatabase);
        }
        "index" => {
            ddl.set_body(c.at());
            c.eat(&["if", "exists"]);
            c.name()?;
            if !c.eat(&["on"]) {
                return None;
            }
            table(ddl, &mut c, TableRole::Subject)?;
            return Some(DdlKind::DropIndex);
        }
        "trigger" => return drop_object(ddl, c, DdlKind::DropTrigger),
        "procedure" => return drop_object(ddl, c, DdlKind::DropProcedure),
        "function" => return drop_object(ddl, c, DdlKind::DropFunction),
        "package" => {
            c.eat(&["body"]);
            return drop_object(ddl, c, DdlKind::DropPackage);
        }
        "event" => return drop_object(ddl, c, DdlKind::DropEvent),
        "user" | "role" => return Some(DdlKind::Account),
        "server" | "tablespace" | "undo" | "logfile" | "resource" | "spatial" | "prepare"
        | "catalog" => return Some(DdlKind::Maintenance),
        _ => return None,
    };
    ddl.if_exists = c.eat(&["if", "exists"]);
    loop {
        table(ddl, &mut c, TableRole::Subject)?;
        if !c.eat_punctuation(b',') {
            return Some(kind);
        }
    }
}

fn drop_object(ddl: &mut Ddl, mut c: Cursor<'_>, kind: DdlKind) -> Option<DdlKind> {
    ddl.if_exists = c.eat(&["if", "exists"]);
    table(ddl, &mut c, TableRole::Object)?;
    Some(kind)
}

fn routine(ddl: &mut Ddl, mut c: Cursor<'_>, kind: DdlKind) -> Option<DdlKind> {
    ddl.if_not_exists = c.eat(&["if", "not", "exists"]);
    table(ddl, &mut c, TableRole::Object)?;
    query(ddl, &mut c);
    Some(kind)
}

fn rename(ddl: &mut Ddl, mut c: Cursor<'_>) -> Option<DdlKind> {
    match next_word(&mut c)?.as_str() {
        "user" => return Some(DdlKind::Account),
        "table" | "tables" => {}
        _ => return None,
    }
    ddl.if_exists = c.eat(&["if", "exists"]);
    loop {
        table(ddl, &mut c, TableRole::Subject)?;
        if c.eat(&["wait"]) {
            c.advance();
        } else {
            c.eat(&["nowait"]);
        }
        if !c.eat(&["to"]) {
            return None;
        }
        table(ddl, &mut c, TableRole::NewName)?;
        if !c.eat_punctuation(b',') {
            return Some(DdlKind::RenameTable);
        }
    }
}

fn dml(ddl: &mut Ddl, mut c: Cursor<'_>, kind: DdlKind) -> DdlKind {
    let direct = match kind {
        DdlKind::Insert | DdlKind::Replace | DdlKind::Update => {
            while c.eat_any(&["low_priority", "delayed", "high_priority", "ignore"]) {}
            !c.is("into")
        }
        _ => false,
    };
    if direct {
        table(ddl, &mut c, TableRole::Subject);
    }
    query(ddl, &mut c);
    kind
}

/// Collects what a query or a body plainly names as tables. Other ways of naming them (columns with
/// their table's name, prepared text) are not seen, so the statement counts as incomplete.
fn query(ddl: &mut Ddl, c: &mut Cursor<'_>) {
    ddl.complete = false;
    while !c.is_done() {
        if !c.eat_any(&["from", "join", "straight_join", "into", "update", "table"]) {
            c.advance();
            continue;
        }
        loop {
            while c.eat_punctuation(b'(')
                || c.eat_any(&["ignore", "low_priority", "only", "lateral", "table"])
            {}
            if c.is_any(&["select", "with", "outfile", "dumpfile", "current_timestamp"]) {
                break;
            }
            let mark = c.at();
            let known = ddl.tables.len();
            if table(ddl, c, TableRole::Source).is_none() {
                break;
            }
            if c.is_punctuation(b'(') && !c.is_at(1, "select") && ddl.tables.len() > known {
                // `INSERT INTO t (a, b)`: the brackets hold its columns.
                c.group();
            }
            let _ = c.eat(&["as"]);
            if !c.is_punctuation(b',') {
                let mut ahead = c.clone();
                if ahead.name().is_some() && ahead.is_punctuation(b',') {
                    *c = ahead;
                }
            }
            if !c.eat_punctuation(b',') || c.at() == mark {
                break;
            }
        }
    }
}

fn next_word(c: &mut Cursor<'_>) -> Option<String> {
    let token = c.advance()?;
    if token.kind != TokenKind::Word {
        return None;
    }
    Some(token.name(c.statement)?.to_ascii_lowercase())
}

fn schema(ddl: &mut Ddl, c: &mut Cursor<'_>) -> Option<()> {
    let (name, span) = c.name()?;
    ddl.schema = Some(SchemaRef {
        name,
        span: Some(span),
        respelled: false,
    });
    ddl.set_body(c.at());
    Some(())
}

/// Takes `name` or `schema.name` and notes it; without a schema it is in the default database.
fn table(ddl: &mut Ddl, c: &mut Cursor<'_>, role: TableRole) -> Option<TableName> {
    let default = ddl.default_schema().to_owned();
    table_in(ddl, c, role, &default)
}

fn table_in(
    ddl: &mut Ddl,
    c: &mut Cursor<'_>,
    role: TableRole,
    default: &str,
) -> Option<TableName> {
    // An old form, `.name`, means the default database.
    let dot = c.peek().filter(|_| c.is_punctuation(b'.'));
    c.eat_punctuation(b'.');
    let (first, mut first_span) = c.name()?;
    if let Some(dot) = dot {
        first_span.start = dot.start;
    }
    let found = if c.eat_punctuation(b'.') {
        let (second, second_span) = c.name()?;
        TableRef {
            name: TableName::new(first, second),
            role,
            schema_span: Some(first_span),
            name_span: second_span,
            respelled: false,
        }
    } else {
        TableRef {
            name: TableName::new(default, first),
            role,
            schema_span: None,
            name_span: first_span,
            respelled: false,
        }
    };
    let name = found.name.clone();
    ddl.tables.push(found);
    Some(name)
}
