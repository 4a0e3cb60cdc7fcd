//! Faults on a schedule: each is done, lasts, is undone, and is over when every server says that it is ready again.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{
    record,
    scenario::{Fault, What},
    stage::{self, Database, Deed, Post},
    windows::Windows,
};
use crate::{api, clock::now_ms};

/// All servers must be ready within this after a fault.
const READY_WAIT: Duration = Duration::from_secs(60);
const READY_POLL: Duration = Duration::from_millis(100);
/// What a fault held up is caught up within this, then the window of the fault is over.
const RECOVERY: Duration = Duration::from_secs(3);
/// Before a ticket server is killed the provider is slowed down, so that orders are under way at that moment …
const CAUGHT_SLOW_MS: u64 = 1_500;
/// … at least so many of them …
const CAUGHT_MIN: u64 = 3;
/// … or this has passed.
const CAUGHT_WAIT: Duration = Duration::from_secs(5);

/// What faults are done to.
#[derive(Clone)]
pub struct Cast {
    pub stage: stage::Shared,
    pub windows: Windows,
    pub started: Instant,
    /// Of every server, killed ones too.
    pub ops_urls: Vec<String>,
    /// Nobody is left: what has not begun yet need not.
    pub over: CancellationToken,
}

/// A thing that was done, with what undoes it.
enum Done {
    Killed(Box<Post>),
    QueueRedis,
    TicketRedis,
    TicketRedisKilled,
    Paused(Database),
    DatabaseKilled(Database),
    Slow,
}

/// Does one fault when it is its time, and says what was done; `None` if nobody was left by then. Its window is closed
/// whatever happens.
pub async fn play(fault: Fault, cast: Cast) -> Result<Option<record::Fault>> {
    tokio::select! {
        () = sleep_until(cast.started + Duration::from_secs_f64(fault.at)) => {}
        () = cast.over.cancelled() => return Ok(None),
    }
    let (from, target) = (now_ms(), target(&fault));
    let window = cast.windows.open(from, &format!("{} {target}", fault.what.name()));
    let outcome = suffer(&fault, &cast).await;
    let ready_at = now_ms();
    sleep(RECOVERY).await;
    let window_to = now_ms();
    cast.windows.close(window, window_to);
    let (to, note) = outcome.with_context(|| format!("{} at {} s", fault.what.name(), fault.at))?;
    Ok(Some(record::Fault { fault: fault.what.name().into(), target, from, to, ready_at, window_to, note }))
}

fn target(fault: &Fault) -> String {
    match fault.what {
        What::NodeKilled => format!("queue-{}", fault.number),
        What::TicketServerKilled => format!("tickets-{}", fault.number),
        What::QueueRedisPaused => "redis-queue".into(),
        What::TicketRedisPaused | What::TicketRedisKilled => "redis-tickets".into(),
        What::LedgerPaused | What::LedgerKilled => "ledger".into(),
        What::PaymentSlow => "payments".into(),
    }
}

/// When it was undone, and what is to be said of it.
async fn suffer(fault: &Fault, cast: &Cast) -> Result<(u64, String)> {
    let (done, note) = begin(fault, cast).await?;
    sleep(Duration::from_secs_f64(fault.seconds)).await;
    undo(done, cast).await?;
    let undone = now_ms();
    ready(&cast.ops_urls).await?;
    Ok((undone, note))
}

async fn begin(fault: &Fault, cast: &Cast) -> Result<(Done, String)> {
    let mut stage = cast.stage.lock().await;
    match fault.what {
        What::NodeKilled => {
            let mut post = stage.take_out(&target(fault))?;
            drop(stage);
            post.kill().await;
            Ok((Done::Killed(Box::new(post)), "SIGKILL".into()))
        }
        What::TicketServerKilled => {
            let provider = stage.provider.clone();
            let mut post = stage.take_out(&target(fault))?;
            drop(stage);
            provider.slow_down(CAUGHT_SLOW_MS);
            let until = Instant::now() + CAUGHT_WAIT;
            while provider.under_way() < CAUGHT_MIN && Instant::now() < until {
                sleep(Duration::from_millis(10)).await;
            }
            let caught = provider.under_way();
            post.kill().await;
            provider.slow_down(0);
            Ok((Done::Killed(Box::new(post)), format!("SIGKILL while the provider had {caught} questions open")))
        }
        What::QueueRedisPaused => {
            stage.queue_redis.child.freeze();
            Ok((Done::QueueRedis, "SIGSTOP".into()))
        }
        What::TicketRedisPaused => {
            stage.ticket_redis.child.freeze();
            Ok((Done::TicketRedis, "SIGSTOP".into()))
        }
        What::TicketRedisKilled => {
            stage.ticket_redis.kill().await;
            Ok((Done::TicketRedisKilled, "SIGKILL, and all it kept is lost".into()))
        }
        What::LedgerPaused | What::LedgerKilled => {
            let database = stage.database.clone();
            drop(stage);
            let killed = fault.what == What::LedgerKilled;
            database.suffer(if killed { Deed::Kill } else { Deed::Pause }).await?;
            let done = if killed { Done::DatabaseKilled(database) } else { Done::Paused(database) };
            Ok((done, if killed { "SIGKILL" } else { "SIGSTOP" }.into()))
        }
        What::PaymentSlow => {
            let ms = fault.delay_ms.unwrap_or_default();
            stage.provider.slow_down(ms);
            Ok((Done::Slow, format!("each answer takes {ms} ms")))
        }
    }
}

async fn undo(done: Done, cast: &Cast) -> Result<()> {
    match done {
        Done::Killed(mut post) => {
            let home = cast.stage.lock().await.home.clone();
            // Nobody waits for it: what it waits for may have to be undone first.
            let started = post.start(&home).await;
            cast.stage.lock().await.put_back(*post);
            started
        }
        Done::QueueRedis => {
            cast.stage.lock().await.queue_redis.child.thaw();
            Ok(())
        }
        Done::TicketRedis => {
            cast.stage.lock().await.ticket_redis.child.thaw();
            Ok(())
        }
        Done::TicketRedisKilled => {
            let mut stage = cast.stage.lock().await;
            let home = stage.home.clone();
            stage.ticket_redis.start_empty(home.folder()).await
        }
        Done::Paused(database) => database.suffer(Deed::Resume).await,
        Done::DatabaseKilled(database) => database.suffer(Deed::Restart).await,
        Done::Slow => {
            cast.stage.lock().await.provider.slow_down(0);
            Ok(())
        }
    }
}

/// Waits until every server that runs says that it is ready. One that is killed meanwhile is a fault of its own.
async fn ready(ops_urls: &[String]) -> Result<()> {
    let http = api::client()?;
    let until = Instant::now() + READY_WAIT;
    for url in ops_urls {
        let url = format!("{url}/readyz");
        loop {
            match http.get(&url).timeout(Duration::from_secs(2)).send().await {
                Ok(answer) if answer.status().is_success() => break,
                Err(error) if error.is_connect() => break,
                _ if Instant::now() > until => bail!("{url} is not ready {READY_WAIT:?} after a fault"),
                _ => sleep(READY_POLL).await,
            }
        }
    }
    Ok(())
}
