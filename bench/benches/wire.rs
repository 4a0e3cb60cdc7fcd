//! What goes over the wire for each waiter, written and read.
#![forbid(unsafe_code)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use queue_core::{
    ids::{EventId, Millis},
    wire::{ClientMessage, Eta, Message, QueueState, QueueStatus},
};
use queue_server::node::frames::{Common, Own, PositionFrames};

const NOW: Millis = Millis(1_800_000_000_000);
const POSITION: u64 = 123_456;
const WAITING: u64 = 900_000;
const ETA: Eta = Eta { low_seconds: 610, high_seconds: 700 };
const KEPT_UNTIL: Millis = NOW.plus(120_000);

fn event() -> EventId {
    EventId::new("demo").expect("a valid id")
}

fn waiting() -> QueueStatus {
    let mut status = QueueStatus::bare(event(), NOW, QueueState::Waiting);
    (status.position, status.waiting) = (Some(POSITION), Some(WAITING));
    (status.eta, status.paused) = (Some(Some(ETA)), Some(false));
    (status.kept_until, status.poll_after_ms) = (Some(KEPT_UNTIL), Some(15_000));
    status
}

fn write(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("write");
    let (status, mut out) = (waiting(), Vec::with_capacity(512));
    group.bench_function("a status, as it answers a request", |bencher| {
        bencher.iter(|| {
            out.clear();
            black_box(&status).write_json(&mut out);
            out.len()
        });
    });
    group.bench_function("the same by serde_json", |bencher| {
        bencher.iter(|| {
            out.clear();
            serde_json::to_writer(&mut out, black_box(&status)).map(|()| out.len())
        });
    });
    let event = event();
    let common = Common { event: &event, as_of: NOW, waiting: WAITING, paused: false, tickets_left: None };
    let mut frames = PositionFrames::new(common);
    let mut position = POSITION;
    group.bench_function("a position, as it is pushed", |bencher| {
        bencher.iter(|| {
            position += 1;
            frames.frame(Own { position, eta: Some(ETA), kept_until: KEPT_UNTIL }).len()
        });
    });
    group.finish();
}

fn read(criterion: &mut Criterion) {
    let join =
        r#"{"event":"join-queue","data":{"eventId":"demo","placeToken":"AX3cB4QU25IswRYuzQ-_AX3cB4QU25IswRYuzQ-_"}}"#;
    let done = r#"{"type":"BOOKING_DONE","eventId":"demo","visitorId":"a_x","jti":"0000000000000001.7","outcome":"BOOKED","at":"2026-11-20T10:00:00.000Z"}"#;
    assert!(serde_json::from_str::<ClientMessage>(join).is_ok() && serde_json::from_str::<Message>(done).is_ok());
    let mut group = criterion.benchmark_group("read");
    group.bench_function("join-queue", |bencher| {
        bencher.iter(|| serde_json::from_str::<ClientMessage>(black_box(join)));
    });
    group.bench_function("BOOKING_DONE", |bencher| bencher.iter(|| serde_json::from_str::<Message>(black_box(done))));
    group.finish();
}

criterion_group!(benches, write, read);
criterion_main!(benches);
