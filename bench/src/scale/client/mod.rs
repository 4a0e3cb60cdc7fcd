//! A client process: up to some 19,000 visitors on one thread, told what to do by the bench.

mod crowd;
mod socket;
mod visitor;

use std::{convert::Infallible, net::SocketAddr, rc::Rc, time::Duration};

use anyhow::{Context, Result, bail};
use tokio::{
    net::TcpStream,
    sync::mpsc,
    task::{AbortHandle, LocalSet, spawn_local},
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until},
};

use self::crowd::Crowd;
use super::control::{Order, Receiver, Said, Sender, trouble};
use crate::clock::now_ms;

/// Joins under way at a time while the line is filled.
const FILLING_MAX: usize = 48;
/// Who fell comes back after at most so long.
const BACK_MS_MAX: u64 = 5_000;
/// How finely the schedule is kept: what was due within one of these begins together, and is measured from when it
/// was due.
const SCHEDULE: Duration = Duration::from_millis(5);

/// Which bench this client belongs to.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Where the bench listens.
    #[arg(long)]
    control: SocketAddr,
    /// Which of the clients this is.
    #[arg(long)]
    index: usize,
}

/// Runs until the bench ends.
pub fn run(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, follow(options))
}

async fn follow(options: &Options) -> Result<()> {
    let stream = TcpStream::connect(options.control).await.context("connecting to the bench")?;
    stream.set_nodelay(true)?;
    let (receiver, sender) = stream.into_split();
    let (mut orders, mut sender) = (Receiver::new(receiver), Sender(sender));
    sender.send(&Said::Hello { index: options.index }).await?;
    let Some(Order::Setup(setup)) = orders.next().await? else { bail!("no setup") };
    let crowd = Rc::new(Crowd::new(setup)?);
    let (reports, reported) = mpsc::channel(1);
    let telling = spawn_local(tell(crowd.clone(), sender, reported));
    let mut work: Option<AbortHandle> = None;
    while let Some(order) = orders.next().await? {
        if telling.is_finished() {
            bail!("the bench does not listen");
        }
        match order {
            Order::Setup(_) => bail!("set up twice"),
            Order::Fill { waiters } => replace(&mut work, fill(crowd.clone(), waiters)),
            Order::Go { joins_per_second, drops_per_second } => {
                crowd.set_joining(true);
                replace(&mut work, go(crowd.clone(), joins_per_second, drops_per_second));
            }
            Order::Settle => crowd.set_joining(false),
            Order::ReadAll => crowd.read_all(),
            Order::CountSince(ms) => crowd.count_since(ms),
            Order::Report => reports.send(()).await?,
        }
    }
    Ok(())
}

/// Tells the bench what happened, each second and at the end.
async fn tell(crowd: Rc<Crowd>, mut sender: Sender, mut reported: mpsc::Receiver<()>) -> Result<Infallible> {
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let said = tokio::select! {
            _ = seconds.tick() => Said::Second(Box::new(crowd.second())),
            Some(()) = reported.recv() => Said::Report(crowd.report()),
        };
        sender.send(&said).await?;
    }
}

fn replace(work: &mut Option<AbortHandle>, next: impl Future<Output = ()> + 'static) {
    if let Some(work) = work.replace(spawn_local(next).abort_handle()) {
        work.abort();
    }
}

fn begin(crowd: &Rc<Crowd>, index: usize, due: Instant) {
    let task = spawn_local(visitor::live(crowd.clone(), index, due));
    crowd.follow(index, task.abort_handle());
}

/// Has so many waiters, a bounded number of them on their way at a time.
async fn fill(crowd: Rc<Crowd>, waiters: usize) {
    while crowd.count() < waiters {
        while crowd.count() < waiters && crowd.away() < FILLING_MAX {
            begin(&crowd, crowd.add(), Instant::now());
        }
        sleep(Duration::from_millis(2)).await;
    }
}

/// Joins and lets sockets fall on a fixed schedule, whatever the server does.
async fn go(crowd: Rc<Crowd>, joins_per_second: f64, drops_per_second: f64) {
    let started = Instant::now();
    let due = |number: u64, per_second: f64| started + Duration::from_secs_f64(number as f64 / per_second.max(1e-6));
    let (mut joins, mut drops) = (1, 1);
    while crowd.is_joining() {
        let now = Instant::now();
        while due(joins, joins_per_second) <= now {
            if crowd.count() < crowd.setup.sockets_max {
                begin(&crowd, crowd.add(), due(joins, joins_per_second));
            } else {
                crowd.trouble(trouble::JOIN_SKIPPED);
            }
            joins += 1;
        }
        while due(drops, drops_per_second) <= now {
            drops += 1;
            if let Some(index) = crowd.fall(now_ms()) {
                come_back(&crowd, index);
            }
        }
        sleep_until(due(joins, joins_per_second).min(due(drops, drops_per_second)).max(now + SCHEDULE)).await;
    }
}

fn come_back(crowd: &Rc<Crowd>, index: usize) {
    let pause = Duration::from_millis(crowd.draw(BACK_MS_MAX));
    let life = {
        let crowd = crowd.clone();
        async move {
            sleep(pause).await;
            visitor::live(crowd, index, Instant::now()).await;
        }
    };
    crowd.follow(index, spawn_local(life).abort_handle());
}
