//! Names of tables.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A table's full name, unquoted, as the server holds it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableName {
    /// The database.
    pub schema: String,
    /// The table.
    pub name: String,
}

impl TableName {
    /// The table `name` in the database `schema`.
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            schema: schema.into(),
            name: name.into(),
        }
    }

    /// The name in back quotes, for a statement: `` `shop`.`orders` ``.
    pub fn quoted(&self) -> String {
        format!("{}.{}", quote_name(&self.schema), quote_name(&self.name))
    }
}

/// Plain `schema.name`, for people; not for statements.
impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// One name in back quotes, for a statement; a back quote in it is doubled.
pub fn quote_name(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_doubled() {
        assert_eq!(TableName::new("a`b", "c.d").quoted(), "`a``b`.`c.d`");
    }
}
