//! One of our programs as a process of its own.

use std::{
    io::{BufRead as _, BufReader, Read},
    net::SocketAddr,
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
};

use parking_lot::Mutex;

use super::eventually;

/// What is kept of what a program says, at most.
const SAID_BYTES_MAX: usize = 1024 * 1024;

/// A running program with both listeners on free ports. Killed when dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    /// Where visitors come.
    pub public: SocketAddr,
    /// Where operators come.
    pub ops: SocketAddr,
    said: Arc<Mutex<String>>,
}

impl Program {
    /// Starts it with listeners on free ports and waits until it says where they are. Panics with what it said if
    /// it does not start.
    pub fn start(command: &mut Command) -> Self {
        let command = command.args(["--listen=127.0.0.1:0", "--ops-listen=127.0.0.1:0"]);
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
        let (stdout, stderr) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
        let said = Arc::new(Mutex::new(String::new()));
        let listening = listen(stderr, said.clone());
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        let Some(line) = lines.find(|line| line.contains("visitors on")) else {
            // It has closed its output: it is ending.
            let _ = child.wait();
            let _ = listening.join();
            panic!("it did not start: {}", said.lock());
        };
        std::thread::spawn(move || lines.for_each(drop));
        let mut addresses =
            line.split("http://").skip(1).filter_map(|rest| rest.split([',', ' ']).next()?.parse().ok());
        let mut address = || addresses.next().unwrap_or_else(|| panic!("two addresses in {line:?}"));
        let (public, ops) = (address(), address());
        Self { child, public, ops, said }
    }

    /// Its public listener.
    pub fn url(&self) -> String {
        format!("http://{}", self.public)
    }

    /// Its operations listener.
    pub fn ops_url(&self) -> String {
        format!("http://{}", self.ops)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to its standard error so far.
    pub fn said(&self) -> String {
        self.said.lock().clone()
    }

    /// Sends a signal, such as `-TERM`.
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Ends it without a word, if it has not ended yet.
    pub fn kill(&mut self) {
        // Both fail only for a process that has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_none())
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        eventually("the end of a program", async || self.child.try_wait().expect("a child of ours")).await
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("the program said: {}", self.said.lock());
        }
    }
}

/// Sends a signal, such as `-TERM`, to a process.
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([name, &pid.to_string()]).status();
    assert!(status.is_ok_and(|status| status.success()), "cannot send {name} to process {pid}");
}

/// Reads to the end, so that the program never waits for us.
fn listen(mut from: impl Read + Send + 'static, said: Arc<Mutex<String>>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let mut said = said.lock();
            if said.len() < SAID_BYTES_MAX {
                said.push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
        }
    })
}
