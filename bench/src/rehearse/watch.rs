//! What the queue's Redis did to the line, step by step: read off `MONITOR`, so that nothing depends on what the
//! servers say of themselves, and nothing is missed that they do not announce.
//!
//! Every write of a script is a line of its own, in the order in which it was carried out, after the line by which the
//! script asked for the time.

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use parking_lot::Mutex;
use queue_core::{ids::EventId, keys::LineKeys};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    task::JoinHandle,
    time::{Instant, sleep},
};

use super::record::{STEPS_MAX, Step};
use crate::scale::resp::Connection;

/// One command with all its arguments, as Redis writes it.
const LINE_BYTES_MAX: u64 = 64 << 20;
const READ_BUFFER_BYTES: usize = 256 * 1024;
/// Redis has said all that it did within this.
const CAUGHT_UP_WAIT: Duration = Duration::from_secs(60);
const CAUGHT_UP_POLL: Duration = Duration::from_millis(20);
/// What is said to Redis to find out whether all of it was read.
const MARKER: &str = "usher-rehearsal-marker";

/// A record that grows until it is dropped.
#[derive(Debug)]
pub struct Watch {
    record: Arc<Mutex<Recorder>>,
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Watch {
    /// From now on. To be begun before the event is made, else the record does not begin with an empty line.
    pub async fn start(address: SocketAddr, event: &EventId) -> Result<Self> {
        let mut stream = TcpStream::connect(address).await.context("connecting to the queue's Redis")?;
        stream.write_all(b"*1\r\n$7\r\nMONITOR\r\n").await?;
        let mut reader = BufReader::with_capacity(READ_BUFFER_BYTES, stream);
        let mut first = String::new();
        (&mut reader).take(LINE_BYTES_MAX).read_line(&mut first).await?;
        ensure!(first == "+OK\r\n", "Redis does not let itself be watched: {first}");
        let record = Arc::new(Mutex::new(Recorder::new(event)));
        let recording = record.clone();
        let task = tokio::spawn(async move {
            if let Err(error) = follow(reader, &recording).await {
                recording.lock().broken = Some(format!("{error:#}"));
            }
        });
        Ok(Self { record, address, task })
    }

    /// Everything until now. Fails where something may be missing.
    pub async fn steps(&self) -> Result<Vec<Step>> {
        let until = Instant::now() + CAUGHT_UP_WAIT;
        let before = self.record.lock().markers;
        Connection::open(self.address).await?.command(&["ECHO", MARKER]).await?;
        loop {
            {
                let record = self.record.lock();
                if let Some(why) = &record.broken {
                    bail!("the record of the line is not complete: {why}");
                }
                if record.markers > before {
                    return Ok(record.steps.clone());
                }
            }
            ensure!(Instant::now() < until, "Redis did not say within {CAUGHT_UP_WAIT:?} what it did");
            sleep(CAUGHT_UP_POLL).await;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(mut reader: BufReader<TcpStream>, record: &Mutex<Recorder>) -> Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut line).await?;
        ensure!(read > 0, "Redis closed the connection");
        ensure!(line.ends_with(b"\n"), "a command without bounds");
        record.lock().take(&String::from_utf8_lossy(&line))?;
    }
}

/// What is known of the line so far.
#[derive(Debug)]
struct Recorder {
    keys: LineKeys,
    steps: Vec<Step>,
    /// Why the record is not complete.
    broken: Option<String>,
    /// Markers that were seen.
    markers: u64,
    /// When the script began whose writes come now, in milliseconds.
    script_at: u64,
    generation: String,
    /// Visitors in line, and their ranks.
    waiting: HashMap<String, u64>,
    /// Visitors who are in, and their numbers.
    sessions: HashMap<String, u64>,
}

impl Recorder {
    fn new(event: &EventId) -> Self {
        Self {
            keys: LineKeys::new(event),
            steps: Vec::new(),
            broken: None,
            markers: 0,
            script_at: 0,
            generation: String::new(),
            waiting: HashMap::new(),
            sessions: HashMap::new(),
        }
    }

    /// Takes in one line: `+TIME [DB SOURCE] "COMMAND" "ARGUMENT" …`.
    fn take(&mut self, line: &str) -> Result<()> {
        let Some((head, command)) = line.split_once("] ") else { return Ok(()) };
        let by_script = head.ends_with(" lua");
        let name = command.split('"').nth(1).unwrap_or_default().to_ascii_uppercase();
        match name.as_str() {
            "TIME" if by_script => self.script_at = milliseconds(head),
            "ECHO" if command.contains(MARKER) => self.markers += 1,
            "ZADD" | "ZREMRANGEBYSCORE" | "HSET" if by_script => {
                let words = words(command);
                if let [_, key, rest @ ..] = words.as_slice() {
                    self.wrote(&name, key, rest);
                }
            }
            "DEL" | "UNLINK" => {
                let lost = words(command).iter().any(|word| *word == self.keys.waiting || *word == self.keys.active);
                ensure!(!lost || self.is_empty(), "a line with people in it was deleted");
            }
            "FLUSHALL" | "FLUSHDB" => ensure!(self.is_empty(), "the store was emptied"),
            _ => {}
        }
        ensure!(self.steps.len() <= STEPS_MAX, "more than {STEPS_MAX} steps");
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.sessions.is_empty()
    }

