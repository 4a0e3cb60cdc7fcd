//! What a hold costs: the ticket server and its Redis under wrk, beside hello-world and beside one key per seat.
//!
//! Processor time per request from `/proc`, in alternating rounds, medians. The server runs on one worker thread. The
//! tokens are signed here, so that no queue server has to run; but for the row that says so each of them was shown to
//! the server before the round.

mod keys;
mod scene;

use anyhow::{Context, Result, ensure};

use self::scene::{Cost, Scene, Tokens};
use crate::{
    figures::{median, said},
    process::find_program,
    tokens,
    wrk::load::Turns,
};

/// How long to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Rounds per row; the median counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=50))]
    rounds: u32,
    /// Seconds per round and server.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=5))]
    seconds: u64,
    /// Connections.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1000))]
    connections: u16,
}

impl Options {
    fn turns(&self) -> Turns {
        Turns { rounds: self.rounds, seconds: self.seconds, connections: self.connections }
    }
}

/// All rounds of one row.
#[derive(Default)]
struct Rounds(Vec<Cost>);

impl Rounds {
    fn median(&self, of: impl Fn(&Cost) -> f64) -> f64 {
        median(self.0.iter().map(of))
    }

    fn server(&self) -> f64 {
        self.median(|cost| cost.server_us)
    }

    fn redis(&self) -> f64 {
        self.median(|cost| cost.redis_us)
    }

    fn both(&self) -> f64 {
        self.median(|cost| cost.server_us + cost.redis_us)
    }

    fn row(&self, name: &str) {
        let (server, redis) = (self.server(), self.redis());
        let per_second = self.median(|cost| cost.per_second);
        println!("| {name} | {server:.1} | {redis:.1} | {per_second:.0} |");
    }
}

fn verdict(name: &str, against: &str, ratio: f64, floor: f64, goal: f64) {
    let said = said(ratio, floor, goal);
    println!("| {name} | {against} | {ratio:.2} | {floor} | {goal} | {said} |");
}

/// Runs the comparison and prints its tables.
pub async fn run(options: Options) -> Result<()> {
    let wrk = find_program("wrk").context("wrk is not installed")?;
    let folder = tempfile::tempdir()?;
    let mut scene = Scene::set(wrk, folder.path(), options.turns()).await?;
    let (mut hello, mut one, mut new, mut refused, mut four, mut keys) = Default::default();
    for round in 0..options.rounds {
        eprintln!("round {} of {} …", round + 1, options.rounds);
        measure(&mut scene, round, [&mut hello, &mut one, &mut new, &mut refused, &mut four, &mut keys]).await?;
    }
    scene.end().await;
    println!("{}\n", options.turns());
    println!("| request | server µs | Redis µs | requests/s |");
    println!("| --- | ---: | ---: | ---: |");
    hello.row("hello-world POST");
    one.row("hold of one seat of 100,000");
    new.row("the same, each token new to the server at first");
    refused.row("refused hold of one seat");
    four.row("hold of four seats of 200,000");
    keys.row("four seats, one key each, `SET NX PX`");
    println!("\n| what | against | ratio | floor | goal | |");
    println!("| --- | --- | ---: | ---: | ---: | --- |");
    verdict("server CPU of a hold", "hello-world POST", one.server() / hello.server(), 2.2, 1.6);
    verdict("the same with new tokens", "hello-world POST", new.server() / hello.server(), 2.2, 1.6);
    let (signature, share) = (tokens::signature_us()?, new.median(|cost| cost.first));
    verdict(
        &format!("the same less {signature:.1} µs for each of {:.0} signatures in 100 requests", 100.0 * share),
        "hello-world POST",
        (new.server() - share * signature) / hello.server(),
        2.2,
        1.6,
    );
    verdict("Redis CPU of a hold of 4", "a key per seat", four.redis() / keys.redis(), 0.7, 0.4);
    verdict("server + Redis CPU of a refusal", "accepted hold", refused.both() / one.both(), 0.8, 0.5);
    Ok(())
}

async fn measure(scene: &mut Scene, round: u32, rows: [&mut Rounds; 6]) -> Result<()> {
    let [hello, one, new, refused, four, keys] = rows;
    let warm = scene.event(&format!("one-{round}"), 1, 100_000, Tokens::Shown).await?;
    let cold = scene.event(&format!("new-{round}"), 1, 100_000, Tokens::New).await?;
    let fours = scene.event(&format!("four-{round}"), 4, 200_000, Tokens::New).await?;
    // Every other round the other way round, so that what changes slowly is no advantage.
    for step in 0..6 {
        match if round.is_multiple_of(2) { step } else { 5 - step } {
            0 => hello.0.push(scene.hello_round(&warm).await?),
            1 => one.0.push(accepted(scene.round(&warm).await?)?),
            2 => new.0.push(accepted(scene.round(&cold).await?)?),
            3 => {
                let taken = scene.taken(&format!("taken-{round}")).await?;
                let cost = scene.round(&taken).await?;
                ensure!(
                    cost.refused == cost.requests,
                    "{} of {} were not refused",
                    cost.requests - cost.refused,
                    cost.requests
                );
                refused.0.push(cost);
            }
            4 => four.0.push(accepted(scene.round(&fours).await?)?),
            _ => keys.0.push(scene.keys_round().await?),
        }
    }
    Ok(())
}

fn accepted(cost: Cost) -> Result<Cost> {
    ensure!(cost.refused == 0, "{} of {} were refused: nothing was measured", cost.refused, cost.requests);
    Ok(cost)
}
