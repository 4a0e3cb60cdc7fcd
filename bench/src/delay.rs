//! A relay that makes a store far away: what the store answers arrives later by a fixed time, in order, whatever
//! the amount. A batch of joins then takes one such time, so how many joins a node can carry to the store is set by
//! the distance, and neither by the processor nor by other load on the machine.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result};
use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep_until},
};

/// Pieces on their way on one connection, at most.
const PIECES_MAX: usize = 4_096;
/// The largest piece.
const PIECE_BYTES: usize = 64 * 1024;

/// A relay that runs until it is dropped.
#[derive(Debug)]
pub struct Delay {
    /// Where it listens.
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Delay {
    /// Relays to `store`, whose answers come later by `delay`.
    pub async fn start(store: SocketAddr, delay: Duration) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("listening for the relay")?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let Ok(store) = TcpStream::connect(store).await else { return };
                    let _ = (client.set_nodelay(true), store.set_nodelay(true));
                    relay(client, store, delay).await;
                });
            }
        });
        Ok(Self { address, task })
    }
}

impl Drop for Delay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn relay(client: TcpStream, store: TcpStream, delay: Duration) {
    let ((mut from_client, to_client), (from_store, mut to_store)) = (client.into_split(), store.into_split());
    let (pieces, arriving) = mpsc::channel(PIECES_MAX);
    // Whichever ends first ends the connection.
    tokio::select! {
        _ = copy(&mut from_client, &mut to_store) => {}
        () = listen(from_store, pieces, delay) => {}
        () = deliver(to_client, arriving) => {}
    }
}

async fn listen(mut store: OwnedReadHalf, pieces: mpsc::Sender<(Instant, Bytes)>, delay: Duration) {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(PIECE_BYTES);
        match store.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let piece = (Instant::now() + delay, buffer.split().freeze());
                if pieces.send(piece).await.is_err() {
                    return;
                }
            }
        }
    }
}

async fn deliver(mut client: OwnedWriteHalf, mut pieces: mpsc::Receiver<(Instant, Bytes)>) {
    while let Some((at, piece)) = pieces.recv().await {
        sleep_until(at).await;
        if client.write_all(&piece).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn answers_come_later_and_whole() {
        let store = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = store.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = store.accept().await.unwrap();
            let (mut read, mut write) = stream.split();
            let _ = copy(&mut read, &mut write).await;
        });
        let delay = Delay::start(address, Duration::from_millis(30)).await.unwrap();
        let mut client = TcpStream::connect(delay.address).await.unwrap();
        let sent: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
        let began = Instant::now();
        client.write_all(&sent).await.unwrap();
        let mut received = vec![0; sent.len()];
        client.read_exact(&mut received).await.unwrap();
        assert!(began.elapsed() >= Duration::from_millis(30));
        assert_eq!(received, sent);
    }
}
