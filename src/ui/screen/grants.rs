//! Which privileges the units have and which are missing, with the statements that give them; and
//! the settings and connections that were checked.

use ratatui::layout::{Constraint, Rect};
use ratatui::text::Line;

use crate::control::{CheckReport, CheckState, GrantState, PrivilegeFigure};
use crate::model::Unit;
use crate::ui::action::Action;
use crate::ui::format;
use crate::ui::layout::{Pane, Room, beside, room, stack};
use crate::ui::state::State;
use crate::ui::theme::Role;
use crate::ui::view::View;
use crate::ui::widget::pane::{Content, Window, list_width, text_width};
use crate::ui::widget::table::{self, Cell, Column, text};

/// The matrix over the statements, with the checks where there is room or something failed.
pub fn layout(state: &State, body: Rect) -> Vec<(Pane, Rect)> {
    let findings = state.shown.check.as_ref().map_or(0, |report| {
        let checks = report.checks.iter();
        checks
            .filter(|check| check.state != CheckState::Pass)
            .count()
    });
    if room(body) == Room::Reference {
        let below = if findings == 0 { 3 } else { 5 };
        let [matrix, statements, checks] = stack(
            body,
            [
                Constraint::Fill(1),
                Constraint::Length(7),
                Constraint::Length(below),
            ],
        );
        return vec![
            (Pane::Matrix, matrix),
            (Pane::Statements, statements),
            (Pane::Checks, checks),
        ];
    }
    let [matrix, below] = stack(body, [Constraint::Fill(3), Constraint::Fill(2)]);
    let [statements, checks] = beside(below, [Constraint::Fill(1), Constraint::Fill(1)]);
    vec![
        (Pane::Matrix, matrix),
        (Pane::Statements, statements),
        (Pane::Checks, checks),
    ]
}

/// A line of the matrix: a privilege on an object, for each unit.
pub struct MatrixRow<'a> {
    /// The privilege.
    pub privilege: &'a str,
    /// On what.
    pub object: &'a str,
    /// By unit.
    pub cells: Vec<(Unit, &'a PrivilegeFigure)>,
}

impl<'a> MatrixRow<'a> {
    /// The figure that matters most: a missing one first.
    fn worst(&self) -> Option<&'a PrivilegeFigure> {
        self.cells
            .iter()
            .map(|(_, figure)| *figure)
            .max_by_key(|figure| severity(figure.state))
    }
}

fn severity(state: GrantState) -> u8 {
    match state {
        GrantState::NotNeeded => 0,
        GrantState::Have => 1,
        GrantState::Unknown => 2,
        GrantState::Inactive => 3,
        GrantState::Missing => 4,
    }
}

/// The matrix of the server in front, in the report's order, as the filter leaves it.
pub fn matrix_rows<'a>(state: &'a State) -> Vec<MatrixRow<'a>> {
    let (Some(report), Some(server)) = (state.shown.check.as_deref(), state.server()) else {
        return Vec::new();
    };
    let mut rows: Vec<MatrixRow<'a>> = Vec::new();
    for figure in report.privileges.iter().filter(|f| f.server == server) {
        if !state.passes(&[&figure.privilege, &figure.object]) {
            continue;
        }
        let found = rows
            .iter_mut()
            .find(|row| row.privilege == figure.privilege && row.object == figure.object);
        match found {
            Some(row) => row.cells.push((figure.unit, figure)),
            None => rows.push(MatrixRow {
                privilege: &figure.privilege,
                object: &figure.object,
                cells: vec![(figure.unit, figure)],
            }),
        }
    }
    rows
}

const COLUMNS: [Column; 7] = [
    text("privilege", 24, 28, 0),
    text("on", 16, 40, 0),
    text("relay", 5, 5, 0),
    text("dump", 5, 5, 0),
    text("load", 5, 5, 0),
    text("sync", 5, 5, 0),
    text("how known", 12, 80, 2),
];

const UNITS: [Unit; 4] = [Unit::Relay, Unit::Dump, Unit::Load, Unit::Sync];

fn state_word(state: GrantState) -> (&'static str, Role) {
    match state {
        GrantState::Have => ("ok", Role::Ok),
        GrantState::Missing => ("MISS", Role::Error),
        GrantState::Inactive => ("INACT", Role::Error),
        GrantState::NotNeeded => (format::NONE, Role::Dim),
        GrantState::Unknown => (format::UNKNOWN, Role::Warn),
    }
}

