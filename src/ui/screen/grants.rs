//! Which privileges the units have and which are missing, with the statements that give them; and
//! the settings and connections that were checked.

use ratatui::layout::{Constraint, Rect};
use ratatui::style::Modifier;
use ratatui::text::Line;

use crate::control::{
    CONSISTENCIES, CheckReport, CheckState, Command, GrantState, PrivilegeFigure,
};
use crate::model::Unit;
use crate::model::check::combined;
use crate::ui::action::Action;
use crate::ui::format;
use crate::ui::layout::{Pane, Room, beside, room, stack};
use crate::ui::state::State;
use crate::ui::theme::Role;
use crate::ui::view::View;
use crate::ui::widget::gauge;
use crate::ui::widget::pane::{Content, Window, list_width, text_width};
use crate::ui::widget::table::{self, Cell, Column, text};

/// The matrix over the statements, with the checks where there is room or something failed.
pub fn layout(state: &State, body: Rect) -> Vec<(Pane, Rect)> {
    let findings = state.report().map_or(0, |report| {
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
    // What the matrix does not need is the others': which server is in front changes nothing of that.
    let most = u32::from(body.height) * 3 / 5;
    let wanted = (longest(state) + 3).max(8);
    let height = u16::try_from(wanted.min(most as usize)).unwrap_or(u16::MAX);
    let [matrix, below] = stack(body, [Constraint::Length(height), Constraint::Fill(1)]);
    let [statements, checks] = beside(below, [Constraint::Fill(1), Constraint::Fill(1)]);
    vec![
        (Pane::Matrix, matrix),
        (Pane::Statements, statements),
        (Pane::Checks, checks),
    ]
}

/// The lines of the longest matrix of all servers.
fn longest(state: &State) -> usize {
    let Some(report) = state.report() else {
        return 0;
    };
    let servers = state.servers().into_iter();
    let rows = servers.map(|server| all_rows(report, server));
    rows.max().unwrap_or(0)
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
    /// The figure of a unit, the one that matters most where there are several.
    fn of(&self, unit: Unit) -> Option<&'a PrivilegeFigure> {
        let of_unit = self.cells.iter().filter(|(of, _)| *of == unit);
        of_unit
            .map(|(_, figure)| *figure)
            .max_by_key(|figure| severity(figure.state))
    }

    /// Whether a unit lacks it.
    pub fn lacks(&self) -> bool {
        self.cells.iter().any(|(_, figure)| figure.is_lacking())
    }

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
    let (Some(report), Some(server)) = (state.report(), state.server()) else {
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

/// The columns before those of the units.
const LEADING: [Column; 2] = [text("privilege", 20, 28, 0), text("on", 16, 40, 0)];

/// How it is known: in a few words, and from this width of the pane on with the evidence.
const HOW: Column = text("how known", 12, 80, 2);
const WITH_EVIDENCE: u16 = 120;

const UNITS: [Unit; 4] = [Unit::Relay, Unit::Dump, Unit::Load, Unit::Sync];

fn title(unit: Unit) -> &'static str {
    match unit {
        Unit::Relay => "relay",
        Unit::Dump => "dump",
        Unit::Load => "load",
        Unit::Sync => "sync",
    }
}

/// The sign of what is in the documented minimum of a unit.
const IN_MINIMUM: char = '*';

fn state_word(state: GrantState) -> (&'static str, Role) {
    match state {
        GrantState::Have => ("ok", Role::Ok),
        GrantState::Missing => ("MISS", Role::Error),
        GrantState::Inactive => ("INAC", Role::Error),
        GrantState::NotNeeded => (format::NONE, Role::Dim),
        GrantState::Unknown => (format::UNKNOWN, Role::Warn),
    }
}

/// The units that work on the server in front.
pub fn units(state: &State) -> Vec<Unit> {
    let (Some(report), Some(server)) = (state.report(), state.server()) else {
        return Vec::new();
    };
    let works = |unit: &Unit| {
        let cells = report.privileges.iter();
        cells
            .filter(|f| f.server == server)
            .any(|f| f.unit == *unit)
    };
    UNITS.into_iter().filter(works).collect()
}

/// The selected row's figure of the selected unit; of the one that matters most, where none is selected.
pub fn selected(state: &State) -> Option<&PrivilegeFigure> {
    let rows = matrix_rows(state);
    let cursor = state.cursor(Pane::Matrix).min(rows.len().saturating_sub(1));
    let row = rows.get(cursor)?;
    match state.unit {
        None => row.worst(),
        Some(unit) => row.of(unit),
    }
}

/// Privilege by unit.
pub fn matrix(view: &View<'_>, area: Rect) -> Content {
    let state = view.state;
    let Some(report) = state.report() else {
        if let Some(checking) = state.shown.checking {
            let columns = text_width(area.width).saturating_sub(12).min(50);
            let mut bar = vec![view.span(Role::Text, "checking ")];
            bar.extend(gauge::spans(view, Some(checking.percent()), columns));
            return Content::new("grants", vec![Line::from(bar)])
                .note(format!("{}%", checking.percent()));
        }
        let key = view.looks.keymap.key(Action::Check);
        let text = format!("not checked yet; {key} checks now");
        return super::nothing(view, "grants", &text);
    };
    let servers = state.servers();
    let Some(server) = state.server() else {
        return super::nothing(view, "grants", "the check found no privileges to judge");
    };
    let rows = matrix_rows(state);
    let units = units(state);
    let cursor = state.cursor(Pane::Matrix).min(rows.len().saturating_sub(1));
    let plain = view.style(Role::Text);
    let cells: Vec<Vec<Cell>> = rows
        .iter()
        .enumerate()
        .map(|(at, row)| {
            let mut cells = vec![
                Cell::new(row.privilege, plain),
                Cell::new(row.object, plain),
            ];
            for unit in &units {
                let figure = row.of(*unit);
                let (word, role) =
                    figure.map_or((format::NONE, Role::Dim), |figure| state_word(figure.state));
                let mut word = word.to_owned();
                if figure.is_some_and(|figure| figure.in_minimum) {
                    word.push(IN_MINIMUM);
                }
                let mut style = view.style(role);
                if at == cursor && state.unit == Some(*unit) {
                    style = style.add_modifier(Modifier::REVERSED);
                }
                cells.push(Cell::new(&word, style));
            }
            let how = row.worst().map_or_else(String::new, |figure| {
                let how = match &figure.accepted {
                    Some(reason) => format!("accepted: {reason}"),
                    None => figure.how.clone(),
                };
                if area.width >= WITH_EVIDENCE {
                    format!("{how}: {}", figure.evidence)
                } else {
                    how
                }
            });
            cells.push(Cell::new(&how, view.style(Role::Dim)));
            cells
        })
        .collect();
    let mut columns = LEADING.to_vec();
    columns.extend(units.iter().map(|unit| text(title(*unit), 5, 5, 0)));
    columns.push(HOW);
    let (header, lines) = table::lines(
        &columns,
        &cells,
        list_width(area.width),
        view.style(Role::Dim),
        view.cut(),
    );
    let mut account = account(report, server).to_owned();
    // The check of the version says so where this is so.
    let is_untried = report.checks.iter().any(|check| {
        check.scope == server && check.id == "version" && check.found.contains("rest on its manual")
    });
    if is_untried {
        account.push_str("  (version not tried: from its manual)");
    }
    if let Some(supposed) = &state.shown.supposed {
        account.push_str("  AS IF consistency = ");
        account.push_str(&supposed.consistency);
    }
    let number = servers.iter().position(|s| *s == server).unwrap_or(0) + 1;
    let missing = report.missing();
    let here = missing.iter().filter(|cell| cell.server == server).count();
    let elsewhere = missing.len() - here;
    let note = if let Some(checking) = state.shown.checking {
        format!("checking again: {}%", checking.percent())
    } else if state.filter().is_empty() {
        let place = format!(
            "{number}/{}  {} ago",
            servers.len(),
            format::ago(state.now, report.at)
        );
        let counts = match (here, elsewhere) {
            (0, 0) => format!("{IN_MINIMUM} in the minimum"),
            (here, 0) => format!("{here} missing"),
            (here, more) => format!("{here} missing, {more} elsewhere"),
        };
        format!("{counts}  {place}")
    } else {
        super::streams::filter_note(view, rows.len(), all_rows(report, server))
    };
    Content::new(
        format!("{} {}", format::clean(server), format::clean(&account)),
        lines,
    )
    .header(header)
    .note(note)
    .window(Window::Around(cursor))
}

/// What asks for the checks as they would be with the next `consistency`; behind the last comes what is.
pub fn suppose_next(state: &State) -> Command {
    let at = state.shown.supposed.as_ref().and_then(|supposed| {
        let mut ways = CONSISTENCIES.iter();
        ways.position(|way| *way == supposed.consistency)
    });
    match CONSISTENCIES.get(at.map_or(0, |at| at + 1)) {
        Some(way) => Command::CheckAs {
            consistency: (*way).to_owned(),
        },
        None => Command::Check,
    }
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

/// What is copied as statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What the selected cell lacks.
    Cell,
    /// What the selected unit lacks on the server in front.
    Unit,
    /// What is missing on the server in front.
    Server,
    /// What is missing anywhere.
    All,
    /// The documented minimum of the selected unit on the server in front, whatever is there.
    Minimum,
}

/// The statements of a part, those for one object put together; empty where nothing is missing.
pub fn statements_of(state: &State, part: Part) -> Vec<String> {
    let Some(report) = state.report() else {
        return Vec::new();
    };
    let server = state.server();
    let cell = selected(state);
    let unit = state.unit.or(cell.map(|cell| cell.unit));
    let on_server = |figure: &&PrivilegeFigure| Some(figure.server.as_str()) == server;
    let lacking = report
        .privileges
        .iter()
        .filter(|figure| figure.is_lacking());
    let grants = |figures: &[&PrivilegeFigure]| {
        let grants = figures.iter().map(|figure| figure.grant.as_str());
        combined(grants.filter(|grant| !grant.is_empty()))
    };
    match part {
        Part::Cell => {
            let cell: Vec<&PrivilegeFigure> = cell.filter(|f| f.is_lacking()).into_iter().collect();
            grants(&cell)
        }
        Part::Unit => {
            let of_unit = lacking.filter(on_server).filter(|f| Some(f.unit) == unit);
            grants(&of_unit.collect::<Vec<_>>())
        }
        Part::Server => grants(&lacking.filter(on_server).collect::<Vec<_>>()),
        Part::All => {
            let mut all = Vec::new();
            for server in state.servers() {
                let of: Vec<&PrivilegeFigure> =
                    lacking.clone().filter(|f| f.server == server).collect();
                let list = grants(&of);
                if !list.is_empty() {
                    all.push(format!("-- on {server}"));
                    all.extend(list);
                }
            }
            all
        }
        Part::Minimum => {
            let minimum = report
                .privileges
                .iter()
                .filter(on_server)
                .filter(|f| Some(f.unit) == unit && f.in_minimum && !f.account.is_empty());
            let whole: Vec<String> = minimum
                .map(|f| format!("GRANT {} ON {} TO {};", f.privilege, f.object, f.account))
                .collect();
            combined(whole.iter().map(String::as_str))
        }
    }
}

/// The statements that give what `server` lacks, those for one object put together.
pub fn missing_grants(state: &State, server: &str) -> Vec<String> {
    let report = state.report().into_iter();
    let figures = report.flat_map(|report| &report.privileges);
    let lacking = figures.filter(|figure| figure.server == server && figure.is_lacking());
    combined(
        lacking
            .map(|f| f.grant.as_str())
            .filter(|grant| !grant.is_empty()),
    )
}

/// Why the selected privilege is needed, and what gives it and all that is missing.
pub fn statements(view: &View<'_>, area: Rect) -> Content {
    let state = view.state;
    let Some(server) = state.server() else {
        return super::nothing(view, "statements", "nothing to run");
    };
    let width = text_width(area.width);
    let mut lines = Vec::new();
    let mut put = |label: &str, role: Role, text: &str| {
        lines.extend(super::labelled_text(view, label, role, text, width));
    };
    match (selected(state), state.unit) {
        (Some(figure), _) => {
            let (word, role) = state_word(figure.state);
            let what = format!("{} for {}: {}", figure.privilege, figure.unit, figure.why);
            put(word, role, &what);
            if !figure.evidence.is_empty() {
                put("known by", Role::Dim, &figure.evidence);
            }
            if !figure.grant.is_empty() {
                put("this one", Role::Title, &figure.grant);
            }
            if figure.is_lacking() && !figure.instead.is_empty() {
                put("or", Role::Dim, &figure.instead);
            }
            if !figure.in_minimum && figure.state != GrantState::NotNeeded {
                let text = "beyond the documented minimum: something here asks for it";
                put("", Role::Dim, text);
            }
        }
        (None, Some(unit)) => put(format::NONE, Role::Dim, &format!("{unit} does not use it")),
        (None, None) => {}
    }
    let grants = missing_grants(state, server);
    let name = format::clean(server);
    if grants.is_empty() {
        lines.push(Line::from(
            view.span(Role::Ok, format!("nothing is missing on {name}")),
        ));
        lines.extend(minimum(view, width));
        return Content::new("why", lines).window(Window::From(state.cursor(Pane::Statements)));
    }
    let text = format!("all that is missing, to be run on {name} as an administrator:");
    lines.extend(super::wrapped(view, Role::Dim, &text, width));
    for grant in &grants {
        lines.extend(super::wrapped(view, Role::Text, grant, width));
    }
    lines.extend(minimum(view, width));
    let key = |action| view.looks.keymap.key(action);
    Content::new(
        format!(
            "{} to run on {name}",
            format::counted(grants.len() as u64, "statement")
        ),
        lines,
    )
    .note(format!(
        "{} copies them, {} a part",
        key(Action::Copy),
        key(Action::CopyAs)
    ))
    .window(Window::From(state.cursor(Pane::Statements)))
}

/// The documented minimum of the selected unit, beside what was computed.
fn minimum(view: &View<'_>, width: usize) -> Vec<Line<'static>> {
    let statements = statements_of(view.state, Part::Minimum);
    let unit = view
        .state
        .unit
        .or(selected(view.state).map(|cell| cell.unit));
    let Some(unit) = unit.filter(|_| !statements.is_empty()) else {
        return Vec::new();
    };
    let text = format!("the documented minimum of {unit}, which always suffices:");
    let mut lines = super::wrapped(view, Role::Dim, &text, width);
    for statement in &statements {
        lines.extend(super::wrapped(view, Role::Dim, statement, width));
    }
    lines
}

/// Settings, connections and folders: what failed or is worth knowing first.
pub fn checks(view: &View<'_>, area: Rect) -> Content {
    let Some(report) = view.state.report() else {
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
    // What passes is told too, shortly: the local folders are among it.
    let mut passing: Vec<_> = of(CheckState::Pass).collect();
    passing.sort_by_key(|check| check.scope != "worker");
    let passed = passing.len();
    for check in passing {
        lines.push(Line::from(vec![
            view.span(Role::Ok, "ok    "),
            view.foreign(Role::Dim, &check.scope),
            view.span(Role::Dim, "  "),
            view.foreign(Role::Text, &check.id),
            view.span(Role::Dim, "  "),
            view.foreign(Role::Dim, &check.found),
        ]));
    }
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

/// What mends the checks that fail or warn, to be copied; empty where all pass.
pub fn mends(state: &State) -> String {
    let report = state.report().into_iter();
    let checks = report.flat_map(|report| &report.checks);
    let open = checks.filter(|check| check.state != CheckState::Pass);
    as_script(open.map(|check| [&check.scope, &check.id, &check.found, &check.mend]))
}

/// Findings as a script: statements as they are, all else as remarks.
pub(super) fn as_script<'f>(findings: impl Iterator<Item = [&'f String; 4]>) -> String {
    let mut script = String::new();
    let mut put = |text: &str| {
        script.push_str(text);
        script.push('\n');
    };
    for [scope, name, found, mend] in findings {
        put(&format!("-- {scope} {name}: {}", found.replace('\n', " ")));
        for line in mend.lines() {
            // Statements begin with a word in capitals, and end somewhere.
            let word = line.split(' ').next().unwrap_or_default();
            let is_statement = word.len() > 1
                && word.chars().all(|c| c.is_ascii_uppercase())
                && line.contains(';');
            if is_statement {
                put(line);
            } else {
                put(&format!("-- {line}"));
            }
        }
    }
    script
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
        for figure in report.missing().iter().filter(|f| f.server == server) {
            names.push(format!("{} on {}", figure.privilege, figure.object));
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
