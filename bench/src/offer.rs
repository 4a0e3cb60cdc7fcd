//! Joins offered at a fixed schedule, whatever the server does: the time of each request is settled beforehand,
//! and its latency counts from that time, also when no connection was free to send it. So a server that falls
//! behind cannot slow the measurement down (coordinated omission, as Gil Tene calls it).
//!
//! Runs in a process and on a thread of its own, over a bounded number of connections that stay open. Requests and
//! answers are handled as bytes, so that the generator costs a fraction of what the server does.

use std::{cell::RefCell, net::SocketAddr, rc::Rc, time::Duration};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::LocalSet,
    time::{Instant, sleep_until, timeout},
};

/// An answer that has not come by so long after the end never comes.
const LAST_ANSWERS: Duration = Duration::from_secs(5);
/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// The longest latency that is told apart, in microseconds.
const LATENCY_US_MAX: u64 = 120_000_000;
/// Headers of an answer, at most.
const HEADERS_MAX: usize = 32;

/// What to offer.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The server.
    #[arg(long)]
    pub address: SocketAddr,
    /// The event.
    #[arg(long)]
    pub event: String,
    /// Joins a second.
    #[arg(long)]
    pub rate: u32,
    /// For so long.
    #[arg(long)]
    pub seconds: u64,
    /// Connections.
    #[arg(long)]
    pub connections: usize,
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Offered {
    /// Joins that were due.
    pub due: u64,
    /// Answered 200.
    pub accepted: u64,
    /// Answered 503 `OVERLOADED`.
    pub refused: u64,
    /// Answered otherwise.
    pub failed: u64,
    /// Never answered.
    pub lost: u64,
    /// Seconds from the first request to the last answer that counts.
    pub seconds: f64,
    /// Latency of accepted joins, in milliseconds from the scheduled time.
    pub accepted_p50_ms: f64,
    /// The same at p99.
    pub accepted_p99_ms: f64,
    /// The longest of them.
    pub accepted_max_ms: f64,
    /// Latency of refusals at p99.
    pub refused_p99_ms: f64,
    /// How late requests were sent at p99: above the resolution of the timer, no connection was free, or the
    /// generator was too slow.
    pub sent_late_p99_ms: f64,
}

struct Tally {
    next: u64,
    last: Instant,
    accepted: Histogram<u64>,
    refused: Histogram<u64>,
    sent_late: Histogram<u64>,
    failed: u64,
}

/// Offers joins and says what came of it. On the current thread.
pub async fn run(options: &Options) -> Result<Offered> {
    ensure!(options.rate > 0 && options.connections > 0, "nothing to offer");
    let due = u64::from(options.rate) * options.seconds;
    let histogram = || Histogram::<u64>::new_with_bounds(1, LATENCY_US_MAX, 3).context("a histogram");
    let (accepted, refused, sent_late) = (histogram()?, histogram()?, histogram()?);
    let tally = Rc::new(RefCell::new(Tally { next: 0, last: Instant::now(), accepted, refused, sent_late, failed: 0 }));
    let request = format!(
        "POST /api/v1/queue/check/{} HTTP/1.1\r\nhost: {}\r\ncontent-length: 0\r\n\r\n",
        options.event, options.address
    );
    let mut streams = Vec::with_capacity(options.connections);
    for _ in 0..options.connections {
        let stream = TcpStream::connect(options.address).await.context("connecting")?;
        stream.set_nodelay(true)?;
        streams.push(stream);
    }
    let schedule = Schedule { begin: Instant::now() + Duration::from_millis(50), rate: options.rate, due };
    let local = LocalSet::new();
    let request: Rc<[u8]> = request.into_bytes().into();
    let tasks: Vec<_> = streams
        .into_iter()
        .map(|stream| local.spawn_local(keep_offering(stream, request.clone(), schedule, tally.clone())))
        .collect();
    let all = async {
        for task in tasks {
            let _ = task.await;
        }
    };
    let within = schedule.at(due) + LAST_ANSWERS - Instant::now();
    let _ = local.run_until(timeout(within, all)).await;
    let tally = tally.borrow();
    let answered = tally.accepted.len() + tally.refused.len() + tally.failed;
    let ms = |histogram: &Histogram<u64>, q: f64| histogram.value_at_quantile(q) as f64 / 1000.0;
    Ok(Offered {
        due,
        accepted: tally.accepted.len(),
        refused: tally.refused.len(),
        failed: tally.failed,
        lost: due - answered.min(due),
        seconds: (tally.last - schedule.begin).as_secs_f64().max(options.seconds as f64),
        accepted_p50_ms: ms(&tally.accepted, 0.5),
        accepted_p99_ms: ms(&tally.accepted, 0.99),
        accepted_max_ms: tally.accepted.max() as f64 / 1000.0,
        refused_p99_ms: ms(&tally.refused, 0.99),
        sent_late_p99_ms: ms(&tally.sent_late, 0.99),
    })
}

