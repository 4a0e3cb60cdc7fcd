//! A wire between a ledger and its database that can be cut around a commit.

use std::sync::{
    Arc,
    atomic::{AtomicU8, AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// What becomes of the next commit.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Cut {
    No,
    /// The database never hears of it.
    Before,
    /// It does, and its answer is lost.
    After,
}

/// What is in the parameters of a statement that books and commits at once: the array of events, of one booking.
const BOOKINGS: &[u8] = b"{\"hall\"}";

pub struct Proxy {
    pub port: u16,
    next: Arc<AtomicU8>,
    cuts: Arc<AtomicUsize>,
}

impl Proxy {
    /// Passes on what comes to it.
    pub async fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (next, cuts) = (Arc::new(AtomicU8::new(Cut::No as u8)), Arc::new(AtomicUsize::new(0)));
        let proxy = Self { port, next: Arc::clone(&next), cuts: Arc::clone(&cuts) };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, to, Arc::clone(&next), Arc::clone(&cuts)));
            }
        });
        proxy
    }

    pub fn cut_next(&self, cut: Cut) {
        self.next.store(cut as u8, Ordering::SeqCst);
    }

    /// How many wires were cut.
    pub fn cuts(&self) -> usize {
        self.cuts.load(Ordering::SeqCst)
    }
}

async fn pass(client: TcpStream, to: u16, next: Arc<AtomicU8>, cuts: Arc<AtomicUsize>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", to)).await else { return };
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let mut back = tokio::spawn(async move {
        let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
    });
    let mut buffer = vec![0; 1 << 16];
    while let Ok(read) = from_client.read(&mut buffer).await {
        let sent = &buffer[..read];
        let is_commit = sent.windows(8).any(|part| part == b"; COMMIT" || part == BOOKINGS);
        let cut = if is_commit { next.swap(Cut::No as u8, Ordering::SeqCst) } else { Cut::No as u8 };
        if cut != Cut::No as u8 {
            cuts.fetch_add(1, Ordering::SeqCst);
            // From here on the client hears nothing; the connection ends when both halves are dropped.
            back.abort();
            let _ = (&mut back).await;
        }
        if read == 0 || cut == Cut::Before as u8 || to_server.write_all(sent).await.is_err() || cut != Cut::No as u8 {
            break;
        }
    }
    // The database reads to the end what it was sent before it sees that the wire is cut.
    let _ = to_server.shutdown().await;
}
