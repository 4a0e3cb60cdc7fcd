//! The table for people, the same for machines, and where both go.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::json;

use super::{
    Plan,
    judge::{Kind, Verdict},
    plots,
    run::Results,
};

/// Where it ran.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    pub processors: usize,
    pub model: String,
    pub kernel: String,
    pub memory_gib: f64,
    /// Load average of the minute before.
    pub load: String,
    pub profile: &'static str,
    pub command: String,
}

impl Machine {
    /// What the system says.
    pub fn read() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.split_once(':').map_or_else(String::new, |(_, value)| value.trim().to_owned())
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        let kib: f64 = memory.split(' ').next().and_then(|kib| kib.parse().ok()).unwrap_or(0.0);
        let args: Vec<String> = std::env::args().skip(1).collect();
        Self {
            processors: std::thread::available_parallelism().map_or(0, usize::from),
            model: field(&read("/proc/cpuinfo"), "model name"),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            memory_gib: (kib / 1024.0 / 1024.0 * 10.0).round() / 10.0,
            load: read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
            profile: if cfg!(debug_assertions) { "debug" } else { "optimized" },
            command: format!("bench {}", args.join(" ")),
        }
    }
}

/// How Redis keeps its data, in words.
pub const fn persistence(plan: &Plan) -> &'static str {
    if plan.appendonly { "with appendonly yes, everysec" } else { "without persistence" }
}

/// Prints the table; writes `report.md`, `result.json` and the plots.
pub fn write(out: &Path, plan: &Plan, machine: &Machine, results: &Results, verdict: &Verdict) -> Result<()> {
    let report = text(plan, machine, results, verdict);
    println!("{report}");
    let save = |name: &str, text: &str| {
        let path = out.join(name);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    };
    save("report.md", &report)?;
    save("result.json", &serde_json::to_string(&whole(plan, machine, results, verdict))?)?;
    plots::draw(out, results, verdict)?;
    println!("written to {}", out.display());
    Ok(())
}

fn text(plan: &Plan, machine: &Machine, results: &Results, verdict: &Verdict) -> String {
    let mut text = String::new();
    let mut line = |line: std::fmt::Arguments<'_>| {
        let _ = writeln!(text, "{line}");
    };
    line(format_args!(
        "{} WebSocket waiters, {} nodes and one Redis ({}), {} client processes, {} s of {:.0} joins and admissions a \
         second, {:.0} sockets a second dropped and reconnected.",
        plan.scale,
        plan.nodes,
        persistence(plan),
        plan.clients,
        plan.seconds,
        plan.joins_per_second,
        plan.drops_per_second
    ));
    let Machine { processors, model, kernel, memory_gib, load, profile, command } = machine;
    line(format_args!(
        "{processors} processors ({model}), {memory_gib} GiB, Linux {kernel}, everything on loopback; load before: {load}; \
         {profile} build. `{command}`\n"
    ));
    line(format_args!("| what | seen | bound | ok |\n| --- | --- | --- | --- |"));
    for row in &verdict.rows {
        let ok = match (row.ok, row.kind) {
            (None, _) => "–",
            (Some(true), _) => "yes",
            (Some(false), Kind::Timing) if !plan.is_full() => "no (not counted at this size)",
            (Some(false), _) => "**NO**",
        };
        line(format_args!("| {} | {} | {} | {ok} |", row.what, row.seen, row.bound));
    }
    for example in &verdict.sights.examples {
        line(format_args!("\nwrong: {example}"));
    }
    if !results.troubles.is_empty() {
        let all: Vec<String> = results.troubles.iter().map(|(name, count)| format!("{name} {count}")).collect();
        line(format_args!("\ntroubles: {}", all.join(", ")));
    }
    text
}

fn whole(plan: &Plan, machine: &Machine, results: &Results, verdict: &Verdict) -> serde_json::Value {
    json!({
        "plan": plan,
        "machine": machine,
        "redis": persistence(plan),
        "rows": verdict.rows,
        "broken": verdict.broken(plan.is_full()),
        "milliseconds": {
            "near": verdict.near, "far": verdict.far, "turn": verdict.turn, "join": verdict.join,
            "resume": verdict.resume,
        },
        "positions": {
            "checked": verdict.sights.checked, "wrong": verdict.sights.wrong, "examples": verdict.sights.examples,
        },
        "counts": results.counts,
        "activeMax": results.record.active_max,
        "storeMemory": results.memory,
        "storeBytesOfTheGone": results.of_the_gone,
        "fillSeconds": results.fill_seconds,
        "troubles": results.troubles,
        "moments": results.moments,
    })
}
