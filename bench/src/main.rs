//! `bench`: the demo, the crowd, and what measures the servers.
#![forbid(unsafe_code)]

use std::{net::SocketAddr, process::ExitCode};

use anyhow::{Context, Result, ensure};
use bench::{
    confirms, crowd, demo, hello, holds, idle, live, offer, overload, reads, redis, rehearse, scale, sockets, tokens,
    wrk,
};
use clap::{Parser, Subcommand};
use tokio_util::sync::CancellationToken;

// The servers have it too, so a comparison with hello-world compares the servers alone.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The demo, a synthetic crowd, and what measures the servers.
#[derive(Parser)]
#[command(name = "bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Both servers, an event, a crowd, and the address of a page to join behind it.
    Demo(demo::Options),
    /// A crowd for servers that run already.
    Crowd(crowd::Options),
    /// A server with nothing to do, to compare with.
    Hello(Hello),
    /// Our servers under wrk beside hello-world: processor time per request.
    Http(wrk::Options),
    /// What a hold costs, and a refused one: beside hello-world and beside one key per seat.
    Holds(holds::Options),
    /// Three times as many joins as the store takes: what becomes of those that are accepted.
    Overload(overload::Options),
    /// Joins at a fixed schedule, for a server that runs already; says as JSON what came of them.
    Offer(offer::Options),
    /// Checking active tokens, for the first time and again, beside the bare signature check.
    Tokens(tokens::Options),
    /// Server memory per idle WebSocket.
    IdleSockets(idle::Options),
    /// Processor time per pushed position, beside a bare loop over `send`.
    Push(sockets::push::Options),
    /// Processor time per connect, upgrade and join, beside the upgrade alone.
    Connect(sockets::connect::Options),
    /// How soon all sockets are told of a clear.
    Clear(sockets::clear::Options),
    /// Opens sockets and reads them; for the comparisons.
    #[command(hide = true)]
    SocketCrowd(sockets::crowd::Options),
    /// A server of sockets with nothing to do; for the comparisons.
    #[command(hide = true)]
    BareSockets(sockets::bare::Options),
    /// The seat map of a large hall beside hello-world: processor time per request.
    Seatmap(live::seatmap::Options),
    /// One change of a seat told to thousands beside a bare loop of sends: processor time per change and subscriber.
    Sse(live::sse::Options),
    /// A bare loop of sends, to compare with.
    SendLoop(live::send_loop::Options),
    /// Confirmations a second on each database, beside one transaction for each booking.
    Confirms(confirms::Options),
    /// Position reads per event and tick, whatever the number of waiters.
    Reads(reads::Options),
    /// Everything at once with very many waiters: what they see is held against the store's record.
    Scale(scale::Options),
    /// Part of `scale`, which starts it.
    #[command(hide = true)]
    ScaleClient(scale::ClientOptions),
    /// Real servers, a crowd of all kinds, faults on a schedule, and an auditor who believes nobody.
    Rehearse(rehearse::Options),
    /// Redis time of batched joins and admissions, beside one call per join and a bare ZADD, with and without AOF.
    RedisJoins(redis::joins::Options),
    /// Redis memory per waiter, beside a sorted set alone.
    RedisMemory(redis::memory::Options),
    /// How long the largest batch of each script stops Redis.
    Stops(redis::stops::Options),
    /// Positions of a node's waiters from one read, beside ZRANK for each.
    Positions(redis::positions::Options),
    /// From a release to the next visitor's `queue-entry-allowed`, beside a round trip to Redis.
    Release(redis::release::Options),
    /// What 1,000 events cost a node, and what a busy one costs its neighbours.
    Events(redis::events::Options),
}

#[derive(clap::Args)]
struct Hello {
    #[arg(long, default_value = "127.0.0.1:3999")]
    listen: SocketAddr,
    /// Bytes of an answer to POST.
    #[arg(long, default_value_t = 512)]
    post_bytes: usize,
    /// Bytes of an answer to anything else.
    #[arg(long, default_value_t = 512)]
    get_bytes: usize,
    /// Worker threads.
    #[arg(long, env = "TOKIO_WORKER_THREADS")]
    threads: Option<usize>,
}

fn main() -> ExitCode {
    match start(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(cli: Cli) -> Result<()> {
    if let Command::ScaleClient(options) = &cli.command {
        return scale::client(options);
    }
    let mut runtime = match &cli.command {
        // On one thread, so that it takes no more of the machine than it must.
        Command::Offer(_) => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    runtime.enable_all();
    if let Command::Hello(Hello { threads: Some(threads), .. }) = &cli.command {
        ensure!(*threads > 0, "--threads must be at least 1");
        runtime.worker_threads(*threads);
    }
    runtime.build().context("starting the runtime")?.block_on(run(cli.command))
}

async fn run(command: Command) -> Result<()> {
    match command {
        Command::Demo(options) => demo::run(options).await,
        Command::Crowd(options) => {
            let stop = CancellationToken::new();
            demo::stop_on_signal(stop.clone())?;
            let clean = crowd::run(options, stop, None).await?;
            ensure!(clean, "something went wrong, see above");
            Ok(())
        }
        Command::Hello(Hello { listen, post_bytes, get_bytes, .. }) => {
            hello::serve(listen, hello::Sizes { post_bytes, get_bytes }).await
        }
        Command::Http(options) => wrk::run(options).await,
        Command::Holds(options) => holds::run(options).await,
        Command::Overload(options) => overload::run(options).await,
        Command::Offer(options) => {
            println!("{}", serde_json::to_string(&offer::run(&options).await?)?);
            Ok(())
        }
        Command::Tokens(options) => tokens::run(&options),
        Command::IdleSockets(options) => idle::run(options).await,
        Command::Push(options) => sockets::push::run(options).await,
        Command::Connect(options) => sockets::connect::run(options).await,
        Command::Clear(options) => sockets::clear::run(options).await,
        Command::SocketCrowd(options) => sockets::crowd::run(options).await,
        Command::BareSockets(options) => sockets::bare::serve(options).await,
        Command::Seatmap(options) => live::seatmap::run(options).await,
        Command::Sse(options) => live::sse::run(options).await,
        Command::SendLoop(options) => tokio::task::spawn_blocking(move || live::send_loop::run(&options)).await?,
        Command::Confirms(options) => confirms::run(options).await,
        Command::Reads(options) => reads::run(options).await,
        Command::Scale(options) => scale::run(options).await,
        // Has a runtime of its own: see `start`.
        Command::ScaleClient(_) => Ok(()),
        Command::Rehearse(options) => rehearse::run(options).await,
        Command::RedisJoins(options) => redis::joins::run(options).await,
        Command::RedisMemory(options) => redis::memory::run(options).await,
        Command::Stops(options) => redis::stops::run(options).await,
        Command::Positions(options) => redis::positions::run(options).await,
        Command::Release(options) => redis::release::run(options).await,
        Command::Events(options) => redis::events::run(options).await,
    }
}
