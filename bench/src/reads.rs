//! Shows that positions cost one read per event and tick, whatever the number of waiters: Redis counts its own commands.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use tokio::time::sleep;

use crate::{
    idle::{Waiters, paused_event, paused_queue},
    process::raise_file_limit,
    servers::Redis,
};

/// How many waiters to compare, and for how long each.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Numbers of waiters, rising.
    #[arg(long, value_delimiter = ',', default_value = "10,1000,5000")]
    waiters: Vec<usize>,
    /// How long to count.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=120))]
    seconds: u64,
}

/// Opens the sockets and prints how often each command ran meanwhile.
pub async fn run(options: Options) -> Result<()> {
    raise_file_limit();
    let folder = tempfile::tempdir()?;
    let redis = Redis::start("redis", folder.path()).await?;
    let server = paused_queue(&redis.url(), folder.path(), None).await?;
    let event = paused_event()?;
    let mut waiters = Waiters::default();
    let mut columns = Vec::new();
    for count in options.waiters {
        waiters.grow_to(count, &server.url, &event).await?;
        sleep(Duration::from_secs(3)).await;
        let before = command_stats(&redis).await?;
        sleep(Duration::from_secs(options.seconds)).await;
        let after = command_stats(&redis).await?;
        columns.push((waiters.count, difference(&before, &after)));
    }
    print_table(&columns, options.seconds);
    let lost = waiters.lost();
    server.child.stop().await;
    redis.child.stop().await;
    anyhow::ensure!(lost == 0, "{lost} sockets were lost");
    Ok(())
}

pub(crate) type Calls = BTreeMap<String, u64>;

pub(crate) async fn command_stats(redis: &Redis) -> Result<Calls> {
    Ok(parse(&redis.command(&["INFO", "commandstats"]).await?))
}

fn parse(info: &str) -> Calls {
    let one = |line: &str| {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
    };
    info.lines().filter_map(one).collect()
}

pub(crate) fn difference(before: &Calls, after: &Calls) -> Calls {
    let since = |name: &String, calls: u64| calls - before.get(name).copied().unwrap_or(0).min(calls);
    after.iter().map(|(name, calls)| (name.clone(), since(name, *calls))).filter(|(_, calls)| *calls > 0).collect()
}

fn print_table(columns: &[(usize, Calls)], seconds: u64) {
    let names: std::collections::BTreeSet<&String> = columns.iter().flat_map(|(_, calls)| calls.keys()).collect();
    println!("Redis commands within {seconds} s, paused event, all waiters on sockets of one node:\n");
    let heads: Vec<String> = columns.iter().map(|(count, _)| format!("{count} waiters")).collect();
    println!("| command | {} |", heads.join(" | "));
    println!("| --- |{}", " ---: |".repeat(columns.len()));
    for name in names {
        let cells: Vec<String> =
            columns.iter().map(|(_, calls)| calls.get(name).copied().unwrap_or(0).to_string()).collect();
        println!("| `{name}` | {} |", cells.join(" | "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_stats_are_read() {
        let before = parse("# Commandstats\r\ncmdstat_ping:calls=2,usec=1\r\ncmdstat_config|get:calls=1,usec=3\r\n");
        let after = parse("cmdstat_ping:calls=2,usec=1\r\ncmdstat_getrange:calls=9,usec=1,usec_per_call=1\r\n");
        assert_eq!(before["config|get"], 1);
        assert_eq!(difference(&before, &after), Calls::from([("getrange".to_owned(), 9)]));
    }
}
