//! The limit of telling many the same: one thread that sends the same bytes to each of its connections in turn.
//!
//! A connection begins with one byte: `s` takes its place among those that are told, `g` has everybody told once and
//! is answered with `d`.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
};

use anyhow::{Context, Result, bail};

/// How to send.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Where it listens.
    #[arg(long)]
    listen: SocketAddr,
    /// How long a message is.
    #[arg(long)]
    bytes: usize,
}

/// Sends until the process ends.
pub fn run(options: &Options) -> Result<()> {
    let listener = TcpListener::bind(options.listen).with_context(|| format!("listening on {}", options.listen))?;
    let message = vec![b'x'; options.bytes];
    let mut told: Vec<TcpStream> = Vec::new();
    loop {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut first = [0];
        stream.read_exact(&mut first)?;
        match first[0] {
            b's' => told.push(stream),
            b'g' => {
                for stream in &mut told {
                    stream.write_all(&message)?;
                }
                stream.write_all(b"d")?;
            }
            other => bail!("nobody says {other}"),
        }
    }
}
