//! The run itself: everybody comes as planned, faults happen on schedule, a sample is taken each second, and when the
//! last one has gone everything must settle before anything is judged.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use queue_core::ids::EventId;
use tokio::{
    task::JoinSet,
    time::{Instant, Interval, MissedTickBehavior, interval, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    faults::{self, Cast},
    meter::Meter,
    people::{self, World},
    plan::Plan,
    progress::Progress,
    record::{self, Record, Sample},
    sampler::{self, Lines},
    scenario::{EVENT, Scenario},
    stage::{Shared, Stage},
    windows::Windows,
};
use crate::{
    api::{self, Queue, Tickets},
    clock::now_ms,
    scale::Machine,
    servers,
};

/// Of the file descriptors of the crowd, so many of a hundred are for sockets; the others for requests.
const SOCKETS_PERCENT: u64 = 65;

/// A run that is under way.
pub struct Run {
    scenario: Scenario,
    plan: Plan,
    world: Arc<World>,
    windows: Windows,
    lines: Lines,
    progress: Progress,
    samples: Vec<Sample>,
    faults: Vec<record::Fault>,
    started_at: u64,
}

impl Run {
    /// Everybody stands ready.
    pub fn new(scenario: &Scenario, stage: &Stage, files: u64) -> Result<Self> {
        let event = EventId::new(EVENT).context("the event's id")?;
        let plan = Plan::new(scenario);
        let windows = Windows::default();
        let http = api::client()?;
        let setup = people::Setup {
            nodes: stage.nodes.iter().map(|node| Queue::new(http.clone(), &node.url(), EVENT)).collect(),
            shops: stage.shops.iter().map(|shop| Tickets::new(http.clone(), &shop.url(), EVENT)).collect(),
            keys: stage.place_keys.clone(),
            rules: scenario.rules(),
            crowd: scenario.crowd.clone(),
            meter: Meter::new(windows.clone()),
            sockets_max: (files * SOCKETS_PERCENT / 100) as usize,
            event: event.clone(),
        };
        Ok(Self {
            world: Arc::new(World::new(setup, &plan)),
            lines: Lines::new(&event, stage.queue_redis.address, stage.ticket_redis.address),
            progress: Progress::new(scenario.crowd.visitors),
            scenario: scenario.clone(),
            plan,
            windows,
            samples: Vec::new(),
            faults: Vec::new(),
            started_at: now_ms(),
        })
    }

    /// Plays it to its end. The stage goes on, for whoever looks at what is left.
    pub async fn play(mut self, stage: &Shared, stop: &CancellationToken) -> Result<Record> {
        let outcome = tokio::select! {
            outcome = self.crowd_and_faults(stage) => outcome,
            () = stop.cancelled() => Err(anyhow::anyhow!("interrupted")),
        };
        self.progress.end();
        let settled = outcome?;
        self.record(stage, settled).await
    }

    /// Whether everything had settled at the end.
    async fn crowd_and_faults(&mut self, stage: &Shared) -> Result<bool> {
        let (started, over) = (Instant::now(), CancellationToken::new());
        self.started_at = now_ms();
        let mut crowd = JoinSet::new();
        for intent in self.plan.0.clone() {
            crowd.spawn(people::live(self.world.clone(), intent, started));
        }
        let mut faults = JoinSet::new();
        let ops_urls = stage.lock().await.ops_urls();
        for fault in self.scenario.faults.clone() {
            let cast = Cast {
                stage: stage.clone(),
                windows: self.windows.clone(),
                started,
                ops_urls: ops_urls.clone(),
                over: over.clone(),
            };
            faults.spawn(faults::play(fault, cast));
        }
        let mut ticks = interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let limit = started + Duration::from_secs(self.scenario.crowd.limit_seconds);
        loop {
            tokio::select! {
                lived = crowd.join_next() => match lived {
                    None => break,
                    Some(lived) => lived.context("a visitor's life broke off")?,
                },
                Some(fault) = faults.join_next() => self.fault_is_over(fault)?,
                _ = ticks.tick() => self.sample("the crowd", stage).await?,
                () = sleep_until(limit) => {
                    // Whoever is still there stays unfinished in the record.
                    crowd.shutdown().await;
                    break;
                }
            }
        }
        over.cancel();
        while let Some(fault) = faults.join_next().await {
            self.fault_is_over(fault)?;
        }
        self.settle(stage, &mut ticks).await
    }

    fn fault_is_over(&mut self, fault: Result<Result<Option<record::Fault>>, tokio::task::JoinError>) -> Result<()> {
        self.faults.extend(fault.context("a fault broke off")??);
        Ok(())
    }

    /// Waits until nobody waits or is in, nothing is held, and no money waits.
    async fn settle(&mut self, stage: &Shared, ticks: &mut Interval) -> Result<bool> {
        let until = Instant::now() + Duration::from_secs(self.scenario.crowd.settle_seconds);
        let provider = stage.lock().await.provider.clone();
        loop {
            ticks.tick().await;
            self.sample("settling", stage).await?;
            let line = self.samples.last().and_then(|sample| sample.line);
            let empty = line.is_some_and(|line| line.waiting == 0 && line.active == 0 && line.held == 0);
            if empty && !provider.has_open() {
                return Ok(true);
            }
            if Instant::now() > until {
                return Ok(false);
            }
        }
    }

    async fn sample(&mut self, phase: &str, stage: &Shared) -> Result<()> {
        let processes = {
            let mut stage = stage.lock().await;
            if let Some(fallen) = stage.fallen() {
                bail!(fallen);
            }
            stage.processes()
        };
        let sample = sampler::take(&self.world, &mut self.lines, &processes).await;
        self.progress.show(phase, &self.world, sample.line, &self.windows.reasons());
        self.samples.push(sample);
        Ok(())
    }

    async fn record(mut self, stage: &Shared, settled: bool) -> Result<Record> {
        let stage = stage.lock().await;
        let (payments, mut left_out) = stage.provider.book();
        left_out.extend(self.world.left_out());
        let late = self.scenario.faults.len() - self.faults.len();
        if late > 0 {
            left_out.insert("faults after the last visitor had gone".into(), late as u64);
        }
        self.faults.sort_by_key(|fault| fault.from);
        Ok(Record {
            version: record::VERSION,
            scenario: self.scenario.to_toml()?,
            seed: self.scenario.seed,
            rules: self.scenario.rules(),
            started_at: self.started_at,
            ended_at: now_ms(),
            settled,
            machine: machine(&stage).await?,
            visitors: self.world.visitors(),
            payments,
            steps: stage.watch.steps().await?,
            routes: self.world.meter.routes(),
            faults: self.faults,
            samples: self.samples,
            left_out,
        })
    }
}

async fn machine(stage: &Stage) -> Result<record::Machine> {
    let host = Machine::read();
    let folder = servers::beside_us("queue-server")?;
    let build = folder.parent().and_then(|folder| folder.file_name()).unwrap_or_default();
    Ok(record::Machine {
        cores: host.processors as u64,
        memory_bytes: (host.memory_gib * f64::from(1 << 30)) as u64,
        system: format!("Linux {}, {}", host.kernel, host.model),
        build: build.to_string_lossy().into_owned(),
        redis: sampler::redis_version(stage.queue_redis.address).await?,
        ledger: stage.database.kind.name().into(),
    })
}
