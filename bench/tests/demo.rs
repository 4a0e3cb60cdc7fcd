//! `make demo` as people run it: a small crowd to its end, and Ctrl-C in the middle. The servers must have been built.

use std::{path::Path, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};

const BOUND: Duration = Duration::from_secs(120);

fn demo(temporary: &Path, args: &[&str]) -> Result<Child> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
    command.arg("demo").args(args).env("TMPDIR", temporary).kill_on_drop(true);
    Ok(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}

async fn whole_crowd(store: &str) -> Result<()> {
    let temporary = tempfile::tempdir()?;
    let child =
        demo(temporary.path(), &["--store", store, "--visitors", "120", "--pace", "0.1", "--for-seconds", "1"])?;
    let output = timeout(BOUND, child.wait_with_output()).await.context("the demo did not end")??;
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{said}{complained}");
    ensure!(said.contains("/wait/demo"), "no address: {said}");
    ensure!(said.contains(" 0 sold twice, 0 booked but not sold"), "{said}");
    ensure!(said.contains(" 0 failed, 0 still there"), "{said}");
    ensure!(is_empty(temporary.path()), "the folder was left behind");
    Ok(())
}

#[tokio::test]
async fn a_crowd_books_and_goes() -> Result<()> {
    whole_crowd("memory").await
}

#[tokio::test]
async fn a_crowd_books_and_goes_on_redis() -> Result<()> {
    whole_crowd("redis").await
}

#[tokio::test]
async fn ctrl_c_ends_everything() -> Result<()> {
    let temporary = tempfile::tempdir()?;
    let mut child = demo(temporary.path(), &["--no-crowd"])?;
    let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines();
    let address = async {
        while let Some(line) = lines.next_line().await? {
            if let Some((_, url)) = line.split_once("Open  ") {
                return Ok(url.to_owned());
            }
        }
        anyhow::bail!("the demo ended without an address")
    };
    let address = timeout(BOUND, address).await.context("no address")??;
    ensure!(reqwest::get(&address).await?.status().is_success(), "{address} does not answer");
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw).context("no process")?;
    kill_process(pid, Signal::INT)?;
    let status = timeout(BOUND, child.wait()).await.context("Ctrl-C did not end it")??;
    ensure!(status.success(), "{status}");
    ensure!(reqwest::get(&address).await.is_err(), "a server is left");
    ensure!(is_empty(temporary.path()), "the folder was left behind");
    Ok(())
}
