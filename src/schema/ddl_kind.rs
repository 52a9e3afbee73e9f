//! What kind of statement a query event holds, in the words of the configuration's filters.

use std::fmt;

/// What a statement is about, as far as a replica cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DdlClass {
    /// Changes tables: create, alter, drop, rename, truncate, indexes.
    Table,
    /// Changes databases.
    Database,
    /// Views, triggers, routines, events, sequences.
    Object,
    /// Accounts, maintenance, server settings: no bearing on any table's content or structure.
    NoBearing,
    /// BEGIN, COMMIT, SAVEPOINT, XA and the like.
    Transaction,
    /// Rows as a statement: the source does not log in row format.
    Dml,
    /// Not understood.
    Unknown,
}

macro_rules! kinds {
    ($($kind:ident $class:ident $name:literal $doc:literal,)*) => {
        /// The kind of a statement.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum DdlKind {
            $(#[doc = $doc] $kind,)*
        }

        impl DdlKind {
            /// Every kind.
            pub const ALL: &'static [DdlKind] = &[$(Self::$kind,)*];

            /// The word for it in the configuration's filters, on screen and in JSON.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }

            /// What it is about.
            pub fn class(self) -> DdlClass {
                match self {
                    $(Self::$kind => DdlClass::$class,)*
                }
            }
        }
    };
}

kinds! {
    CreateTable Table "create table" "CREATE TABLE, in all its forms.",
    AlterTable Table "alter table" "ALTER TABLE.",
    DropTable Table "drop table" "DROP TABLE, of one or several.",
    RenameTable Table "rename table" "RENAME TABLE, of one or several.",
    TruncateTable Table "truncate table" "TRUNCATE.",
    CreateIndex Table "create index" "CREATE INDEX.",
    DropIndex Table "drop index" "DROP INDEX.",
    CreateDatabase Database "create database" "CREATE DATABASE.",
    AlterDatabase Database "alter database" "ALTER DATABASE.",
    DropDatabase Database "drop database" "DROP DATABASE.",
    CreateView Object "create view" "CREATE VIEW.",
    AlterView Object "alter view" "ALTER VIEW.",
    DropView Object "drop view" "DROP VIEW.",
    CreateTrigger Object "create trigger" "CREATE TRIGGER.",
    DropTrigger Object "drop trigger" "DROP TRIGGER.",
    CreateProcedure Object "create procedure" "CREATE PROCEDURE.",
    AlterProcedure Object "alter procedure" "ALTER PROCEDURE.",
    DropProcedure Object "drop procedure" "DROP PROCEDURE.",
    CreateFunction Object "create function" "CREATE FUNCTION.",
    AlterFunction Object "alter function" "ALTER FUNCTION.",
    DropFunction Object "drop function" "DROP FUNCTION.",
    CreatePackage Object "create package" "MariaDB's CREATE PACKAGE, with or without BODY.",
    DropPackage Object "drop package" "MariaDB's DROP PACKAGE, with or without BODY.",
    CreateEvent Object "create event" "CREATE EVENT.",
    AlterEvent Object "alter event" "ALTER EVENT.",
    DropEvent Object "drop event" "DROP EVENT.",
    CreateSequence Object "create sequence" "MariaDB's CREATE SEQUENCE.",
    AlterSequence Object "alter sequence" "MariaDB's ALTER SEQUENCE.",
    DropSequence Object "drop sequence" "MariaDB's DROP SEQUENCE.",
    Account NoBearing "account" "Users, roles, grants, passwords.",
    Maintenance NoBearing "maintenance" "ANALYZE, OPTIMIZE, FLUSH, plugins, tablespaces, SET and the like.",
    Empty NoBearing "empty" "Nothing but comments.",
    Begin Transaction "begin" "BEGIN or START TRANSACTION.",
    Commit Transaction "commit" "COMMIT.",
    Rollback Transaction "rollback" "ROLLBACK, also to a savepoint.",
    Savepoint Transaction "savepoint" "SAVEPOINT and RELEASE SAVEPOINT.",
    Xa Transaction "xa" "XA START, END, PREPARE, COMMIT, ROLLBACK.",
    Insert Dml "insert" "INSERT as a statement.",
    Update Dml "update" "UPDATE as a statement.",
    Delete Dml "delete" "DELETE as a statement.",
    Replace Dml "replace" "REPLACE as a statement.",
    LoadData Dml "load data" "LOAD DATA or LOAD XML as a statement.",
    OtherDml Dml "other dml" "CALL, DO, SELECT, WITH and other statements that may write rows.",
    Unknown Unknown "unknown" "Not understood.",
}

impl fmt::Display for DdlKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
