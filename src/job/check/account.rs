//! Who we are on a server, and what we are granted there.

use crate::connect::{Catalogue, CatalogueRow};
use crate::model::table::quote_name;
use crate::model::{Flavor, Result};
use crate::privilege::{Account, Grants, account_name};
use crate::source::ServerInfo;

/// Reads `USER()` and the account with its grants. Only `SHOW GRANTS` itself must succeed, which needs no
/// privilege.
pub(super) async fn read(
    catalogue: &mut Catalogue,
    info: &ServerInfo,
) -> Result<(String, Account)> {
    let who = catalogue
        .rows("SELECT USER() AS asked_for, CURRENT_USER() AS current")
        .await?;
    let text = |name: &str| {
        who.first()
            .and_then(|row| row.text(name))
            .unwrap_or_default()
    };
    let (asked_for, current_user) = (text("asked_for"), text("current"));
    let has_partial_revokes = catalogue
        .rows("SHOW GLOBAL VARIABLES LIKE 'partial_revokes'")
        .await?
        .first()
        .and_then(|row| row.text_at(1))
        .is_some_and(|value| value.eq_ignore_ascii_case("ON"));
    let lines = first_columns(&catalogue.rows("SHOW GRANTS").await?);
    let grants = parse(&lines);
    let with_roles = with_roles(catalogue, info.flavor(), &lines, &grants).await;
    let account = Account {
        current_user,
        version: info.version.clone(),
        grants,
        with_roles,
        has_partial_revokes,
        is_case_folded: info.lower_case_table_names > 0,
    };
    Ok((asked_for, account))
}

/// What the account could do with all its roles active; `None` where it has none, or may not see them.
async fn with_roles(
    catalogue: &mut Catalogue,
    flavor: Flavor,
    lines: &[String],
    grants: &Grants,
) -> Option<Grants> {
    let roles = grants.roles();
    if roles.is_empty() {
        return None;
    }
    if flavor == Flavor::MariaDB {
        // A role's grants are shown to whom it is active for; this connection is closed after this.
        let mut all = lines.to_vec();
        for role in &roles {
            catalogue
                .run(&format!("SET ROLE {}", quote_name(role)))
                .await
                .ok()?;
            all.extend(first_columns(&catalogue.rows("SHOW GRANTS").await.ok()?));
        }
        return Some(parse(&all));
    }
    let names: Vec<String> = roles.iter().map(|role| account_name(role)).collect();
    let sql = format!("SHOW GRANTS FOR CURRENT_USER() USING {}", names.join(", "));
    let all = catalogue.rows(&sql).await.ok()?;
    Some(parse(&first_columns(&all)))
}

fn parse(lines: &[String]) -> Grants {
    Grants::parse(lines.iter().map(String::as_str))
}

fn first_columns(rows: &[CatalogueRow]) -> Vec<String> {
    rows.iter().filter_map(|row| row.text_at(0)).collect()
}
