//! The session in which a statement of the source runs on the target: as far as it bears on what the
//! statement means, that of the source.

use std::collections::BTreeMap;

use super::job::SyncJob;
use super::statement::Checks;
use super::transaction::{SourceSession, Statement};
use crate::binlog::{Event, FormatDescription, QueryEvent};
use crate::connect::{Session, Setup};
use crate::model::{Error, ErrorKind, Flavor, Result, ServerVersion, Timestamp};
use crate::schema::SessionDefaults;
use crate::target::text::literal;

/// `ER_UNKNOWN_TIME_ZONE`.
const UNKNOWN_ZONE: u16 = 1298;

/// `sql_mode` by bits, for what has a bearing on DDL.
/// Source: `sql/sql_const.h` and `sql/sql_class.h` of the servers; both number these alike.
const MODES: [(u64, &str); 17] = [
    (1, "REAL_AS_FLOAT"),
    (1 << 1, "PIPES_AS_CONCAT"),
    (1 << 2, "ANSI_QUOTES"),
    (1 << 3, "IGNORE_SPACE"),
    (1 << 6, "NO_UNSIGNED_SUBTRACTION"),
    (1 << 7, "NO_DIR_IN_CREATE"),
    (1 << 19, "NO_AUTO_VALUE_ON_ZERO"),
    (1 << 20, "NO_BACKSLASH_ESCAPES"),
    (1 << 21, "STRICT_TRANS_TABLES"),
    (1 << 22, "STRICT_ALL_TABLES"),
    (1 << 23, "NO_ZERO_IN_DATE"),
    (1 << 24, "NO_ZERO_DATE"),
    (1 << 25, "ALLOW_INVALID_DATES"),
    (1 << 26, "ERROR_FOR_DIVISION_BY_ZERO"),
    (1 << 29, "HIGH_NOT_PRECEDENCE"),
    (1 << 30, "NO_ENGINE_SUBSTITUTION"),
    (1 << 31, "PAD_CHAR_TO_FULL_LENGTH"),
];

/// Opens a session like the statement's own.
pub(super) async fn event_session(
    job: &SyncJob,
    target: &Session,
    statement: &Statement,
) -> Result<Session> {
    let mut session = Session::open(
        &job.target.server,
        &setup(&statement.session, target.version()),
    )
    .await?;
    set_charset(&mut session, statement).await?;
    let zone = match statement.session.time_zone.as_deref() {
        // It did not matter to the statement.
        None | Some("" | "UTC") => "+00:00",
        // What the zone is there, not here.
        Some("SYSTEM") => &job.system_zone,
        Some(zone) => zone,
    };
    let set = format!("SET SESSION time_zone = {}", literal(zone));
    match session.execute(set.as_bytes()).await {
        Ok(_) => Ok(session),
        Err(error)
            if error
                .server()
                .is_some_and(|server| server.number == UNKNOWN_ZONE) =>
        {
            Err(Error::new(
                ErrorKind::Setting,
                format!("the statement was run in the time zone `{zone}`, which the target does not know"),
            )
            .with_source(error)
            .with_fix("load the time zone tables on the target (`mysql_tzinfo_to_sql`), then retry"))
        }
        Err(error) => Err(error),
    }
}

fn setup(source: &SourceSession, version: &ServerVersion) -> Setup {
    let micros = source.timestamp.0;
    let mut statements = vec![
        format!(
            "SET SESSION sql_mode = '{}'",
            mode_names(source.sql_mode, version)
        ),
        "SET NAMES utf8mb4".to_owned(),
        format!(
            "SET SESSION timestamp = {}.{:06}",
            micros / 1_000_000,
            micros % 1_000_000
        ),
        format!(
            "SET SESSION foreign_key_checks = {}, unique_checks = {}",
            u8::from(!source.checks.no_foreign_keys),
            u8::from(!source.checks.relaxed_unique)
        ),
    ];
    if version.flavor == Flavor::MariaDB {
        // MySQL asks for a privilege here. The settings matter to rows that a statement numbers, at
        // which the stream pauses wherever there are some.
        if let Some((increment, offset)) = source.auto_increment {
            statements.push(format!(
                "SET SESSION auto_increment_increment = {increment}, auto_increment_offset = {offset}"
            ));
        }
        if source.if_exists {
            statements.push("SET SESSION sql_if_exists = 1".to_owned());
        }
        if source.no_constraint_checks {
            statements.push("SET SESSION check_constraint_checks = 0".to_owned());
        }
    }
    Setup::with(statements)
}

fn mode_names(bits: u64, version: &ServerVersion) -> String {
    let names: Vec<&str> = modes(bits)
        .filter(|name| !(version.flavor == Flavor::TiDB && *name == "PAD_CHAR_TO_FULL_LENGTH"))
        .collect();
    names.join(",")
}

fn modes(bits: u64) -> impl Iterator<Item = &'static str> {
    MODES
        .iter()
        .filter(move |(bit, _)| bits & bit != 0)
        .map(|(_, name)| *name)
}

