//! The model of a sale: a hold of four seats, taken and given back, and one that is refused.
#![forbid(unsafe_code)]

use std::{collections::BTreeMap, sync::Arc};

use criterion::{Criterion, criterion_group, criterion_main};
use queue_core::ids::{EventId, Generation, Jti, Millis, Seq, VisitorId};
use ticket_server::{
    ids::{Epoch, ReservationId},
    limits::PAST_KEPT_MS,
    model::{Command, Outcome, Sale, Shape, Taking, Wanted, Wish},
};

const NOW: Millis = Millis(1_800_000_000_000);
const SEATS: u32 = 50_000;

fn taking(number: u64) -> Taking {
    let event = EventId::new("demo").expect("a valid id");
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    let visitor = VisitorId::anonymous(bytes);
    Taking {
        reservation: ReservationId::mint(&event, &visitor, bytes),
        visitor,
        jti: Jti { generation: Generation(1), seq: Seq(number + 1) },
        hold_ms: 300_000,
        total_minor: 4 * 4_500,
    }
}

fn wish(taking: Taking, seats: Vec<u32>) -> Command {
    Command::Hold { revision: 1, limit: 8, wishes: vec![Wish { taking, wanted: Wanted::Seats(seats) }] }
}

fn open_sale() -> Sale {
    let mut sale = Sale::default();
    let shape = Shape {
        revision: 1,
        epoch: Epoch(1),
        seats: SEATS,
        blocked: Arc::from([]),
        quantities: Arc::new(BTreeMap::new()),
    };
    assert_eq!(sale.apply(Command::Configure { expected: 0, shape }, NOW), Outcome::Done);
    sale.apply(Command::Open, NOW);
    sale
}

fn hold(criterion: &mut Criterion) {
    let mut sale = open_sale();
    let mut number = 0;
    let mut group = criterion.benchmark_group("seats");
    let held = sale.apply(wish(taking(number), vec![1, 2, 3, 4]), NOW);
    assert!(matches!(&held, Outcome::Each(answers) if answers[0].is_ok()), "{held:?}");
    group.bench_function("be refused four seats of which one is taken", |bencher| {
        bencher.iter(|| {
            number += 1;
            sale.apply(wish(taking(number), vec![4, 5, 6, 7]), NOW)
        });
    });
    group.bench_function("hold four seats, give them back, forget it", |bencher| {
        bencher.iter(|| {
            number += 1;
            // Time moves, so that what is forgotten after a while does not pile up.
            let now = NOW.plus(number * PAST_KEPT_MS / 1_000);
            let taking = taking(number);
            let first = 8 + (number as u32 * 4) % (SEATS - 16);
            let (reservation, visitor) = (taking.reservation.clone(), taking.visitor.clone());
            let held = sale.apply(wish(taking, (first..first + 4).collect()), now);
            let given = sale.apply(Command::Cancel { reservation, visitor }, now);
            (held, given, sale.apply(Command::Forget { batch: 2 }, now))
        });
    });
    group.finish();
}

criterion_group!(benches, hold);
criterion_main!(benches);
