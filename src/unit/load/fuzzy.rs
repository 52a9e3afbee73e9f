//! Loading a dump without a lock: two of its rows may have one unique value, as each is of a moment of
//! its own. The later one takes the place of the earlier, which sync brings back: one of the two has
//! changed within the dump's span.
//!
//! That holds where the target's unique keys are the source's, and where nowhere else. A key that only
//! the target has, or one by which it holds more values to be equal, would take away rows that never
//! changed, and nothing would bring them back.

use std::collections::{BTreeMap, BTreeSet};

use crate::connect::Session;
use crate::dump_files::Manifest;
use crate::model::{Error, ErrorKind, Result, TableName};
use crate::schema::Structure;
use crate::source::read_structures_of;

use super::LoadJob;

/// A column of a unique key: its name, its prefix, its collation.
type Part = (String, Option<u32>, Option<String>);

/// Fails if a table's unique keys are not the same on both sides.
pub(super) async fn expect_same_keys(
    session: &mut Session,
    job: &LoadJob,
    manifest: &Manifest,
) -> Result<()> {
    let targets: Vec<TableName> = manifest
        .tables
        .keys()
        .map(|table| job.task.routes.target(table))
        .collect();
    let there: BTreeMap<TableName, Structure> = read_structures_of(session, &targets)
        .await?
        .into_iter()
        .map(|structure| (structure.table.clone(), structure))
        .collect();
    for (table, target) in manifest.tables.values().zip(&targets) {
        let is_same = there
            .get(target)
            .is_some_and(|there| unique_keys(there) == unique_keys(&table.structure));
        if !is_same {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "the unique keys of {target} on the target are not those of {} (columns, prefixes, \
                     collations): a dump without a lock could lose rows there",
                    table.structure.table
                ),
            )
            .with_fix(
                "use `consistency = \"flush\"` or `\"snapshot\"`, or give the target's table the same \
                 unique keys and collations",
            )
            .at(|c| c.table = Some(table.structure.table.clone())));
        }
    }
    Ok(())
}

fn unique_keys(structure: &Structure) -> BTreeSet<Vec<Part>> {
    let part = |part: &crate::schema::KeyPart| {
        let column = part
            .column
            .as_deref()
            .and_then(|name| structure.column_index(name))
            .and_then(|index| structure.columns.get(index));
        (
            part.column.clone().unwrap_or_default().to_lowercase(),
            part.prefix,
            column.and_then(|column| column.collation.clone()),
        )
    };
    structure
        .keys
        .iter()
        .filter(|key| key.unique)
        .map(|key| key.parts.iter().map(part).collect())
        .collect()
}
