//! The structures of a source's tables, carried through its DDL.
//!
//! `sync` reads all structures once, then hands over each statement in the order of the binlog. The
//! column clauses are read tolerantly, but never guessed: what is not understood is an error, upon
//! which the stream pauses and asks for the table's structure.

mod alter;
mod column;
mod table;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::charset;
use super::ddl::{Ddl, DdlClass, DdlKind, TableRole};
use super::packed::{Packed, Structures};
use super::structure::Structure;
use crate::model::{Error, ErrorKind, Result, ServerVersion, TableName};

/// What of a server's settings decides how its DDL is meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerDefaults {
    /// The server's version.
    pub version: ServerVersion,
    /// Whether names of tables and databases are without case: `lower_case_table_names` is not 0.
    pub folds_names: bool,
    /// `character_set_server`.
    pub charset: String,
    /// `collation_server`.
    pub collation: String,
    /// `explicit_defaults_for_timestamp`: a TIMESTAMP column is like any other.
    pub explicit_timestamps: bool,
    /// Collations that character sets have in place of their compiled-in default: MariaDB's
    /// `character_set_collations`, MySQL's `default_collation_for_utf8mb4`.
    pub charset_collations: Vec<(String, String)>,
    /// The server's collations by their numbers, as query events name them.
    #[serde(default)]
    pub collations: Arc<BTreeMap<u16, String>>,
}

/// What a query event tells of its session, where that decides what its statement means. `None`: the
/// event does not tell, and the server's own setting holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionDefaults {
    /// `explicit_defaults_for_timestamp`.
    pub explicit_timestamps: Option<bool>,
    /// `collation_server`, by number: what a new database gets.
    pub collation_server: Option<u16>,
    /// MySQL's `default_collation_for_utf8mb4`, by number.
    pub utf8mb4_collation: Option<u16>,
    /// MariaDB's `character_set_collations`: pairs of a character set's number, which is its compiled-in
    /// collation's, and a collation's.
    pub charset_collations: Option<Vec<(u16, u16)>>,
}

impl ServerDefaults {
    /// The same as a session had it.
    #[must_use]
    pub fn in_session(&self, session: &SessionDefaults) -> Self {
        let mut defaults = self.clone();
        let named = |number: u16| self.collations.get(&number).cloned();
        let charset_of = |collation: &str| charset::charset_of(collation, &self.version);
        if let Some(explicit) = session.explicit_timestamps {
            defaults.explicit_timestamps = explicit;
        }
        if let Some(collation) = session.collation_server.and_then(named)
            && let Some(charset) = charset_of(&collation)
        {
            (defaults.charset, defaults.collation) = (charset, collation);
        }
        let pairs = match &session.charset_collations {
            Some(pairs) => {
                defaults.charset_collations.clear();
                pairs.iter().map(|(_, collation)| *collation).collect()
            }
            None => Vec::from_iter(session.utf8mb4_collation),
        };
        for collation in pairs.into_iter().filter_map(named) {
            if let Some(charset) = charset_of(&collation) {
                defaults
                    .charset_collations
                    .retain(|(set, _)| *set != charset);
                defaults.charset_collations.push((charset, collation));
            }
        }
        defaults
    }

    /// The collation of a character set where none is named.
    pub fn collation_of(&self, charset: &str) -> String {
        self.charset_collations
            .iter()
            .find(|(name, _)| name == charset)
            .map_or_else(
                || charset::default_collation(charset, &self.version),
                |(_, collation)| collation.clone(),
            )
    }
}

/// What a statement did to the tables known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Tables that are new or look different now, by their new names.
    pub changed: Vec<TableName>,
    /// Names that no table has any more.
    pub dropped: Vec<TableName>,
    /// Tables that have another name now: the old one and the new one.
    pub renamed: Vec<(TableName, TableName)>,
    /// Databases that are new, gone, or have another default character set or collation.
    pub schemas: Vec<String>,
}

impl Changes {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty()
            && self.dropped.is_empty()
            && self.renamed.is_empty()
            && self.schemas.is_empty()
    }
}

