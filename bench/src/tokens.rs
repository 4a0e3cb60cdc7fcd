//! Checking active tokens: for the first time beside the bare Ed25519 check of the same bytes by aws-lc, and again.
//!
//! Processor time of this thread, in alternating rounds.

use std::{hint::black_box, time::Duration};

use anyhow::{Context, Result, ensure};
use aws_lc_rs::signature::{ED25519, ParsedPublicKey};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use queue_core::{
    ids::{EventId, Generation, Jti, Millis, Seq, VisitorId},
    service::checked::CheckedActive,
    token::{
        active::{ActiveGrant, ActiveSigner, ActiveVerifier},
        keys::SigningKey,
    },
};

use crate::figures::median;

const NOW: Millis = Millis(1_800_000_000_000);
/// Different tokens, asked for one after the other.
const TOKENS: usize = 10_000;
/// Checks in a round of first checks, and of repeated ones.
const FIRST_CHECKS: usize = 5_000;
const REPEATED_CHECKS: usize = 1_000_000;
const FIRST_FLOOR: f64 = 1.07;
const FIRST_GOAL: f64 = 1.03;
const REPEATED_FLOOR: f64 = 2e6;
const REPEATED_GOAL: f64 = 5e6;

/// How long.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Rounds; the median counts.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=50))]
    rounds: u32,
}

/// A token, and the bare check that is in it.
struct Token {
    text: String,
    signed: Vec<u8>,
    signature: Vec<u8>,
}

/// Runs it and prints the rows.
pub fn run(options: &Options) -> Result<()> {
    let key = SigningKey::from_seed(&[3; 32]).context("a key")?;
    let bare = ParsedPublicKey::new(&ED25519, key.public().raw()).context("the same key")?;
    let signer = ActiveSigner::new("usher", "tickets", key);
    let verifier = std::sync::Arc::new(ActiveVerifier::new("usher", "tickets", [signer.public()]));
    let tokens = (0..TOKENS).map(|number| token(&signer, number)).collect::<Result<Vec<_>>>()?;
    let checked = CheckedActive::default();
    for token in &tokens {
        ensure!(checked.check(&token.text, &verifier, NOW).is_some(), "a good token was refused");
    }
    let (mut bares, mut firsts, mut repeateds) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        let turn = |count| tokens.iter().cycle().take(count);
        bares.push(timed(FIRST_CHECKS, || {
            turn(FIRST_CHECKS).all(|token| bare.verify_sig(black_box(&token.signed), &token.signature).is_ok())
        })?);
        firsts.push(timed(FIRST_CHECKS, || {
            turn(FIRST_CHECKS).all(|token| verifier.verify(black_box(&token.text), NOW).is_ok())
        })?);
        repeateds.push(timed(REPEATED_CHECKS, || {
            turn(REPEATED_CHECKS).all(|token| checked.check(black_box(&token.text), &verifier, NOW).is_some())
        })?);
    }
    let (bare, first, repeated) = (median(bares), median(firsts), median(repeateds));
    let (ratio, per_second) = (first / bare, 1e9 / repeated);
    println!("{TOKENS} tokens, {} rounds, medians of this thread's processor time\n", options.rounds);
    println!("| what | seen | floor | goal |\n| --- | ---: | ---: | ---: |");
    println!(
        "| active token, first check: {:.2} µs beside {:.2} µs for the signature alone | {ratio:.3}× | {FIRST_FLOOR}×{} | {FIRST_GOAL}×{} |",
        first / 1000.0,
        bare / 1000.0,
        said(ratio <= FIRST_FLOOR),
        said(ratio <= FIRST_GOAL),
    );
    println!(
        "| active token, repeated check: {repeated:.0} ns | {:.1} M/s | 2 M/s{} | 5 M/s{} |",
        per_second / 1e6,
        said(per_second >= REPEATED_FLOOR),
        said(per_second >= REPEATED_GOAL),
    );
    Ok(())
}

/// What the bare check of one signature costs, in µs of this thread's processor time.
pub fn signature_us() -> Result<f64> {
    let key = SigningKey::from_seed(&[3; 32]).context("a key")?;
    let bare = ParsedPublicKey::new(&ED25519, key.public().raw()).context("the same key")?;
    let signer = ActiveSigner::new("usher", "tickets", key);
    let tokens = (0..FIRST_CHECKS).map(|number| token(&signer, number)).collect::<Result<Vec<_>>>()?;
    let check = |token: &Token| bare.verify_sig(black_box(&token.signed), &token.signature).is_ok();
    Ok(timed(FIRST_CHECKS, || tokens.iter().all(check))? / 1000.0)
}

fn said(kept: bool) -> &'static str {
    if kept { ": kept" } else { ": **missed**" }
}

fn token(signer: &ActiveSigner, number: usize) -> Result<Token> {
    let mut id = [9; 16];
    id[..8].copy_from_slice(&(number as u64).to_be_bytes());
    let text = signer.sign(&ActiveGrant {
        visitor: VisitorId::anonymous(id),
        event: EventId::new("demo")?,
        jti: Jti { generation: Generation(u64::MAX / 3), seq: Seq(123_456 + number as u64) },
        issued_at: NOW,
        expires_at: NOW.plus(300_000),
    });
    let (signed, signature) = text.rsplit_once('.').context("a token has dots")?;
    let (signed, signature) = (signed.as_bytes().to_vec(), URL_SAFE_NO_PAD.decode(signature)?);
    Ok(Token { text, signed, signature })
}

/// Nanoseconds of processor time per check.
fn timed(count: usize, work: impl FnOnce() -> bool) -> Result<f64> {
    let before = thread_cpu()?;
    ensure!(work(), "a good token was refused");
    Ok((thread_cpu()? - before).as_nanos() as f64 / count as f64)
}

fn thread_cpu() -> Result<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").context("reading this thread's time")?;
    Ok(Duration::from_nanos(text.split(' ').next().context("an empty schedstat")?.parse()?))
}
