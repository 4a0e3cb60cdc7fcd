//! The map of a hall, compressed, beside a hello-world of the same size.

use std::{path::Path, process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use tokio::{
    process::Command,
    time::{Instant, sleep, timeout},
};

use super::{median, micros, ticket_server, verdict};
use crate::{
    api::{self, Operator, hall},
    process::{Child, find_program, free_port},
    servers::{Redis, Server},
};

const FLOOR: f64 = 1.3;
const GOAL: f64 = 1.1;
const EVENT: &str = "stadium";

/// What to ask for, and how long.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Rounds; the median counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=50))]
    rounds: u32,
    /// Seconds per round and server.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=30))]
    seconds: u64,
    /// Connections.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1000))]
    connections: u16,
    /// Rows of 200 seats.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rows: u32,
}

/// Compares both, and prints a row.
pub async fn run(options: Options) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let wrk = find_program("wrk").context("wrk is not installed")?;
    let redis = Redis::start("redis", folder.path()).await?;
    let (server, token) = ticket_server(folder.path(), &redis.url(), vec![]).await?;
    let http = api::client()?;
    let seats = hall("Stadium", "2031-06-01T20:00:00.000Z", &[("A", options.rows, 200, 5_000)]);
    Operator::new(http.clone(), &server.ops_url, &token).put_event(EVENT, &seats).await?;
    let url = format!("{}/api/v1/seats/events/{EVENT}", server.url);
    let length = compressed_length(&http, &url).await?;
    let (hello, hello_url) = start_hello(&http, length, folder.path()).await?;
    let (mut ours, mut hellos) = (Vec::new(), Vec::new());
    let mut store = Vec::new();
    for round in 0..options.rounds {
        let redis_before = redis.child.cpu()?;
        for ours_now in if round % 2 == 0 { [true, false] } else { [false, true] } {
            let (child, url, times) =
                if ours_now { (&server.child, &url, &mut ours) } else { (&hello, &hello_url, &mut hellos) };
            let before = child.cpu()?;
            let requests = load(&wrk, url, &options).await?;
            times.push(micros(child.cpu()? - before, requests));
            if ours_now {
                store.push(micros(redis.child.cpu()? - redis_before, requests));
            }
        }
    }
    end(server, redis, hello).await;
    let (ours, hellos, store) = (median(&ours), median(&hellos), median(&store));
    println!(
        "wrk -t1 -c{} -d{}s, {} rounds, medians; µs are processor time per request; {} seats, {length} bytes compressed\n",
        options.connections,
        options.seconds,
        options.rounds,
        options.rows * 200
    );
    println!("| request | server µs | Redis µs | hello µs | server / hello |");
    println!("| --- | ---: | ---: | ---: | ---: |");
    println!("| seat map, Redis | {ours:.1} | {store:.1} | {hellos:.1} | {} |", verdict(ours / hellos, FLOOR, GOAL));
    Ok(())
}

async fn end(server: Server, redis: Redis, hello: Child) {
    hello.kill().await;
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

async fn start_hello(http: &reqwest::Client, length: usize, folder: &Path) -> Result<(Child, String)> {
    let address = free_port()?;
    let args = [
        "hello".to_owned(),
        format!("--listen={address}"),
        "--threads=1".into(),
        format!("--post-bytes={length}"),
        format!("--get-bytes={length}"),
    ];
    let mut child = Child::start("hello", &std::env::current_exe()?, args, &[], folder)?;
    let url = format!("http://{address}/");
    let until = Instant::now() + Duration::from_secs(10);
    while http.get(&url).send().await.is_err() {
        ensure!(child.is_running() && Instant::now() < until, "hello did not start: {}", child.last_lines());
        sleep(Duration::from_millis(50)).await;
    }
    Ok((child, url))
}

/// One round of wrk; how many were answered.
async fn load(wrk: &Path, url: &str, options: &Options) -> Result<u64> {
    let args = ["-t1".to_owned(), format!("-c{}", options.connections), format!("-d{}s", options.seconds)];
    let output = Command::new(wrk)
        .args(args)
        .args(["-H", "accept-encoding: gzip", url])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(Duration::from_secs(options.seconds + 20), output).await.context("wrk did not end")??;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success() && !text.contains("Non-2xx"), "wrk said: {text}");
    let requests = text.lines().find_map(|line| line.trim().split_once(" requests in "));
    requests.and_then(|(count, _)| count.parse().ok()).with_context(|| format!("wrk said: {text}"))
}
