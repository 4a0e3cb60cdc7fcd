//! A real Redis of one test's own, and a sentinel.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::process::{PORTS_TRIED_MAX, free_port, stop};

/// A server that has not answered for so long will not.
const START_WITHIN: Duration = Duration::from_secs(10);

/// A `redis-server` on a free port of the loopback interface, without persistence, with a folder
/// and a socket of its own. Killed when dropped.
#[derive(Debug)]
pub struct TestRedis {
    child: Child,
    port: u16,
    args: Vec<String>,
    folder: TempDir,
}

impl TestRedis {
    /// Starts a server and waits until it answers.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// As [`TestRedis::start`], with more arguments, such as `["--maxmemory", "1mb"]`.
    pub fn start_with(args: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("redis").tempdir().expect("a temporary folder");
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        for _ in 0..PORTS_TRIED_MAX {
            let port = free_port();
            let mut child = spawn(port, &folder, &args);
            if answers(&mut child, port) {
                return Self { child, port, args, folder };
            }
            stop(&mut child);
        }
        panic!("redis-server did not start");
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Stops its process, connections stay open and unanswered, until [`TestRedis::resume`].
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// Lets its process go on.
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    /// Kills it. Its data is lost.
    pub fn kill(&mut self) {
        stop(&mut self.child);
    }

    /// Kills it if it still runs, and starts an empty one in its place, on the same port.
    pub fn restart(&mut self) {
        self.kill();
        let deadline = Instant::now() + START_WITHIN;
        while Instant::now() < deadline {
            self.child = spawn(self.port, &self.folder, &self.args);
            if answers(&mut self.child, self.port) {
                return;
            }
            stop(&mut self.child);
        }
        panic!("redis-server did not start again on port {}", self.port);
    }

    /// What `redis-cli` prints for these arguments, without the line end.
    pub fn cli(&self, args: &[&str]) -> String {
        cli(self.port, args)
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "cannot send {signal} to redis-server");
    }
}

impl Drop for TestRedis {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

/// A lone `redis-sentinel` that watches one server and its replicas and fails over within a few
/// seconds. Killed when dropped.
#[derive(Debug)]
pub struct TestSentinel {
    child: Child,
    port: u16,
    _folder: TempDir,
}

impl TestSentinel {
    /// Starts a sentinel that knows `master` as `name`, and waits until it answers.
    pub fn start(name: &str, master: &TestRedis) -> Self {
        let folder = tempfile::Builder::new().prefix("sentinel").tempdir().expect("a temporary folder");
        let path = folder.path().join("sentinel.conf");
        for _ in 0..PORTS_TRIED_MAX {
            let port = free_port();
            let settings = format!(
                "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor {name} 127.0.0.1 {} 1\n\
                 sentinel down-after-milliseconds {name} 1000\nsentinel failover-timeout {name} 3000\n",
                folder.path().display(),
                master.port()
            );
            std::fs::write(&path, settings).expect("a file in a folder of our own");
            let mut child = start_server(Command::new("redis-server").arg(&path).arg("--sentinel"));
            if answers(&mut child, port) {
                return Self { child, port, _folder: folder };
            }
            stop(&mut child);
        }
        panic!("redis-sentinel did not start");
    }

    /// Where the server of this name is found.
    pub fn url(&self, name: &str) -> String {
        format!("redis-sentinel://127.0.0.1:{}?sentinelServiceName={name}", self.port)
    }

    /// How many replicas of the server of this name it knows: without one it cannot fail over.
    pub fn replicas(&self, name: &str) -> usize {
        let lines = cli(self.port, &["SENTINEL", "REPLICAS", name]);
        lines.lines().filter(|line| *line == "runid").count()
    }
}

impl Drop for TestSentinel {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

fn spawn(port: u16, folder: &TempDir, args: &[String]) -> Child {
    let path = folder.path();
    start_server(
        Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", "no"])
            .arg("--dir")
            .arg(path)
            .arg("--unixsocket")
            .arg(path.join("s"))
            .args(args),
    )
}

fn start_server(command: &mut Command) -> Child {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run redis-server ({error}): run `make setup`"))
}

fn cli(port: u16, args: &[&str]) -> String {
    let output = Command::new("redis-cli").args(["-h", "127.0.0.1", "-p", &port.to_string()]).args(args).output();
    let output = output.unwrap_or_else(|error| panic!("cannot run redis-cli ({error}): run `make setup`"));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// Waits until the server answers a command; `NOAUTH` is an answer too.
fn answers(child: &mut Child, port: u16) -> bool {
    let deadline = Instant::now() + START_WITHIN;
    while Instant::now() < deadline {
        if !matches!(child.try_wait(), Ok(None)) {
            return false;
        }
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
            let mut answer = [0; 1];
            let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
            let asked = stream.write_all(b"PING\r\n").and_then(|()| stream.read_exact(&mut answer));
            if asked.is_ok() {
                return true;
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}
