//! A rehearsal: real servers, real stores, a real ledger and a payment provider, a crowd of people of all kinds, and
//! faults on a schedule. What was promised to anybody is written down, and an auditor compares it with what the
//! servers keep.
//!
//! Invariant: every run is bounded, in visitors, requests and time, and ends by id what it has started.

pub mod audit;
mod faults;
mod levels;
mod meter;
mod people;
mod plan;
mod progress;
pub mod record;
pub mod report;
mod run;
mod sampler;
mod scenario;
mod stage;
mod summary;
pub mod watch;
mod windows;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result, ensure};
use tokio_util::sync::CancellationToken;

use self::{
    record::{Record, Verdict},
    run::Run,
    scenario::{Changes, Scenario},
    stage::Stage,
};
use crate::{demo, process::raise_file_limit};

/// What to rehearse, and where the report goes.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The scenario: a TOML file, see docs/rehearsal.md.
    scenario: PathBuf,
    /// How many come, in place of what the scenario says.
    #[arg(long)]
    visitors: Option<u64>,
    /// What makes the crowd, in place of what the scenario says.
    #[arg(long)]
    seed: Option<u64>,
    /// Where the report and the record go, and the servers' logs where something was broken.
    #[arg(long, default_value = "target/rehearsal")]
    report: PathBuf,
    /// A service level that was missed counts as much as a broken invariant.
    #[arg(long)]
    strict: bool,
}

/// Runs it, prints what came of it and writes the report; fails where an invariant broke.
pub async fn run(options: Options) -> Result<()> {
    let scenario = Scenario::load(&options.scenario, Changes { visitors: options.visitors, seed: options.seed })?;
    std::fs::create_dir_all(&options.report).with_context(|| format!("creating {}", options.report.display()))?;
    let files = raise_file_limit();
    let stop = CancellationToken::new();
    demo::stop_on_signal(stop.clone())?;
    let folder = tempfile::Builder::new().prefix("usher-rehearsal-").tempdir().context("making a temporary folder")?;
    eprintln!("{}", summary::announcement(&scenario));
    let stage = Stage::set(&scenario, folder.path(), files).await?;
    let outcome = match Run::new(&scenario, &stage, files) {
        Ok(run) => perform(run, stage, &stop).await,
        Err(error) => {
            stage.end().await;
            Err(error)
        }
    };
    let outcome = outcome.and_then(|(record, verdicts)| finish(&options, &record, &verdicts));
    if outcome.is_err() {
        keep_logs(folder.path(), &options.report);
    }
    outcome
}

/// Plays it and has it judged while everything still runs, and ends everything.
async fn perform(run: Run, stage: Stage, stop: &CancellationToken) -> Result<(Record, Vec<Verdict>)> {
    let stage = Arc::new(tokio::sync::Mutex::new(stage));
    let judged = async {
        let record = run.play(&stage, stop).await?;
        let sources = stage.lock().await.sources();
        let verdicts = audit::audit(&record, &sources).await.context("the audit could not be done")?;
        Ok((record, verdicts))
    };
    let outcome = judged.await;
    // Who still had a part in it has been aborted; else its children are killed where it is dropped.
    if let Some(stage) = Arc::into_inner(stage) {
        stage.into_inner().end().await;
    }
    outcome
}

/// Prints the tables, and writes everything down.
fn finish(options: &Options, record: &Record, verdicts: &[Verdict]) -> Result<()> {
    let levels = levels::levels(record);
    println!("{}", summary::text(record, &levels, verdicts));
    let file = options.report.join("record.json");
    let out = std::io::BufWriter::new(std::fs::File::create(&file).with_context(|| file.display().to_string())?);
    serde_json::to_writer(out, record).with_context(|| format!("writing {}", file.display()))?;
    let page = report::write(&options.report, record, &levels, verdicts)?;
    println!("\nThe report is {}, the record {}", page.display(), file.display());
    let missed: Vec<&str> =
        levels.iter().filter(|level| level.counts && !level.met).map(|level| level.what.as_str()).collect();
    let broken: Vec<&str> =
        verdicts.iter().filter(|verdict| !verdict.holds()).map(|verdict| verdict.what.as_str()).collect();
    ensure!(broken.is_empty(), "broken: {}", broken.join("; "));
    ensure!(missed.is_empty() || !options.strict, "service levels missed: {}", missed.join("; "));
    Ok(())
}

/// Copies what the servers wrote, so that it can be seen why something broke.
fn keep_logs(folder: &Path, report: &Path) {
    let logs = report.join("logs");
    let copy = || -> std::io::Result<()> {
        std::fs::create_dir_all(&logs)?;
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if let (Some(name), Some("log")) = (path.file_name(), path.extension().and_then(|end| end.to_str())) {
                std::fs::copy(&path, logs.join(name))?;
            }
        }
        Ok(())
    };
    match copy() {
        Ok(()) => eprintln!("The servers' logs are in {}", logs.display()),
        Err(error) => eprintln!("The servers' logs could not be kept: {error}"),
    }
}