impl SourceSession {
    /// What of the session bears on the meaning of its statement, for people: settings with their
    /// values. `collations` are the source's by number.
    pub(super) fn describe(&self, collations: &BTreeMap<u16, String>) -> Vec<(String, String)> {
        let named = |number: &u16| {
            collations
                .get(number)
                .cloned()
                .unwrap_or_else(|| format!("collation number {number}"))
        };
        let mut shown = vec![(
            "sql_mode".to_owned(),
            modes(self.sql_mode).collect::<Vec<_>>().join(","),
        )];
        let mut show = |name: &str, value: Option<String>| {
            shown.extend(value.map(|value| (name.to_owned(), value)));
        };
        let charset = self.charset.as_ref();
        show(
            "character_set_client",
            charset.map(|(client, _, _)| named(client)),
        );
        show(
            "collation_connection",
            charset.map(|(_, connection, _)| named(connection)),
        );
        show(
            "collation_server",
            charset.map(|(_, _, server)| named(server)),
        );
        show("time_zone", self.time_zone.clone());
        show("timestamp", Some(self.timestamp.to_string()));
        if let Some((increment, offset)) = self.auto_increment.filter(|both| *both != (1, 1)) {
            show("auto_increment_increment", Some(increment.to_string()));
            show("auto_increment_offset", Some(offset.to_string()));
        }
        let off = |is_off: bool| is_off.then(|| "0".to_owned());
        show("foreign_key_checks", off(self.checks.no_foreign_keys));
        show("unique_checks", off(self.checks.relaxed_unique));
        show("check_constraint_checks", off(self.no_constraint_checks));
        show("sql_if_exists", self.if_exists.then(|| "1".to_owned()));
        let defaults = &self.defaults;
        let explicit = defaults.explicit_timestamps.map(u8::from);
        show(
            "explicit_defaults_for_timestamp",
            explicit.map(|flag| flag.to_string()),
        );
        show(
            "default_collation_for_utf8mb4",
            defaults.utf8mb4_collation.as_ref().map(named),
        );
        let pairs = defaults.charset_collations.as_deref().unwrap_or_default();
        let pairs: Vec<String> = pairs
            .iter()
            .map(|(_, collation)| named(collation))
            .collect();
        show(
            "character_set_collations",
            (!pairs.is_empty()).then(|| pairs.join(",")),
        );
        shown
    }
}

/// The statement's bytes are in the character set of the source's client, and its strings are read in
/// that of the connection, which shows where they become bytes.
async fn set_charset(session: &mut Session, statement: &Statement) -> Result<()> {
    let text = statement.ddl.statement();
    let Some((client, connection, _)) = statement.session.charset else {
        return Ok(());
    };
    if text.is_ascii() {
        return Ok(());
    }
    // What the target does not have it reads as UTF-8.
    if let (_, Some(collation)) = collation(session, connection).await? {
        let set = format!("SET SESSION collation_connection = {collation}");
        session.execute(set.as_bytes()).await?;
    }
    match collation(session, client).await?.0 {
        Some(name) if name.starts_with("utf8") => Ok(()),
        Some(name) => {
            let set = format!("SET SESSION character_set_client = {name}");
            session.execute(set.as_bytes()).await?;
            Ok(())
        }
        None if std::str::from_utf8(text).is_ok() && statement.session.client.is_none() => Ok(()),
        None => Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "a statement in the character set number {client}, which the target does not have"
            ),
        )
        .with_fix("run the statement on the target by hand, in UTF-8")),
    }
}

/// A collation's character set and name, by its number, as far as the target has it.
async fn collation(session: &mut Session, number: u16) -> Result<(Option<String>, Option<String>)> {
    let rows = session
        .rows(&format!(
            "SELECT CHARACTER_SET_NAME, COLLATION_NAME FROM information_schema.COLLATIONS WHERE ID = {number}"
        ))
        .await?;
    let cell = |index: usize| {
        let cell = rows.first()?.get(index)?.as_deref()?;
        Some(String::from_utf8_lossy(cell).into_owned())
    };
    Ok((cell(0), cell(1)))
}

/// The session that a statement of the binlog ran in.
pub(super) fn source_session(
    event: &Event<'_>,
    query: &QueryEvent<'_>,
    format: &FormatDescription,
) -> SourceSession {
    let status = &query.status;
    let version = &format.server_version;
    let tells_by_bit = version.flavor == Flavor::MariaDB && version.at_least(10, 11, 0);
    let explicit_bit = tells_by_bit.then(|| status.has_explicit_timestamps());
    let seconds = u64::from(event.header.timestamp);
    SourceSession {
        sql_mode: status.sql_mode.unwrap_or(0),
        charset: status
            .charset
            .map(|charset| (charset.client, charset.connection, charset.server)),
        time_zone: status
            .time_zone
            .map(|zone| String::from_utf8_lossy(zone).into_owned()),
        timestamp: Timestamp(seconds * 1_000_000 + u64::from(status.microseconds.unwrap_or(0))),
        checks: Checks {
            no_foreign_keys: status.no_foreign_key_checks(),
            relaxed_unique: status.relaxed_unique_checks(),
        },
        auto_increment: status.auto_increment,
        client: None,
        defaults: SessionDefaults {
            explicit_timestamps: status.explicit_defaults_for_timestamp.or(explicit_bit),
            collation_server: status.charset.map(|charset| charset.server),
            utf8mb4_collation: status.default_collation_for_utf8mb4,
            charset_collations: status.character_set_collations.clone(),
        },
        if_exists: status.if_exists(),
        no_constraint_checks: status.no_constraint_checks(),
    }
}
