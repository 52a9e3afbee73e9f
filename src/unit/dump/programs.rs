//! Triggers, routines and events, where the task asks for them.

use crate::config::Programs;
use crate::connect::Session;
use crate::dump_files::{DumpProgram, ProgramKind};
use crate::model::{Error, ErrorKind, Result, TableName, table::quote_name};
use crate::route::{Selection, is_system_schema};

/// The programs of the selected tables and databases that are wanted. One that cannot be read is left
/// out, and said so.
pub(super) async fn read(
    session: &mut Session,
    selection: &Selection,
    wanted: Programs,
    left_out: &mut Vec<String>,
) -> Result<Vec<DumpProgram>> {
    let mut programs = Vec::new();
    for (is_wanted, sql) in [
        (
            wanted.routines,
            "SELECT ROUTINE_TYPE, ROUTINE_SCHEMA, ROUTINE_NAME, NULL FROM information_schema.ROUTINES \
             ORDER BY ROUTINE_SCHEMA, ROUTINE_NAME",
        ),
        (
            // In the order in which those of one moment run.
            wanted.triggers,
            "SELECT 'TRIGGER', TRIGGER_SCHEMA, TRIGGER_NAME, EVENT_OBJECT_TABLE \
             FROM information_schema.TRIGGERS ORDER BY EVENT_OBJECT_SCHEMA, EVENT_OBJECT_TABLE, \
             ACTION_TIMING, EVENT_MANIPULATION, ACTION_ORDER",
        ),
        (
            wanted.events,
            "SELECT 'EVENT', EVENT_SCHEMA, EVENT_NAME, NULL FROM information_schema.EVENTS \
             ORDER BY EVENT_SCHEMA, EVENT_NAME",
        ),
    ] {
        if !is_wanted {
            continue;
        }
        for row in session.rows(sql).await? {
            let mut cells = row
                .into_iter()
                .map(|cell| cell.map(|text| String::from_utf8_lossy(&text).into_owned()));
            let mut cell = || cells.next().flatten();
            let (Some(kind), Some(schema), Some(name)) = (cell(), cell(), cell()) else {
                continue;
            };
            let table = cell().map(|table| TableName::new(&*schema, table));
            let is_selected = match &table {
                Some(table) => selection.takes(table),
                None => selection.may_take_schema(&schema),
            };
            if !is_selected || is_system_schema(&schema) {
                continue;
            }
            let name = TableName::new(schema, name);
            let kind = match kind.as_str() {
                "PROCEDURE" => ProgramKind::Procedure,
                "FUNCTION" => ProgramKind::Function,
                "TRIGGER" => ProgramKind::Trigger,
                "EVENT" => ProgramKind::Event,
                other => {
                    left_out.push(format!(
                        "left out: {} {name}, which no other server family takes",
                        other.to_lowercase()
                    ));
                    continue;
                }
            };
            match show(session, kind, &name, table).await {
                Ok(program) => programs.push(program),
                Err(error) if error.kind() == ErrorKind::Privilege || error.server().is_some() => {
                    let why = error.cause().unwrap_or_else(|| error.to_string());
                    left_out.push(format!("left out: the {kind} {name}: {why}"));
                }
                Err(error) => return Err(error),
            }
        }
    }
    if wanted.any() {
        let count = |kinds: &[ProgramKind]| {
            let of_kind = programs
                .iter()
                .filter(|program| kinds.contains(&program.kind));
            of_kind.count()
        };
        left_out.push(format!(
            "taken with the tables, as far as the account may see them: {} triggers, {} routines, {} \
             events",
            count(&[ProgramKind::Trigger]),
            count(&[ProgramKind::Procedure, ProgramKind::Function]),
            count(&[ProgramKind::Event]),
        ));
    }
    Ok(programs)
}

/// One program, as `SHOW CREATE` has it.
async fn show(
    session: &mut Session,
    kind: ProgramKind,
    name: &TableName,
    table: Option<TableName>,
) -> Result<DumpProgram> {
    let sql = format!(
        "SHOW CREATE {} {}.{}",
        kind.word(),
        quote_name(&name.schema),
        quote_name(&name.name)
    );
    let row = session.rows(&sql).await?.into_iter().next();
    let mut cells = row.unwrap_or_default().into_iter().skip(1);
    // An event has its time zone before its text.
    let mut next = || String::from_utf8(cells.next().flatten()?).ok();
    let sql_mode = next();
    let time_zone = if kind == ProgramKind::Event {
        next()
    } else {
        None
    };
    let create = next();
    let _charset = next();
    let collation = next();
    match (sql_mode, create, collation) {
        (Some(sql_mode), Some(create), Some(collation)) => Ok(DumpProgram {
            kind,
            name: name.clone(),
            table,
            sql_mode,
            collation,
            time_zone,
            create,
        }),
        _ => Err(Error::new(
            ErrorKind::Privilege,
            "its text is not shown to the account (MariaDB: SELECT on `mysql.proc`; MySQL: \
             SHOW_ROUTINE; triggers: TRIGGER; events: EVENT)",
        )),
    }
}
