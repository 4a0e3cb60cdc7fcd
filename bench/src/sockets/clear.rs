//! How soon everybody is told that an operator has cleared the line.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::crowd;
use crate::{
    figures::said,
    process::raise_file_limit,
    servers::{Alone, Redis},
};

const EVENT: &str = "clear";
const OPEN_WAIT: Duration = Duration::from_secs(180);
/// The contract: a change is felt within this, wherever one stands.
const FLOOR: Duration = Duration::from_secs(10);
const GOAL: Duration = Duration::from_secs(2);
const GIVE_UP: Duration = Duration::from_secs(60);

/// How many.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    #[arg(long, default_value_t = 15_000, value_parser = clap::value_parser!(u64).range(1..=19_000))]
    sockets: u64,
}

/// Fills a line on Redis, clears it, and waits until no socket is left.
pub async fn run(options: Options) -> Result<()> {
    raise_file_limit();
    let folder = tempfile::tempdir()?;
    let redis = Redis::start("redis", folder.path()).await?;
    let flags = vec![format!("--sockets-max={}", options.sockets)];
    let alone = Alone { store: &redis.url(), folder: folder.path(), threads: None, flags };
    let (server, operator) = alone.start("queue-server").await?;
    operator.put_queue(EVENT, &json!({"capacity": 1})).await.context("creating the event")?;
    operator.order("pause", EVENT).await.context("pausing the event")?;
    let mut clients = crowd::start(&server.url, &[EVENT.to_owned()], usize::try_from(options.sockets)?, folder.path())?;
    let waiting = async || Ok(crowd::metric_or_none(&server.ops_url, "usher_queue_waiting").await);
    crowd::wait_for(options.sockets, OPEN_WAIT, &mut clients, waiting).await?;
    sleep(Duration::from_secs(2)).await;
    let (cpu, redis_cpu, began) = (server.child.cpu()?, redis.child.cpu()?, Instant::now());
    operator.order("clear", EVENT).await.context("clearing")?;
    let cleared = began.elapsed();
    while crowd::metric(&server.ops_url, "usher_queue_sockets").await? > 0 {
        ensure!(began.elapsed() < GIVE_UP, "some are not told within {GIVE_UP:?}");
        sleep(Duration::from_millis(50)).await;
    }
    let told = began.elapsed();
    println!(
        "{} sockets on one node: cleared in {cleared:.2?}, all told and closed after {told:.2?}; processor time of the \
         server {:.2?}, of Redis {:.2?}",
        options.sockets,
        server.child.cpu()?.saturating_sub(cpu),
        redis.child.cpu()?.saturating_sub(redis_cpu),
    );
    let verdict = said(told.as_secs_f64(), FLOOR.as_secs_f64(), GOAL.as_secs_f64());
    println!(
        "| all told of a clear, {} sockets, Redis | {told:.2?} | ≤ {FLOOR:?} | ≤ {GOAL:?} | {verdict} |",
        options.sockets
    );
    for client in clients {
        client.kill().await;
    }
    server.child.stop().await;
    redis.child.stop().await;
    Ok(())
}