/// When each request is due.
#[derive(Clone, Copy)]
struct Schedule {
    begin: Instant,
    rate: u32,
    due: u64,
}

impl Schedule {
    fn at(&self, number: u64) -> Instant {
        self.begin + Duration::from_nanos((u128::from(number) * 1_000_000_000 / u128::from(self.rate)) as u64)
    }
}

/// One connection takes the next request that nobody has taken, waits until it is due, sends it and reads the
/// answer, again and again.
async fn keep_offering(mut stream: TcpStream, request: Rc<[u8]>, schedule: Schedule, tally: Rc<RefCell<Tally>>) {
    let mut buffer = Vec::with_capacity(2_048);
    loop {
        let number = tally.borrow().next;
        if number >= schedule.due {
            return;
        }
        tally.borrow_mut().next += 1;
        let at = schedule.at(number);
        sleep_until(at).await;
        let late = at.elapsed();
        let answer = exchange(&mut stream, &request, &mut buffer).await;
        let took = at.elapsed();
        let mut tally = tally.borrow_mut();
        tally.last = at + took;
        tally.sent_late.saturating_record(micros(late));
        match answer {
            Ok(Answer::Accepted) => tally.accepted.saturating_record(micros(took)),
            Ok(Answer::Refused) => tally.refused.saturating_record(micros(took)),
            Ok(Answer::Other) => tally.failed += 1,
            Err(_) => {
                tally.failed += 1;
                return;
            }
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Accepted,
    Refused,
    Other,
}

async fn exchange(stream: &mut TcpStream, request: &[u8], buffer: &mut Vec<u8>) -> Result<Answer> {
    stream.write_all(request).await?;
    buffer.clear();
    loop {
        ensure!(buffer.len() < ANSWER_BYTES_MAX, "the answer is too long");
        ensure!(stream.read_buf(buffer).await? > 0, "the connection ended");
        if let Some(answer) = read(buffer)? {
            return Ok(answer);
        }
    }
}

/// The answer, if all of it is there.
fn read(bytes: &[u8]) -> Result<Option<Answer>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = head.parse(bytes)? else { return Ok(None) };
    let body = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let body: usize = std::str::from_utf8(body.context("no content-length")?.value)?.parse()?;
    if bytes.len() < length + body {
        return Ok(None);
    }
    ensure!(bytes.len() == length + body, "more than one answer");
    let overloaded = b"\"OVERLOADED\"";
    Ok(Some(match head.code {
        Some(200) => Answer::Accepted,
        Some(503) if bytes[length..].windows(overloaded.len()).any(|w| w == overloaded) => Answer::Refused,
        _ => Answer::Other,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_whole() {
        let accepted = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(read(accepted).unwrap(), Some(Answer::Accepted));
        assert_eq!(read(&accepted[..accepted.len() - 1]).unwrap(), None);
        assert_eq!(read(&accepted[..10]).unwrap(), None);
        let refused = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 21\r\n\r\n{\"code\":\"OVERLOADED\"}";
        assert_eq!(read(refused).unwrap(), Some(Answer::Refused));
        let away = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\n{}";
        assert_eq!(read(away).unwrap(), Some(Answer::Other));
        assert!(read(b"nonsense\r\n\r\n").is_err());
    }

    #[test]
    fn the_schedule_is_even() {
        let schedule = Schedule { begin: Instant::now(), rate: 3, due: 9 };
        assert_eq!(schedule.at(3) - schedule.begin, Duration::from_secs(1));
        assert_eq!(schedule.at(1) - schedule.begin, Duration::from_nanos(333_333_333));
    }
}
