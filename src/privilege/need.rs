//! What a unit must be allowed to do: a privilege on an object, with what does as well and why.

use crate::model::{TableName, Unit};

/// What a privilege is needed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// `*.*`.
    Global,
    /// A database. Where `tables` is not empty, the privilege on each of these does as well.
    Schema {
        /// Its name.
        name: String,
        /// The tables that matter in it.
        tables: Vec<TableName>,
    },
    /// One table.
    Table(TableName),
}

impl Object {
    /// A database as a whole.
    pub fn schema(name: impl Into<String>) -> Self {
        Self::Schema {
            name: name.into(),
            tables: Vec::new(),
        }
    }

    /// The database it is, or is in.
    pub fn schema_name(&self) -> Option<&str> {
        match self {
            Self::Global => None,
            Self::Schema { name, .. } => Some(name),
            Self::Table(table) => Some(&table.schema),
        }
    }

    /// The whole of the database it is in: some privileges cannot be had on less.
    #[must_use]
    pub fn widened(&self) -> Self {
        self.schema_name().map_or(Self::Global, Self::schema)
    }
}

/// A privilege on an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// Its canonical name.
    pub privilege: &'static str,
    /// On what.
    pub object: Object,
}

impl Want {
    /// A privilege on everything.
    pub fn global(privilege: &'static str) -> Self {
        Self {
            privilege,
            object: Object::Global,
        }
    }

    /// A privilege on `object`.
    pub fn on(privilege: &'static str, object: Object) -> Self {
        Self { privilege, object }
    }
}

/// Something a unit must be allowed to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The unit.
    pub unit: Unit,
    /// What is shown and, where it is missing, asked for.
    pub want: Want,
    /// What does as well: one of these lists, whole.
    pub others: Vec<Vec<Want>>,
    /// What it is needed for.
    pub why: String,
    /// Why this unit does without it here, where it does.
    pub not_needed: Option<String>,
    /// Whether it is in the unit's documented minimum, which suffices everywhere.
    pub in_minimum: bool,
}

impl Requirement {
    /// A privilege of the documented minimum.
    pub(super) fn minimum(unit: Unit, want: Want, why: impl Into<String>) -> Self {
        Self {
            in_minimum: true,
            ..Self::beyond(unit, want, why)
        }
    }

    /// A privilege that a construct or a setting asks for beyond the documented minimum.
    pub fn beyond(unit: Unit, want: Want, why: impl Into<String>) -> Self {
        Self {
            unit,
            want,
            others: Vec::new(),
            why: why.into(),
            not_needed: None,
            in_minimum: false,
        }
    }

    /// The same, where these would do instead.
    pub(super) fn or(mut self, wants: Vec<Want>) -> Self {
        if !wants.is_empty() {
            self.others.push(wants);
        }
        self
    }

    /// The same, not needed for this reason; `None` leaves it needed.
    pub(super) fn unless(mut self, reason: Option<impl Into<String>>) -> Self {
        self.not_needed = self.not_needed.or(reason.map(Into::into));
        self
    }
}
