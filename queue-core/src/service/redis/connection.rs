//! One connection: opened once, watched, never repaired. What is lost is replaced by a new one,
//! so that everybody can tell by the epoch that something was lost.

use std::time::Duration;

use fred::{
    clients::Client,
    interfaces::ClientLike as _,
    types::{
        ClusterHash, ConnectHandle, CustomCommand, RespVersion,
        config::{ConnectionConfig, PerformanceConfig, TcpConfig, UnresponsiveConfig},
    },
};

use super::{Options, ServerIdentity, StoreUrl, Value};

/// A connection is asked for a sign of life this often.
const PING_EVERY: Duration = Duration::from_millis(500);
/// What the connection asks for itself is answered within this, or not at all.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// So many unanswered pings in a row mean that the connection is lost.
const PINGS_MISSED_MAX: u32 = 3;
/// A cluster may send a call on to another node so often; it has not run by then.
const REDIRECTIONS_MAX: u32 = 5;

/// A connection and the task that drives it; the task ends with it.
pub(super) struct Connection {
    pub(super) client: Client,
    task: Task,
}

struct Task(ConnectHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connection {
    /// Opens a connection that can be written to, or says why not.
    pub(super) async fn open(url: &StoreUrl, options: &Options, version: RespVersion) -> Result<Self, String> {
        let mut config = url.config();
        config.version = version;
        // Without a reconnection policy the task ends with its connection.
        let connection = connection(options, url.is_cluster());
        let client = Client::new(config, Some(performance(options)), Some(connection), None);
        let waiting = client.clone();
        let connected = waiting.wait_for_connect();
        tokio::pin!(connected);
        // Polled once before the task starts, so that its result cannot be missed.
        tokio::select! {
            biased;
            _ = &mut connected => {}
            () = std::future::ready(()) => {}
        }
        let task = Task(client.connect());
        match tokio::time::timeout(options.connect_timeout * 2, connected).await {
            Ok(Ok(())) => Ok(Self { client, task }),
            Ok(Err(error)) => Err(format!("{}: {}", error.kind().to_str(), error.details())),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }

    /// Asks who answers. A replica is refused: it cannot be written to.
    pub(super) async fn identify(&self, clustered: bool) -> Result<ServerIdentity, String> {
        if clustered {
            return Ok(ServerIdentity::default());
        }
        let server = self.info("server").await?;
        let replication = self.info("replication").await?;
        if field(&replication, "role") == "slave" {
            return Err("the server is a read-only replica".to_owned());
        }
        Ok(ServerIdentity {
            run_id: field(&server, "run_id").to_owned(),
            replication_id: field(&replication, "master_replid").to_owned(),
        })
    }

    /// How the server makes room by throwing keys away that nobody asked it to, if it does.
    pub(super) async fn evicts(&self) -> Result<Option<String>, String> {
        let memory = self.info("memory").await?;
        let policy = field(&memory, "maxmemory_policy");
        let evicts = !matches!(field(&memory, "maxmemory"), "" | "0") && !matches!(policy, "" | "noeviction");
        Ok(evicts.then(|| policy.to_owned()))
    }

    async fn info(&self, section: &'static str) -> Result<String, String> {
        let value = self.ask("INFO", Some(section)).await?;
        value.into_text("INFO").map_err(|error| error.to_string())
    }

    /// Asks for a sign of life.
    pub(super) async fn ping(&self) -> Result<(), String> {
        self.ask("PING", None).await.map(drop)
    }

    async fn ask(&self, name: &'static str, arg: Option<&'static str>) -> Result<Value, String> {
        ask(&self.client, name, arg).await
    }

    /// Returns when the connection is lost, with the reason. Cancel-safe.
    pub(super) async fn lost(&mut self) -> String {
        let client = self.client.clone();
        let pings = async {
            let mut missed = 0;
            loop {
                tokio::time::sleep(PING_EVERY).await;
                match ask(&client, "PING", None).await {
                    Ok(_) => missed = 0,
                    Err(_) if missed + 1 < PINGS_MISSED_MAX => missed += 1,
                    Err(reason) => return reason,
                }
            }
        };
        // A connection may end while a ping is on its way: then nobody answers that.
        tokio::select! {
            end = &mut self.task.0 => match end {
                Ok(Err(error)) => error.details().to_owned(),
                _ => "the connection was closed".to_owned(),
            },
            reason = pings => reason,
        }
    }
}

/// Asks, and does not wait for ever: the client forgets its own time-out for what it had sent on a connection that
/// ends.
async fn ask(client: &Client, name: &'static str, arg: Option<&'static str>) -> Result<Value, String> {
    let command = CustomCommand::new_static(name, ClusterHash::Random, false);
    let answer = tokio::time::timeout(ANSWER_WITHIN, client.custom_raw(command, arg.into_iter().collect())).await;
    let frame = answer.map_err(|_| "no answer in time".to_owned())?;
    Value::from_frame(frame.map_err(|error| error.details().to_owned())?)
}

fn performance(options: &Options) -> PerformanceConfig {
    PerformanceConfig {
        default_command_timeout: options.command_timeout,
        broadcast_channel_capacity: options.subscription_buffer.max(1),
        ..PerformanceConfig::default()
    }
}

/// The client's own queue stays unbounded: a full one makes it end its task, and
/// [`Options::in_flight_max`] bounds what can be in it.
///
/// What was sent on a connection that is then lost is never sent again: for that it takes a
/// reconnection policy. An attempt is counted for each redirection too, hence those of a cluster.
fn connection(options: &Options, clustered: bool) -> ConnectionConfig {
    ConnectionConfig {
        connection_timeout: options.connect_timeout,
        internal_command_timeout: options.connect_timeout,
        max_command_attempts: if clustered { 1 + REDIRECTIONS_MAX } else { 1 },
        max_redirections: REDIRECTIONS_MAX,
        unresponsive: UnresponsiveConfig { max_timeout: Some(options.command_timeout * 4), interval: PING_EVERY },
        tcp: TcpConfig { nodelay: Some(true), ..TcpConfig::default() },
        ..ConnectionConfig::default()
    }
}

/// A line of `INFO`.
fn field<'a>(info: &'a str, name: &str) -> &'a str {
    let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.unwrap_or_default().trim()
}
