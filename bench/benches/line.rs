//! The model of the line: a batch of joins into a long line, and positions of many waiters from one snapshot.
#![forbid(unsafe_code)]

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use queue_core::{
    ids::{Generation, Millis, Rank, Seq, VisitorId},
    limits::JOIN_BATCH_MAX,
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

fn long_line() -> Line {
    let policy = Policy::with_capacity(1);
    let mut line = Line::new(&Configure { policy, generation: Generation(1), floor: Seq(0), closed_ms: 0 }, NOW);
    for batch in visitors(0, ALREADY_WAITING).chunks(JOIN_BATCH_MAX) {
        join(&mut line, batch.to_vec());
    }
    line
}

fn join_batch(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("line");
    let mut line = long_line();
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

fn sweep(criterion: &mut Criterion) {
    // Every eighth waiter has left.
    let bytes = Bytes::from(vec![0b1110_1111_u8; (LINE / 8) as usize]);
    let mut local = RankMap::default();
    for number in 0..LOCAL {
        local.insert(Rank(number * (LINE / LOCAL)), number).expect("each rank once");
    }
    let mut group = criterion.benchmark_group("positions");
    group.throughput(Throughput::Elements(LOCAL));
    group.bench_function(format!("sweep {LOCAL} local waiters of {LINE}"), |bencher| {
        bencher.iter(|| {
            let index = PositionIndex::new(0, black_box(&bytes).clone());
            let mut sum = 0;
            local.sweep(&index, |_, spot| sum += spot.place.unwrap_or_default());
            sum
        });
    });
    group.finish();
}

criterion_group!(benches, join_batch, sweep);
criterion_main!(benches);
