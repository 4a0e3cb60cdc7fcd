//! One change of a seat told to thousands, beside a bare loop of `send` of as many bytes to as many connections.

use std::{net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};

use super::{fanout::Readers, verdict};
use crate::{
    api::{self, Queue, Tickets, hall},
    figures::{median, micros},
    process::{Child, free_port, raise_file_limit},
    servers::{Alone, Server},
};

const FLOOR: f64 = 1.8;
const GOAL: f64 = 1.2;
const EVENT: &str = "stadium";

/// Whom to tell, and how often.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How many are told.
    #[arg(long, default_value_t = 8_000, value_parser = clap::value_parser!(u64).range(1..=30_000))]
    subscribers: u64,
    /// Rounds; the median counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=50))]
    rounds: u32,
    /// Changes per round.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(2..=1000))]
    changes: u32,
}

/// Our servers, and a visitor who takes a seat and gives it up.
struct Sale {
    queue: Server,
    tickets: Server,
    visitor: Tickets,
    token: String,
    held: Option<String>,
}

impl Sale {
    async fn open(folder: &Path) -> Result<Self> {
        let alone = |flags| Alone { store: "memory", folder, threads: Some(1), flags };
        let (queue, operator) = alone(vec![]).start("queue-server").await?;
        let http = api::client()?;
        let policy = json!({"capacity": 10, "activeTtlSeconds": 3600, "claimSeconds": 3600});
        operator.put_queue(EVENT, &policy).await?;
        let status = Queue::new(http.clone(), &queue.url, EVENT).check(None).await?;
        let token = serde_json::to_value(&status)?["activeToken"].as_str().context("not admitted")?.to_owned();
        let flags = vec![
            format!("--jwks={}/.well-known/jwks.json", queue.url),
            format!("--queue={}", queue.ops_url),
            "--live-max=40000".to_owned(),
        ];
        let (tickets, operator) = alone(flags).start("ticket-server").await?;
        let seats = hall("Stadium", "2031-06-01T20:00:00.000Z", &[("A", 10, 20, 5_000)]);
        operator.put_event(EVENT, &seats).await?;
        let visitor = Tickets::new(http, &tickets.url, EVENT);
        Ok(Self { queue, tickets, visitor, token, held: None })
    }

    /// One seat is held, or free again.
    async fn change(&mut self) -> Result<()> {
        match self.held.take() {
            None => {
                let held = self.visitor.reserve(&self.token, &["A-1-1".to_owned()]).await?;
                self.held = Some(held.reservation_id);
            }
            Some(held) => drop(self.visitor.cancel(&self.token, &held).await?),
        }
        Ok(())
    }
}

/// Compares both, and prints a row.
pub async fn run(options: Options) -> Result<()> {
    // Both ends of each connection are ours, in two processes.
    let files = raise_file_limit();
    ensure!(files > 2 * options.subscribers + 500, "only {files} open files are allowed: ask for fewer subscribers");
    let folder = tempfile::tempdir()?;
    let count = usize::try_from(options.subscribers)?;
    let mut sale = Sale::open(folder.path()).await?;
    let address: SocketAddr = sale.tickets.url.trim_start_matches("http://").parse()?;
    let hello = format!("GET /api/v1/events/{EVENT}/seats/stream HTTP/1.1\r\nhost: {address}\r\n\r\n");
    let mut readers = Readers::open(address, &hello, count).await?;
    let length = one_length(&mut sale, &readers, options.subscribers).await?;
    let (sender, sender_address) = start_sender(length, folder.path()).await?;
    let limit = Readers::open(sender_address, "s", count).await?;
    // The sender reads who they are one by one.
    sleep(Duration::from_secs(1)).await;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for round in 0..options.rounds {
        for ours_now in if round % 2 == 0 { [true, false] } else { [false, true] } {
            if ours_now {
                ours.push(ours_once(&mut sale, &readers, &options, length).await?);
            } else {
                bare.push(bare_once(&sender, sender_address, &limit, &options, length).await?);
            }
        }
    }
    let lost = count - readers.open_now();
    drop((readers, limit));
    sender.kill().await;
    sale.tickets.child.stop().await;
    sale.queue.child.stop().await;
    ensure!(lost == 0, "{lost} streams were lost");
    let (ours, bare) = (median(ours), median(bare));
    println!(
        "{} subscribers, {} changes a round, {} rounds, medians; µs are processor time per change and subscriber; \
         {length} bytes each\n",
        options.subscribers, options.changes, options.rounds
    );
    println!("| what | server µs | bare loop µs | server / loop |");
    println!("| --- | ---: | ---: | ---: |");
    println!("| one change over SSE | {ours:.2} | {bare:.2} | {} |", verdict(ours / bare, FLOOR, GOAL));
    Ok(())
}

/// How many bytes a change takes on each connection.
async fn one_length(sale: &mut Sale, readers: &Readers, subscribers: u64) -> Result<usize> {
    let mut lengths = Vec::new();
    // A comment may come in between: two of three are without.
    for _ in 0..3 {
        let before = readers.settle().await;
        sale.change().await?;
        sale.change().await?;
        lengths.push((readers.settle().await - before) as f64 / (2 * subscribers) as f64);
    }
    let length = median(lengths.iter().copied());
    ensure!(length.fract() == 0.0 && length > 0.0, "{lengths:?} bytes: not all were told the same");
    Ok(length as usize)
}

async fn start_sender(length: usize, folder: &Path) -> Result<(Child, SocketAddr)> {
    let address = free_port()?;
    let args = ["send-loop".to_owned(), format!("--listen={address}"), format!("--bytes={length}")];
    let mut child = Child::start("send-loop", &std::env::current_exe()?, args, &[], folder)?;
    for _ in 0..200 {
        if tell(address).await.is_ok() {
            return Ok((child, address));
        }
        ensure!(child.is_running(), "the sender ended: {}", child.last_lines());
        sleep(Duration::from_millis(50)).await;
    }
    anyhow::bail!("the sender does not answer")
}

/// Has everybody told once.
async fn tell(address: SocketAddr) -> Result<()> {
    let told = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"g").await?;
        stream.read_u8().await
    };
    timeout(Duration::from_secs(60), told).await.context("the sender does not answer")??;
    Ok(())
}

async fn ours_once(sale: &mut Sale, readers: &Readers, options: &Options, length: usize) -> Result<f64> {
    let cpu = sale.tickets.child.cpu()?;
    for _ in 0..options.changes {
        // Hold and release differ in length by nothing: both states have four letters.
        let until = readers.bytes() + length as u64 * options.subscribers;
        sale.change().await?;
        readers.wait(until).await?;
    }
    Ok(micros(sale.tickets.child.cpu()? - cpu, u64::from(options.changes) * options.subscribers))
}

async fn bare_once(
    sender: &Child,
    address: SocketAddr,
    readers: &Readers,
    options: &Options,
    length: usize,
) -> Result<f64> {
    let cpu = sender.cpu()?;
    for _ in 0..options.changes {
        let until = readers.bytes() + length as u64 * options.subscribers;
        tell(address).await?;
        readers.wait(until).await?;
    }
    Ok(micros(sender.cpu()? - cpu, u64::from(options.changes) * options.subscribers))
}
