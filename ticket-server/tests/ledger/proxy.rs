//! A wire between a ledger and its database that can be cut around a commit.

use std::sync::{
    Arc,
    atomic::{AtomicU8, AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Notify,
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
    scissors: Arc<Scissors>,
}

#[derive(Default)]
struct Scissors {
    next: AtomicU8,
    cuts: AtomicUsize,
    all: Notify,
}

impl Proxy {
    /// Passes on what comes to it.
    pub async fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let scissors = Arc::<Scissors>::default();
        let proxy = Self { port, scissors: Arc::clone(&scissors) };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, to, Arc::clone(&scissors)));
            }
        });
        proxy
    }

    pub fn cut_next(&self, cut: Cut) {
        self.scissors.next.store(cut as u8, Ordering::SeqCst);
    }

    /// Cuts what is open now.
    pub fn cut_all(&self) {
        self.scissors.all.notify_waiters();
    }

    /// How many wires were cut around a commit.
    pub fn cuts(&self) -> usize {
        self.scissors.cuts.load(Ordering::SeqCst)
    }
}

async fn pass(client: TcpStream, to: u16, scissors: Arc<Scissors>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", to)).await else { return };
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let mut back = tokio::spawn(async move {
        let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
    });
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = tokio::select! {
            read = from_client.read(&mut buffer) => read,
            () = scissors.all.notified() => {
                back.abort();
                break;
            }
        };
        let Ok(read) = read else { break };
        let sent = &buffer[..read];
        let is_commit = sent.windows(8).any(|part| part == b"; COMMIT" || part == BOOKINGS);
        let cut = if is_commit { scissors.next.swap(Cut::No as u8, Ordering::SeqCst) } else { Cut::No as u8 };
        if cut != Cut::No as u8 {
            scissors.cuts.fetch_add(1, Ordering::SeqCst);
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
