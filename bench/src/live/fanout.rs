//! Many connections that read, and count what they have read.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt as _, stream};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

/// Connections under way at a time.
const CONNECTING_MAX: usize = 64;
/// What is to be read has been read within this.
const READ_WAIT: Duration = Duration::from_secs(60);

/// Connections that read.
#[derive(Debug, Default)]
pub struct Readers {
    bytes: Arc<AtomicU64>,
    tasks: JoinSet<()>,
}

impl Readers {
    /// Opens so many, each of which says `hello` first.
    pub async fn open(address: SocketAddr, hello: &str, count: usize) -> Result<Self> {
        let mut readers = Self::default();
        let mut opened = stream::iter(0..count).map(|_| open(address, hello)).buffer_unordered(CONNECTING_MAX);
        while let Some(stream) = opened.next().await {
            let (mut stream, bytes) = (stream?, Arc::clone(&readers.bytes));
            readers.tasks.spawn(async move {
                let mut buffer = [0; 4096];
                while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                    bytes.fetch_add(count as u64, Ordering::Relaxed);
                }
            });
        }
        Ok(readers)
    }

    /// How much they have read in all.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// How many are open still.
    pub fn open_now(&mut self) -> usize {
        while self.tasks.try_join_next().is_some() {}
        self.tasks.len()
    }

    /// Waits until they have read so much.
    pub async fn wait(&self, bytes: u64) -> Result<()> {
        let until = Instant::now() + READ_WAIT;
        while self.bytes() < bytes {
            ensure!(Instant::now() < until, "{} of {bytes} bytes came", self.bytes());
            sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// Waits until nothing more comes; how much they have read.
    pub async fn settle(&self) -> u64 {
        let mut before = u64::MAX;
        while before != self.bytes() {
            before = self.bytes();
            sleep(Duration::from_millis(500)).await;
        }
        before
    }
}

async fn open(address: SocketAddr, hello: &str) -> Result<TcpStream> {
    let connecting = async {
        // Small: what is read here is read at once, and there are many of them.
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(32 * 1024)?;
        let mut stream = socket.connect(address).await?;
        stream.write_all(hello.as_bytes()).await?;
        Ok(stream)
    };
    timeout(Duration::from_secs(20), connecting).await.context("no connection")?
}
