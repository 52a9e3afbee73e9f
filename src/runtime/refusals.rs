//! A statement that a server refused for want of a privilege, told as the Grants screen tells it: what
//! it was for, what is missing, and the statement that gives it.

use crate::control::{Refused, StopError};
use crate::model::{CheckReport, Error, ErrorKind, GrantState, PrivilegeFigure, Unit};
use crate::privilege::{self, Refusal};

/// Reads a refusal; `None` where the error is another one.
pub(super) fn read(error: &Error) -> Option<Refused> {
    // A wrong password has the same number as a replica without its privilege, and another kind.
    let server = error
        .server()
        .filter(|_| error.kind() == ErrorKind::Privilege)?;
    let statement = error.context().statement.as_deref();
    let refusal = Refusal::read(server.number, &server.message, statement)?;
    let object = refusal.object.as_ref();
    Some(Refused {
        object: object.map(|object| privilege::object_text(object, false)),
        privileges: refusal.privileges,
        any_of: refusal.any_of,
        instead: refusal.instead.map(str::to_owned),
        purpose: None,
        grants: Vec::new(),
    })
}

/// Completes the error of a `unit` that was refused something, by what the checks have found since on
/// the `servers` it works on, as the report names them.
pub(super) fn name_grants(
    error: &mut StopError,
    unit: Unit,
    report: &CheckReport,
    servers: &[String],
) {
    let Some(refused) = &mut error.refused else {
        return;
    };
    // What the unit needs of the kind that was refused, wherever. What is asked before a unit is at work,
    // as the checkpoint is, is in the list of the units that go by it.
    let of_units = |is_meant: fn(Unit, Unit) -> bool| -> Vec<&PrivilegeFigure> {
        let cells = report.privileges.iter();
        cells
            .filter(|cell| is_meant(cell.unit, unit) && servers.contains(&cell.server))
            .filter(|cell| {
                let name = privilege::name::canonical(&cell.privilege);
                refused.privileges.contains(&name)
            })
            .collect()
    };
    let mut cells = of_units(|has, unit| has == unit);
    if cells.is_empty() {
        cells = of_units(|_, _| true);
    }
    let is_on_it = |cell: &&PrivilegeFigure| Some(&cell.object) == refused.object.as_ref();
    let lacks = |cell: &&PrivilegeFigure| {
        matches!(cell.state, GrantState::Missing | GrantState::Inactive) && !cell.grant.is_empty()
    };
    let mut missing: Vec<&PrivilegeFigure> = cells.iter().copied().filter(lacks).collect();
    if missing.iter().any(is_on_it) {
        missing.retain(is_on_it);
    }
    refused.purpose = missing
        .first()
        .or(cells.first())
        .map(|cell| cell.why.clone());
    refused.grants = if missing.is_empty() {
        granted_in_vain(refused, &cells).into_iter().collect()
    } else {
        privilege::combined(missing.iter().map(|cell| cell.grant.as_str()))
    };
    if refused.grants.is_empty() {
        return;
    }
    let instead = refused.instead.as_ref();
    let instead = instead.map_or_else(String::new, |text| format!(" (or `{text}`)"));
    error.fix = Some(format!(
        "as an administrator: {}{instead}; then retry",
        refused.grants.join(" ").trim_end_matches(';')
    ));
}

