//! In what the databases differ.

use std::time::Duration;

use sqlx::{mysql::MySqlDatabaseError, postgres::PgDatabaseError, sqlite::SqliteError};

use super::LedgerError;

/// A statement is given up by the database after so long.
pub(super) const STATEMENT_TIMEOUT: Duration = Duration::from_millis(2_500);
/// Another transaction's lock is waited for so long.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
/// A transaction of a process that stands still is given up by the database after so long: its locks would
/// stop every other server.
const IDLE_TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);

/// Which database it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// A SQLite file.
    Sqlite,
    /// PostgreSQL.
    Postgres,
    /// MySQL or MariaDB.
    MySql,
}

impl Dialect {
    /// Begins a transaction that writes. SQLite is told so at once: a reader that wants to become a writer
    /// would be refused.
    pub(super) const fn begin(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN IMMEDIATE",
            Self::Postgres => "BEGIN",
            Self::MySql => "START TRANSACTION",
        }
    }

    /// Connections that write. In SQLite there is one writer at a time anyway.
    pub(super) const fn writers(self) -> usize {
        match self {
            Self::Sqlite => 1,
            Self::Postgres | Self::MySql => 2,
        }
    }

    /// What every connection is told first. Each statement sees what was committed before it, so that whoever
    /// meets another's row can read it.
    pub(super) fn session(self) -> String {
        let (statement, lock) = (STATEMENT_TIMEOUT.as_millis(), LOCK_TIMEOUT.as_millis());
        match self {
            Self::Sqlite => {
                format!("PRAGMA busy_timeout = {lock}; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")
            }
            Self::Postgres => format!(
                "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED; \
                 SET statement_timeout = {statement}; SET lock_timeout = {lock}; \
                 SET idle_in_transaction_session_timeout = {}",
                IDLE_TRANSACTION_TIMEOUT.as_millis()
            ),
            // MySQL ignores what is in a comment for MariaDB.
            Self::MySql => format!(
                "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; SET SESSION autocommit = 1; \
                 SET SESSION innodb_lock_wait_timeout = {}; \
                 /*M! SET SESSION max_statement_time = {}, SESSION idle_transaction_timeout = {} */",
                LOCK_TIMEOUT.as_secs(),
                STATEMENT_TIMEOUT.as_secs_f32(),
                IDLE_TRANSACTION_TIMEOUT.as_secs()
            ),
        }
    }

    /// What makes an `INSERT` pass over rows that are there; MySQL has nothing that would not also pass over
    /// other mistakes, so its refusal is caught.
    pub(super) const fn skip_known(self) -> &'static str {
        match self {
            Self::Sqlite | Self::Postgres => " ON CONFLICT DO NOTHING",
            Self::MySql => "",
        }
    }

    /// What makes an `INSERT` change these columns of the row with this key when it is there.
    pub fn or_update(self, key: &str, columns: &[&str]) -> String {
        let each = |new: &dyn Fn(&str) -> String| {
            columns.iter().map(|column| format!("{column} = {}", new(column))).collect::<Vec<_>>().join(", ")
        };
        match self {
            Self::Sqlite | Self::Postgres => {
                format!(" ON CONFLICT ({key}) DO UPDATE SET {}", each(&|column| format!("excluded.{column}")))
            }
            Self::MySql => format!(" ON DUPLICATE KEY UPDATE {}", each(&|column| format!("VALUES({column})"))),
        }
    }

    /// A column of texts that are at most so long, as something to group by: MySQL gathers what may be longer on disk.
    pub(super) fn grouped(self, column: &str, chars_max: usize) -> String {
        match self {
            Self::Sqlite | Self::Postgres => column.to_owned(),
            Self::MySql => format!("CAST({column} AS CHAR({chars_max}) CHARACTER SET utf8mb4) COLLATE utf8mb4_bin"),
        }
    }

    /// Makes a `SELECT` wait for whoever is changing the rows, and keep them until the commit. In SQLite there
    /// is one writer at a time anyway.
    pub const fn for_update(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres | Self::MySql => " FOR UPDATE",
        }
    }
}

impl LedgerError {
    /// What went wrong, by whether a reconnection, a repetition or nothing helps.
    pub(super) fn from_sqlx(error: sqlx::Error) -> Self {
        use sqlx::Error as E;
        let text = || error.to_string();
        match &error {
            E::Database(database) => {
                let code = database.code().unwrap_or_default();
                if let Some(error) = database.try_downcast_ref::<MySqlDatabaseError>() {
                    // 1205: a lock was not had in time.
                    of_state(&code, error.number() == 1205, text())
                } else if database.try_downcast_ref::<PgDatabaseError>().is_some() {
                    of_state(&code, code == "55P03", text())
                } else if database.try_downcast_ref::<SqliteError>().is_some() {
                    // 1: a statement that is wrong; 19: a constraint; 20: a value of the wrong type.
                    match code.parse::<u32>().map(|code| code & 0xff) {
                        Ok(1 | 19 | 20) => Self::Broken(text()),
                        _ => Self::Unavailable(text()),
                    }
                } else {
                    Self::Unavailable(text())
                }
            }
            E::ColumnDecode { .. }
            | E::ColumnNotFound(_)
            | E::ColumnIndexOutOfBounds { .. }
            | E::Decode(_)
            | E::Encode(_)
            | E::RowNotFound
            | E::TypeNotFound { .. } => Self::Broken(text()),
            _ => Self::Unavailable(text()),
        }
    }
}

/// By the classes of SQLSTATE: 40 is a transaction that lost against another; 21 to 23, 42 and 44 are statements that
/// will never do.
fn of_state(code: &str, lock: bool, text: String) -> LedgerError {
    if lock || code.starts_with("40") {
        LedgerError::Contended(text)
    } else if ["21", "22", "23", "42", "44"].iter().any(|class| code.starts_with(class)) {
        LedgerError::Broken(text)
    } else {
        LedgerError::Unavailable(text)
    }
}
