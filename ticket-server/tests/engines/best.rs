//! Choosing the best seats, held to a look at every possible choice.

use std::sync::Arc;

use proptest::prelude::*;
use queue_core::ids::EventId;
use serde_json::{Value, json};
use ticket_server::{
    ids::TicketTypeId,
    model::{
        EventBody, Hall, SeatBits, SeatState,
        best::{Floor, Plan},
    },
};

use crate::steps::grid;

fn std_type() -> TicketTypeId {
    TicketTypeId::new("std").unwrap()
}

fn floor(hall: &Hall, taken: &[u32]) -> Floor {
    let mut states = SeatBits::new(hall.seats().count());
    for &seat in taken {
        states.set(seat, SeatState::Sold);
    }
    Floor::new(Arc::new(Plan::new(hall)), &states)
}

/// The names of the chosen seats.
fn names(hall: &Hall, seats: Option<Vec<u32>>) -> Vec<String> {
    seats.unwrap_or_default().iter().map(|&seat| hall.name_of(seat).unwrap().to_string()).collect()
}

fn index(hall: &Hall, names: &[&str]) -> Vec<u32> {
    names.iter().map(|name| hall.index_of(name).unwrap()).collect()
}

#[test]
fn the_best_row_is_the_first_where_nobody_is_left_alone() {
    let hall = grid(&[(3, 5)]);
    let choose = |taken: &[&str], count, together| {
        names(&hall, floor(&hall, &index(&hall, taken)).choose(&std_type(), count, together))
    };
    assert_eq!(choose(&[], 3, true), ["A-1-1", "A-1-2", "A-1-3"]);
    assert_eq!(choose(&[], 5, true).len(), 5);
    assert!(choose(&[], 6, true).is_empty(), "no row is so long");
    assert_eq!(choose(&[], 4, true), ["A-1-1", "A-1-2", "A-1-3", "A-1-4"], "each choice leaves one over");
    assert_eq!(choose(&["A-1-5"], 4, true), ["A-1-1", "A-1-2", "A-1-3", "A-1-4"]);
    assert_eq!(
        choose(&["A-1-5", "A-2-5"], 3, true),
        ["A-3-1", "A-3-2", "A-3-3"],
        "the first rows would leave one over"
    );
    assert_eq!(choose(&["A-1-2"], 1, true), ["A-1-1"], "a gap is filled");
    assert_eq!(choose(&["A-1-4"], 1, true), ["A-1-5"], "a gap is filled rather than a run cut");
    assert_eq!(choose(&["A-1-3", "A-2-3", "A-3-3"], 3, true), [""; 0]);
    let apart = choose(&["A-1-3", "A-2-3", "A-3-3"], 3, false);
    assert_eq!(apart, ["A-1-1", "A-1-2", "A-1-4"], "two together, and the third as near as may be");
}

#[test]
fn rows_have_gaps_and_prices() {
    let seat = |number: Value, kind: &str| {
        let id = format!("s{}", number.to_string().trim_matches('"'));
        json!({"seatId": id, "section": "S", "row": "AA", "number": number, "ticketTypeId": kind})
    };
    let hall = |seats: Vec<Value>| {
        let body = json!({
            "name": "Old house", "startsAt": "2030-06-01T20:00:00.000Z", "currency": "EUR", "maxSeatsPerVisitor": 8,
            "ticketTypes": [
                {"ticketTypeId": "std", "name": "Seat", "priceMinor": 100},
                {"ticketTypeId": "low", "name": "Behind a pillar", "priceMinor": 50},
            ],
            "seats": seats,
        });
        Hall::new(EventId::new("hall").unwrap(), EventBody::from_json(body).unwrap()).unwrap()
    };
    let std = |numbers: &[u64]| numbers.iter().map(|n| seat(json!(n), "std")).collect::<Vec<_>>();
    let choose = |hall: &Hall, count| names(hall, floor(hall, &[]).choose(&std_type(), count, true));
    let odd = hall(std(&[7, 5, 3, 1, 2, 4, 6, 8]));
    assert_eq!(choose(&odd, 8).len(), 8, "odd numbers to the left, even ones to the right");
    let taken_out = hall(std(&[1, 2, 3, 5, 6]));
    assert!(choose(&taken_out, 4).is_empty(), "number 4 is not there");
    assert_eq!(choose(&taken_out, 2), ["s5", "s6"]);
    let mut pillar = std(&[1, 2]);
    pillar.push(seat(json!(3), "low"));
    pillar.extend(std(&[4, 5]));
    let pillar = hall(pillar);
    assert!(choose(&pillar, 3).is_empty(), "another price in between");
    let low = TicketTypeId::new("low").unwrap();
    assert_eq!(names(&pillar, floor(&pillar, &[]).choose(&low, 1, true)), ["s3"]);
    let letters = hall(["a", "b", "c"].iter().map(|letter| seat(json!(letter), "std")).collect());
    assert_eq!(choose(&letters, 3), ["sa", "sb", "sc"]);
}

