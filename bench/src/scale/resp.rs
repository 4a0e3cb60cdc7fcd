//! One connection to Redis: commands one at a time, or the messages of channels.
//!
//! The record of a run must have every message in the order in which Redis published it, so it is read off the
//! connection itself, with nothing in between that could drop one. Every reply is bounded.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    time::timeout,
};

/// A reply is waited for at most so long.
const REPLY_WAIT: Duration = Duration::from_secs(20);
const LINE_BYTES_MAX: usize = 4_096;
const BULK_BYTES_MAX: usize = 16 << 20;
const ITEMS_MAX: usize = 1 << 20;
const DEPTH_MAX: usize = 4;
const READ_BUFFER_BYTES: usize = 64 * 1024;

/// What Redis said.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    Nothing,
    Number(i64),
    Text(String),
    List(Vec<Reply>),
}

impl Reply {
    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The number, also where it stands in a text.
    pub fn number(&self) -> Option<u64> {
        match self {
            Self::Number(number) => u64::try_from(*number).ok(),
            Self::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// The items, if it is a list.
    pub fn list(&self) -> &[Reply] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }
}

/// A connection to Redis.
#[derive(Debug)]
pub struct Connection(BufReader<TcpStream>);

impl Connection {
    /// Connects.
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let stream = timeout(REPLY_WAIT, TcpStream::connect(address)).await.context("Redis takes no connection")??;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::with_capacity(READ_BUFFER_BYTES, stream)))
    }

    /// Sends a command and reads its reply; an error reply is an error.
    pub async fn command(&mut self, words: &[&str]) -> Result<Reply> {
        self.send(words).await?;
        timeout(REPLY_WAIT, self.read(0)).await.context("Redis did not answer")?
    }

    /// Subscribes; from now on there are only messages.
    pub async fn subscribe(&mut self, channels: &[&str]) -> Result<()> {
        let words: Vec<&str> = std::iter::once("SUBSCRIBE").chain(channels.iter().copied()).collect();
        self.send(&words).await?;
        for _ in channels {
            timeout(REPLY_WAIT, self.read(0)).await.context("Redis did not answer")??;
        }
        Ok(())
    }

    /// The next message: its channel and what it says. Not cancel-safe.
    pub async fn message(&mut self) -> Result<(String, String)> {
        loop {
            let Reply::List(mut items) = self.read(0).await? else { bail!("no message of a channel") };
            if let (Some(Reply::Text(said)), Some(Reply::Text(channel)), Some("message")) =
                (items.pop(), items.pop(), items.first().and_then(Reply::text))
            {
                return Ok((channel, said));
            }
        }
    }

    async fn send(&mut self, words: &[&str]) -> Result<()> {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        Ok(self.0.get_mut().write_all(request.as_bytes()).await?)
    }

    async fn read(&mut self, depth: usize) -> Result<Reply> {
        let line = self.line().await?;
        let (kind, rest) = line.split_at_checked(1).context("an empty reply")?;
        match kind {
            "+" => Ok(Reply::Text(rest.to_owned())),
            "-" => bail!("Redis refused: {rest}"),
            ":" => Ok(Reply::Number(rest.parse()?)),
            "$" => self.bulk(rest.parse()?).await,
            "*" => {
                let count: i64 = rest.parse()?;
                let Ok(count) = usize::try_from(count) else { return Ok(Reply::Nothing) };
                ensure!(count <= ITEMS_MAX && depth < DEPTH_MAX, "a reply without bounds");
                let mut items = Vec::with_capacity(count);
                for _ in 0..count {
                    items.push(Box::pin(self.read(depth + 1)).await?);
                }
                Ok(Reply::List(items))
            }
            _ => bail!("not a reply: {line}"),
        }
    }

    async fn bulk(&mut self, length: i64) -> Result<Reply> {
        let Ok(length) = usize::try_from(length) else { return Ok(Reply::Nothing) };
        ensure!(length <= BULK_BYTES_MAX, "a reply without bounds");
        let mut bytes = vec![0; length + 2];
        self.0.read_exact(&mut bytes).await?;
        bytes.truncate(length);
        Ok(Reply::Text(String::from_utf8_lossy(&bytes).into_owned()))
    }

    async fn line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        let limit = LINE_BYTES_MAX as u64;
        let read = (&mut self.0).take(limit).read_until(b'\n', &mut line).await?;
        ensure!(read > 0, "Redis closed the connection");
        ensure!(line.ends_with(b"\r\n"), "a line without end");
        line.truncate(line.len() - 2);
        Ok(String::from_utf8(line)?)
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn replies_of_all_kinds_are_read() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let peer = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let said = b"*3\r\n$2\r\nab\r\n:7\r\n*-1\r\n-ERR no\r\n*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n";
            stream.write_all(said).await.unwrap();
            let mut heard = vec![0; 14];
            stream.read_exact(&mut heard).await.unwrap();
            heard
        });
        let mut connection = Connection::open(address).await.unwrap();
        let reply = connection.command(&["PING"]).await.unwrap();
        assert_eq!(reply.list(), [Reply::Text("ab".into()), Reply::Number(7), Reply::Nothing]);
        assert!(connection.command(&["X"]).await.unwrap_err().to_string().contains("ERR no"));
        assert_eq!(connection.message().await.unwrap(), ("c".to_owned(), "hi".to_owned()));
        assert_eq!(peer.await.unwrap(), b"*1\r\n$4\r\nPING\r\n");
    }
}
