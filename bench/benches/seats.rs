//! The model of a sale: a hold of four seats, taken and given back, one that is refused, and the best four of a hall.
#![forbid(unsafe_code)]

use std::{collections::BTreeMap, sync::Arc};

use bench::api::hall;
use criterion::{Criterion, criterion_group, criterion_main};
use queue_core::ids::{EventId, Generation, Jti, Millis, Seq, VisitorId};
use ticket_server::{
    ids::{Epoch, ReservationId, TicketTypeId},
    limits::PAST_KEPT_MS,
    model::{
        Command, EventBody, Hall, Outcome, Sale, SeatBits, Shape, Taking, Wanted, Wish,
        best::{Floor, Plan},
    },
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

/// A hall of rows of 200, of which the first half is sold but for a seat here and there.
fn best(criterion: &mut Criterion) {
    const ROWS: u32 = 100;
    const ROW: u32 = 200;
    let body = EventBody::from_json(hall("Hall", "2031-06-01T20:00:00.000Z", &[("A", ROWS, ROW, 5_000)]));
    let hall = Hall::new(EventId::new("demo").expect("a valid id"), body.expect("a valid event")).expect("a hall");
    let mut floor = Floor::new(Arc::new(Plan::new(&hall)), &SeatBits::new((ROWS * ROW) as usize));
    let sold: Vec<u32> = (0..ROWS * ROW / 2).filter(|seat| seat % 7 != 0).collect();
    floor.mark(&sold, false);
    let kind = TicketTypeId::new("type-A").expect("a valid id");
    let mut group = criterion.benchmark_group("seats");
    group.bench_function(format!("choose the best four of {}, take them and give them back", ROWS * ROW), |bencher| {
        bencher.iter(|| {
            let seats = floor.choose(&kind, 4, true).expect("half of the hall is free");
            floor.mark(&seats, false);
            floor.mark(&seats, true)
        });
    });
    group.finish();
}

criterion_group!(benches, hold, best);
criterion_main!(benches);
