//! Our two servers and Redis as children, found beside this executable, on loopback.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use crate::{
    api::{self, Operator},
    process::{Child, find_program, free_port},
    random,
};

/// How long a server may take until it is ready.
const READY_WAIT: Duration = Duration::from_secs(30);
/// How often it is asked.
const READY_POLL: Duration = Duration::from_millis(50);
/// A Redis reply that is read here is at most this long.
const REDIS_REPLY_BYTES_MAX: usize = 65_536;

/// A server of ours that is ready.
#[derive(Debug)]
pub struct Server {
    /// The process.
    pub child: Child,
    /// Its public address, `http://…` without a slash at the end.
    pub url: String,
    /// Its operations address.
    pub ops_url: String,
}

/// How to start the queue server or the ticket server.
#[derive(Clone, Debug)]
pub struct Setup<'a> {
    /// Name of the process and its log.
    pub name: &'a str,
    /// Public listener.
    pub listen: SocketAddr,
    /// Operations listener.
    pub ops: SocketAddr,
    /// `memory` or a Redis URL.
    pub store: &'a str,
    /// State folder, shared by all servers that belong together.
    pub state_dir: &'a Path,
    /// The operator token.
    pub operator_token: &'a str,
    /// Flags beside these.
    pub flags: Vec<String>,
    /// Worker threads of the runtime; all processors if `None`.
    pub threads: Option<usize>,
}

impl Setup<'_> {
    /// Starts `binary` and waits until it says that it is ready.
    pub async fn start(&self, binary: &str, logs: &Path) -> Result<Server> {
        let mut args = vec![
            format!("--listen={}", self.listen),
            format!("--ops-listen={}", self.ops),
            format!("--store={}", self.store),
            format!("--state-dir={}", self.state_dir.display()),
        ];
        args.extend(self.flags.iter().cloned());
        let mut env = vec![("USHER_OPERATOR_TOKEN", self.operator_token.to_owned())];
        env.extend(self.threads.map(|threads| ("TOKIO_WORKER_THREADS", threads.to_string())));
        let child = Child::start(self.name, &beside_us(binary)?, args, &env, logs)?;
        let (url, ops_url) = (format!("http://{}", self.listen), format!("http://{}", self.ops));
        let mut server = Server { child, url, ops_url };
        server.wait_ready().await?;
        Ok(server)
    }
}

/// A server that a measurement needs for itself, on free ports, and its operator.
#[derive(Clone, Debug)]
pub struct Alone<'a> {
    /// `memory` or a Redis URL.
    pub store: &'a str,
    /// For its state and its log.
    pub folder: &'a Path,
    /// Worker threads of the runtime; all processors if `None`.
    pub threads: Option<usize>,
    /// Further flags.
    pub flags: Vec<String>,
}

impl Alone<'_> {
    /// Starts `binary` and waits until it is ready.
    pub async fn start(self, binary: &str) -> Result<(Server, Operator)> {
        let token = random::secret()?;
        let setup = Setup {
            name: binary,
            listen: free_port()?,
            ops: free_port()?,
            store: self.store,
            state_dir: self.folder,
            operator_token: &token,
            flags: self.flags,
            threads: self.threads,
        };
        let server = setup.start(binary, self.folder).await?;
        let operator = Operator::new(api::client()?, &server.ops_url, &token);
        Ok((server, operator))
    }
}

impl Server {
    async fn wait_ready(&mut self) -> Result<()> {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(2)).no_proxy().build()?;
        let url = format!("{}/readyz", self.ops_url);
        let until = Instant::now() + READY_WAIT;
        while Instant::now() < until {
            if !self.child.is_running() {
                bail!("{} ended at its start:\n{}", self.child.name, self.child.last_lines());
            }
            if http.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            sleep(READY_POLL).await;
        }
        bail!("{} was not ready within {READY_WAIT:?}:\n{}", self.child.name, self.child.last_lines())
    }
}

/// A program of this workspace: in the folder of our own executable, or above it for tests, which live in `deps`.
pub fn beside_us(binary: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("finding our own executable")?;
    let folders = own.ancestors().skip(1).take(2);
    folders
        .map(|folder| folder.join(binary))
        .find(|file| file.is_file())
        .with_context(|| format!("{binary} is not beside {}; build it with the same profile first", own.display()))
}

