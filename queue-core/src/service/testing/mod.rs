//! What the tests of all crates need: a real Redis of their own, our programs as processes, and a client that says
//! what it got.

mod asking;
pub(super) mod process;
mod program;
mod redis;

use std::time::Duration;

use super::config::{Command, Env, Problems, Program as About, Raw, load};

pub use self::{
    asking::{Answer, Ask, client},
    program::{Program, signal},
    redis::{TestRedis, TestSentinel},
};

/// What is expected within seconds has not happened after so long.
pub const WITHIN: Duration = Duration::from_secs(30);

/// Reads settings as `read` does, from these arguments and nothing else but a home folder that is not there.
pub fn settings<T>(program: &About, args: &[&str], read: impl FnOnce(&mut Raw, Env<'_>) -> T) -> Result<T, Problems> {
    let args = [program.name].iter().chain(args).map(|arg| (*arg).to_owned()).collect::<Vec<_>>();
    let env = |name: &str| (name == "HOME").then(|| "/nowhere".to_owned());
    let Command::Run(mut raw) = load(program, args, &env, []) else { panic!("it is to run") };
    let config = read(&mut raw, &env);
    raw.finish().map(|()| config)
}

/// The settings that something is wrong with, see [`settings`].
pub fn problems<T>(settings: Result<T, Problems>) -> Vec<String> {
    settings.err().map(|problems| problems.0.into_iter().map(|problem| problem.key).collect()).unwrap_or_default()
}

/// Tries until there is something, [`WITHIN`] at most; then panics with `what` was waited for.
pub async fn eventually<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let until = tokio::time::Instant::now() + WITHIN;
    loop {
        if let Some(found) = attempt().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < until, "waited longer than {WITHIN:?} for: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