/// The server refuses what its grants seem to give: the statement that gives the very thing it asks
/// for, where one server alone can have asked.
fn granted_in_vain(refused: &Refused, cells: &[&PrivilegeFigure]) -> Option<String> {
    let object = refused.object.as_ref()?;
    let first = cells.first().filter(|cell| !cell.account.is_empty())?;
    if cells.iter().any(|cell| cell.server != first.server) {
        return None;
    }
    let mut names: Vec<&str> = cells.iter().map(|cell| cell.privilege.as_str()).collect();
    names.dedup();
    if refused.any_of {
        // Servers name the widest first, and the units need no wider one than they say.
        names.drain(..names.len().saturating_sub(1));
    }
    Some(format!(
        "GRANT {} ON {object} TO {};",
        names.join(", "),
        first.account
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ServerError;

    fn cell(server: &str, privilege: &str, state: GrantState) -> PrivilegeFigure {
        PrivilegeFigure {
            server: server.into(),
            account: "'u'@'%'".into(),
            unit: Unit::Sync,
            privilege: privilege.into(),
            object: "`shop`.*".into(),
            state,
            how: String::new(),
            evidence: String::new(),
            why: format!("applies what needs {privilege}"),
            in_minimum: true,
            instead: String::new(),
            grant: match state {
                GrantState::Missing => format!("GRANT {privilege} ON `shop`.* TO 'u'@'%';"),
                _ => String::new(),
            },
            streams: Vec::new(),
            accepted: None,
        }
    }

    fn stopped(number: u16, message: &str, cells: Vec<PrivilegeFigure>) -> StopError {
        let error = Error::new(crate::connect::kind_of(number), "cannot apply a change")
            .with_server(ServerError {
                number,
                sqlstate: "42000".into(),
                message: message.into(),
            })
            .at(|c| c.unit = Some(Unit::Sync));
        let mut stop = super::super::stops::plain(&error).error;
        let report = CheckReport {
            privileges: cells,
            ..CheckReport::default()
        };
        let servers = ["source:a".to_owned(), "target:copy".to_owned()];
        name_grants(&mut stop, Unit::Sync, &report, &servers);
        stop
    }

    #[test]
    fn the_grant_that_the_checks_miss() {
        let stop = stopped(
            1142,
            "DROP command denied to user 'u'@'localhost' for table 't'",
            vec![
                cell("target:copy", "INSERT", GrantState::Missing),
                cell("target:other", "DROP", GrantState::Missing),
                cell("target:copy", "DROP", GrantState::Missing),
            ],
        );
        let refused = stop.refused.unwrap();
        assert_eq!(refused.grants, ["GRANT DROP ON `shop`.* TO 'u'@'%';"]);
        assert_eq!(refused.purpose.as_deref(), Some("applies what needs DROP"));
        assert_eq!(
            stop.fix.as_deref(),
            Some("as an administrator: GRANT DROP ON `shop`.* TO 'u'@'%'; then retry")
        );
    }

    #[test]
    fn what_the_checks_do_not_miss_is_asked_for_in_the_servers_words() {
        let text = "DROP command denied to user 'u'@'localhost' for table `shop`.`t`";
        let have = || cell("target:copy", "DROP", GrantState::Have);
        let stop = stopped(1142, text, vec![have()]);
        let refused = stop.refused.unwrap();
        assert_eq!(refused.grants, ["GRANT DROP ON `shop`.`t` TO 'u'@'%';"]);
        // Either of two servers may have refused it: no account is guessed.
        let at_source = cell("source:a", "DROP", GrantState::Have);
        let stop = stopped(1142, text, vec![have(), at_source]);
        assert!(stop.refused.unwrap().grants.is_empty());
    }

    #[test]
    fn what_is_asked_before_a_unit_is_at_work_is_found_among_the_others() {
        let mut ours = cell("target:copy", "SELECT", GrantState::Missing);
        ours.unit = Unit::Load;
        ours.object = "`tideway`.*".into();
        ours.grant = "GRANT SELECT ON `tideway`.* TO 'u'@'%';".into();
        let mut relays = cell("source:a", "SELECT", GrantState::Have);
        relays.unit = Unit::Relay;
        let text = "SELECT command denied to user 'u'@'localhost' for table 'checkpoint'";
        let stop = stopped(1142, text, vec![relays, ours]);
        let refused = stop.refused.unwrap();
        assert_eq!(refused.grants, ["GRANT SELECT ON `tideway`.* TO 'u'@'%';"]);
        assert_eq!(
            refused.purpose.as_deref(),
            Some("applies what needs SELECT")
        );
    }

    #[test]
    fn other_errors_are_no_refusals() {
        let stop = stopped(1062, "Duplicate entry '1' for key 'PRIMARY'", Vec::new());
        assert_eq!(stop.refused, None);
        let stop = stopped(1045, "Access denied for user 'u'@'localhost'", Vec::new());
        assert_eq!(stop.refused, None);
    }
}
