//! The program itself: settings, start, end.

use std::process::{Command, Stdio};

use queue_core::service::testing::{Program, client};

const PROGRAM: &str = env!("CARGO_BIN_EXE_queue-server");

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(args).env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn bad_settings_stop_the_start_with_all_problems() {
    for mode in [vec!["check-config"], vec![]] {
        let mut args = mode.clone();
        args.extend([
            "--listen=nowhere",
            "--store=mysql://x",
            "--user-issuer=me",
            "--drain-seconds=x",
            "--state-dir=/tmp",
        ]);
        let output = command(&args).output().unwrap();
        assert_eq!(output.status.code(), Some(78), "{mode:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        for key in ["listen", "store", "user-issuer", "drain-seconds"] {
            assert!(said.lines().any(|line| line.trim_start().starts_with(key)), "{key} in {said}");
        }
        assert!(said.contains("nowhere"));
    }
}

#[test]
fn checking_settings_makes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let flag = format!("--state-dir={}", state.display());
    let output = command(&["check-config", &flag]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(!state.exists());
}

#[tokio::test]
async fn keys_outlive_a_restart_and_the_end_is_orderly() {
    let folder = tempfile::tempdir().unwrap();
    let flag = format!("--state-dir={}", folder.path().join("state").display());
    let args = [flag.as_str()];
    let mut documents = Vec::new();
    for _ in 0..2 {
        let mut running = Program::start(&mut command(&args));
        let keys = client().get(format!("{}/.well-known/jwks.json", running.url())).send().await.unwrap();
        documents.push(keys.text().await.unwrap());
        let ready = client().get(format!("{}/readyz", running.ops_url())).send().await.unwrap();
        assert_eq!(ready.status(), 200);
        running.signal("-TERM");
        assert_eq!(running.ended().await.code(), Some(0));
    }
    assert_eq!(documents[0], documents[1]);
}

#[tokio::test]
async fn an_address_in_use_is_said() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let address = taken.local_addr().unwrap().to_string();
    let args =
        [format!("--listen={address}"), "--ops-listen=127.0.0.1:0".into(), format!("--state-dir={}", state.display())];
    let output = command(&args.each_ref().map(String::as_str)).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains(&address));
    assert!(!state.exists(), "nothing was made");
}
