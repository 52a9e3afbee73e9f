//! Who we are on a server, and what we are granted there.

use crate::connect::Session;
use crate::model::table::quote_name;
use crate::model::{Error, Flavor, Result};
use crate::privilege::{Account, Grants, Role, account_name};
use crate::source::ServerInfo;

/// Beyond this many granted roles only the first are looked into.
const ROLES: usize = 32;

/// Who answered to our name.
#[derive(Clone, Debug, Default)]
pub(super) struct Identity {
    /// `USER()`: who we asked to be, and from where the server sees us.
    pub(super) asked_for: String,
    /// The account whose login stands for another's, where that is so.
    pub(super) proxy_user: Option<String>,
    /// `@@server_id` and `@@hostname` as this connection has them.
    pub(super) server_id: Option<u64>,
}

/// Reads who we are and our grants. Only `CURRENT_USER()` and `SHOW GRANTS` themselves must succeed,
/// which need no privilege.
pub(super) async fn read(session: &mut Session, info: &ServerInfo) -> Result<(Identity, Account)> {
    let who = session
        .rows("SELECT USER(), CURRENT_USER(), @@server_id")
        .await?;
    let row = who.first();
    // Without quotes a name would be what its letters are taken for. A server that does not know the
    // setting always writes them.
    let _ = session
        .execute(b"SET SESSION sql_quote_show_create = 1")
        .await;
    let at = |column: usize| row.and_then(|row| text(row, column));
    let mut identity = Identity {
        asked_for: at(0).unwrap_or_default(),
        proxy_user: None,
        server_id: at(2).and_then(|id| id.parse().ok()),
    };
    let current_user = at(1).unwrap_or_default();
    identity.proxy_user = single(session, "SELECT @@proxy_user").await;
    let has_partial_revokes = session
        .rows("SHOW GLOBAL VARIABLES LIKE 'partial_revokes'")
        .await?
        .first()
        .and_then(|row| text(row, 1))
        .is_some_and(|value| value.eq_ignore_ascii_case("ON"));
    let active_roles = active_roles(session, info.flavor()).await;
    let grants = parse(&first_columns(&session.rows("SHOW GRANTS").await?));
    let mut account = Account {
        current_user,
        version: info.version.clone(),
        grants,
        active_roles,
        idle_roles: Vec::new(),
        unreadable_roles: Vec::new(),
        has_partial_revokes,
        is_case_folded: info.lower_case_table_names > 0,
        probes: Vec::new(),
    };
    read_roles(session, &mut account).await;
    Ok((identity, account))
}

async fn single(session: &mut Session, sql: &str) -> Option<String> {
    let rows = session.rows(sql).await.ok()?;
    text(rows.first()?, 0).filter(|text| !text.is_empty())
}

/// The roles in force, as `name` or `name@host`; none where the server knows no roles.
async fn active_roles(session: &mut Session, flavor: Flavor) -> Vec<String> {
    let Some(text) = single(session, "SELECT CURRENT_ROLE()").await else {
        return Vec::new();
    };
    if text.eq_ignore_ascii_case("NONE") || text.eq_ignore_ascii_case("NULL") {
        return Vec::new();
    }
    if flavor == Flavor::MariaDB {
        return vec![text];
    }
    // `r1`@`%`,`r2`@`%`: the form of a line that grants roles.
    Grants::parse([format!("GRANT {text} TO `x`@`%`").as_str()]).roles()
}

/// Looks into each role that is granted, or mandatory, and not active.
async fn read_roles(session: &mut Session, account: &mut Account) {
    let mut roles = account.grants.roles();
    if account.version.flavor != Flavor::MariaDB
        && let Some(mandatory) = single(session, "SELECT @@mandatory_roles").await
    {
        let quoted: Vec<String> = mandatory
            .split(',')
            .map(|role| role.trim().to_owned())
            .filter(|role| !role.is_empty())
            .collect();
        let line = format!("GRANT {} TO `x`@`%`", quoted.join(","));
        roles.extend(Grants::parse([line.as_str()]).roles());
        roles.sort();
        roles.dedup();
    }
    roles.retain(|role| !account.active_roles.contains(role));
    for name in roles.into_iter().take(ROLES) {
        match role_lines(session, account.version.flavor, &name).await {
            Ok(lines) => account.idle_roles.push(Role {
                grants: parse(&lines),
                name,
            }),
            Err(error) => {
                let reason = super::rows::one_line(&error);
                account.unreadable_roles.push((name, reason));
            }
        }
        if session.is_broken() {
            return;
        }
    }
}

async fn role_lines(
    session: &mut Session,
    flavor: Flavor,
    role: &str,
) -> Result<Vec<String>, Error> {
    if flavor == Flavor::MariaDB {
        // A role's grants are shown to whom it is active for; this connection is closed after this.
        session
            .execute(format!("SET ROLE {}", quote_name(role)).as_bytes())
            .await?;
        return Ok(first_columns(&session.rows("SHOW GRANTS").await?));
    }
    let sql = format!(
        "SHOW GRANTS FOR CURRENT_USER() USING {}",
        account_name(role)
    );
    Ok(first_columns(&session.rows(&sql).await?))
}

fn parse(lines: &[String]) -> Grants {
    Grants::parse(lines.iter().map(String::as_str))
}

fn first_columns(rows: &[Row]) -> Vec<String> {
    rows.iter().filter_map(|row| text(row, 0)).collect()
}

/// A row as the server wrote it.
type Row = Vec<Option<Vec<u8>>>;

fn text(row: &[Option<Vec<u8>>], column: usize) -> Option<String> {
    let bytes = row.get(column)?.as_deref()?;
    Some(String::from_utf8_lossy(bytes).into_owned())
}