/// Privilege by unit.
pub fn matrix(view: &View<'_>, area: Rect) -> Content {
    let state = view.state;
    let Some(report) = state.shown.check.as_deref() else {
        let key = view.looks.keymap.key(Action::Check);
        let text = format!("not checked yet; {key} checks now");
        return super::nothing(view, "grants", &text);
    };
    let servers = state.servers();
    let Some(server) = state.server() else {
        return super::nothing(view, "grants", "the check found no privileges to judge");
    };
    let rows = matrix_rows(state);
    let plain = view.style(Role::Text);
    let cells: Vec<Vec<Cell>> = rows
        .iter()
        .map(|row| {
            let mut cells = vec![
                Cell::new(row.privilege, plain),
                Cell::new(row.object, plain),
            ];
            for unit in UNITS {
                let of_unit = row.cells.iter().filter(|(u, _)| *u == unit);
                let worst = of_unit.max_by_key(|(_, figure)| severity(figure.state));
                let (word, role) = match worst {
                    Some((_, figure)) => state_word(figure.state),
                    None => (format::NONE, Role::Dim),
                };
                cells.push(Cell::new(word, view.style(role)));
            }
            let evidence = row.worst().map_or("", |figure| &figure.evidence);
            cells.push(Cell::new(evidence, view.style(Role::Dim)));
            cells
        })
        .collect();
    let (header, lines) = table::lines(
        &COLUMNS,
        &cells,
        list_width(area.width),
        view.style(Role::Dim),
        view.cut(),
    );
    let account = account(report, server);
    let number = servers.iter().position(|s| *s == server).unwrap_or(0) + 1;
    let note = if state.filter().is_empty() {
        format!(
            "{number}/{} servers, checked {} ago",
            servers.len(),
            format::ago(state.now, report.at)
        )
    } else {
        super::streams::filter_note(view, rows.len(), all_rows(report, server))
    };
    let cursor = state.cursor(Pane::Matrix);
    Content::new(
        format!("{} {}", format::clean(server), format::clean(account)),
        lines,
    )
    .header(header)
    .note(note)
    .window(Window::Around(cursor.min(rows.len().saturating_sub(1))))
}

fn all_rows(report: &CheckReport, server: &str) -> usize {
    let mut seen: Vec<_> = report
        .privileges
        .iter()
        .filter(|figure| figure.server == server)
        .map(|figure| (&figure.privilege, &figure.object))
        .collect();
    seen.sort_unstable();
    seen.dedup();
    seen.len()
}

fn account<'a>(report: &'a CheckReport, server: &str) -> &'a str {
    report
        .privileges
        .iter()
        .find(|figure| figure.server == server && !figure.account.is_empty())
        .map_or("(not connected)", |figure| &figure.account)
}

/// The statements that give what `server` lacks, each once.
pub fn missing_grants(state: &State, server: &str) -> Vec<String> {
    let mut grants: Vec<String> = Vec::new();
    if let Some(report) = &state.shown.check {
        for figure in &report.privileges {
            let lacks = matches!(figure.state, GrantState::Missing | GrantState::Inactive);
            if figure.server == server
                && lacks
                && !figure.grant.is_empty()
                && !grants.contains(&figure.grant)
            {
                grants.push(figure.grant.clone());
            }
        }
    }
    grants
}