    fn wrote(&mut self, command: &str, key: &str, rest: &[String]) {
        let Self { keys, .. } = self;
        if key == keys.waiting && command == "ZADD" {
            self.joined(rest);
        } else if key == keys.waiting && command == "ZREMRANGEBYSCORE" {
            self.took_back();
        } else if key == keys.sessions && command == "HSET" {
            self.admitted(rest);
        } else if key == keys.ended && command == "HSET" {
            self.ended(rest);
        } else if key == keys.meta && command == "HSET" {
            let generation = rest.chunks_exact(2).find(|pair| pair[0] == "generation");
            self.generation = generation.map_or_else(|| std::mem::take(&mut self.generation), |pair| pair[1].clone());
        }
    }

    fn joined(&mut self, rest: &[String]) {
        let only_new = rest.first().is_some_and(|flag| flag == "NX");
        let pairs = rest[usize::from(only_new)..].chunks_exact(2);
        let ranked = pairs.filter_map(|pair| Some((pair[0].parse().ok()?, pair[1].clone())));
        let waiters: Vec<(u64, String)> =
            ranked.filter(|(_, visitor)| !only_new || !self.waiting.contains_key(visitor)).collect();
        self.waiting.extend(waiters.iter().map(|(rank, visitor)| (visitor.clone(), *rank)));
        self.steps.push(Step::Joined { at: self.script_at, waiters });
    }

    /// The last batch was not one of new visitors only, and is taken apart again: nobody was told these numbers.
    fn took_back(&mut self) {
        if let Some(Step::Joined { waiters, .. }) = self.steps.pop_if(|step| matches!(step, Step::Joined { .. })) {
            self.waiting.retain(|visitor, _| !waiters.iter().any(|(_, gone)| gone == visitor));
        }
    }

    fn admitted(&mut self, rest: &[String]) {
        let (mut sessions, mut expires_at, mut from_line) = (Vec::new(), 0, false);
        for (visitor, seq, until) in numbered(rest) {
            expires_at = until.parse().unwrap_or(0);
            from_line |= self.waiting.remove(visitor).is_some();
            self.sessions.insert(visitor.to_owned(), seq);
            sessions.push((seq, visitor.to_owned()));
        }
        if !sessions.is_empty() {
            self.steps.push(Step::Admitted { at: self.script_at, sessions, expires_at, from_line });
        }
    }

