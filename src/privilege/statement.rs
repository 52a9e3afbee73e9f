//! The statement that gives a privilege, in the server's own syntax.

use crate::model::table::quote_name;
use crate::model::{Flavor, ServerVersion};

use super::account::Account;
use super::name::shown;
use super::need::Object;

/// `CURRENT_USER()`'s `user@host`, quoted: `'u'@'%'`. A user's name may hold an `@`, a host's may not.
pub fn account_name(current_user: &str) -> String {
    let quote = |text: &str| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"));
    match current_user.rsplit_once('@') {
        Some((user, host)) => format!("{}@{}", quote(user), quote(host)),
        None => quote(current_user),
    }
}

/// An object as a `GRANT` names it. In a database's name `_` and `%` are wildcards and are escaped,
/// unless MySQL's partial revokes are on, which take names literally.
pub fn object_text(object: &Object, has_partial_revokes: bool) -> String {
    match object {
        Object::Global => "*.*".to_owned(),
        Object::Schema { name, .. } => {
            let name = if has_partial_revokes {
                name.clone()
            } else {
                name.replace('_', "\\_").replace('%', "\\%")
            };
            format!("{}.*", quote_name(&name))
        }
        Object::Table(table) => table.quoted(),
    }
}

/// `GRANT SELECT ON ... TO ...;`, without a password or anything else about the account.
pub fn grant(
    privileges: &[&str],
    object: &Object,
    current_user: &str,
    version: &ServerVersion,
    has_partial_revokes: bool,
) -> String {
    let names: Vec<String> = privileges.iter().map(|name| shown(name, version)).collect();
    format!(
        "GRANT {} ON {} TO {};",
        names.join(", "),
        object_text(object, has_partial_revokes),
        account_name(current_user)
    )
}

/// What makes a granted role active from the next login on, without making another one inactive. MariaDB
/// has one default role: where the account has one already there is no such statement.
pub fn activate_role(account: &Account, role: &str) -> Option<String> {
    let user = account_name(&account.current_user);
    if account.version.flavor == Flavor::MariaDB {
        return account
            .active_roles
            .is_empty()
            .then(|| format!("SET DEFAULT ROLE {} FOR {user};", quote_name(role)));
    }
    let mut roles: Vec<String> = account
        .active_roles
        .iter()
        .map(|role| account_name(role))
        .collect();
    roles.push(account_name(role));
    Some(format!("SET DEFAULT ROLE {} TO {user};", roles.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TableName;

    #[test]
    fn grants_in_the_servers_own_words() {
        let mariadb = ServerVersion::parse("11.8.3-MariaDB");
        let mysql = ServerVersion::parse("9.7.4");
        let schema = Object::schema("my_shop");
        assert_eq!(
            grant(
                &["REPLICATION CLIENT"],
                &Object::Global,
                "tide@10.0.0.%",
                &mariadb,
                false
            ),
            "GRANT BINLOG MONITOR ON *.* TO 'tide'@'10.0.0.%';"
        );
        assert_eq!(
            grant(&["SELECT", "INSERT"], &schema, "o'neil@%", &mysql, false),
            "GRANT SELECT, INSERT ON `my\\_shop`.* TO 'o''neil'@'%';"
        );
        assert_eq!(object_text(&schema, true), "`my_shop`.*");
        let table = Object::Table(TableName::new("a_b", "c`d"));
        assert_eq!(object_text(&table, false), "`a_b`.`c``d`");
        assert_eq!(account_name("a@b@host"), "'a@b'@'host'");
    }
}
