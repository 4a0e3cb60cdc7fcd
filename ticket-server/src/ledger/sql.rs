//! A statement with its parameters, and what rows are read with: the same for every database.
//!
//! Parameters are written `?`, in order. There are two kinds of value, texts and whole numbers, since these are
//! what all databases have alike. A statement never holds what somebody sent: that goes into parameters.

use std::{borrow::Cow, str::FromStr};

use queue_core::ids::{EventId, Jti, Millis, VisitorId};
use sqlx::{
    Arguments as _, AssertSqlSafe, Row as _, SqlSafeStr as _, SqlStr,
    any::{AnyArguments, AnyRow},
};

use super::{LedgerError, dialect::Dialect};
use crate::ids::{ReservationId, SeatId, TicketTypeId};

/// A row that was read.
pub type Row = AnyRow;

/// A parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(Option<String>),
    /// A whole number.
    Int(Option<i64>),
}

macro_rules! values {
    ($($from:ty => |$value:ident| $made:expr;)*) => {$(
        impl From<$from> for Value {
            fn from($value: $from) -> Self {
                $made
            }
        }
    )*};
}

values! {
    &str => |value| Self::Text(Some(value.to_owned()));
    String => |value| Self::Text(Some(value));
    &String => |value| Self::Text(Some(value.clone()));
    Option<&str> => |value| Self::Text(value.map(str::to_owned));
    Option<String> => |value| Self::Text(value);
    i64 => |value| Self::Int(Some(value));
    u32 => |value| Self::Int(Some(value.into()));
    u64 => |value| Self::Int(Some(int(value)));
    Option<i64> => |value| Self::Int(value);
    Option<u64> => |value| Self::Int(value.map(int));
    Millis => |value| Self::Int(Some(int(value.0)));
    Option<Millis> => |value| Self::Int(value.map(|at| int(at.0)));
    Jti => |value| Self::Text(Some(value.to_string()));
    &EventId => |value| value.as_str().into();
    &VisitorId => |value| value.as_str().into();
    &ReservationId => |value| value.as_str().into();
    &SeatId => |value| value.as_str().into();
    &TicketTypeId => |value| value.as_str().into();
}

/// The databases' integers are signed; all of ours are far below 2^63.
pub(super) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A statement with its parameters.
#[derive(Clone, Debug)]
pub struct Sql {
    text: Cow<'static, str>,
    values: Vec<Value>,
}

/// A statement of that text, which has a `?` for each parameter.
pub fn sql(text: &'static str) -> Sql {
    Sql { text: Cow::Borrowed(text), values: Vec::new() }
}

impl Sql {
    /// Adds the next parameter.
    #[must_use]
    pub fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Adds text.
    #[must_use]
    pub fn push(mut self, text: &str) -> Self {
        self.text.to_mut().push_str(text);
        self
    }

    /// Adds `(?, ?, …)` for each row, parted by commas: the rows of an `INSERT … VALUES`, or of an `IN`.
    #[must_use]
    pub fn rows<const N: usize>(mut self, rows: impl IntoIterator<Item = [Value; N]>) -> Self {
        let text = self.text.to_mut();
        for (at, row) in rows.into_iter().enumerate() {
            text.push_str(if at == 0 { "(" } else { ", (" });
            text.push_str(&"?, ".repeat(N)[..(3 * N).saturating_sub(2)]);
            text.push(')');
            self.values.extend(row);
        }
        self
    }

    /// Adds `?, ?, …`: what is in the brackets of an `IN (…)`.
    #[must_use]
    pub fn list(mut self, values: impl IntoIterator<Item = Value>) -> Self {
        let text = self.text.to_mut();
        for (at, value) in values.into_iter().enumerate() {
            text.push_str(if at == 0 { "?" } else { ", ?" });
            self.values.push(value);
        }
        self
    }

    pub(super) fn ready(self, dialect: Dialect) -> Result<(SqlStr, AnyArguments), LedgerError> {
        let text = match (dialect, self.text) {
            (Dialect::Postgres, text) => AssertSqlSafe(numbered(&text)).into_sql_str(),
            (_, Cow::Borrowed(text)) => text.into_sql_str(),
            (_, Cow::Owned(text)) => AssertSqlSafe(text).into_sql_str(),
        };
        let mut arguments = AnyArguments::default();
        for value in self.values {
            let added = match value {
                Value::Text(text) => arguments.add(text),
                Value::Int(int) => arguments.add(int),
            };
            added.map_err(|error| LedgerError::Broken(format!("a parameter: {error}")))?;
        }
        Ok((text, arguments))
    }
}

/// `$1`, `$2`, … in place of each `?`.
fn numbered(text: &str) -> String {
    let mut made = String::with_capacity(text.len() + 32);
    for (at, part) in text.split('?').enumerate() {
        if at > 0 {
            made.push('$');
            made.push_str(&at.to_string());
        }
        made.push_str(part);
    }
    made
}

/// The text in a column.
pub fn text(row: &Row, column: &str) -> Result<String, LedgerError> {
    row.try_get(column).map_err(LedgerError::from_sqlx)
}

/// The text in a column that may be empty.
pub fn text_or_null(row: &Row, column: &str) -> Result<Option<String>, LedgerError> {
    row.try_get(column).map_err(LedgerError::from_sqlx)
}

/// The number in a column.
pub fn number(row: &Row, column: &str) -> Result<u64, LedgerError> {
    let value: i64 = row.try_get(column).map_err(LedgerError::from_sqlx)?;
    u64::try_from(value).map_err(|_| unreadable(column))
}

/// The number in a column that may be empty.
pub fn number_or_null(row: &Row, column: &str) -> Result<Option<u64>, LedgerError> {
    let value: Option<i64> = row.try_get(column).map_err(LedgerError::from_sqlx)?;
    value.map(|value| u64::try_from(value).map_err(|_| unreadable(column))).transpose()
}

/// What the text in a column means.
pub fn parse<T: FromStr>(row: &Row, column: &str) -> Result<T, LedgerError> {
    let text: &str = row.try_get(column).map_err(LedgerError::from_sqlx)?;
    text.parse().map_err(|_| unreadable(column))
}

/// What the text in a column means that may be empty.
pub fn parse_or_null<T: FromStr>(row: &Row, column: &str) -> Result<Option<T>, LedgerError> {
    let text: Option<&str> = row.try_get(column).map_err(LedgerError::from_sqlx)?;
    text.map(|text| text.parse().map_err(|_| unreadable(column))).transpose()
}

pub(super) fn unreadable(column: &str) -> LedgerError {
    LedgerError::Broken(format!("a row with an unreadable {column}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_numbered_where_the_database_wants_it() {
        let query = sql("INSERT INTO t (a, b) VALUES ").rows([["x".into(), 1_u64.into()], ["y".into(), 2_u64.into()]]);
        assert_eq!(query.text, "INSERT INTO t (a, b) VALUES (?, ?), (?, ?)");
        assert_eq!(numbered(&query.text), "INSERT INTO t (a, b) VALUES ($1, $2), ($3, $4)");
        assert_eq!(query.values.len(), 4);
        assert_eq!(sql("a IN (").list(["x".into(), "y".into()]).push(")").text, "a IN (?, ?)");
    }
}
