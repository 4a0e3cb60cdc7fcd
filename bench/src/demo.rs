//! `make demo`: both servers, a hall, a crowd, and the address of a page to join behind it.
//!
//! Invariant: whatever way it ends, every child has been ended by its id and the folder is gone.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use queue_core::ids::EventId;
use serde_json::json;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    api::{self, Operator},
    crowd,
    process::{Child, free_port_or, raise_file_limit},
    random,
    servers::{Redis, Server, Setup},
};

const EVENT: &str = "demo";
/// Sections of the hall: name, rows, seats per row, price. 2,000 seats in all.
const SECTIONS: [(&str, u32, u32, u64); 3] = [("A", 15, 40, 9_500), ("B", 20, 40, 6_500), ("C", 15, 40, 4_500)];
const QUEUE_PORT: u16 = 3003;
const QUEUE_OPS_PORT: u16 = 9003;
const TICKETS_PORT: u16 = 3002;
const TICKETS_OPS_PORT: u16 = 9002;
/// The address is printed at the latest after this, even if some of the crowd are still to come.
const ARRIVAL_WAIT: Duration = Duration::from_secs(30);

/// What to demonstrate, and how.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Where the servers keep their state: redis starts two `redis-server`s of its own.
    #[arg(long, value_enum, default_value_t = Store::Memory)]
    store: Store,
    /// Ends by itself after so many seconds; with a crowd, not before the crowd is gone.
    #[arg(long)]
    for_seconds: Option<u64>,
    /// Only the servers and the event.
    #[arg(long)]
    no_crowd: bool,
    /// How many may be in the shop at a time.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    capacity: u32,
    #[command(flatten)]
    size: crowd::Size,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Store {
    Memory,
    Redis,
}

/// Everything that has to be ended.
#[derive(Default)]
struct Stage {
    redis: Vec<Redis>,
    servers: Vec<Server>,
}

impl Stage {
    fn children(&mut self) -> Vec<&mut Child> {
        let servers = self.servers.iter_mut().map(|server| &mut server.child);
        servers.chain(self.redis.iter_mut().map(|redis| &mut redis.child)).collect()
    }

