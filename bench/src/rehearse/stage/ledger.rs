//! The ledger's database: a server of our own, or a file.

use std::{path::Path, sync::Arc};

use anyhow::{Context, Result, bail};
use parking_lot::Mutex;
use queue_core::service::testing_sql::{TestMariaDb, TestPostgres};
use tokio::task::spawn_blocking;

use crate::rehearse::scenario::Ledger;

const DATABASE: &str = "tickets";

enum Server {
    Postgres(TestPostgres),
    MariaDb(TestMariaDb),
    /// A file belongs to its one ticket server.
    File,
}

/// The database of a run; it ends when this is dropped.
#[derive(Clone)]
pub struct Database {
    server: Arc<Mutex<Server>>,
    /// As the ticket servers have it.
    pub url: String,
    pub kind: Ledger,
}

/// What can be done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    Pause,
    Resume,
    Kill,
    Restart,
}

impl Database {
    /// Starts it. A database that does not start ends in an error, not in a panic of ours.
    pub async fn start(kind: Ledger, folder: &Path) -> Result<Self> {
        let file = format!("sqlite:{}", folder.join("tickets.db").display());
        let start = move || match kind {
            Ledger::Postgresql => {
                let server = TestPostgres::start();
                let url = server.create_database(DATABASE);
                (Server::Postgres(server), url)
            }
            Ledger::Mariadb => {
                let server = TestMariaDb::start();
                let url = server.create_database(DATABASE);
                (Server::MariaDb(server), url)
            }
            Ledger::Sqlite => (Server::File, file),
        };
        let started = spawn_blocking(start).await.context("the ledger's database did not start: `make setup`")?;
        let (server, url) = started;
        Ok(Self { server: Arc::new(Mutex::new(server)), url, kind })
    }

    /// Its process, if it has one. Not known while something is done to it, which nobody waits for here.
    pub fn pid(&self) -> Option<u32> {
        match &*self.server.try_lock()? {
            Server::Postgres(server) => Some(server.pid()),
            Server::MariaDb(server) => Some(server.pid()),
            Server::File => None,
        }
    }

    /// Does something to it, and waits until that is done.
    pub async fn suffer(&self, deed: Deed) -> Result<()> {
        let server = self.server.clone();
        let done = spawn_blocking(move || match &mut *server.lock() {
            Server::Postgres(server) => match deed {
                Deed::Pause => server.pause(),
                Deed::Resume => server.resume(),
                Deed::Kill => server.kill(),
                Deed::Restart => server.restart(),
            },
            Server::MariaDb(server) => match deed {
                Deed::Pause => server.pause(),
                Deed::Resume => server.resume(),
                Deed::Kill => server.kill(),
                Deed::Restart => server.restart(),
            },
            Server::File => {}
        });
        done.await.context("the ledger's database does not obey")?;
        if deed != Deed::Kill && self.kind != Ledger::Sqlite && self.pid().is_none() {
            bail!("the ledger's database is gone");
        }
        Ok(())
    }
}
