//! The tables, and how they are brought up to date at the start: one schema for all databases.
//!
//! A migration that was released is never changed: each database remembers what it was made with. The words in
//! braces are what the databases call differently:
//!
//! | word | what |
//! | --- | --- |
//! | `{key}` | a text that is compared byte for byte and may be part of a key; at most 255 characters |
//! | `{text}` | a text of any length |
//! | `{int}` | a whole number, in a column that is added to a table of the first migration |
//! | `{serial}` | the type of a number that the database counts up, the primary key |
//! | `{where …}` | the condition of an index, where the database has such indexes |

use std::time::{Duration, Instant};

use sqlx::{
    AnyConnection, AssertSqlSafe, Connection as _, Executor as _, Row as _, SqlSafeStr as _,
    any::{AnyConnectOptions, AnyPoolOptions},
    migrate::{MigrateError, Migration, MigrationType, Migrator},
};

use super::{LedgerError, dialect::Dialect};

/// Another server that migrates, or a database that starts, is waited for so long.
const START_TIMEOUT: Duration = Duration::from_secs(30);
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// What there is: number, name, text. The first has a text of its own in SQLite, since files with it are about.
const FIRST: (&str, &str) =
    (include_str!("../../migrations/0001_ledger.sql"), include_str!("../../migrations/sqlite/0001_ledger.sql"));
const LATER: &[(i64, &str, &str)] = &[
    (2, "writers", include_str!("../../migrations/0002_writers.sql")),
    (3, "orders", include_str!("../../migrations/0003_orders.sql")),
    (4, "outbox sent", include_str!("../../migrations/0004_outbox_sent.sql")),
    (5, "traces", include_str!("../../migrations/0005_traces.sql")),
    (6, "feed", include_str!("../../migrations/0006_feed.sql")),
    (7, "read side", include_str!("../../migrations/0007_read_side.sql")),
];

/// Brings the tables up to date. Several servers may do so at once.
pub(super) async fn run(options: &AnyConnectOptions, dialect: Dialect) -> Result<(), LedgerError> {
    let migrator = migrator(dialect);
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        let attempt = tokio::time::timeout_at(deadline.into(), attempt(&migrator, options, dialect));
        let Err(error) = attempt.await.unwrap_or(Err(sqlx::Error::PoolTimedOut.into())) else { return Ok(()) };
        if !may_pass(&error) || Instant::now() >= deadline {
            return Err(LedgerError::Unavailable(error.to_string()));
        }
        tracing::info!(%error, "the ledger's tables cannot be looked at yet");
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

async fn attempt(migrator: &Migrator, options: &AnyConnectOptions, dialect: Dialect) -> Result<(), MigrateError> {
    let lock = if dialect == Dialect::MySql { Some(lock(options).await?) } else { None };
    let pool = AnyPoolOptions::new().max_connections(1).acquire_timeout(START_TIMEOUT);
    let pool = pool.connect_lazy_with(options.clone());
    let result = migrator.run(&pool).await;
    pool.close().await;
    if let Some(lock) = lock {
        // One that cannot be closed in order is dropped.
        let _ = lock.close().await;
    }
    result
}

/// Lets one server at a time look at the tables, until the connection ends. The library's own lock waits for ever,
/// which MariaDB takes for not at all.
async fn lock(options: &AnyConnectOptions) -> Result<AnyConnection, sqlx::Error> {
    let mut connection = AnyConnection::connect_with(options).await?;
    let lock = sqlx::query("SELECT GET_LOCK(CONCAT('usher:', SHA1(DATABASE())), 20)");
    let got: Option<i64> = connection.fetch_one(lock).await?.try_get(0)?;
    if got == Some(1) { Ok(connection) } else { Err(sqlx::Error::PoolTimedOut) }
}

/// Whether the same may work a moment later: the database starts, or another server was quicker.
fn may_pass(error: &MigrateError) -> bool {
    match error {
        MigrateError::Execute(sqlx::Error::Database(error))
        | MigrateError::ExecuteMigration(sqlx::Error::Database(error), _) => {
            let code = error.code().unwrap_or_default();
            // A wrong password, a missing right or database will not mend itself.
            !["28", "3D", "42"].iter().any(|class| code.starts_with(class))
                || error.message().contains("already exists")
        }
        MigrateError::Execute(error) => matches!(error, sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut),
        _ => false,
    }
}

fn migrator(dialect: Dialect) -> Migrator {
    let first = if dialect == Dialect::Sqlite { FIRST.1.to_owned() } else { translated(FIRST.0, dialect) };
    let later = LATER.iter().map(|&(version, name, text)| (version, name, translated(text, dialect)));
    let migrations = std::iter::once((1, "ledger", first)).chain(later).map(|(version, name, text)| {
        Migration::new(version, name.into(), MigrationType::Simple, AssertSqlSafe(text).into_sql_str(), false)
    });
    let mut migrator = Migrator::with_migrations(migrations.collect());
    migrator.set_locking(dialect != Dialect::MySql);
    migrator
}

fn translated(text: &str, dialect: Dialect) -> String {
    let (key, long, serial, end) = match dialect {
        Dialect::Sqlite => ("TEXT", "TEXT", "INTEGER PRIMARY KEY AUTOINCREMENT", ");"),
        Dialect::Postgres => ("TEXT COLLATE \"C\"", "TEXT", "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY", ");"),
        Dialect::MySql => (
            "VARCHAR(255)",
            "LONGTEXT",
            "BIGINT AUTO_INCREMENT PRIMARY KEY",
            ") ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;",
        ),
    };
    // The first tables of SQLite are strict, and know no other name for it.
    let int = if dialect == Dialect::Sqlite { "INTEGER" } else { "BIGINT" };
    let text = text.replace("{int}", int).replace("{key}", key).replace("{text}", long).replace("{serial}", serial);
    let text = text.replace("\n);", &format!("\n{end}"));
    conditions(&text, dialect != Dialect::MySql)
}

/// Keeps what is in `{where …}`, or takes it away.
fn conditions(text: &str, keep: bool) -> String {
    let mut made = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{where ") {
        let (condition, after) = after.split_once('}').unwrap_or((after, ""));
        made.push_str(if keep { before } else { before.trim_end() });
        if keep {
            made.push_str("WHERE ");
            made.push_str(condition);
        }
        rest = after;
    }
    made.push_str(rest);
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_known() {
        for dialect in [Dialect::Sqlite, Dialect::Postgres, Dialect::MySql] {
            for migration in migrator(dialect).iter() {
                assert!(!migration.sql.as_str().contains(['{', '}']), "{}", migration.sql.as_str());
            }
        }
        let text = "CREATE TABLE t (\n  id {serial}\n);\nCREATE INDEX i ON t (id) {where a IS NULL};";
        let made = translated(text, Dialect::MySql);
        assert!(made.ends_with("utf8mb4_bin;\nCREATE INDEX i ON t (id);"), "{made}");
        assert!(translated(text, Dialect::Postgres).ends_with("(id) WHERE a IS NULL;"));
    }
}
