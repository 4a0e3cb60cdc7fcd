//! The model of the line: batches of joins into a long line, people who come, are let in and go, and positions from one
//! snapshot.
#![forbid(unsafe_code)]

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use queue_core::{
    ids::{Generation, Millis, Rank, Seq, VisitorId},
    limits::{JOIN_BATCH_MAX, SESSIONS_BATCH_MAX},
    line::{Command, Configure, Line, Outcome},
    policy::Policy,
    positions::{PositionIndex, RankMap},
};

const NOW: Millis = Millis(1_800_000_000_000);
const ALREADY_WAITING: u64 = 100_000;
/// Waiters in all, and those of one node.
const LINE: u64 = 1_000_000;
const LOCAL: u64 = 250_000;

fn visitors(first: u64, count: u64) -> Vec<VisitorId> {
    let one = |number: u64| {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
        bytes[8..].copy_from_slice(&number.to_be_bytes());
        VisitorId::anonymous(bytes)
    };
    (first..first + count).map(one).collect()
}

fn join(line: &mut Line, visitors: Vec<VisitorId>) -> Outcome {
    line.apply(Command::Join { visitors, floor: Seq(0) }, NOW, &mut Vec::new())
}

fn long_line(capacity: u32) -> Line {
    let policy = Policy::with_capacity(capacity);
    let mut line = Line::new(&Configure::new(policy, Generation(1)), NOW);
    for batch in visitors(0, ALREADY_WAITING).chunks(JOIN_BATCH_MAX) {
        join(&mut line, batch.to_vec());
    }
    line
}

fn join_batch(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("line");
    let mut line = long_line(1);
    let mut next = ALREADY_WAITING;
    group.throughput(Throughput::Elements(JOIN_BATCH_MAX as u64));
    group.bench_function(format!("join a batch of {JOIN_BATCH_MAX} new visitors"), |bencher| {
        let batch = || {
            next += JOIN_BATCH_MAX as u64;
            visitors(next, JOIN_BATCH_MAX as u64)
        };
        bencher.iter_batched(batch, |batch| join(&mut line, batch), BatchSize::SmallInput);
    });
    let known = visitors(1_000, JOIN_BATCH_MAX as u64);
    group.bench_function(format!("join a batch of {JOIN_BATCH_MAX} known visitors"), |bencher| {
        bencher.iter_batched(|| known.clone(), |batch| join(&mut line, batch), BatchSize::SmallInput);
    });
    group.finish();
}

/// As many come as are let in and go, so that the line stays as long as it is.
fn pass_through(criterion: &mut Criterion) {
    let mut line = long_line(SESSIONS_BATCH_MAX as u32);
    let (mut now, mut next) = (NOW, ALREADY_WAITING);
    // Those who were let in at once, while there was no line yet.
    let first = visitors(0, SESSIONS_BATCH_MAX as u64).into_iter().zip((1..).map(Seq)).collect();
    line.apply(Command::Release(first), now, &mut Vec::new());
    let mut group = criterion.benchmark_group("line");
    group.throughput(Throughput::Elements(SESSIONS_BATCH_MAX as u64));
    group.bench_function(format!("{SESSIONS_BATCH_MAX} join, as many are let in and released"), |bencher| {
        bencher.iter(|| {
            // A second later, so that what is remembered of those who have gone is forgotten in time.
            (now, next) = (now.plus(1_000), next + SESSIONS_BATCH_MAX as u64);
            join(&mut line, visitors(next, SESSIONS_BATCH_MAX as u64));
            let let_in = line.apply(Command::Admit { max: SESSIONS_BATCH_MAX }, now, &mut Vec::new());
            let Outcome::Admitted(admitted) = let_in else { panic!("nobody was let in: {let_in:?}") };
            assert_eq!(admitted.sessions.len(), SESSIONS_BATCH_MAX);
            let sessions = admitted.sessions.into_iter().map(|session| (session.visitor, session.seq)).collect();
            line.apply(Command::Release(sessions), now, &mut Vec::new())
        });
    });
    group.finish();
}

/// A line in which so many of eight have left, and every fourth waiter is local.
fn positions(criterion: &mut Criterion) {
    let mut local = RankMap::default();
    for number in 0..LOCAL {
        local.insert(Rank(number * (LINE / LOCAL)), number).expect("each rank once");
    }
    let mut group = criterion.benchmark_group("positions");
    for (byte, what) in [(0b1111_1111_u8, "nobody has left"), (0b1110_1111, "every eighth has left")] {
        let bytes = Bytes::from(vec![byte; (LINE / 8) as usize]);
        group.throughput(Throughput::Elements(LOCAL));
        group.bench_function(format!("sweep {LOCAL} local waiters of {LINE}, {what}"), |bencher| {
            bencher.iter(|| {
                let index = PositionIndex::new(0, black_box(&bytes).clone());
                let mut sum = 0;
                local.sweep(&index, |_, spot| sum += spot.place.unwrap_or_default());
                sum
            });
        });
    }
    let index = PositionIndex::new(0, vec![0b1110_1111_u8; (LINE / 8) as usize].into());
    let mut rank = 0;
    group.throughput(Throughput::Elements(1));
    group.bench_function(format!("one place of {LINE}"), |bencher| {
        bencher.iter(|| {
            rank = (rank + 7_919) % LINE;
            index.place(black_box(Rank(rank)))
        });
    });
    group.finish();
}

criterion_group!(benches, join_batch, pass_through, positions);
criterion_main!(benches);
