//! The map of a hall, compressed, beside a hello-world of the same size.

use anyhow::{Context, Result, ensure};

use super::verdict;
use crate::{
    api::{self, hall},
    figures::{median, micros},
    hello::Hello,
    process::find_program,
    servers::{Alone, Redis, Server},
    wrk::load::{Load, Turns},
};

const FLOOR: f64 = 1.3;
const GOAL: f64 = 1.1;
const EVENT: &str = "stadium";

/// What to ask for, and how long.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    turns: Turns,
    /// Rows of 200 seats.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rows: u32,
}

/// Compares both, and prints a row.
pub async fn run(options: Options) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let wrk = find_program("wrk").context("wrk is not installed")?;
    let redis = Redis::start("redis", folder.path()).await?;
    let alone = Alone { store: &redis.url(), folder: folder.path(), threads: Some(1), flags: vec![] };
    let (server, operator) = alone.start("ticket-server").await?;
    let http = api::client()?;
    let seats = hall("Stadium", "2031-06-01T20:00:00.000Z", &[("A", options.rows, 200, 5_000)]);
    operator.put_event(EVENT, &seats).await?;
    let url = format!("{}/api/v1/seats/events/{EVENT}", server.url);
    let length = compressed_length(&http, &url).await?;
    let hello = Hello::start(&http, length, folder.path()).await?;
    let load = Load::new(wrk, folder.path(), options.turns);
    let (mut ours, mut hellos) = (Vec::new(), Vec::new());
    let mut store = Vec::new();
    for round in 0..options.turns.rounds {
        let redis_before = redis.child.cpu()?;
        for ours_now in if round % 2 == 0 { [true, false] } else { [false, true] } {
            let (child, url, times) =
                if ours_now { (&server.child, &url, &mut ours) } else { (&hello.child, &hello.url, &mut hellos) };
            let before = child.cpu()?;
            let counted = load.get(url, "accept-encoding: gzip").await?;
            ensure!(counted.refused == 0, "{} of {} were refused", counted.refused, counted.requests);
            let requests = counted.requests;
            times.push(micros(child.cpu()? - before, requests));
            if ours_now {
                store.push(micros(redis.child.cpu()? - redis_before, requests));
            }
        }
    }
    end(server, redis, hello).await;
    let (ours, hellos, store) = (median(ours), median(hellos), median(store));
    println!("{}; {} seats, {length} bytes compressed\n", options.turns, options.rows * 200);
    println!("| request | server µs | Redis µs | hello µs | server / hello |");
    println!("| --- | ---: | ---: | ---: | ---: |");
    println!("| seat map, Redis | {ours:.1} | {store:.1} | {hellos:.1} | {} |", verdict(ours / hellos, FLOOR, GOAL));
    Ok(())
}

async fn end(server: Server, redis: Redis, hello: Hello) {
    hello.child.kill().await;
    server.child.stop().await;
    redis.child.stop().await;
}

/// How long the compressed map is; that it is compressed is checked.
async fn compressed_length(http: &reqwest::Client, url: &str) -> Result<usize> {
    let answer = http.get(url).header("accept-encoding", "gzip").send().await?.error_for_status()?;
    let encoding = answer.headers().get("content-encoding").and_then(|value| value.to_str().ok());
    ensure!(encoding == Some("gzip"), "the map is not compressed");
    Ok(answer.bytes().await?.len())
}