/// Why the selected privilege is needed, and what gives it and all that is missing.
pub fn statements(view: &View<'_>, area: Rect) -> Content {
    let state = view.state;
    let Some(server) = state.server() else {
        return super::nothing(view, "statements", "nothing to run");
    };
    let width = text_width(area.width);
    let rows = matrix_rows(state);
    let cursor = state.cursor(Pane::Matrix).min(rows.len().saturating_sub(1));
    let mut lines = Vec::new();
    if let Some(figure) = rows.get(cursor).and_then(MatrixRow::worst) {
        let why = format!("{}: {}", figure.privilege, figure.why);
        lines.extend(super::labelled_text(view, "why", Role::Text, &why, width));
        if !figure.evidence.is_empty() {
            lines.extend(super::labelled_text(
                view,
                "known by",
                Role::Dim,
                &figure.evidence,
                width,
            ));
        }
        if !figure.grant.is_empty() {
            lines.extend(super::labelled_text(
                view,
                "this one",
                Role::Title,
                &figure.grant,
                width,
            ));
        }
    }
    let grants = missing_grants(state, server);
    let name = format::clean(server);
    if grants.is_empty() {
        lines.push(Line::from(
            view.span(Role::Ok, format!("nothing is missing on {name}")),
        ));
        return Content::new("why", lines).window(Window::From(state.cursor(Pane::Statements)));
    }
    let text = format!("all that is missing, to be run on {name} as an administrator:");
    lines.extend(super::wrapped(view, Role::Dim, &text, width));
    for grant in &grants {
        lines.extend(super::wrapped(view, Role::Text, grant, width));
    }
    let key = view.looks.keymap.key(Action::Copy);
    Content::new(
        format!(
            "{} to run on {name}",
            format::counted(grants.len() as u64, "statement")
        ),
        lines,
    )
    .note(format!("{key} copies them"))
    .window(Window::From(state.cursor(Pane::Statements)))
}

/// Settings, connections and folders: what failed or is worth knowing first.
pub fn checks(view: &View<'_>, area: Rect) -> Content {
    let Some(report) = view.state.shown.check.as_deref() else {
        return super::nothing(view, "checks", "not run yet");
    };
    let width = text_width(area.width);
    let of = |state: CheckState| report.checks.iter().filter(move |c| c.state == state);
    let mut lines = Vec::new();
    for (state, word, role) in [
        (CheckState::Fail, "FAIL", Role::Error),
        (CheckState::Warn, "WARN", Role::Warn),
    ] {
        for check in of(state) {
            lines.push(Line::from(vec![
                view.span(role, format!("{word}  ")),
                view.foreign(Role::Title, &check.scope),
                view.span(Role::Dim, "  "),
                view.foreign(Role::Text, &check.id),
            ]));
            let text = format!("{}: {}", check.found, check.why);
            lines.extend(super::labelled_text(view, "", Role::Text, &text, width));
            if !check.mend.is_empty() {
                lines.extend(super::labelled_text(
                    view,
                    "fix",
                    Role::Ok,
                    &check.mend,
                    width,
                ));
            }
        }
    }
    let passed = of(CheckState::Pass).count();
    let text = format!("{passed} of {} checks pass", report.checks.len());
    let role = if passed == report.checks.len() {
        Role::Ok
    } else {
        Role::Dim
    };
    lines.push(Line::from(view.span(role, text)));
    let title = format!(
        "checks: {} failed, {}",
        of(CheckState::Fail).count(),
        format::counted(of(CheckState::Warn).count() as u64, "warning")
    );
    Content::new(title, lines).window(Window::From(view.state.cursor(Pane::Checks)))
}

/// The overview's pane: what is missing, by server.
pub fn missing(view: &View<'_>, area: Rect) -> Content {
    let state = view.state;
    let Some(report) = state.shown.check.as_deref() else {
        return super::nothing(view, "grants", "not checked yet");
    };
    let width = text_width(area.width);
    let mut lines = vec![Line::from(super::overview::grant_spans(view))];
    for server in state.servers() {
        let mut names: Vec<String> = Vec::new();
        for figure in report.privileges.iter().filter(|f| f.server == server) {
            let name = format!("{} on {}", figure.privilege, figure.object);
            let lacks = matches!(figure.state, GrantState::Missing | GrantState::Inactive);
            if lacks && !names.contains(&name) {
                names.push(name);
            }
        }
        if !names.is_empty() {
            let text = format!("{server}: {}", names.join(", "));
            lines.extend(super::wrapped(view, Role::Text, &text, width));
        }
    }
    let failed = report
        .checks
        .iter()
        .filter(|c| c.state == CheckState::Fail)
        .count();
    if failed > 0 {
        lines.push(Line::from(
            view.span(Role::Error, format!("{failed} checks failed")),
        ));
    }
    Content::new("grants", lines)
        .note(format!("checked {} ago", format::ago(state.now, report.at)))
        .window(Window::From(state.cursor(Pane::Missing)))
}
