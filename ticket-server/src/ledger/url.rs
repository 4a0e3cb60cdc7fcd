//! Where a ledger is.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Once,
};

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use sqlx::{ConnectOptions as _, any::AnyConnectOptions, mysql::MySqlConnectOptions, postgres::PgConnectOptions};

use super::{Dialect, LedgerError};

/// The forms of an address, for messages.
pub const LEDGER_URL_FORMS: &str =
    "sqlite:FILE, postgres://USER:PASSWORD@HOST/DATABASE or mysql://USER:PASSWORD@HOST/DATABASE";

/// What may be said after the `?` of a PostgreSQL server's address.
const POSTGRES_PARAMETERS: &[&str] = &["sslmode", "sslrootcert", "sslcert", "sslkey", "host", "application_name"];
/// The same for MySQL and MariaDB.
const MYSQL_PARAMETERS: &[&str] = &["ssl-mode", "ssl-ca", "ssl-cert", "ssl-key", "socket"];

/// Where a ledger is. Shown without user, password and parameters.
#[derive(Clone)]
pub struct LedgerUrl(Place);

#[derive(Clone)]
enum Place {
    File(PathBuf),
    Server(Dialect, Box<AnyConnectOptions>),
}

impl LedgerUrl {
    /// A SQLite file.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(Place::File(path.into()))
    }

    /// Where the SQLite file is, if it is one.
    pub fn path(&self) -> Option<&Path> {
        match &self.0 {
            Place::File(path) => Some(path),
            Place::Server(..) => None,
        }
    }

    pub(super) fn dialect(&self) -> Dialect {
        match &self.0 {
            Place::File(_) => Dialect::Sqlite,
            Place::Server(dialect, _) => *dialect,
        }
    }

    pub(super) fn options(&self) -> Result<AnyConnectOptions, LedgerError> {
        install_drivers();
        match &self.0 {
            Place::File(path) => {
                let path = percent_encode(path.as_os_str().as_encoded_bytes(), NON_ALPHANUMERIC);
                let options: Result<AnyConnectOptions, _> = format!("sqlite:{path}?mode=rwc").parse();
                Ok(options.map_err(LedgerError::from_sqlx)?.disable_statement_logging())
            }
            Place::Server(_, options) => Ok(options.as_ref().clone().disable_statement_logging()),
        }
    }
}

fn install_drivers() {
    static ONCE: Once = Once::new();
    ONCE.call_once(sqlx::any::install_default_drivers);
}

impl FromStr for LedgerUrl {
    type Err = String;

    /// Checks everything that can be checked without asking the server. What is wrong never quotes the address.
    fn from_str(text: &str) -> Result<Self, String> {
        let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
        match scheme {
            "sqlite" => file(text).map(Self::file),
            "postgres" | "postgresql" => server(text, Dialect::Postgres, POSTGRES_PARAMETERS),
            "mysql" | "mariadb" => server(text, Dialect::MySql, MYSQL_PARAMETERS),
            _ => Err(format!("unknown scheme; expected {LEDGER_URL_FORMS}")),
        }
    }
}

fn file(text: &str) -> Result<PathBuf, String> {
    let rest = text.strip_prefix("sqlite:").unwrap_or(text);
    let path = rest.strip_prefix("//").unwrap_or(rest);
    let path = path.split('?').next().unwrap_or_default();
    if path.is_empty() || path == ":memory:" { Err("names no file".into()) } else { Ok(path.into()) }
}

fn server(text: &str, dialect: Dialect, parameters: &[&str]) -> Result<LedgerUrl, String> {
    let options: AnyConnectOptions = text.parse().map_err(|error: sqlx::Error| error.to_string())?;
    let url = &options.database_url;
    if url.path().trim_matches('/').is_empty() {
        return Err(format!("names no database; expected {LEDGER_URL_FORMS}"));
    }
    if let Some((name, _)) = url.query_pairs().find(|(name, _)| !parameters.contains(&name.as_ref())) {
        return Err(format!("unknown parameter {name:?}; expected {}", parameters.join(", ")));
    }
    let checked = match dialect {
        Dialect::MySql => MySqlConnectOptions::from_url(url).map(drop),
        _ => PgConnectOptions::from_url(url).map(drop),
    };
    checked.map_err(|error| error.to_string())?;
    Ok(LedgerUrl(Place::Server(dialect, Box::new(options))))
}

impl fmt::Display for LedgerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::File(path) => write!(f, "sqlite:{}", path.display()),
            Place::Server(_, options) => {
                let url = &options.database_url;
                write!(f, "{}://{}", url.scheme(), url.host_str().unwrap_or_default())?;
                if let Some(port) = url.port() {
                    write!(f, ":{port}")?;
                }
                f.write_str(url.path())
            }
        }
    }
}

impl fmt::Debug for LedgerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LedgerUrl({self})")
    }
}

impl PartialEq for LedgerUrl {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Place::File(one), Place::File(two)) => one == two,
            (Place::Server(_, one), Place::Server(_, two)) => one.database_url == two.database_url,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked_and_shown_without_secrets() {
        for (text, shown) in [
            ("sqlite:/x/y.db", "sqlite:/x/y.db"),
            ("sqlite://y.db", "sqlite:y.db"),
            ("postgres://u:geheim@db:5433/tickets?sslmode=verify-full", "postgres://db:5433/tickets"),
            ("postgresql://u@localhost/tickets?host=/run/sock", "postgresql://localhost/tickets"),
            ("mysql://u:geheim@db/tickets?ssl-mode=REQUIRED", "mysql://db/tickets"),
            ("mariadb://u:geheim@db/tickets", "mariadb://db/tickets"),
        ] {
            let url: LedgerUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), shown);
            assert!(!format!("{url:?}").contains("geheim"));
        }
        for text in [
            "sqlite:",
            "sqlite::memory:",
            "postgres://u:geheim@db",
            "postgres://u:geheim@db/x?sslmode=geheim-and-wrong",
            "mysql://u:geheim@db/x?socket=/a&timeout=3",
            "mysql://u:geheim@db:geheim/x",
            "redis://db/x",
            "x",
        ] {
            let error = text.parse::<LedgerUrl>().unwrap_err();
            assert!(!error.contains("u:geheim"), "{error}");
        }
    }
}
