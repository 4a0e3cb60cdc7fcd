//! A synthetic crowd: visitors that join, wait on sockets or by polling, are admitted, look at the map, hold seats, and
//! book or give up. What it has booked it knows itself, so it notices a seat sold twice.
//!
//! Invariants: every visitor ends; the number of them, of their requests and of the time they take is bounded.

mod line;
mod progress;
pub(crate) mod seats;
pub(crate) mod tally;
mod visitor;

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use queue_core::ids::EventId;
use tokio::{sync::oneshot, task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

use self::{seats::SeatPicker, tally::Tally};
use crate::{
    api::{self, Queue, Tickets},
    process::raise_file_limit,
    random::Random,
};

/// A crowd is at most so large.
pub const VISITORS_MAX: u64 = 50_000;
/// File descriptors that are not for sockets of visitors.
const FILES_RESERVED: u64 = 512;
/// The whole crowd has arrived after so long (at pace 1).
pub const ARRIVAL_MS: u64 = 8_000;
/// When it is told to end, visitors that have not noticed within this are dropped.
const END_WAIT: Duration = Duration::from_secs(2);

/// What the crowd is to do.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Where the queue server is.
    #[arg(long, default_value = "http://127.0.0.1:3003")]
    pub queue: String,
    /// Where the ticket server is.
    #[arg(long, default_value = "http://127.0.0.1:3002")]
    pub tickets: String,
    /// The event, which must exist on both.
    #[arg(long, default_value = "demo")]
    pub event: EventId,
    #[command(flatten)]
    pub size: Size,
}

/// How large and how fast the crowd is.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Size {
    /// How many visitors.
    #[arg(long, default_value_t = 3_000, value_parser = clap::value_parser!(u64).range(1..=VISITORS_MAX))]
    pub visitors: u64,
    /// The same seed gives the same crowd.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How much slower than normal everybody is: 0.5 is twice as fast.
    #[arg(long, default_value_t = 1.0, value_parser = parse_pace)]
    pub pace: f64,
    /// How many of a hundred wait on a WebSocket; the others poll.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub sockets_percent: u8,
}

fn parse_pace(text: &str) -> Result<f64, String> {
    let pace: f64 = text.parse().map_err(|_| "must be a number".to_owned())?;
    if (0.01..=100.0).contains(&pace) { Ok(pace) } else { Err("must be 0.01 to 100".to_owned()) }
}

/// What the visitors share.
#[derive(Debug)]
struct Crowd {
    event: EventId,
    queue: Queue,
    tickets: Tickets,
    picker: SeatPicker,
    tally: Tally,
    pace: f64,
    sockets_percent: u64,
    stop: CancellationToken,
}

impl Crowd {
    /// So long at this crowd's pace.
    fn paced(&self, time: Duration) -> Duration {
        time.mul_f64(self.pace)
    }

    async fn pause(&self, random: &mut Random, low_ms: u64, high_ms: u64) {
        sleep(self.paced(random.between_ms(low_ms, high_ms))).await;
    }
}

/// Sends the crowd in and waits for its end or for `stop`. `arrived` is told once everybody has joined or tried to.
/// True if nothing was sold twice and nothing failed for good.
pub async fn run(options: Options, stop: CancellationToken, arrived: Option<oneshot::Sender<()>>) -> Result<bool> {
    let files = raise_file_limit();
    let size = options.size;
    let room = files.saturating_sub(FILES_RESERVED) * 100 / size.visitors;
    let http = api::client().context("making the HTTP client")?;
    let event = options.event.as_str();
    let crowd = Arc::new(Crowd {
        queue: Queue::new(http.clone(), &options.queue, event),
        tickets: Tickets::new(http, &options.tickets, event),
        picker: SeatPicker::default(),
        tally: Tally::new(size.visitors),
        pace: size.pace,
        sockets_percent: u64::from(size.sockets_percent).min(room),
        stop: stop.clone(),
        event: options.event,
    });
    let mut visitors = JoinSet::new();
    for number in 0..size.visitors {
        visitors.spawn(visitor::live(crowd.clone(), Random::new(size.seed, number)));
    }
    let progress = tokio::spawn(progress::show(crowd.clone(), arrived));
    tokio::select! {
        () = async { while visitors.join_next().await.is_some() {} } => {}
        () = stop.cancelled() => sleep(END_WAIT).await,
    }
    visitors.abort_all();
    crowd.tally.finish();
    let _ = progress.await;
    Ok(report(&crowd).await)
}

/// Says what became of everybody, and compares what was booked with what the map says.
async fn report(crowd: &Crowd) -> bool {
    let tally = &crowd.tally;
    println!("{}", tally.summary());
    let errors = tally.errors();
    if !errors.is_empty() {
        println!("errors: {errors}");
    }
    let Ok(map) = crowd.tickets.seats().await else {
        println!("The seat map cannot be read any more, so what was sold is not compared with it.");
        return tally.oversold() == 0 && errors.is_empty();
    };
    let sold = map.iter().filter(|seat| seat.state == "SOLD").count();
    let lost = tally.booked_but_not_sold(&map);
    println!(
        "seats: {} booked by the crowd, {sold} sold on the map, {} sold twice, {lost} booked but not sold",
        tally.booked_seats(),
        tally.oversold()
    );
    tally.oversold() == 0 && lost == 0 && errors.is_empty()
}