    fn ended(&mut self, rest: &[String]) {
        let at = self.script_at;
        let mut gone: Vec<(u64, String)> = Vec::new();
        let mut why = String::new();
        for (visitor, seq, reason) in numbered(rest) {
            if self.sessions.get(visitor) == Some(&seq) {
                self.sessions.remove(visitor);
                let (jti, reason) = (format!("{}.{seq}", self.generation), reason.to_owned());
                self.steps.push(Step::Ended { at, jti, visitor_id: visitor.to_owned(), reason });
            } else {
                self.waiting.remove(visitor);
                gone.push((seq, visitor.to_owned()));
                reason.clone_into(&mut why);
            }
        }
        if !gone.is_empty() {
            self.steps.push(Step::Gone { at, waiters: gone, reason: why });
        }
    }
}

/// `visitor NUMBER:REST` pairs; those by number are the same the other way round.
fn numbered(fields: &[String]) -> impl Iterator<Item = (&str, u64, &str)> {
    fields.chunks_exact(2).filter(|pair| !pair[0].starts_with('#')).filter_map(|pair| {
        let (seq, rest) = pair[1].split_once(':')?;
        Some((pair[0].as_str(), seq.parse().ok()?, rest))
    })
}

/// `+1795174549.474101 [0 lua`: the time, in milliseconds.
fn milliseconds(head: &str) -> u64 {
    let time = head.trim_start_matches('+').split(' ').next().unwrap_or_default();
    let (seconds, micros) = time.split_once('.').unwrap_or((time, "0"));
    let part = |text: &str| text.parse::<u64>().unwrap_or(0);
    part(seconds).saturating_mul(1_000).saturating_add(part(micros) / 1_000)
}

/// The words of a command, each in quotes. What cannot be printed is escaped there, and left so: no name has any.
fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut escaped = false;
    for letter in command.chars() {
        match (&mut word, letter) {
            (Some(open), letter) if escaped => {
                open.push(letter);
                escaped = false;
            }
            (Some(_), '\\') => escaped = true,
            (Some(_), '"') => words.extend(word.take()),
            (Some(open), letter) => open.push(letter),
            (None, '"') => word = Some(String::new()),
            (None, _) => {}
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use queue_core::service::testing::TestRedis;

    use super::*;

    fn event() -> EventId {
        EventId::new("e").unwrap()
    }

    fn steps(lines: &[&str]) -> Result<Vec<Step>> {
        let mut recorder = Recorder::new(&event());
        for line in lines {
            recorder.take(line)?;
        }
        Ok(recorder.steps)
    }

    fn people(of: &[(u64, &str)]) -> Vec<(u64, String)> {
        of.iter().map(|(seq, visitor)| (*seq, (*visitor).to_owned())).collect()
    }

    #[test]
    fn scripts_are_read_as_steps() {
        let found = steps(&[
            "+OK",
            "+1.000000 [0 lua] \"HSET\" \"usher:{e}:meta\" \"generation\" \"00ff\" \"version\" \"1\"\r\n",
            "+2.000900 [0 lua] \"TIME\"\r\n",
            "+2.001300 [0 lua] \"ZADD\" \"usher:{e}:waiting\" \"7\" \"a_\\\"x\" \"8\" \"a_y\"\r\n",
            "+2.001301 [0 lua] \"ZADD\" \"usher:{f}:waiting\" \"9\" \"a_z\"\r\n",
            "+2.001302 [0 lua] \"BITFIELD\" \"usher:{e}:present\" \"\\x00\"\r\n",
            "+3.000001 [0 127.0.0.1:9] \"EVALSHA\" \"x\" \"usher:{e}:waiting\"\r\n",
            "+3.000002 [0 lua] \"TIME\"\r\n",
            "+3.000003 [0 lua] \"ZPOPMIN\" \"usher:{e}:waiting\" \"1\"\r\n",
            "+3.000004 [0 lua] \"HSET\" \"usher:{e}:sessions\" \"a_\\\"x\" \"7:99\" \"#7\" \"a_\\\"x\"\r\n",
            "+3.000004 [0 lua] \"HSET\" \"usher:{e}:sessions\" \"a_d\" \"9:99\" \"#9\" \"a_d\"\r\n",
            "+4.000000 [0 lua] \"TIME\"\r\n",
            "+4.000004 [0 lua] \"HSET\" \"usher:{e}:ended\" \"a_y\" \"8:LEFT\" \"a_d\" \"9:RELEASED\" \"#9\" \"RELEASED\"\r\n",
        ]);
        let (admitted, direct) = (people(&[(7, "a_\"x")]), people(&[(9, "a_d")]));
        assert_eq!(
            found.unwrap(),
            [
                Step::Joined { at: 2_000, waiters: people(&[(7, "a_\"x"), (8, "a_y")]) },
                Step::Admitted { at: 3_000, sessions: admitted, expires_at: 99, from_line: true },
                Step::Admitted { at: 3_000, sessions: direct, expires_at: 99, from_line: false },
                Step::Ended { at: 4_000, jti: "00ff.9".into(), visitor_id: "a_d".into(), reason: "RELEASED".into() },
                Step::Gone { at: 4_000, waiters: people(&[(8, "a_y")]), reason: "LEFT".into() },
            ]
        );
    }

    #[test]
    fn a_batch_that_is_taken_back_never_was() {
        let first = "+2.000000 [0 lua] \"ZADD\" \"usher:{e}:waiting\" \"7\" \"a_x\"\r\n";
        let found = steps(&[
            first,
            "+2.000300 [0 lua] \"ZADD\" \"usher:{e}:waiting\" \"NX\" \"8\" \"a_x\" \"9\" \"a_y\"\r\n",
            "+2.000301 [0 lua] \"ZREMRANGEBYSCORE\" \"usher:{e}:waiting\" \"8\" \"9\"\r\n",
        ]);
        assert_eq!(found.unwrap(), [Step::Joined { at: 0, waiters: people(&[(7, "a_x")]) }]);
        assert!(steps(&[first, "+3.0 [0 1.1.1.1:1] \"unlink\" \"usher:{e}:waiting\"\r\n"]).is_err());
        assert!(steps(&[first, "+3.0 [0 1.1.1.1:1] \"FLUSHALL\"\r\n"]).is_err());
        assert!(steps(&["+3.0 [0 1.1.1.1:1] \"FLUSHALL\"\r\n"]).is_ok());
    }

    #[tokio::test]
    async fn what_a_redis_does_is_seen() {
        let mut redis = TestRedis::start();
        let watch = Watch::start(SocketAddr::from(([127, 0, 0, 1], redis.port())), &event()).await.unwrap();
        let script = "#!lua\nredis.call('TIME') redis.call('ZADD', KEYS[1], 3, 'a_x')";
        redis.cli(&["EVAL", script, "1", "usher:{e}:waiting"]);
        for _ in 0..2 {
            let steps = watch.steps().await.unwrap();
            assert!(
                matches!(&steps[..], [Step::Joined { at, waiters }] if *at > 1_500_000_000_000 && *waiters == people(&[(3, "a_x")]))
            );
        }
        redis.restart();
        assert!(watch.steps().await.unwrap_err().to_string().contains("not complete"));
    }
}
