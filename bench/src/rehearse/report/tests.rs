use super::*;
use crate::rehearse::{
    levels::levels,
    record::{self, End, Fault, Kind, Line, Route, Sample, Trouble, Visitor},
};

/// A run with everything in it that a report tells.
fn record() -> Record {
    let mut record = Record { seed: 7, started_at: 1_000, ended_at: 61_000, settled: false, ..Record::default() };
    record.scenario = "seed = 7 # <script>alert(1)</script>".into();
    record.rules.capacity = 40;
    record.rules.queue_nodes = 2;
    record.left_out.insert("<i>sights</i>".into(), 3);
    for (number, (kind, end)) in
        [(Kind::Buyer, End::Booked), (Kind::TwoTabs, End::Failed), (Kind::Bot, End::SoldOut)].into_iter().enumerate()
    {
        let mut visitor = Visitor::new(number as u64, kind);
        (visitor.end, visitor.failure) = (end, Some("</td>".into()));
        visitor.errors.push(Trouble {
            route: "POST <reserve>".into(),
            code: "TIMEOUT".into(),
            status: 0,
            at: 5,
            in_fault: number == 0,
        });
        record.visitors.push(visitor);
    }
    for second in 0..60_u64 {
        record.samples.push(Sample {
            at: 1_000 + second * 1_000,
            arrived: second * 5,
            waiting: 100 - second,
            active: 30,
            line: (second % 10 != 9).then_some(Line { waiting: 100 - second, active: 31, held: second / 4 }),
            requests: 50,
            p50_ms: 4.0,
            p95_ms: 20.0 + (second % 7) as f64,
            booked: second * 2,
            memory: [("queue-1".to_owned(), 30 << 20), ("redis-queue".to_owned(), (9 + second) << 20)].into(),
            cpu_ms: [("queue-1".to_owned(), if second > 30 { second } else { second * 80 })].into(),
            ..Sample::default()
        });
    }
    record.routes.insert("join".into(), Route::default());
    record.faults.push(Fault {
        fault: "node-killed".into(),
        target: "queue-1".into(),
        from: 11_000,
        to: 13_000,
        ready_at: 13_500,
        window_to: 15_000,
        note: "SIGKILL & <b>more</b>".into(),
    });
    record
}

fn verdicts() -> Vec<Verdict> {
    let verdict = |what: &str, broken: u64, examples: &[&str]| Verdict {
        what: what.into(),
        checked: 1_234,
        broken,
        examples: examples.iter().map(|text| (*text).to_owned()).collect(),
    };
    vec![verdict("no seat sold twice", 0, &[]), verdict("order kept", 7, &["number 3 <before> number 2", "another"])]
}

#[test]
fn a_report_tells_everything_and_needs_nothing_else() {
    let record = record();
    let text = page(&record, &levels(&record), &verdicts()).unwrap();
    for told in [
        "<h1>Rehearsal: 1 of 2 invariants broken</h1>",
        "number 3 &lt;before&gt; number 2",
        "and 5 more",
        "1,234",
        "two tabs",
        "all ready after",
        "SIGKILL &amp; &lt;b&gt;more&lt;/b&gt;",
        "&lt;script&gt;alert(1)",
        "Not everything had settled",
        "3 &lt;i&gt;sights",
        "aria-label=\"People in line, in people over the seconds of the run. by the store: at most 100",
        "outside of faults",
    ] {
        assert!(text.contains(told), "{told}\n{text}");
    }
    assert_eq!(text.matches("<svg role=\"img\"").count(), 9);
    for foreign in ["<script", "<link", "src=", "url(", "@import", "<b>more", "</td></td>"] {
        assert!(!text.contains(foreign), "{foreign}");
    }
    let addresses = text.replace("http://www.w3.org/2000/svg", "");
    assert!(!addresses.contains("http://") && !addresses.contains("https://"));
}

#[test]
fn a_report_is_written_of_nothing_too() {
    let folder = tempfile::tempdir().unwrap();
    let record = record::Record::default();
    let file = write(folder.path(), &record, &levels(&record), &[]).unwrap();
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.contains("not audited") && text.contains("No request failed") && text.ends_with("</html>\n"));
}
