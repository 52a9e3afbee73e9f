//! Which tables a task takes, what they are called on the target, and which of their events are
//! left out. Rules alone, no I/O.
//!
//! Names compare byte by byte, as the source stores them. On a server with
//! `lower_case_table_names = 1` that is lower case, so patterns for it are written in lower case; the
//! check warns of one that is not.

pub mod event_filter;
pub mod pattern;
pub mod rename;
pub mod select;

pub use event_filter::{EventFilter, EventKind, FilterAction};
pub use pattern::{PatternError, TablePattern};
pub use rename::{Route, Routes};
pub use select::{Selection, is_system_schema};

/// The rules of a task as one text, a rule a line: kept with its checkpoint, so that a later start can
/// tell, and show, that the rules have changed since.
pub fn fingerprint(selection: &Selection, routes: &Routes, filters: &[EventFilter]) -> String {
    let mut text = String::new();
    for line in selection
        .lines()
        .chain(routes.lines())
        .chain(filters.iter().map(EventFilter::line))
    {
        text.push_str(&line);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprint_tells_every_rule_and_its_order() {
        let selection = Selection::parse(&["shop.*".into(), "!shop.tmp_?".into()]).unwrap();
        let routes = Routes::parse(&[("shop.*".into(), "store.*".into())]).unwrap();
        let filters = [EventFilter::parse(
            &["shop.audit".into()],
            &["delete".into(), "all ddl".into()],
            &["(?i)partition".into()],
            FilterAction::Ignore,
        )
        .unwrap()];
        assert_eq!(
            fingerprint(&selection, &routes, &filters),
            "take shop.*\n\
             leave shop.tmp_?\n\
             route shop.* to store.*\n\
             ignore on shop.audit: delete, all ddl; sql /(?i)partition/\n"
        );
    }
}
