//! `bench scale` as people run it, only smaller: two thousand waiters for twenty seconds. No time is asserted, what must
//! always hold is. The queue server must have been built.

use std::{path::Path, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tokio::{process::Command, time::timeout};

const BOUND: Duration = Duration::from_secs(280);

async fn scale(temporary: &Path, out: &Path, args: &[&str]) -> Result<(bool, String)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
    command.arg("scale").args(args).arg("--out").arg(out).env("TMPDIR", temporary).kill_on_drop(true);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let output = timeout(BOUND, child.wait_with_output()).await.context("it did not end")??;
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    Ok((output.status.success(), text))
}

fn row<'r>(result: &'r Value, what: &str) -> Result<&'r Value> {
    let rows = result["rows"].as_array().context("no rows")?;
    rows.iter().find(|row| row["what"].as_str().is_some_and(|text| text.starts_with(what))).context(what.to_owned())
}

#[tokio::test]
async fn two_thousand_wait_for_twenty_seconds() -> Result<()> {
    let (temporary, out) = (tempfile::tempdir()?, tempfile::tempdir()?);
    // One in ten loses the socket within the run.
    let args = ["--scale", "2000", "--minutes", "0.34", "--joins-per-second", "100", "--drop-percent", "30"];
    let (success, said) = scale(temporary.path(), out.path(), &args).await?;
    ensure!(success, "{said}");
    let result: Value = serde_json::from_slice(&std::fs::read(out.path().join("result.json"))?)?;
    ensure!(result["broken"].as_array().is_some_and(Vec::is_empty), "{said}");
    let invariants = [
        "positions exact",
        "everybody's last position exact",
        "order kept",
        "the record is complete",
        "Active never over capacity",
        "nobody forgotten",
    ];
    for what in invariants {
        ensure!(row(&result, what)?["ok"] == true, "{what}: {said}");
    }
    // It was a run in which something happened.
    let number = |value: &Value| value.as_u64().context("a number");
    ensure!(number(&result["positions"]["checked"])? > 500, "{said}");
    ensure!(number(&result["counts"]["admitted"])? > 100, "{said}");
    ensure!(number(&result["counts"]["seq"])? >= 2_000, "{said}");
    ensure!(number(&result["milliseconds"]["near"]["count"])? > 0, "{said}");
    ensure!(number(&result["milliseconds"]["resume"]["count"])? > 0, "nobody came back: {said}");
    for plot in ["line", "admissions", "lag", "memory", "cpu"] {
        let svg = std::fs::read_to_string(out.path().join(format!("scale-{plot}.svg")))?;
        ensure!(svg.contains("<polyline"), "{plot} is empty");
    }
    ensure!(std::fs::read_dir(temporary.path())?.next().is_none(), "the folder was left behind");
    Ok(())
}

#[tokio::test]
async fn too_many_for_the_processes_is_said_at_once() -> Result<()> {
    let (temporary, out) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let args = ["--scale", "2000000", "--nodes", "2"];
    let (success, said) = scale(temporary.path(), out.path(), &args).await?;
    ensure!(!success && said.contains("file descriptors"), "{said}");
    Ok(())
}
