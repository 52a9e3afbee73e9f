//! Views: made once the tables are there with their rows.
//!
//! A view holds no data. One that the target does not take is left out with the reason, so that it does
//! not keep the rows from being followed.

use std::collections::{BTreeMap, BTreeSet};

use crate::connect::Session;
use crate::dump_files::Manifest;
use crate::model::{Error, ErrorKind, Flavor, Result, TableName, table::quote_name};
use crate::schema::SqlMode;
use crate::schema::tokens::{Token, TokenKind, tokenize};
use crate::source::list_tables;

use super::{LoadJob, Meter};

/// Creates the views of the dump; those that need others come after them.
pub(super) async fn create(
    session: &mut Session,
    job: &LoadJob,
    manifest: &Manifest,
    meter: &Meter,
) -> Result<()> {
    if manifest.views.is_empty() {
        return Ok(());
    }
    let there: BTreeSet<TableName> = list_tables(session)
        .await?
        .into_iter()
        .map(|info| info.name)
        .collect();
    let known: BTreeMap<&TableName, TableName> = manifest
        .tables
        .keys()
        .chain(manifest.views.keys())
        .map(|name| (name, job.task.routes.target(name)))
        .collect();
    let mut waiting = Vec::new();
    for (view, shown) in &manifest.views {
        let target = job.task.routes.target(view);
        if there.contains(&target) {
            meter.note(format!(
                "the view {target} is on the target already, and was left as it is"
            ));
            continue;
        }
        let adapted = adapt(&shown.create, view, &known, manifest.header.flavor);
        if adapted.without_definer {
            meter.note(format!(
                "{target}: left out DEFINER, so the account that loads is the view's definer"
            ));
        }
        waiting.push((target, adapted.text));
    }
    // Each round makes those whose views beneath them are there by now.
    while !waiting.is_empty() {
        let mut refused = Vec::new();
        let before = waiting.len();
        for (target, text) in waiting {
            let using = format!("USE {}", quote_name(&target.schema));
            let made = async {
                session.execute(using.as_bytes()).await?;
                session.execute(&text).await
            };
            match made.await {
                Ok(_) => {}
                Err(error) if is_final(&error) => return Err(error),
                Err(error) => refused.push((target, text, error)),
            }
        }
        if refused.len() == before {
            for (target, _, error) in refused {
                let grant = match error.kind() {
                    ErrorKind::Privilege => format!(
                        "; `GRANT CREATE VIEW ON {}.*` to the account, then create it by hand",
                        quote_name(&target.schema)
                    ),
                    _ => String::new(),
                };
                let why = error.cause().unwrap_or_else(|| error.to_string());
                meter.note(format!("left out: the view {target}: {why}{grant}"));
            }
            return Ok(());
        }
        waiting = refused
            .into_iter()
            .map(|(target, text, _)| (target, text))
            .collect();
    }
    Ok(())
}

/// Whether the error is no refusal of this one view.
fn is_final(error: &Error) -> bool {
    error.server().is_none()
        || matches!(
            error.kind(),
            ErrorKind::Connect | ErrorKind::Setting | ErrorKind::TargetBusy
        )
}

struct Adapted {
    text: Vec<u8>,
    without_definer: bool,
}

/// The text of `SHOW CREATE VIEW` for the target: without the definer, who need not exist there, and
/// with the names that tables and views have there.
fn adapt(
    create: &str,
    view: &TableName,
    known: &BTreeMap<&TableName, TableName>,
    flavor: Flavor,
) -> Adapted {
    let sql = create.as_bytes();
    let tokens: Vec<Token> = tokenize(sql, SqlMode::default(), flavor)
        .into_iter()
        .filter(|token| token.kind.is_significant())
        .collect();
    let name = |index: usize| {
        let token = tokens.get(index)?;
        matches!(token.kind, TokenKind::QuotedName | TokenKind::Word)
            .then(|| token.name(sql).map(std::borrow::Cow::into_owned))
            .flatten()
    };
    let is = |index: usize, byte: u8| {
        tokens
            .get(index)
            .is_some_and(|token| token.kind == TokenKind::Punctuation(byte))
    };
    let mut text = Vec::with_capacity(sql.len());
    let mut at = 0;
    let mut without_definer = false;
    let mut has_name = false;
    let mut index = 0;
    while let Some(token) = tokens.get(index) {
        let mut replaced = None;
        if !has_name && token.is_word(sql, "definer") && is(index + 1, b'=') {
            // `user`@`host`, or a role.
            let length = if is(index + 3, b'@') { 5 } else { 3 };
            replaced = Some((length, Vec::new()));
            without_definer = true;
        } else if !has_name && token.is_word(sql, "view") {
            // The view's own name, with or without its schema.
            let length = if is(index + 2, b'.') { 4 } else { 2 };
            let target = known.get(view).unwrap_or(view);
            replaced = Some((length, format!("VIEW {}", target.quoted()).into_bytes()));
            has_name = true;
        } else if has_name
            && is(index + 1, b'.')
            && (index == 0 || !is(index - 1, b'.'))
            && let (Some(schema), Some(table)) = (name(index), name(index + 2))
            && let Some(target) = known.get(&TableName::new(schema, table))
        {
            replaced = Some((3, target.quoted().into_bytes()));
        }
        if let Some((length, new)) = replaced
            && let Some(last) = tokens.get(index + length - 1)
        {
            text.extend_from_slice(sql.get(at..token.start).unwrap_or_default());
            text.extend_from_slice(&new);
            at = last.end;
            index += length;
        } else {
            index += 1;
        }
    }
    text.extend_from_slice(sql.get(at..).unwrap_or_default());
    Adapted {
        text,
        without_definer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_routes_and_the_definer_goes() {
        let view = TableName::new("a", "v");
        let tables = [
            TableName::new("a", "t"),
            TableName::new("a", "x`y"),
            view.clone(),
        ];
        let known = tables
            .iter()
            .map(|name| (name, TableName::new("b", format!("new_{}", name.name))))
            .collect();
        let adapted = adapt(
            "CREATE ALGORITHM=UNDEFINED DEFINER=`root`@`%` SQL SECURITY DEFINER VIEW `a`.`v` AS \
             select `a`.`t`.`id` AS `id`,'`a`.`t`' AS `s` from (`a`.`t` join `a`.`x``y` `q` on(`q`.`t` = 1))",
            &view,
            &known,
            Flavor::MariaDB,
        );
        assert!(adapted.without_definer);
        assert_eq!(
            String::from_utf8(adapted.text).unwrap(),
            "CREATE ALGORITHM=UNDEFINED  SQL SECURITY DEFINER VIEW `b`.`new_v` AS \
             select `b`.`new_t`.`id` AS `id`,'`a`.`t`' AS `s` from (`b`.`new_t` join `b`.`new_x``y` `q` on(`q`.`t` = 1))"
        );
        let bare = adapt(
            "CREATE VIEW `v` AS select 1",
            &view,
            &BTreeMap::new(),
            Flavor::MySQL,
        );
        assert_eq!(bare.text, b"CREATE VIEW `a`.`v` AS select 1");
    }
}
