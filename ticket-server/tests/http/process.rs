//! The program itself: settings, start, end.

use std::process::{Command, Stdio};

use queue_core::service::testing::{Program, client, eventually};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ticket-server");

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(args).env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
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
    let client = client();
    for _ in 0..2 {
        let mut running = Program::start(&mut command(&[&flag]));
        eventually("readiness", async || {
            let ready = client.get(format!("{}/readyz", running.ops_url())).send().await.unwrap();
            (ready.status() == 200).then_some(())
        })
        .await;
        let events = client.get(format!("{}/api/v1/events", running.url())).send().await.unwrap();
        assert_eq!(events.status(), 200);
        running.signal("-TERM");
        assert_eq!(running.ended().await.code(), Some(0));
    }
}
