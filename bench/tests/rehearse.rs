//! `bench rehearse` as people run it, with the small scenario: all kinds of people and all kinds of faults, and every
//! promise kept. No time is asserted. The servers must have been built.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use bench::rehearse::record::{End, HoldEnd, Kind, Record};
use tokio::{process::Command, time::timeout};

const BOUND: Duration = Duration::from_secs(285);
/// What the auditor looks at.
const INVARIANTS: [&str; 11] = [
    "no seat sold twice",
    "every acknowledged booking in the ledger",
    "Active never over capacity",
    "no faster than the rate",
    "order kept",
    "every position as it was",
    "nobody forgotten",
    "every slot returned",
    "every payment matched",
    "the same key, the same answer",
    "the record of the line complete",
];

/// What a run said, and what it left.
struct Ran {
    success: bool,
    said: String,
    report: tempfile::TempDir,
}

impl Ran {
    fn record(&self) -> Result<Record> {
        let text = std::fs::read(self.report.path().join("record.json")).context("no record")?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// Each invariant was judged, and none was broken.
    fn all_kept(&self) -> Result<()> {
        ensure!(self.success, "{}", self.said);
        for invariant in INVARIANTS {
            let line = self.said.lines().find(|line| line.starts_with(invariant));
            let line = line.with_context(|| format!("{invariant}: {}", self.said))?;
            ensure!(line.ends_with(" kept"), "{line}");
        }
        Ok(())
    }
}

async fn rehearse(scenario: &Path, args: &[&str]) -> Result<Ran> {
    let (temporary, report) = (tempfile::tempdir()?, tempfile::tempdir()?);
    // Databases that run as a user of their own write there, as they do in /tmp.
    std::fs::set_permissions(temporary.path(), std::os::unix::fs::PermissionsExt::from_mode(0o1777))?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
    command.arg("rehearse").arg(scenario).args(args).arg("--report").arg(report.path());
    command.env("TMPDIR", temporary.path()).kill_on_drop(true);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let output = timeout(BOUND, child.wait_with_output()).await.context("it did not end")??;
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    ensure!(std::fs::read_dir(temporary.path())?.next().is_none(), "the folder was left behind: {said}");
    Ok(Ran { success: output.status.success(), said, report })
}

fn small() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/small.toml")
}

/// The small scenario with something else in it.
fn changed(folder: &Path, changes: &[(&str, &str)], without_faults: bool) -> Result<PathBuf> {
    let mut text = std::fs::read_to_string(small())?;
    if without_faults {
        text.truncate(text.find("[[faults]]").context("no faults")?);
    }
    for (from, to) in changes {
        ensure!(text.contains(from), "{from} is not in the scenario");
        text = text.replace(from, to);
    }
    let file = folder.join("changed.toml");
    std::fs::write(&file, text)?;
    Ok(file)
}

fn ends(record: &Record) -> BTreeMap<End, usize> {
    let mut ends = BTreeMap::new();
    for visitor in &record.visitors {
        *ends.entry(visitor.end).or_default() += 1;
    }
    ends
}

#[tokio::test]
async fn all_kinds_and_all_faults_and_every_promise_kept() -> Result<()> {
    let ran = rehearse(&small(), &[]).await?;
    ran.all_kept()?;
    let (record, said) = (ran.record()?, &ran.said);
    ensure!(record.settled, "{said}");
    // It was a run in which something happened.
    ensure!(record.visitors.len() == 300, "{said}");
    let kinds: BTreeMap<Kind, usize> = record.visitors.iter().map(|visitor| (visitor.kind, 1)).collect();
    ensure!(kinds.len() == 11, "{kinds:?}");
    let ends = ends(&record);
    for end in [End::Booked, End::GaveUp, End::SoldOut, End::RanOut] {
        ensure!(ends.contains_key(&end), "nobody {end:?}: {said}");
    }
    ensure!(!ends.contains_key(&End::Unfinished), "{said}");
    for fault in [
        "node-killed",
        "ticket-server-killed",
        "queue-redis-paused",
        "ledger-paused",
        "ticket-redis-paused",
        "ticket-redis-killed",
    ] {
        ensure!(record.faults.iter().any(|done| done.fault == fault && done.ready_at >= done.to), "{fault}: {said}");
    }
    let all = || record.visitors.iter();
    ensure!(all().any(|visitor| visitor.sockets_lost > 0), "no socket was lost: {said}");
    ensure!(all().any(|visitor| visitor.places.iter().any(|place| place.returned)), "nobody came back: {said}");
    ensure!(all().flat_map(|visitor| &visitor.orders).any(|order| order.tries > 1), "no order was repeated: {said}");
    ensure!(all().flat_map(|visitor| &visitor.holds).any(|hold| hold.end == HoldEnd::Gone), "no hold ran out: {said}");
    ensure!(record.payments.iter().any(|payment| payment.status == "DECLINED"), "no card was declined: {said}");
    ensure!(record.payments.iter().flat_map(|payment| &payment.history).any(|entry| !entry.answered), "{said}");
    ensure!(record.payments.iter().filter(|payment| payment.status == "CAPTURED").count() > 10, "{said}");
    ensure!(record.samples.iter().any(|sample| sample.line.is_some_and(|line| line.waiting > 0)), "{said}");
    let html = std::fs::read_to_string(ran.report.path().join("report.html"))?;
    ensure!(html.contains("invariants held") && html.contains("<polyline"), "the report is empty");
    ensure!(!html.contains("<script") && !html.contains("src="), "the report is not whole in itself");
    Ok(())
}

#[tokio::test]
async fn without_payment_on_other_ledgers() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let free = ("[event]\n", "[event]\npayment-required = false\n");
    let sqlite = [free, ("\"postgresql\"", "\"sqlite\""), ("ticket-servers = 2", "ticket-servers = 1")];
    let mariadb = [("\"postgresql\"", "\"mariadb\"")];
    for changes in [&sqlite[..], &mariadb[..]] {
        let scenario = changed(folder.path(), changes, true)?;
        let ran = rehearse(&scenario, &["--visitors", "60", "--seed", "3"]).await?;
        ran.all_kept()?;
        let record = ran.record()?;
        ensure!(record.seed == 3 && record.visitors.len() == 60, "{}", ran.said);
        ensure!(ends(&record).contains_key(&End::Booked), "{}", ran.said);
        ensure!(!ends(&record).contains_key(&End::Failed), "{}", ran.said);
        ensure!(record.payments.is_empty() != record.rules.payment_required, "{}", ran.said);
    }
    Ok(())
}

#[tokio::test]
async fn a_bad_scenario_is_refused_at_once() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let scenario = changed(folder.path(), &[("capacity = 40", "capacity = 0"), ("lost = 0.02", "lost = 9")], false)?;
    let ran = rehearse(&scenario, &[]).await?;
    ensure!(!ran.success && ran.said.contains("event.capacity") && ran.said.contains("payments.lost"), "{}", ran.said);
    let ran = rehearse(&folder.path().join("nothing.toml"), &[]).await?;
    ensure!(!ran.success && ran.said.contains("nothing.toml"), "{}", ran.said);
    let ran = rehearse(&small(), &["--visitors", "0"]).await?;
    ensure!(!ran.success && ran.said.contains("crowd.visitors"), "{}", ran.said);
    Ok(())
}
