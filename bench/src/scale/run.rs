//! One run from an empty line to the last report.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;
use queue_core::ids::EventId;
use serde::Serialize;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::{
    Plan,
    control::{Order, Report, Said, Second, Sight},
    meters::{self, Counts, Memory, Meter, Usage},
    progress::Progress,
    record::Record,
    resp::Connection,
    stage::{EVENT, Stage},
    truth::milliseconds,
};
use crate::clock::now_ms;

/// How often the number of the Active is looked at.
const GLANCE: Duration = Duration::from_millis(250);
/// Every so many glances everything else is looked at.
const GLANCES_PER_MOMENT: u32 = 4;
/// Every so many moments the store's memory is.
const MOMENTS_PER_MEMORY: usize = 5;
/// The line is full after this and one second for every so many waiters.
const FILL_WAIT: Duration = Duration::from_secs(120);
const FILL_PER_SECOND_MIN: usize = 250;
/// Whoever is away or active has come back or gone home within this, once no more join.
const QUIET_WAIT: Duration = Duration::from_secs(60);
/// Everybody has been shown the last position within this.
const SHOWN_WAIT: Duration = Duration::from_secs(60);
/// What clients say each second has arrived after this.
const CLIENTS_WAIT: Duration = Duration::from_secs(2);
/// Messages of the store have arrived after this.
const MESSAGES_WAIT: Duration = Duration::from_millis(500);
const REPORT_WAIT: Duration = Duration::from_secs(60);

/// What was seen in one second.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Moment {
    /// When, in milliseconds since the epoch.
    pub at_ms: u64,
    /// Since the first join of the schedule; negative while the line was filled.
    pub second: f64,
    pub waiting: u64,
    pub active: u64,
    pub joined: u64,
    pub resumed: u64,
    pub admitted: u64,
    pub updates: u64,
    pub usage: Vec<Usage>,
    pub memory: Option<Memory>,
}

/// Everything that was seen.
#[derive(Debug)]
pub struct Results {
    /// When the schedule began and ended, in milliseconds since the epoch.
    pub steady: (u64, u64),
    pub moments: Vec<Moment>,
    pub join_ms: Histogram<u64>,
    pub resume_ms: Histogram<u64>,
    pub turn_ms: Histogram<u64>,
    pub sights: Vec<Sight>,
    pub record: Record,
    /// The most that held a session at any glance.
    pub active_seen_max: u64,
    pub reports: Vec<Report>,
    pub troubles: BTreeMap<String, u64>,
    /// At the end, after the last admission.
    pub counts: Counts,
    pub line: Vec<u64>,
    pub memory: Memory,
    /// Bytes that the store keeps of those who have gone.
    pub of_the_gone: u64,
    pub fill_seconds: f64,
}

struct Run<'a> {
    plan: &'a Plan,
    stage: &'a mut Stage,
    stop: &'a CancellationToken,
    meter: Meter,
    progress: Progress,
    /// What each client last said.
    latest: Vec<Second>,
    steady_from: Option<(u64, Instant)>,
    sights: Vec<Vec<Sight>>,
    join_ms: Histogram<u64>,
    resume_ms: Histogram<u64>,
    turn_ms: Histogram<u64>,
    reports: Vec<Option<Report>>,
    /// Since the last moment.
    passing: Moment,
    moments: Vec<Moment>,
    active_seen_max: u64,
    glances: u32,
    admitted_before: u64,
    began: Instant,
}

/// Plays it on a stage that is set.
pub async fn play(plan: &Plan, stage: &mut Stage, stop: &CancellationToken) -> Result<Results> {
    let meter = Meter::new(Connection::open(stage.redis.address).await?, &EventId::new(EVENT).context("the event id")?);
    let mut run = Run {
        plan,
        stage,
        stop,
        meter,
        progress: Progress::new(plan),
        latest: vec![Second::default(); plan.clients],
        steady_from: None,
        sights: vec![Vec::new(); plan.clients],
        join_ms: milliseconds(),
        resume_ms: milliseconds(),
        turn_ms: milliseconds(),
        reports: vec![None; plan.clients],
        passing: Moment::default(),
        moments: Vec::new(),
        active_seen_max: 0,
        glances: 0,
        admitted_before: 0,
        began: Instant::now(),
    };
    let results = run.play().await;
    run.progress.end();
    results
}

