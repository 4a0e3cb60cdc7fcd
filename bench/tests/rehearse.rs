//! `bench rehearse` as people run it, with the small scenario: three hundred people of all kinds, and every kind of
//! fault. No time is asserted, what must always hold is. The servers must have been built.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tokio::{process::Command, time::timeout};

const BOUND: Duration = Duration::from_secs(280);

async fn rehearse(temporary: &Path, report: &Path, scenario: &Path, args: &[&str]) -> Result<(bool, String)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
    command.arg("rehearse").arg(scenario).args(args).arg("--report").arg(report);
    command.env("TMPDIR", temporary).kill_on_drop(true);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let output = timeout(BOUND, child.wait_with_output()).await.context("it did not end")??;
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    Ok((output.status.success(), text))
}

fn scenario(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios").join(name)
}

fn people<'r>(record: &'r Value, kind: &str) -> impl Iterator<Item = &'r Value> {
    let all = record["visitors"].as_array().map_or(&[][..], Vec::as_slice);
    all.iter().filter(move |visitor| visitor["kind"] == kind)
}

#[tokio::test]
async fn three_hundred_people_and_every_fault() -> Result<()> {
    let (temporary, report) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let (success, said) = rehearse(temporary.path(), report.path(), &scenario("small.toml"), &[]).await?;
    ensure!(success, "{said}");
    // Each invariant is told.
    for invariant in [
        "no seat sold twice",
        "every acknowledged booking in the ledger",
        "Active never over capacity",
        "order kept",
        "every position as it was",
        "nobody forgotten",
        "every slot returned",
        "every payment matched",
        "the same key, the same answer",
        "the record of the line complete",
    ] {
        let line =
            said.lines().find(|line| line.starts_with(invariant)).with_context(|| format!("{invariant}: {said}"))?;
        ensure!(line.ends_with("kept"), "{line}");
    }
    // It was a run in which something happened.
    let record: Value = serde_json::from_slice(&std::fs::read(report.path().join("record.json"))?)?;
    ensure!(record["settled"] == true, "{said}");
    ensure!(record["faults"].as_array().is_some_and(|faults| faults.len() >= 7), "{said}");
    for kind in ["buyer", "best-available", "general", "abandons", "leaves", "reloads", "two-tabs", "dawdles", "bot"] {
        ensure!(people(&record, kind).next().is_some(), "nobody of kind {kind}");
    }
    ensure!(people(&record, "buyer").any(|visitor| visitor["end"] == "booked"), "nobody bought: {said}");
    let captured = record["payments"].as_array().context("payments")?.iter();
    ensure!(captured.filter(|payment| payment["status"] == "CAPTURED").count() > 10, "{said}");
    let html = std::fs::read_to_string(report.path().join("report.html"))?;
    ensure!(html.contains("invariants held") && html.contains("<polyline"), "the report is empty");
    ensure!(!html.contains("<script") && !html.contains("src="), "the report is not whole in itself");
    ensure!(std::fs::read_dir(temporary.path())?.next().is_none(), "the folder was left behind");
    Ok(())
}

#[tokio::test]
async fn a_scenario_with_mistakes_is_refused_at_once() -> Result<()> {
    let (temporary, report) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let file = temporary.path().join("bad.toml");
    let text = std::fs::read_to_string(scenario("small.toml"))?;
    std::fs::write(&file, text.replace("capacity = 40", "capacity = 0").replace("visitors = 300", "visitors = 0"))?;
    let (success, said) = rehearse(temporary.path(), report.path(), &file, &[]).await?;
    ensure!(!success && said.contains("capacity") && said.contains("visitors"), "{said}");
    Ok(())
}