/// All tables of a source at one position of its binlog. Copies share the structures, which are kept
/// packed and unpacked when they are asked for.
#[derive(Clone, Debug)]
pub struct StructureSet {
    defaults: ServerDefaults,
    tables: HashMap<TableName, Packed>,
    /// The default character set and collation of each database.
    schemas: BTreeMap<String, (String, String)>,
    number: u64,
    /// What the statement under way has replaced so far, to be put back if it fails: a copy of the
    /// whole set would make each statement cost as much as there are tables.
    undo: Vec<(TableName, Option<Packed>)>,
}

impl StructureSet {
    /// A set of these tables and databases (with their default character set and collation).
    pub fn new(
        defaults: ServerDefaults,
        structures: impl IntoIterator<Item = Structure>,
        schemas: BTreeMap<String, (String, String)>,
    ) -> Self {
        Self::of_packed(defaults, structures.into_iter().collect(), schemas)
    }

    /// The same of structures that are packed already.
    pub fn of_packed(
        defaults: ServerDefaults,
        structures: Structures,
        schemas: BTreeMap<String, (String, String)>,
    ) -> Self {
        let mut set = Self {
            defaults,
            tables: HashMap::with_capacity(structures.len()),
            schemas: BTreeMap::new(),
            number: 0,
            undo: Vec::new(),
        };
        for (name, default) in schemas {
            set.schemas.insert(set.folded(&name), default);
        }
        for packed in structures.into_packed() {
            set.tables.insert(set.key(&packed.table()), packed);
        }
        set
    }

    /// What decides how the source's DDL is meant.
    pub fn defaults(&self) -> &ServerDefaults {
        &self.defaults
    }

    /// Grows with each change of any structure.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// A table's structure, if it is known.
    pub fn get(&self, table: &TableName) -> Option<Arc<Structure>> {
        self.packed(table).map(|packed| Arc::new(packed.unpack()))
    }

    /// Whether the table is known.
    pub fn knows(&self, table: &TableName) -> bool {
        self.packed(table).is_some()
    }

    fn packed(&self, table: &TableName) -> Option<&Packed> {
        if self.defaults.folds_names {
            self.tables.get(&self.key(table))
        } else {
            self.tables.get(table)
        }
    }

    /// All tables known, in no order.
    pub fn iter(&self) -> impl Iterator<Item = Structure> {
        self.tables.values().map(Packed::unpack)
    }

    /// Those that have foreign keys, in no order.
    pub fn children(&self) -> impl Iterator<Item = Structure> {
        self.tables
            .values()
            .filter(|packed| packed.has_foreign_keys())
            .map(Packed::unpack)
    }

    /// The default character set and collation of each database known.
    pub fn schemas(&self) -> &BTreeMap<String, (String, String)> {
        &self.schemas
    }

    /// Puts in a structure, in place of the table's old one.
    pub fn insert(&mut self, structure: &Structure) {
        let key = self.key(&structure.table);
        let old = self.tables.insert(key.clone(), Packed::new(structure));
        self.undo.push((key, old));
        self.number += 1;
    }

    /// Takes a table out.
    pub fn remove(&mut self, table: &TableName) -> Option<Structure> {
        let key = self.key(table);
        let removed = self.tables.remove(&key)?;
        let structure = removed.unpack();
        self.undo.push((key, Some(removed)));
        self.number += 1;
        Some(structure)
    }

    /// Carries the set through a statement. After an error nothing has changed.
    ///
    /// Statements that are not about tables or databases change nothing, also those that are not
    /// understood: whether they may be passed over is for the caller to say.
    pub fn apply(&mut self, ddl: &Ddl) -> Result<Changes> {
        self.apply_in(ddl, &SessionDefaults::default())
    }

    /// Carries the set through a statement that ran in such a session.
    pub fn apply_in(&mut self, ddl: &Ddl, session: &SessionDefaults) -> Result<Changes> {
        if *session == SessionDefaults::default() {
            return self.apply_whole(ddl);
        }
        let own = self.defaults.in_session(session);
        let own = std::mem::replace(&mut self.defaults, own);
        let result = self.apply_whole(ddl);
        self.defaults = own;
        result
    }

