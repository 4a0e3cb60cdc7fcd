//! The program itself: settings, start, end.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, Command, Stdio},
};

use crate::support::eventually;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ticket-server");

/// A running program, killed at the end.
struct Running {
    child: Child,
    url: String,
    ops: String,
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(args).env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Running {
    fn start(args: &[&str]) -> Self {
        let mut child = command(args).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line.is_empty() {
            let mut said = String::new();
            child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            panic!("it did not start: {said}");
        }
        let mut urls = line.split(|c: char| c == ',' || c.is_whitespace()).filter(|word| word.starts_with("http://"));
        let (url, ops) = (urls.next().unwrap().to_owned(), urls.next().unwrap().to_owned());
        Self { child, url, ops }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only for a process that has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn bad_settings_stop_the_start_with_all_problems() {
    for mode in [vec!["check-config"], vec![]] {
        let mut args = mode.clone();
        args.extend(["--listen=nowhere", "--store=mysql://x", "--ledger=oracle://x", "--queue=ftp://x"]);
        args.push("--state-dir=/tmp");
        let output = command(&args).output().unwrap();
        assert_eq!(output.status.code(), Some(78), "{mode:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        for key in ["listen", "store", "ledger", "queue"] {
            assert!(said.lines().any(|line| line.trim_start().starts_with(key)), "{key} in {said}");
        }
    }
}

#[test]
fn checking_settings_makes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let output = command(&["check-config", &format!("--state-dir={}", state.display())]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(!state.exists());
}

/// Without a queue and without anything said: it starts, says that it is ready, and ends in order.
#[tokio::test]
async fn it_starts_before_the_queue_and_ends_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let flag = format!("--state-dir={}", folder.path().join("state").display());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    for _ in 0..2 {
        let mut running = Running::start(&["--listen=127.0.0.1:0", "--ops-listen=127.0.0.1:0", &flag]);
        eventually("readiness", async || {
            let ready = client.get(format!("{}/readyz", running.ops)).send().await.unwrap();
            (ready.status() == 200).then_some(())
        })
        .await;
        let events = client.get(format!("{}/api/v1/events", running.url)).send().await.unwrap();
        assert_eq!(events.status(), 200);
        let id = running.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        let status = eventually("the end", async || running.child.try_wait().unwrap()).await;
        assert_eq!(status.code(), Some(0));
    }
}
