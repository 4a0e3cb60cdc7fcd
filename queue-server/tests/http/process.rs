//! The program itself: settings, start, end.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, Command, Stdio},
};

use super::support::eventually;

const PROGRAM: &str = env!("CARGO_BIN_EXE_queue-server");

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

    fn terminate(&self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only for a process that has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
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
    let args = ["--listen=127.0.0.1:0", "--ops-listen=127.0.0.1:0", &flag];
    let mut documents = Vec::new();
    for _ in 0..2 {
        let mut running = Running::start(&args);
        let keys = client().get(format!("{}/.well-known/jwks.json", running.url)).send().await.unwrap();
        documents.push(keys.text().await.unwrap());
        let ready = client().get(format!("{}/readyz", running.ops)).send().await.unwrap();
        assert_eq!(ready.status(), 200);
        running.terminate();
        let status = eventually("the end", async || running.child.try_wait().unwrap()).await;
        assert_eq!(status.code(), Some(0));
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