    fn apply_whole(&mut self, ddl: &Ddl) -> Result<Changes> {
        if ddl.temporary {
            return Ok(Changes::default());
        }
        self.undo.clear();
        let before = (ddl.class() == DdlClass::Database).then(|| self.schemas.clone());
        let number = self.number;
        let result = self.apply_kind(ddl);
        let undo = std::mem::take(&mut self.undo);
        if result.is_err() {
            for (key, old) in undo.into_iter().rev() {
                match old {
                    Some(old) => self.tables.insert(key, old),
                    None => self.tables.remove(&key),
                };
            }
            if let Some(schemas) = before {
                self.schemas = schemas;
            }
            self.number = number;
        }
        result
    }

    fn apply_kind(&mut self, ddl: &Ddl) -> Result<Changes> {
        let mut changes = Changes::default();
        match ddl.kind {
            DdlKind::CreateTable => self.create_table(ddl, &mut changes)?,
            DdlKind::AlterTable => alter::alter_table(self, ddl, &mut changes)?,
            DdlKind::CreateIndex => alter::create_index(self, ddl, &mut changes)?,
            DdlKind::DropIndex => alter::drop_index(self, ddl, &mut changes)?,
            DdlKind::DropTable => {
                for table in &ddl.tables {
                    if self.remove(&table.name).is_some() {
                        changes.dropped.push(table.name.clone());
                    }
                }
            }
            DdlKind::RenameTable => {
                let mut old = None;
                for table in &ddl.tables {
                    match (table.role, old.take()) {
                        (TableRole::Subject, _) => old = Some(&table.name),
                        (TableRole::NewName, Some(old)) => {
                            self.rename(old, &table.name, &mut changes);
                        }
                        _ => {}
                    }
                }
            }
            DdlKind::CreateDatabase => {
                if let Some(schema) = &ddl.schema {
                    let key = self.folded(&schema.name);
                    if ddl.or_replace {
                        self.drop_schema(&key, &mut changes);
                    } else if ddl.if_not_exists && self.schemas.contains_key(&key) {
                        return Ok(changes);
                    }
                    let default = (
                        self.defaults.charset.clone(),
                        self.defaults.collation.clone(),
                    );
                    let default = table::schema_default(self, ddl, default);
                    self.set_schema(key, Some(default), &mut changes);
                }
            }
            DdlKind::AlterDatabase => {
                if let Some(schema) = &ddl.schema {
                    let key = self.folded(&schema.name);
                    let default = self.schemas.get(&key).cloned().unwrap_or_else(|| {
                        (
                            self.defaults.charset.clone(),
                            self.defaults.collation.clone(),
                        )
                    });
                    let default = table::schema_default(self, ddl, default);
                    self.set_schema(key, Some(default), &mut changes);
                }
            }
            DdlKind::DropDatabase => {
                if let Some(schema) = &ddl.schema {
                    let key = self.folded(&schema.name);
                    self.drop_schema(&key, &mut changes);
                    self.set_schema(key, None, &mut changes);
                }
            }
            _ => {}
        }
        Ok(changes)
    }

    fn create_table(&mut self, ddl: &Ddl, changes: &mut Changes) -> Result<()> {
        let Some(subject) = ddl.tables.first() else {
            return Err(unreadable(ddl, "it names no table"));
        };
        // The servers log the statement also when it did nothing.
        if ddl.if_not_exists && self.knows(&subject.name) {
            return Ok(());
        }
        if ddl.selects {
            return Err(unreadable(ddl, "its columns come from a query"));
        }
        let like = ddl
            .tables
            .iter()
            .find(|table| table.role == TableRole::Like);
        let structure = match like {
            Some(like) => {
                let model = self.get(&like.name).ok_or_else(|| {
                    unreadable(
                        ddl,
                        &format!("the structure of `{}` is not known", like.name),
                    )
                })?;
                Structure {
                    table: subject.name.clone(),
                    foreign_keys: Vec::new(),
                    ..Structure::clone(&model)
                }
            }
            None => table::read_create(self, ddl, &subject.name)?,
        };
        self.insert(&structure);
        changes.changed.push(subject.name.clone());
        Ok(())
    }

