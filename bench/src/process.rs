//! Child processes: started with a log of their own, watched, measured through `/proc`, ended by id.

use std::{
    ffi::OsStr,
    fs::File,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use rustix::process::{Pid, Resource, Rlimit, Signal};
use tokio::{process::Command, time::timeout};

/// What a child has after a polite request to end, before it is killed.
const STOP_WAIT: Duration = Duration::from_secs(25);
/// Lines of a dead child's log that are shown.
const LOG_TAIL_LINES: usize = 15;
/// File descriptors that are asked for at most.
const FILES_WANTED: u64 = 65_536;

/// A running child. Killed when dropped; better ended with [`Child::stop`].
#[derive(Debug)]
pub struct Child {
    /// What it is, for people.
    pub name: String,
    /// Its process id.
    pub pid: u32,
    log: PathBuf,
    inner: tokio::process::Child,
}

impl Child {
    /// Starts `program`, its output going to `NAME.log` in `folder`. It gets a process group of its own, so that a
    /// Ctrl-C on the terminal reaches only us, and we end it in order.
    pub fn start<A: AsRef<OsStr>>(
        name: &str,
        program: &Path,
        args: impl IntoIterator<Item = A>,
        env: &[(&str, String)],
        folder: &Path,
    ) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let out = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        let mut command = Command::new(program);
        for (key, _) in std::env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("USHER_")) {
            command.env_remove(key);
        }
        command
            .args(args)
            .envs(env.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .process_group(0)
            .kill_on_drop(true);
        let inner = command.spawn().with_context(|| format!("starting {}", program.display()))?;
        let pid = inner.id().context("the child ended at once")?;
        Ok(Self { name: name.to_owned(), pid, log, inner })
    }

    /// Waits for its end. Cancel-safe.
    pub async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.inner.wait().await
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.inner.try_wait(), Ok(None))
    }

    /// Asks it to end, waits, and kills it if it does not.
    pub async fn stop(mut self) {
        self.signal(Signal::TERM);
        if timeout(STOP_WAIT, self.inner.wait()).await.is_err() {
            let _ = self.inner.kill().await;
        }
    }

    /// Kills it at once.
    pub async fn kill(mut self) {
        self.kill_at_once().await;
    }

    /// The same, and its log can still be read.
    pub async fn kill_at_once(&mut self) {
        let _ = self.inner.kill().await;
    }

    /// Stops it where it is: its connections stay open and nothing is answered, until [`Self::thaw`].
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        // After `wait` has reaped the child its id may be somebody else's: `id` is `None` then.
        if let Some(pid) = self.inner.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// The last lines it wrote.
    pub fn last_lines(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }

    /// Processor time used so far by all its threads, user and system (Linux only).
    pub fn cpu(&self) -> Result<Duration> {
        cpu_of(self.pid)
    }

    /// Memory that is resident now, in bytes (Linux only).
    pub fn resident_bytes(&self) -> Result<u64> {
        self.status_bytes("VmRSS:")
    }

    /// Memory of its own that is resident now, without programs and libraries, in bytes (Linux only).
    pub fn anonymous_bytes(&self) -> Result<u64> {
        self.status_bytes("RssAnon:")
    }

    fn status_bytes(&self, name: &str) -> Result<u64> {
        status_bytes_of(self.pid, name)
    }
}

/// Memory of a process that is resident now, in bytes (Linux only).
pub fn resident_of(pid: u32) -> Result<u64> {
    status_bytes_of(pid, "VmRSS:")
}

fn status_bytes_of(pid: u32, name: &str) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().with_context(|| format!("{name} is no number"))?;
    Ok(kib * 1024)
}

/// Processor time used so far by all threads of a process, user and system (Linux only).
pub fn cpu_of(pid: u32) -> Result<Duration> {
    // Linux counts in ticks of 10 ms whatever the kernel's own frequency.
    const TICK_MS: u64 = 10;
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    // The name, in parentheses, may contain anything; the fields after it are plain.
    let (_, fields) = stat.rsplit_once(')').context("no name in stat")?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut ticks = || fields.next().and_then(|field| field.parse::<u64>().ok()).context("too few fields in stat");
    Ok(Duration::from_millis((ticks()? + ticks()?) * TICK_MS))
}

/// `default` if it is free, else any free port of loopback.
pub fn free_port_or(default: u16) -> Result<SocketAddr> {
    let at = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).and_then(|listener| listener.local_addr());
    at(default).or_else(|_| at(0)).context("no free port on loopback")
}

/// Any free port of loopback.
pub fn free_port() -> Result<SocketAddr> {
    free_port_or(0)
}

/// Raises the soft limit of file descriptors as far as we may; children inherit it. Says what it is then.
pub fn raise_file_limit() -> u64 {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(FILES_WANTED).min(FILES_WANTED);
    if limit.current.is_some_and(|current| current < wanted) {
        let _ = rustix::process::setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum });
    }
    rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(FILES_WANTED)
}

/// Where a program is, by the search path.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_child_is_watched_and_ended() {
        let folder = tempfile::tempdir().unwrap();
        let shell = Path::new("/bin/sh");
        let mut child = Child::start("sleeper", shell, ["-c", "echo here; exec sleep 60"], &[], folder.path()).unwrap();
        assert!(child.is_running());
        while child.last_lines().is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(child.last_lines(), "here");
        child.stop().await;

        let mut child = Child::start("dead", shell, ["-c", "echo why >&2; exit 3"], &[], folder.path()).unwrap();
        assert_eq!(child.ended().await.unwrap().code(), Some(3));
        assert_eq!(child.last_lines(), "why");
        child.stop().await;
    }

    #[test]
    fn ports_are_free() {
        let one = free_port().unwrap();
        let taken = TcpListener::bind(one).unwrap();
        assert_ne!(free_port_or(one.port()).unwrap(), taken.local_addr().unwrap());
    }
}
