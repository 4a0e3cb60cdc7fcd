//! Processor time per connect, upgrade and join, beside a server that only accepts and answers the upgrade.

use anyhow::{Context, Result};
use serde_json::json;

use super::{Bare, TABLE_HEAD, crowd, row};
use crate::{
    figures::micros,
    process::raise_file_limit,
    servers::{Alone, Redis, Server},
};

const FLOOR: f64 = 2.0;
const GOAL: f64 = 1.4;
const EVENT: &str = "connect";

/// How many.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Sockets per round and server.
    #[arg(long, default_value_t = 6_000, value_parser = clap::value_parser!(u64).range(100..=15_000))]
    sockets: u64,
    /// Rounds of each; the median counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=15))]
    rounds: u64,
    /// Only on the memory engine.
    #[arg(long)]
    memory_only: bool,
}

/// Opens sockets on both servers in alternating rounds, and prints a table.
pub async fn run(options: Options) -> Result<()> {
    raise_file_limit();
    let folder = tempfile::tempdir()?;
    let mut rows = vec![compare(&options, "memory", folder.path()).await?];
    if !options.memory_only {
        let redis = Redis::start("redis", folder.path()).await?;
        rows.push(compare(&options, &redis.url(), folder.path()).await?);
        redis.child.stop().await;
    }
    println!("{} sockets a round, {} rounds, one worker thread each\n", options.sockets, options.rounds);
    println!("{TABLE_HEAD}\n{}", rows.join("\n"));
    Ok(())
}

async fn compare(options: &Options, store: &str, folder: &std::path::Path) -> Result<String> {
    let server = start(store, folder).await?;
    let bare = Bare::start(folder, false).await?;
    let count = usize::try_from(options.sockets)?;
    let (mut ours, mut limit) = (Vec::new(), Vec::new());
    // One round more than counts: the first warms up.
    for round in 0..=options.rounds {
        for turn in 0..2 {
            let (child, url, events, figures) = if (round + turn) % 2 == 0 {
                (&server.child, &server.url, vec![EVENT.to_owned()], &mut ours)
            } else {
                (&bare.child, &bare.url, vec![], &mut limit)
            };
            let before = child.cpu()?;
            crowd::pass(url, &events, count, folder).await?;
            figures.push(micros(child.cpu()?.saturating_sub(before), options.sockets));
        }
    }
    ours.remove(0);
    limit.remove(0);
    let engine = if store == "memory" { "memory" } else { "Redis" };
    eprintln!("{engine}: µs per socket, ours {ours:.1?}, bare {limit:.1?}");
    server.child.stop().await;
    bare.child.stop().await;
    Ok(row(&format!("connect, upgrade and join, {engine}"), &ours, &limit, FLOOR, GOAL))
}

async fn start(store: &str, folder: &std::path::Path) -> Result<Server> {
    let (server, operator) = Alone { store, folder, threads: Some(1), flags: vec![] }.start("queue-server").await?;
    operator.put_queue(EVENT, &json!({"capacity": 1})).await.context("creating the event")?;
    operator.order("pause", EVENT).await.context("pausing the event")?;
    Ok(server)
}
