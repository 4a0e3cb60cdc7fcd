//! Wires the server together: settings, ledger, engine, office, listeners, drain.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::Context as _;
use queue_core::service::run::{self, Lifecycle};
use ticket_server::{
    config::{Config, PROGRAM},
    server::Server,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    run::main(&PROGRAM, Config::read, |config| &config.shared, start)
}

async fn start(config: Config, life: Lifecycle) -> anyhow::Result<()> {
    let server = Server::start(config, &life).await.context("cannot start")?;
    println!("ticket-server: visitors on http://{}, operations on http://{}", server.address(), server.ops_address());
    server.serve(life).await;
    Ok(())
}
