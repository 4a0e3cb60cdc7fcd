//! A connection to the store that breaks when the test says so.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

/// A TCP proxy on the loopback interface, in front of one port.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    target: u16,
    up: watch::Sender<bool>,
    /// The connection that sends this is cut once it was answered: the answer is lost.
    needle: Mutex<Option<Vec<u8>>>,
}

impl Proxy {
    pub async fn start(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared { target, up: watch::Sender::new(true), needle: Mutex::default() });
        let accepting = shared.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(accepting.clone(), client));
            }
        });
        Self { port, shared }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Cuts all connections, and refuses new ones until [`Proxy::up`].
    pub fn down(&self) {
        self.shared.up.send_replace(false);
    }

    pub fn up(&self) {
        self.shared.up.send_replace(true);
    }

    /// Loses the answer to the next command with these bytes, and its connection.
    pub fn lose_answer_to(&self, needle: impl Into<Vec<u8>>) {
        *self.shared.needle.lock() = Some(needle.into());
    }

    /// Whether that has happened.
    pub fn has_lost(&self) -> bool {
        self.shared.needle.lock().is_none()
    }
}

async fn serve(shared: Arc<Shared>, client: TcpStream) {
    let mut up = shared.up.subscribe();
    if !*up.borrow_and_update() {
        return;
    }
    let Ok(server) = TcpStream::connect(("127.0.0.1", shared.target)).await else { return };
    let (client_in, client_out) = client.into_split();
    let (server_in, server_out) = server.into_split();
    let lose = Arc::new(Mutex::new(false));
    tokio::select! {
        _ = up.wait_for(|up| !up) => {}
        () = commands(&shared, client_in, server_out, &lose) => {}
        () = answers(server_in, client_out, &lose) => {}
    }
}

async fn commands(shared: &Shared, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, lose: &Mutex<bool>) {
    let mut buffer = vec![0; 65_536];
    while let Ok(size @ 1..) = from.read(&mut buffer).await {
        let bytes = &buffer[..size];
        {
            let mut needle = shared.needle.lock();
            if needle.as_ref().is_some_and(|needle| bytes.windows(needle.len()).any(|window| window == needle)) {
                *needle = None;
                *lose.lock() = true;
            }
        }
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
}

async fn answers(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, lose: &Mutex<bool>) {
    let mut buffer = vec![0; 65_536];
    while let Ok(size @ 1..) = from.read(&mut buffer).await {
        // The store has carried it out: it answers.
        if *lose.lock() || to.write_all(&buffer[..size]).await.is_err() {
            return;
        }
    }
}