    /// Gives a table another name, also in the foreign keys that point to it.
    fn rename(&mut self, old: &TableName, new: &TableName, changes: &mut Changes) {
        if let Some(mut structure) = self.remove(old) {
            structure.table = new.clone();
            // Names that the server made follow the table.
            let made = format!("{}_ibfk_", old.name);
            for key in &mut structure.foreign_keys {
                if let Some(rest) = key.name.strip_prefix(&made) {
                    key.name = format!("{}_ibfk_{rest}", new.name);
                }
            }
            self.insert(&structure);
        }
        self.parents_changed(changes, |parent, _| {
            if parent == old {
                *parent = new.clone();
            }
        });
        changes.renamed.push((old.clone(), new.clone()));
    }

    /// Goes through all foreign keys: `change` gets the parent's name and its columns.
    fn parents_changed(
        &mut self,
        changes: &mut Changes,
        change: impl Fn(&mut TableName, &mut Vec<String>),
    ) {
        for (name, packed) in &mut self.tables {
            if !packed.has_foreign_keys() {
                continue;
            }
            let mut structure = packed.unpack();
            let before = structure.foreign_keys.clone();
            for key in &mut structure.foreign_keys {
                change(&mut key.parent, &mut key.parent_columns);
            }
            if before != structure.foreign_keys {
                let old = std::mem::replace(packed, Packed::new(&structure));
                self.undo.push((name.clone(), Some(old)));
                if !changes.changed.contains(&structure.table) {
                    changes.changed.push(structure.table.clone());
                }
            }
        }
    }

    /// Notes a database's default character set and collation; `None`: it is gone.
    fn set_schema(
        &mut self,
        key: String,
        default: Option<(String, String)>,
        changes: &mut Changes,
    ) {
        let is_new = match default {
            Some(default) => {
                let is_new = self.schemas.get(&key) != Some(&default);
                self.schemas.insert(key.clone(), default);
                is_new
            }
            None => self.schemas.remove(&key).is_some(),
        };
        if is_new {
            changes.schemas.push(key);
        }
    }

    fn drop_schema(&mut self, key: &str, changes: &mut Changes) {
        let gone: Vec<TableName> = self
            .tables
            .keys()
            .filter(|table| table.schema == key)
            .cloned()
            .collect();
        for table in gone {
            if let Some(structure) = self.remove(&table) {
                changes.dropped.push(structure.table.clone());
            }
        }
    }

    fn folded(&self, name: &str) -> String {
        if self.defaults.folds_names {
            name.to_lowercase()
        } else {
            name.to_owned()
        }
    }

    fn key(&self, table: &TableName) -> TableName {
        TableName::new(self.folded(&table.schema), self.folded(&table.name))
    }
}

/// The structure that a CREATE TABLE describes; `schema_default` is the character set and collation
/// of its database.
pub fn structure_of(
    ddl: &Ddl,
    defaults: &ServerDefaults,
    schema_default: (String, String),
) -> Result<Structure> {
    let Some(subject) = ddl
        .tables
        .first()
        .filter(|_| ddl.kind == DdlKind::CreateTable)
    else {
        return Err(unreadable(ddl, "it is no CREATE TABLE"));
    };
    let schemas = BTreeMap::from([(subject.name.schema.clone(), schema_default)]);
    let set = StructureSet::new(defaults.clone(), [], schemas);
    table::read_create(&set, ddl, &subject.name)
}

/// A statement whose effect on the structure cannot be told.
fn unreadable(ddl: &Ddl, why: &str) -> Error {
    Error::new(
        ErrorKind::Structure,
        format!("cannot tell what this `{}` statement makes of the table: {why}", ddl.kind),
    )
    .with_fix("set the table's structure as it is behind this statement (`set structure`), or dump the table again")
    .at(|c| {
        c.table = ddl.tables.first().map(|table| table.name.clone());
        c.statement = Some(String::from_utf8_lossy(ddl.statement()).into_owned());
    })
}