/// Rows of free and taken seats, the first row first.
fn rows() -> impl Strategy<Value = Vec<Vec<bool>>> {
    (1..5_usize, 1..9_usize).prop_flat_map(|(rows, seats)| {
        proptest::collection::vec(proptest::collection::vec(proptest::bool::weighted(0.6), seats), rows)
    })
}

/// How many single free seats a row has.
fn singles(row: &[bool]) -> usize {
    row.split(|free| !free).filter(|run| run.len() == 1).count()
}

/// All choices of `count` neighbours: row, first seat, and how many more single seats there are then.
fn all_blocks(rows: &[Vec<bool>], count: usize) -> Vec<(usize, usize, isize)> {
    let mut blocks = Vec::new();
    for (r, row) in rows.iter().enumerate() {
        for first in 0..(row.len() + 1).saturating_sub(count) {
            if row[first..first + count].iter().all(|free| *free) {
                let mut after = row.clone();
                after[first..first + count].fill(false);
                blocks.push((r, first, singles(&after) as isize - singles(row) as isize));
            }
        }
    }
    blocks
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]
    #[test]
    fn no_better_choice_exists(rows in rows(), count in 1..9_usize, together in any::<bool>()) {
        let seats = rows[0].len();
        let hall = grid(&[(rows.len() as u32, seats as u32)]);
        let flat: Vec<bool> = rows.concat();
        let taken: Vec<u32> = (0..).zip(&flat).filter(|(_, free)| !**free).map(|(seat, _)| seat).collect();
        let mut floor = floor(&hall, &taken);
        let left = flat.iter().filter(|free| **free).count();
        prop_assert_eq!(floor.left(&std_type()), left as u64);
        let longest = (1..=8).rev().find(|&n| !all_blocks(&rows, n).is_empty()).unwrap_or(0);
        prop_assert_eq!(floor.together(&std_type()), longest);

        let chosen = floor.choose(&std_type(), count, together);
        prop_assert_eq!(floor.left(&std_type()), left as u64, "choosing takes nothing");
        let blocks = all_blocks(&rows, count);
        let Some(chosen) = chosen else {
            let none = if together { blocks.is_empty() } else { left < count };
            prop_assert!(none, "nothing was chosen, and there is something");
            return Ok(());
        };
        let mut distinct = chosen.clone();
        distinct.sort_unstable();
        distinct.dedup();
        prop_assert_eq!(distinct.len(), count);
        prop_assert!(chosen.iter().all(|&seat| flat[seat as usize]), "a seat that is not free");
        if blocks.is_empty() {
            prop_assert!(!together);
            return Ok(());
        }
        // Neighbours, without leaving a single seat if that is possible anywhere, and then in the first such row.
        let (row, first) = (chosen[0] as usize / seats, chosen[0] as usize % seats);
        prop_assert!(chosen.windows(2).all(|pair| pair[1] == pair[0] + 1) && first + count <= seats);
        let more = blocks.iter().find(|block| (block.0, block.1) == (row, first)).unwrap().2;
        let leaves_one = |more: isize| more > 0;
        let best = blocks.iter().map(|block| (leaves_one(block.2), block.0)).min().unwrap();
        prop_assert_eq!((leaves_one(more), row), best);
    }

    #[test]
    fn marks_add_up(rows in rows(), marks in proptest::collection::vec((0..40_u32, any::<bool>()), 0..30)) {
        let hall = grid(&[(rows.len() as u32, rows[0].len() as u32)]);
        let count = hall.seats().count() as u32;
        let mut states = SeatBits::new(count as usize);
        let mut floor = Floor::new(Arc::new(Plan::new(&hall)), &states);
        for (seat, free) in marks {
            floor.mark(&[seat], free);
            if seat < count {
                states.set(seat, if free { SeatState::Free } else { SeatState::Held });
            }
            let mut anew = Floor::new(Arc::new(Plan::new(&hall)), &states);
            prop_assert_eq!(floor.left(&std_type()), anew.left(&std_type()));
            for count in 1..=8 {
                prop_assert_eq!(floor.choose(&std_type(), count, true), anew.choose(&std_type(), count, true));
            }
        }
    }
}