impl Run<'_> {
    async fn play(&mut self) -> Result<Results> {
        self.fill().await?;
        let fill_seconds = self.began.elapsed().as_secs_f64();
        let steady = self.steady().await?;
        self.settle().await?;
        let counts = self.meter.counts().await?;
        let line = self.meter.line().await?;
        let memory = self.meter.memory().await?;
        let of_the_gone = self.meter.forget_the_gone().await?;
        let mut troubles = BTreeMap::new();
        for (name, count) in self.reports.iter().flatten().flat_map(|report| &report.troubles) {
            *troubles.entry(name.clone()).or_default() += count;
        }
        Ok(Results {
            steady,
            moments: std::mem::take(&mut self.moments),
            join_ms: self.join_ms.clone(),
            resume_ms: self.resume_ms.clone(),
            turn_ms: self.turn_ms.clone(),
            sights: std::mem::take(&mut self.sights).into_iter().flatten().collect(),
            record: self.stage.record.lock().clone(),
            active_seen_max: self.active_seen_max,
            reports: self.reports.drain(..).flatten().collect(),
            troubles,
            counts,
            line,
            memory,
            of_the_gone,
            fill_seconds,
        })
    }

    /// Everybody joins.
    async fn fill(&mut self) -> Result<()> {
        for index in 0..self.plan.clients {
            let waiters = self.plan.share(self.plan.scale, index);
            self.stage.tell(index, &Order::Fill { waiters }).await?;
        }
        let wait = FILL_WAIT + Duration::from_secs((self.plan.scale / FILL_PER_SECOND_MIN) as u64);
        let all = self.plan.scale;
        self.until("filling the line", wait, |run| run.sum(|second| second.waiting) >= all).await
    }

    /// The schedule; when it began and ended.
    async fn steady(&mut self) -> Result<(u64, u64)> {
        // What clients say of the filling has arrived after this.
        let filled = Instant::now();
        self.listen(Duration::MAX, |_| filled.elapsed() > CLIENTS_WAIT).await?;
        self.passing = Moment::default();
        self.stage.order("resume").await?;
        let clients = self.plan.clients as f64;
        let go = Order::Go {
            joins_per_second: self.plan.joins_per_second / clients,
            drops_per_second: self.plan.drops_per_second / clients,
        };
        self.stage.tell_all(&go).await?;
        let from = now_ms();
        self.steady_from = Some((from, Instant::now()));
        let end = Instant::now() + Duration::from_secs(self.plan.seconds);
        self.listen(Duration::MAX, |_| Instant::now() >= end).await?;
        Ok((from, now_ms()))
    }

    /// Nobody joins any more, whoever fell comes back, nobody is let in, and all are shown where they stand.
    async fn settle(&mut self) -> Result<()> {
        self.progress.phase("settling");
        self.stage.tell_all(&Order::Settle).await?;
        let settled_at = Instant::now();
        let quiet = |run: &Self| settled_at.elapsed() > CLIENTS_WAIT && run.sum(|second| second.away) == 0;
        // Whoever stays away, or is not shown the last position, is found by the comparison.
        self.listen(QUIET_WAIT, quiet).await?;
        self.stage.tell_all(&Order::ReadAll).await?;
        self.stage.order("pause").await?;
        sleep(MESSAGES_WAIT).await;
        let last = self.stage.record.lock().batches.last().map_or(0, |batch| batch.at);
        self.stage.tell_all(&Order::CountSince(last + 1)).await?;
        let counting_from = Instant::now();
        let shown = |run: &Self| {
            let (shown, waiting) = (run.sum(|second| second.shown), run.sum(|second| second.waiting));
            let at_rest = run.sum(|second| second.active + second.away) == 0;
            counting_from.elapsed() > CLIENTS_WAIT && at_rest && shown >= waiting
        };
        self.listen(SHOWN_WAIT, shown).await?;
        self.stage.check()?;
        self.stage.tell_all(&Order::Report).await?;
        self.until("reports", REPORT_WAIT, |run| run.reports.iter().all(Option::is_some)).await
    }

    fn sum(&self, of: impl Fn(&Second) -> usize) -> usize {
        self.latest.iter().map(of).sum()
    }

    /// Listens and watches until `done`, or for too long.
    async fn until(&mut self, what: &str, wait: Duration, done: impl Fn(&Self) -> bool) -> Result<()> {
        ensure!(self.listen(wait, done).await?, "{what} took longer than {} s", wait.as_secs());
        Ok(())
    }

    /// Listens and watches until `done`; false if that took too long.
    async fn listen(&mut self, wait: Duration, done: impl Fn(&Self) -> bool) -> Result<bool> {
        let began = Instant::now();
        let mut glances = interval(GLANCE);
        glances.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !done(self) {
            if began.elapsed() >= wait {
                return Ok(false);
            }
            tokio::select! {
                () = self.stop.cancelled() => bail!("stopped"),
                said = self.stage.said.recv() => {
                    let (index, said) = said.context("no clients")?;
                    self.hear(index, said.with_context(|| format!("client {}", index + 1))?);
                }
                _ = glances.tick() => self.glance().await?,
            }
        }
        Ok(true)
    }

    fn hear(&mut self, index: usize, said: Said) {
        match said {
            Said::Hello { .. } => {}
            Said::Report(report) => self.reports[index] = Some(report),
            Said::Second(mut second) => {
                self.passing.joined += second.join_ms.len() as u64;
                self.passing.resumed += second.resume_ms.len() as u64;
                self.passing.updates += second.updates;
                if self.steady_from.is_some() {
                    record_all(&mut self.join_ms, &second.join_ms);
                    record_all(&mut self.resume_ms, &second.resume_ms);
                    record_all(&mut self.turn_ms, &second.turn_ms);
                }
                self.sights[index].append(&mut second.sights);
                self.latest[index] = *second;
            }
        }
    }

    async fn glance(&mut self) -> Result<()> {
        self.glances += 1;
        let active = self.meter.active().await?;
        self.active_seen_max = self.active_seen_max.max(active);
        if !self.glances.is_multiple_of(GLANCES_PER_MOMENT) {
            return Ok(());
        }
        self.stage.check()?;
        let counts = self.meter.counts().await?;
        let mut moment = std::mem::take(&mut self.passing);
        moment.at_ms = now_ms();
        moment.second = match self.steady_from {
            Some((_, from)) => from.elapsed().as_secs_f64(),
            None => -1.0,
        };
        (moment.waiting, moment.active) = (counts.waiting, counts.active);
        moment.admitted = counts.admitted - self.admitted_before;
        self.admitted_before = counts.admitted;
        moment.usage = meters::usage(self.stage)?;
        if self.moments.len().is_multiple_of(MOMENTS_PER_MEMORY) {
            moment.memory = Some(self.meter.memory().await?);
        }
        let troubles = self.latest.iter().flat_map(|second| second.troubles.values()).sum();
        self.progress.show(&moment, self.moments.last(), counts.seq, troubles);
        self.moments.push(moment);
        Ok(())
    }
}

fn record_all(histogram: &mut Histogram<u64>, values: &[u64]) {
    values.iter().for_each(|value| histogram.saturating_record(*value));
}
