//! A whole process: settings, signals, drain, exit codes. The test program starts itself again as
//! the server.

mod support;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use queue_core::service::config::{Env, Program, Raw, SHARED, Setting, SharedConfig};
use queue_core::service::http::{HttpOptions, Router};
use queue_core::service::ops::{Access, Guard, GuardedApp, OpsApp};
use queue_core::service::run::{self, Lifecycle};
use queue_core::service::secret::SecretDigest;
use support::{PATIENCE, TestApp};

const CHILD: &str = "SERVICE_PROCESS_ARGS";
const OWN: &[Setting] = &[
    Setting::value("listen", "USHER_LISTEN", "ADDR", "").or("127.0.0.1:0"),
    Setting::value("ops-listen", "USHER_OPS_LISTEN", "ADDR", "").or("127.0.0.1:0"),
    Setting::value("break-after-ms", "USHER_BREAK_AFTER_MS", "MS", ""),
];
const PROGRAM: Program =
    Program { name: "prog", version: "0", about: "Tests", tables: &[OWN, SHARED], foreign_env: &[] };

struct Config {
    shared: SharedConfig,
    break_after: Option<Duration>,
}

fn configure(raw: &mut Raw, env: Env<'_>) -> Config {
    let ms = |text: &str| text.parse().map(Duration::from_millis);
    Config { shared: SharedConfig::read(raw, env), break_after: raw.optional("break-after-ms", "milliseconds", ms) }
}

struct Nothing(Router<support::Route>);

impl queue_core::service::http::App for Nothing {
    type Route = support::Route;

    fn router(&self) -> &Router<support::Route> {
        &self.0
    }

    async fn handle(
        &self,
        _: support::Route,
        _: queue_core::service::http::Request,
    ) -> Result<queue_core::service::http::Response, queue_core::service::http::ApiError> {
        Err(queue_core::codes::Code::NotFound.into())
    }
}

impl GuardedApp for Nothing {
    fn access(&self, _: support::Route) -> Access {
        Access::Operator
    }
}

async fn run(config: Config, life: Lifecycle) -> anyhow::Result<()> {
    let (public, ops) = (run::bind(config.shared.listen).await?, run::bind(config.shared.ops_listen).await?);
    println!("{} {}", public.address(), ops.address());
    let guard = Guard { address: ops.address(), hosts: vec![], operator: SecretDigest::new("x"), peer: None };
    let ops_app = OpsApp::new(Nothing(Router::new()), guard, life.readiness.clone(), life.metrics.clone());
    // A socket that takes a moment to close, as real ones do.
    let draining = life.draining.clone();
    life.sockets.spawn(async move {
        draining.cancelled().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    });
    let stopping = life.stopping.clone();
    life.spawn("loop", async move {
        match config.break_after {
            Some(after) => tokio::time::sleep(after).await,
            None => stopping.cancelled().await,
        }
    });
    let app = Arc::new(TestApp::new());
    let began = app.began.clone();
    tokio::spawn(async move {
        began.notified().await;
        println!("began");
    });
    let options = HttpOptions::new("usher_process_");
    life.serve((public, app, options.clone()), (ops, Arc::new(ops_app), options)).await;
    Ok(())
}

/// Not a test: the server, when this program was started as one.
#[test]
fn child() {
    let Ok(args) = std::env::var(CHILD) else { return };
    let args = args.split('\n').filter(|arg| !arg.is_empty()).map(str::to_owned);
    let code =
        run::main_with_args(&PROGRAM, ["prog".to_owned()].into_iter().chain(args), configure, |c| &c.shared, run);
    // An exit code cannot be looked into: all there are are these.
    let code = [0, run::EXIT_FAILURE, run::EXIT_CONFIG]
        .into_iter()
        .find(|known| format!("{:?}", std::process::ExitCode::from(*known)) == format!("{code:?}"))
        .unwrap();
    std::process::exit(code.into());
}

fn start(args: &[&str]) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(CHILD, args.join("\n"))
        .env("HOME", "/nowhere")
        .env_remove("XDG_STATE_HOME")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Reads what it says until it says `line`.
fn says(mut child: Child, line: &str) -> Child {
    assert!(lines(&mut child).any(|said| said == line), "it does not say {line}");
    child
}

/// What it says. Nothing is read ahead, so that more can be asked for later.
fn lines(child: &mut Child) -> impl Iterator<Item = String> {
    BufReader::with_capacity(1, child.stdout.as_mut().unwrap()).lines().map_while(Result::ok)
}

