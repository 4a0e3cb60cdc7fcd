//! One transaction, as those who write see it.

use queue_core::ids::Millis;
use sqlx::{
    AnyConnection, AssertSqlSafe, Connection as _, Error, Executor as _,
    any::{AnyConnectOptions, AnyQueryResult},
};

use super::{
    LedgerError,
    dialect::Dialect,
    sql::{Row, Sql},
};

/// The transaction that a change is made in. It shares it with others: what it does may be undone and done again,
/// but is never left half done.
///
/// After a statement failed nothing more can be done in it: the database may have undone what went before.
pub struct Tx {
    connection: AnyConnection,
    dialect: Dialect,
    failed: Option<LedgerError>,
    now: Millis,
    /// The trace of whoever asked for the change at hand, where traces are recorded.
    pub(super) trace: Option<String>,
    /// Whether there is something new in the feed.
    pub(super) fed: bool,
}

impl Tx {
    /// Connects.
    pub(super) async fn connect(options: &AnyConnectOptions, dialect: Dialect) -> Result<Self, LedgerError> {
        let mut connection = AnyConnection::connect_with(options).await.map_err(LedgerError::from_sqlx)?;
        set_up(&mut connection, dialect).await.map_err(LedgerError::from_sqlx)?;
        Ok(Self { connection, dialect, failed: None, now: Millis(0), trace: None, fed: false })
    }

    /// Which database it is.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The time at which the transaction began, by this server's clock.
    pub fn now(&self) -> Millis {
        self.now
    }

    /// Runs a statement; how many rows it concerned.
    pub async fn execute(&mut self, sql: Sql) -> Result<u64, LedgerError> {
        let result = self.run(sql).await?;
        result.map(|done| done.rows_affected()).map_err(|error| self.fail(error))
    }

    /// Runs an `INSERT`; whether all `rows` of them are new. If not, some may be there: the change has to be undone,
    /// unless it was one row.
    pub async fn insert_new(&mut self, sql: Sql, rows: usize) -> Result<bool, LedgerError> {
        let sql = sql.push(self.dialect.skip_known());
        match self.run(sql).await? {
            Ok(done) => Ok(done.rows_affected() == rows as u64),
            // MySQL undoes the statement and nothing else.
            Err(Error::Database(error)) if self.dialect == Dialect::MySql && error.is_unique_violation() => Ok(false),
            Err(error) => Err(self.fail(error)),
        }
    }

    /// The row, if there is one.
    pub async fn fetch_optional(&mut self, sql: Sql) -> Result<Option<Row>, LedgerError> {
        self.check()?;
        let (text, arguments) = sql.ready(self.dialect)?;
        let result = self.connection.fetch_optional(sqlx::query_with(text, arguments)).await;
        result.map_err(|error| self.fail(error))
    }

    /// All rows.
    pub async fn fetch_all(&mut self, sql: Sql) -> Result<Vec<Row>, LedgerError> {
        self.check()?;
        let (text, arguments) = sql.ready(self.dialect)?;
        let result = self.connection.fetch_all(sqlx::query_with(text, arguments)).await;
        result.map_err(|error| self.fail(error))
    }

    async fn run(&mut self, sql: Sql) -> Result<Result<AnyQueryResult, Error>, LedgerError> {
        self.check()?;
        let (text, arguments) = sql.ready(self.dialect)?;
        Ok(self.connection.execute(sqlx::query_with(text, arguments)).await)
    }

    /// Runs statements that have no parameters and are not prepared: those that begin and end transactions.
    pub(super) async fn raw(&mut self, text: impl Into<String>) -> Result<(), Error> {
        self.connection.execute(sqlx::raw_sql(AssertSqlSafe(text.into()))).await.map(drop)
    }

    /// Begins.
    pub(super) async fn begin(&mut self, now: Millis) -> Result<(), LedgerError> {
        self.failed = None;
        self.fed = false;
        self.now = now;
        self.raw(self.dialect.begin()).await.map_err(|error| self.fail(error))
    }

    /// Forgets what failed: it was undone.
    pub(super) fn recover(&mut self) {
        self.failed = None;
    }

    /// Why nothing more can be done in it.
    pub(super) fn failure(&self) -> Option<&LedgerError> {
        self.failed.as_ref()
    }

    pub(super) fn fail(&mut self, error: Error) -> LedgerError {
        let error = LedgerError::from_sqlx(error);
        self.failed.get_or_insert(error).clone()
    }

    fn check(&self) -> Result<(), LedgerError> {
        self.failed.clone().map_or(Ok(()), Err)
    }
}

/// Tells a new connection how we work.
pub(super) async fn set_up(connection: &mut AnyConnection, dialect: Dialect) -> Result<(), Error> {
    connection.execute(sqlx::raw_sql(AssertSqlSafe(dialect.session()))).await.map(drop)
}
