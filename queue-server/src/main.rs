//! Wires the server together: settings, keys, engine, node, listeners, drain.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::Context as _;
use queue_core::service::{
    config::{Env, Raw},
    run::{self, Lifecycle},
};
use queue_server::{
    config::{Config, PROGRAM},
    server,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    run::main(&PROGRAM, configure, |config| &config.shared, start)
}

fn configure(raw: &mut Raw, env: Env<'_>) -> Config {
    Config::read(raw, env)
}

async fn start(config: Config, life: Lifecycle) -> anyhow::Result<()> {
    let server = server::Server::start(config, &life).await.context("cannot start")?;
    println!("queue-server: visitors on http://{}, operations on http://{}", server.address(), server.ops_address());
    server.serve(life).await;
    Ok(())
}
