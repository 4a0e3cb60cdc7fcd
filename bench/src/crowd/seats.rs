//! Which seats to try: a map of the hall that all visitors share, loaded again when it is old.

use std::time::Duration;

use tokio::{sync::Mutex, time::Instant};

use crate::{
    api::{Answer, Seat},
    random::Random,
};

/// A map older than this is loaded again by the next who looks at it.
const MAP_AGE_MAX: Duration = Duration::from_millis(1_000);

/// The free seats as of the last look.
#[derive(Debug, Default)]
pub struct SeatPicker {
    free: Mutex<Option<(Instant, Vec<String>)>>,
}

impl SeatPicker {
    /// Picks up to `count` free seats, neighbours where it can; none if everything is taken. `map` asks for the map, if
    /// that is wanted.
    pub async fn pick(
        &self,
        map: impl Future<Output = Answer<Vec<Seat>>>,
        random: &mut Random,
        count: usize,
    ) -> Answer<Vec<String>> {
        let mut free = self.free.lock().await;
        if free.as_ref().is_none_or(|(loaded, _)| loaded.elapsed() > MAP_AGE_MAX) {
            let seats = map.await?.into_iter().filter(|seat| seat.state == "FREE").map(|seat| seat.seat_id).collect();
            *free = Some((Instant::now(), seats));
        }
        let seats = free.as_ref().map_or(&[][..], |(_, seats)| seats);
        let first = usize::try_from(random.below(seats.len() as u64)).unwrap_or(0);
        let first = first.min(seats.len().saturating_sub(count));
        Ok(seats[first..].iter().take(count).cloned().collect())
    }
}