    /// Waits until one of the children ends, which none should, and says what it last wrote.
    async fn one_fell(&mut self) -> String {
        loop {
            for child in self.children() {
                if !child.is_running() {
                    return format!("{} ended; its last lines:\n{}", child.name, child.last_lines());
                }
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Ends all: first who uses a store, then the stores.
    async fn end(self) {
        let mut ending = tokio::task::JoinSet::new();
        for server in self.servers {
            ending.spawn(server.child.stop());
        }
        while ending.join_next().await.is_some() {}
        for redis in self.redis {
            redis.child.stop().await;
        }
    }
}

/// Ctrl-C, SIGTERM and SIGHUP cancel `stop`.
pub fn stop_on_signal(stop: CancellationToken) -> Result<()> {
    let mut signals = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()]
        .into_iter()
        .map(signal)
        .collect::<std::io::Result<Vec<_>>>()
        .context("listening for signals")?;
    tokio::spawn(async move {
        let any = signals.iter_mut().map(|signal| Box::pin(signal.recv()));
        futures_util::future::select_all(any).await;
        stop.cancel();
    });
    Ok(())
}

/// Runs the demo until Ctrl-C, its time is over, or a child falls.
pub async fn run(options: Options) -> Result<()> {
    let stop = CancellationToken::new();
    stop_on_signal(stop.clone())?;
    raise_file_limit();
    let folder = tempfile::Builder::new().prefix("usher-demo-").tempdir().context("making a temporary folder")?;
    let mut stage = Stage::default();
    let outcome = tokio::select! {
        outcome = play(&options, folder.path(), &mut stage, &stop) => outcome,
        // Whoever waits for the crowd ends by itself; this is for a start that takes long.
        () = async { stop.cancelled().await; sleep(Duration::from_secs(5)).await } => Ok(()),
    };
    eprintln!("Ending the servers …");
    stage.end().await;
    outcome
}

async fn play(options: &Options, folder: &Path, stage: &mut Stage, stop: &CancellationToken) -> Result<()> {
    let token = random::secret().context("making an operator token")?;
    start(options, folder, &token, stage).await?;
    create(options, &token, stage).await?;
    let [queue, tickets] = &stage.servers[..] else { bail!("two servers should run") };
    let (queue_url, tickets_url) = (queue.url.clone(), tickets.url.clone());
    let store = if options.store == Store::Redis { "Redis" } else { "memory" };
    println!(
        "Usher on {store} and SQLite, in {}\n  queue server   {queue_url}  (operations {})\n  \
         ticket server  {tickets_url}  (operations {})\n  \
         {} seats, {} visitors at a time",
        folder.display(),
        queue.ops_url,
        tickets.ops_url,
        SECTIONS.iter().map(|(_, rows, seats, _)| rows * seats).sum::<u32>(),
        options.capacity,
    );
    let show = show(options, queue_url, tickets_url, stop);
    tokio::select! {
        outcome = show => outcome,
        fallen = stage.one_fell() => bail!(fallen),
    }
}

/// The crowd, the address, and the wait for the end.
async fn show(options: &Options, queue: String, tickets: String, stop: &CancellationToken) -> Result<()> {
    let address = format!("{queue}/wait/{EVENT}");
    let time_is_over = async {
        match options.for_seconds {
            Some(seconds) => sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    };
    let crowd = async {
        if options.no_crowd {
            print_address(&address, "You are let in at once while there is room.");
            return Ok(());
        }
        println!("A crowd of {} arrives …", options.size.visitors);
        let event = EventId::new(EVENT).context("the demo's event id")?;
        let crowd = crowd::Options { queue, tickets, event, size: options.size };
        let (arrived, all_here) = oneshot::channel();
        let say = async {
            let _ = timeout(ARRIVAL_WAIT, all_here).await;
            if !stop.is_cancelled() {
                print_address(
                    &address,
                    "You join behind the crowd, see your position fall, are let in and pick a seat.",
                );
            }
        };
        let (clean, ()) = tokio::join!(crowd::run(crowd, stop.child_token(), Some(arrived)), say);
        ensure!(clean?, "the crowd met errors, see above");
        if !stop.is_cancelled() {
            println!("The crowd has gone. {address} stays open until Ctrl-C.");
        }
        Ok(())
    };
    let both = async { tokio::join!(crowd, time_is_over).0 };
    tokio::select! {
        outcome = both => outcome,
        // The crowd takes a moment to say what became of it.
        () = async { stop.cancelled().await; sleep(Duration::from_secs(4)).await } => Ok(()),
    }
}

fn print_address(address: &str, what: &str) {
    println!("\n  Open  {address}\n  {what}\n  Ctrl-C ends everything.\n");
}

async fn start(options: &Options, folder: &Path, token: &str, stage: &mut Stage) -> Result<()> {
    let mut stores = ["memory".to_owned(), "memory".to_owned()];
    if options.store == Store::Redis {
        for (name, store) in ["redis-queue", "redis-tickets"].into_iter().zip(&mut stores) {
            let redis = Redis::start(name, folder).await?;
            *store = redis.url();
            stage.redis.push(redis);
        }
    }
    let state_dir = folder.join("state");
    std::fs::create_dir(&state_dir).context("making the state folder")?;
    let (queue, queue_ops) = (free_port_or(QUEUE_PORT)?, free_port_or(QUEUE_OPS_PORT)?);
    let (tickets, tickets_ops) = (free_port_or(TICKETS_PORT)?, free_port_or(TICKETS_OPS_PORT)?);
    let origins = format!("--allowed-origins=http://{queue},http://{tickets}");
    let setup = |name, listen, ops, store, flags| Setup {
        name,
        listen,
        ops,
        store,
        state_dir: &state_dir,
        operator_token: token,
        flags,
        threads: None,
    };
    let flags = vec![origins.clone(), format!("--tickets-url=http://{tickets}")];
    stage.servers.push(setup("queue-server", queue, queue_ops, &stores[0], flags).start("queue-server", folder).await?);
    // With Redis, bookings are told on the queue's Redis; else on the queue's operations listener.
    let told = if options.store == Store::Redis { stores[0].clone() } else { format!("http://{queue_ops}") };
    let flags = vec![
        origins,
        format!("--queue-url=http://{queue}"),
        format!("--jwks=http://{queue}/.well-known/jwks.json"),
        format!("--queue={told}"),
    ];
    let tickets =
        setup("ticket-server", tickets, tickets_ops, &stores[1], flags).start("ticket-server", folder).await?;
    stage.servers.push(tickets);
    Ok(())
}

async fn create(options: &Options, token: &str, stage: &Stage) -> Result<()> {
    let [queue, tickets] = &stage.servers[..] else { bail!("two servers should run") };
    let http = api::client()?;
    let hall = api::hall("Usher demo night", "2030-06-01T20:00:00.000Z", &SECTIONS);
    let operator = Operator::new(http.clone(), &tickets.ops_url, token);
    operator.put_event(EVENT, &hall).await.context("creating the ticket event")?;
    let policy = json!({"capacity": options.capacity, "activeTtlSeconds": 300, "claimSeconds": 20});
    let operator = Operator::new(http, &queue.ops_url, token);
    operator.put_queue(EVENT, &policy).await.context("creating the queue event")?;
    Ok(())
}
