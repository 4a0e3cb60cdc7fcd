//! One visitor's life: arrive, wait, look, hold, book or give up, go home.

use std::sync::Arc;

use tokio::time::sleep;

use super::{
    ARRIVAL_MS, Crowd,
    line::{Line, Waited},
};
use crate::{
    api::{ApiError, Reservation},
    random::Random,
};

/// Seats that were taken meanwhile before a visitor gives up.
const PICKS_MAX: u32 = 6;
/// Attempts at a request that may succeed later.
const TRIES_MAX: u32 = 4;

/// What a visitor has in mind. Chosen so that a demo crowd of 3,000 leaves some of 2,000 seats to whoever joins behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mind {
    /// Leaves the line before it is their turn.
    Impatient,
    /// Is not there when it is their turn.
    Absent,
    /// Looks at the map and goes.
    Looks,
    /// Holds seats and lets them go again.
    Hesitates,
    /// Holds seats and books them.
    Books,
}

impl Mind {
    const fn draw(random: &mut Random) -> Self {
        match random.below(100) {
            0..4 => Self::Impatient,
            4 => Self::Absent,
            5..30 => Self::Looks,
            30..58 => Self::Hesitates,
            _ => Self::Books,
        }
    }
}

/// Lives one life, and counts what became of it.
pub async fn live(crowd: Arc<Crowd>, mut random: Random) {
    let stop = crowd.stop.clone();
    let life = async {
        sleep(crowd.paced(random.between_ms(0, ARRIVAL_MS))).await;
        let mind = Mind::draw(&mut random);
        let waited = wait(&crowd, &mut random, mind).await;
        match waited {
            Waited::Admitted { place, active } => {
                visit(&crowd, &mut random, mind, place.as_deref(), &active).await;
            }
            Waited::Tired(place) => {
                crowd.tally.gave_up.add();
                if let Some(place) = place {
                    settle(&crowd, crowd.queue.leave(&place).await);
                }
            }
            Waited::Ended => crowd.tally.ended.add(),
            Waited::Failed(code) => {
                crowd.tally.failed.add();
                crowd.tally.error(&code);
            }
        }
        crowd.tally.gone.add();
    };
    tokio::select! {
        () = life => {}
        () = stop.cancelled() => {}
    }
}

async fn wait(crowd: &Crowd, random: &mut Random, mind: Mind) -> Waited {
    let _waiting = crowd.tally.waiting.enter();
    let on_socket = random.percent(crowd.sockets_percent);
    let patience = (mind == Mind::Impatient).then(|| crowd.paced(random.between_ms(15_000, 90_000)));
    let line = Line::new(crowd, random, patience);
    if on_socket { line.on_socket().await } else { line.poll().await }
}

/// What a visitor does once admitted.
async fn visit(crowd: &Crowd, random: &mut Random, mind: Mind, place: Option<&str>, active: &str) {
    if mind == Mind::Absent {
        crowd.tally.gave_up.add();
        return;
    }
    let _active = crowd.tally.active.enter();
    if let Some(place) = place {
        // As the page does: claims the session. That it ended meanwhile shows in what follows.
        let _ = crowd.queue.status(place).await;
    }
    crowd.pause(random, 500, 2_500).await;
    if matches!(mind, Mind::Looks | Mind::Impatient) {
        crowd.tally.gave_up.add();
        return settle(crowd, crowd.queue.release(active).await);
    }
    match hold(crowd, random, active).await {
        Ok(Some(reservation)) => decide(crowd, random, mind, place, active, &reservation).await,
        Ok(None) => {
            crowd.tally.sold_out.add();
            settle(crowd, crowd.queue.release(active).await);
        }
        Err(error) => give_way(crowd, &error),
    }
}

/// With a hold in hand: book, or let go, in one of the two ways there are.
async fn decide(
    crowd: &Crowd,
    random: &mut Random,
    mind: Mind,
    place: Option<&str>,
    active: &str,
    reservation: &Reservation,
) {
    let _hold = crowd.tally.holds.enter();
    crowd.pause(random, 500, 2_500).await;
    if mind == Mind::Books {
        return confirm(crowd, random, active, reservation).await;
    }
    crowd.tally.gave_up.add();
    match place {
        // Just leaves: the server lets the seats go by itself.
        Some(place) if random.percent(50) => settle(crowd, crowd.queue.leave(place).await),
        _ => {
            settle(crowd, crowd.tickets.cancel(active, &reservation.reservation_id).await.map(drop));
            settle(crowd, crowd.queue.release(active).await);
        }
    }
}

/// Holds one seat or two; `None` when everything is gone.
async fn hold(crowd: &Crowd, random: &mut Random, active: &str) -> Result<Option<Reservation>, ApiError> {
    let count = if random.percent(35) { 2 } else { 1 };
    let mut tries = 0;
    for _ in 0..PICKS_MAX {
        let seats = crowd.picker.pick(crowd.tickets.seats(), random, count).await?;
        if seats.is_empty() {
            return Ok(None);
        }
        match crowd.tickets.reserve(active, &seats).await {
            Ok(reservation) => return Ok(Some(reservation)),
            Err(error) if error.code() == "SEAT_TAKEN" => {
                crowd.tally.seat_taken.add();
                crowd.pause(random, 200, 800).await;
            }
            Err(error) if error.is_passing() && tries < TRIES_MAX => {
                tries += 1;
                crowd.pause(random, 300, 900).await;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

async fn confirm(crowd: &Crowd, random: &mut Random, active: &str, reservation: &Reservation) {
    let mut tries = 0;
    loop {
        match crowd.tickets.confirm(active, &reservation.reservation_id).await {
            Ok(booking) => {
                let seats = if booking.seat_ids.is_empty() { &reservation.seat_ids } else { &booking.seat_ids };
                return crowd.tally.book(seats);
            }
            Err(error) if error.is_passing() && tries < TRIES_MAX => {
                tries += 1;
                crowd.pause(random, 300, 900).await;
            }
            Err(error) => return give_way(crowd, &error),
        }
    }
}

/// Counts a request that only matters if it failed.
fn settle(crowd: &Crowd, answer: Result<(), ApiError>) {
    if let Err(error) = answer {
        crowd.tally.error(error.code());
    }
}

/// Counts the end of a visit that was not the visitor's idea.
fn give_way(crowd: &Crowd, error: &ApiError) {
    match error.code() {
        "SESSION_ENDED" | "HOLD_EXPIRED" => crowd.tally.ended.add(),
        code => {
            crowd.tally.failed.add();
            crowd.tally.error(code);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_demo_crowd_leaves_seats() {
        let minds: Vec<Mind> = (0..3_000).map(|number| Mind::draw(&mut Random::new(1, number))).collect();
        let books = minds.iter().filter(|mind| **mind == Mind::Books).count();
        // One seat and a third on average, of 2,000.
        assert!((1_150..1_350).contains(&books), "{books}");
    }
}