/// The public and the operations address, once it serves.
fn addresses(child: &mut Child) -> (String, String) {
    let lines = lines(child);
    for line in lines {
        let line = line.rsplit("... ").next().unwrap_or_default();
        if let Some((public, ops)) = line.split_once(' ').filter(|(public, _)| public.starts_with("127.0.0.1:")) {
            return (public.to_owned(), ops.to_owned());
        }
    }
    panic!("it does not serve");
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

/// The exit code and what was said on standard error.
fn end(mut child: Child) -> (i32, String) {
    let since = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if since.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("it does not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (child.wait().unwrap().code().unwrap_or(-1), said)
}

async fn status(address: &str, path: &str) -> u16 {
    let answer = reqwest::Client::new().get(format!("http://{address}{path}")).send().await;
    answer.map_or(0, |answer| answer.status().as_u16())
}

#[tokio::test]
async fn sigterm_drains_and_exits_with_0() {
    for name in ["-TERM", "-INT"] {
        let mut child = start(&["--drain-seconds", "8"]);
        let (public, ops) = addresses(&mut child);
        assert_eq!((status(&public, "/items/1").await, status(&ops, "/readyz").await), (200, 200));
        // A request that takes as long as it likes: a stream that ends when the server drains.
        let mut stream = reqwest::get(format!("http://{public}/stream")).await.unwrap();
        stream.chunk().await.unwrap().unwrap();
        signal(&child, name);
        while stream.chunk().await.unwrap().is_some() {}
        let (code, said) = end(child);
        assert_eq!(code, 0, "{said}");
        assert!(said.contains("draining"), "{said}");
    }
}

#[tokio::test]
async fn readiness_fails_while_requests_finish() {
    let mut child = start(&["--drain-seconds", "4"]);
    let (public, ops) = addresses(&mut child);
    let slow = tokio::spawn({
        let public = public.clone();
        async move { status(&public, "/slow").await }
    });
    let child = tokio::task::spawn_blocking(move || says(child, "began")).await.unwrap();
    signal(&child, "-TERM");
    let since = Instant::now();
    while status(&ops, "/readyz").await != 503 {
        assert!(since.elapsed() < PATIENCE);
    }
    assert_eq!(status(&ops, "/livez").await, 200);
    assert_eq!(status(&public, "/items/1").await, 0, "nobody new is let in");
    // It never finishes: it is cut off within the drain's time, and the exit is still clean.
    let (code, said) = end(child);
    assert_eq!(code, 0, "{said}");
    assert!(since.elapsed() < Duration::from_secs(4), "{:?}", since.elapsed());
    assert!(said.contains("cut off"), "{said}");
    assert_eq!(slow.await.unwrap(), 0);
}

#[test]
fn who_asks_twice_does_not_wait() {
    let mut child = start(&["--drain-seconds", "60"]);
    let (public, _) = addresses(&mut child);
    let mut slow = std::net::TcpStream::connect(public).unwrap();
    std::io::Write::write_all(&mut slow, b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut child = says(child, "began");
    signal(&child, "-TERM");
    // Signals that wait are merged: the second one goes once the first one was heard.
    let mut heard = String::new();
    while !heard.contains("told to end") {
        assert!(BufReader::with_capacity(1, child.stderr.as_mut().unwrap()).read_line(&mut heard).unwrap() > 0);
    }
    signal(&child, "-INT");
    assert_eq!(end(child).0, 1);
}

#[test]
fn bad_settings_exit_with_78_and_all_problems() {
    let (code, said) = end(start(&["--listen", "x", "--ops-listen", "y", "--nonsense", "--drain-seconds=0"]));
    assert_eq!(code, 78);
    for key in ["listen = \"x\"", "ops-listen = \"y\"", "--nonsense", "drain-seconds = \"0\"", "4 problems"] {
        assert!(said.contains(key), "{key} in {said}");
    }
    let (code, said) = end(start(&["check-config", "--listen", "x"]));
    assert!(code == 78 && said.contains("1 problem in"), "{said}");
}

#[test]
fn check_config_does_only_that() {
    let mut child = start(&["check-config"]);
    let mut out = String::new();
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    assert_eq!(end(child).0, 0);
    assert!(out.contains("configuration ok"), "{out}");
}

#[test]
fn an_address_in_use_exits_with_1_and_says_so() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, said) = end(start(&["--listen", &address]));
    assert_eq!(code, 1);
    assert!(said.contains(&format!("prog: cannot listen on {address}")), "{said}");
}

#[test]
fn a_dead_background_task_ends_the_server() {
    let (code, said) = end(start(&["--break-after-ms", "1"]));
    assert_eq!(code, 1);
    assert!(said.contains("ended before its time"), "{said}");
}