/// A Redis of our own.
#[derive(Debug)]
pub struct Redis {
    /// The process.
    pub child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    /// It was killed, and is to be started again.
    killed: bool,
}

impl Redis {
    /// Starts one on a free port, without persistence, and waits until it answers.
    pub async fn start(name: &str, folder: &Path) -> Result<Self> {
        Self::start_with(name, folder, false).await
    }

    /// Starts one on a free port and waits until it answers. `appendonly`: with a log of all changes in `folder`,
    /// brought to disk every second.
    pub async fn start_with(name: &str, folder: &Path, appendonly: bool) -> Result<Self> {
        Self::start_at(free_port()?, name, folder, appendonly).await
    }

    /// Kills it. Without a log of all changes its data is lost.
    pub async fn kill(&mut self) {
        self.killed = true;
        self.child.kill_at_once().await;
    }

    /// Starts it again where it was, without what it kept.
    pub async fn start_empty(&mut self, folder: &Path) -> Result<()> {
        let name = self.child.name.clone();
        *self = Self::start_at(self.address, &name, folder, false).await?;
        Ok(())
    }

    /// Whether it ended, though nobody killed it.
    pub fn has_fallen(&mut self) -> bool {
        !self.killed && !self.child.is_running()
    }

    async fn start_at(address: SocketAddr, name: &str, folder: &Path, appendonly: bool) -> Result<Self> {
        let program = find_program("redis-server")
            .context("redis-server is not installed; `make setup` installs it, or leave out STORE=redis")?;
        let port = address.port().to_string();
        let dir = folder.display().to_string();
        let log = if appendonly { "yes" } else { "no" };
        let args = ["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", log, "--dir", &dir];
        let args = args.into_iter().chain(["--appendfsync", "everysec"]);
        let child = Child::start(name, &program, args, &[], folder)?;
        let mut redis = Self { child, address, killed: false };
        let until = Instant::now() + READY_WAIT;
        while redis.command(&["PING"]).await.is_err() {
            if !redis.child.is_running() || Instant::now() > until {
                bail!("{name} did not start:\n{}", redis.child.last_lines());
            }
            sleep(READY_POLL).await;
        }
        Ok(redis)
    }

    /// Its URL as a store.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Commands that it has carried out so far.
    pub async fn commands_total(&self) -> Result<u64> {
        let stats = self.command(&["INFO", "stats"]).await?;
        let line = stats.lines().find_map(|line| line.strip_prefix("total_commands_processed:"));
        Ok(line.context("no total_commands_processed")?.trim().parse()?)
    }

    /// Sends one command and gives its bulk, status or error reply as it stands on the wire, the first line cut off
    /// from a bulk. Enough for `PING`, `INFO` and `CONFIG`.
    pub async fn command(&self, words: &[&str]) -> Result<String> {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        let exchange = async {
            let mut stream = TcpStream::connect(self.address).await?;
            stream.write_all(request.as_bytes()).await?;
            let mut reply = Vec::new();
            while reply_is_open(&reply) && reply.len() < REDIS_REPLY_BYTES_MAX {
                if stream.read_buf(&mut reply).await? == 0 {
                    bail!("Redis closed the connection");
                }
            }
            Ok(String::from_utf8_lossy(&reply).into_owned())
        };
        let reply = timeout(Duration::from_secs(5), exchange).await.context("Redis did not answer")??;
        match reply.as_bytes().first() {
            Some(b'$') => Ok(reply.split_once("\r\n").map_or_else(String::new, |(_, bulk)| bulk.to_owned())),
            Some(b'-') => bail!("Redis refused {words:?}: {}", reply.trim_end()),
            _ => Ok(reply.trim_end().to_owned()),
        }
    }
}

fn reply_is_open(reply: &[u8]) -> bool {
    let Some(end) = reply.windows(2).position(|pair| pair == b"\r\n") else { return true };
    match std::str::from_utf8(&reply[1..end]).ok().and_then(|text| text.parse::<usize>().ok()) {
        Some(length) if reply[0] == b'$' => reply.len() < end + 2 + length + 2,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_end_where_redis_ends_them() {
        assert!(reply_is_open(b""));
        assert!(reply_is_open(b"+PO"));
        assert!(!reply_is_open(b"+PONG\r\n"));
        assert!(reply_is_open(b"$5\r\nhel"));
        assert!(!reply_is_open(b"$5\r\nhello\r\n"));
    }
}
