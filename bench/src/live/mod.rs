//! Live seats and the seat map, measured against their limits in the same run.

mod fanout;
pub mod seatmap;
pub mod send_loop;
pub mod sse;

use std::path::Path;

use anyhow::Result;

use crate::{
    process::free_port,
    random,
    servers::{Server, Setup},
};

/// A ticket server on one worker thread, and its operator's token.
async fn ticket_server(folder: &Path, store: &str, flags: Vec<String>) -> Result<(Server, String)> {
    let token = random::secret()?;
    let setup = Setup {
        name: "ticket-server",
        listen: free_port()?,
        ops: free_port()?,
        store,
        state_dir: folder,
        operator_token: &token,
        flags,
        threads: Some(1),
    };
    let server = setup.start("ticket-server", folder).await?;
    Ok((server, token))
}

/// Whether a ratio keeps to what the project has set itself.
fn verdict(ratio: f64, floor: f64, goal: f64) -> String {
    let word = match ratio {
        ratio if ratio <= goal => "goal reached",
        ratio if ratio <= floor => "floor kept",
        _ => "floor missed",
    };
    format!("{ratio:.2} (floor {floor}, goal {goal}: {word})")
}
