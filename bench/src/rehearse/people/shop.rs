//! In the shop: look, hold, and book, let go, or let it run out.

use std::time::Duration;

use queue_core::ids::Millis;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::person::Person;
use crate::{
    api::{Answer, ApiError, Reservation},
    clock::now_ms,
    rehearse::record::{Departure, End, Goods, Hold, HoldEnd, Kind, Leaving},
};

/// Refusals after which somebody else's luck is accepted.
const WISHES_MAX: u32 = 8;
/// Attempts at one wish while the servers are in trouble.
const TROUBLES_MAX: u64 = 30;
/// Seats that bots are after.
const HOT_SEATS: usize = 3;
/// A bot sleeps only so long between two requests.
const BOT_PAUSE_MS: (u64, u64) = (5, 25);
/// A dawdler looks again so long after the hold should have ended.
const DAWDLE_MORE: Duration = Duration::from_secs(2);

/// How it ended, and why.
pub type Ending = (End, Option<String>);

/// What came of wanting something.
enum Taken {
    Held(Box<Reservation>),
    /// Nothing is left of it.
    Nothing,
    Over(Ending),
}

impl Person {
    /// What a visitor does once let in.
    pub async fn visit(&mut self, active: &str) -> Ending {
        if self.intent.kind == Kind::Abandons {
            self.abandon();
            return (End::GaveUp, None);
        }
        if self.intent.kind == Kind::Leaves {
            self.leave().await;
            return (End::GaveUp, None);
        }
        self.claim().await;
        self.think().await;
        let taken = match self.intent.kind {
            Kind::Bot => self.hammer(active).await,
            Kind::BestAvailable | Kind::General => self.take_of_type(active).await,
            _ => self.take_from_map(active).await,
        };
        match taken {
            Taken::Over(ending) => ending,
            Taken::Nothing => {
                self.release(active).await;
                (End::SoldOut, None)
            }
            Taken::Held(reservation) => {
                let world = self.world.clone();
                let _holding = world.gauges.holding.enter();
                self.decide(active, &reservation).await
            }
        }
    }

    /// As the page does once it is let in: the session counts as used.
    async fn claim(&mut self) {
        let Some(place) = self.place.clone() else { return };
        let world = self.world.clone();
        // That the session ended meanwhile shows in what follows.
        let _ =
            world.ask(self.intent.number, "status", world.nodes[self.node % world.nodes.len()].status(&place)).await;
    }

    async fn take_from_map(&mut self, active: &str) -> Taken {
        for _ in 0..WISHES_MAX {
            let world = self.world.clone();
            let shop = &world.shops[self.shop % world.shops.len()];
            let map = world.ask(self.intent.number, "seat map", shop.seats());
            let seats = match world.picker.pick(map, &mut self.random, self.intent.quantity as usize).await {
                Ok(seats) => seats,
                Err(error) => match self.bear(&error).await {
                    Some(ending) => return Taken::Over(ending),
                    None => continue,
                },
            };
            if seats.is_empty() {
                return Taken::Nothing;
            }
            match self.want(active, "reserve seats", "seats/reserve", json!({"seatIds": seats})).await {
                Ok(reservation) => return self.held(reservation),
                Err(error) if error.code() == "SEAT_TAKEN" => self.think().await,
                Err(error) => return Taken::Over(ending_of(&error)),
            }
        }
        Taken::Nothing
    }

    /// The best seats, or general admission: from one type after the other.
    async fn take_of_type(&mut self, active: &str) -> Taken {
        let rules = self.world.rules.clone();
        let seated = self.intent.kind == Kind::BestAvailable;
        let types: Vec<String> = match seated {
            true => rules.sections.into_iter().map(|section| section.ticket_type_id).collect(),
            false => rules.areas.into_iter().map(|area| area.ticket_type_id).collect(),
        };
        let mut together = seated && self.intent.together;
        let mut tried = 0;
        while tried < types.len() {
            let wanted = &types[(self.intent.favourite + tried) % types.len()];
            let mut wish = json!({"ticketTypeId": wanted, "quantity": self.intent.quantity});
            if together {
                wish["together"] = json!(true);
            }
            let route = if seated { "best available" } else { "reserve tickets" };
            match self.want(active, route, "reservations", wish).await {
                Ok(reservation) => return self.held(reservation),
                Err(error) if error.code() == "NOT_TOGETHER" => together = false,
                Err(error) if error.code() == "SOLD_OUT" => tried += 1,
                Err(error) => return Taken::Over(ending_of(&error)),
            }
        }
        Taken::Nothing
    }

    /// The same seat, again and again.
    async fn hammer(&mut self, active: &str) -> Taken {
        let Some(section) = self.world.rules.sections.first() else { return Taken::Nothing };
        let seat = 1 + self.intent.favourite as u64 % section.seats_per_row.min(HOT_SEATS as u64);
        let wish = json!({"seatIds": [format!("{}-1-{seat}", section.section)]});
        for _ in 0..self.world.crowd.bot_tries {
            match self.want(active, "reserve seats", "seats/reserve", wish.clone()).await {
                Ok(reservation) => return self.held(reservation),
                Err(error) if error.code() == "SEAT_TAKEN" => {
                    sleep(self.random.between_ms(BOT_PAUSE_MS.0, BOT_PAUSE_MS.1)).await;
                }
                Err(error) => return Taken::Over(ending_of(&error)),
            }
        }
        Taken::Nothing
    }

    /// Asks for a hold until there is an answer for good. Whoever got none looks whether it was taken all the same.
    async fn want(&mut self, active: &str, route: &'static str, path: &str, mut wish: Value) -> Answer<Reservation> {
        let (world, number) = (self.world.clone(), self.intent.number);
        wish["holdSeconds"] = json!(world.rules.hold_ms / 1_000);
        let mut tries = 0;
        loop {
            tries += 1;
            let asked_at = now_ms();
            let shop = &world.shops[self.shop % world.shops.len()];
            let error = match world.ask(number, route, shop.hold(active, path, wish.clone())).await {
                Ok(reservation) => return Ok(self.adopted(reservation, asked_at)),
                Err(error) => error,
            };
            if !error.is_passing() || tries >= TROUBLES_MAX {
                // After a try without an answer it may be the own hold that is in the way.
                let own = if tries > 1 { self.find_hold(active).await } else { None };
                return own.map(|reservation| self.adopted(reservation, asked_at)).ok_or(error);
            }
            if matches!(error, ApiError::Lost(_)) {
                self.shop += 1;
            }
            sleep(world.pause(&mut self.random, error.retry_after(), tries)).await;
            if let Some(reservation) = self.find_hold(active).await {
                return Ok(self.adopted(reservation, asked_at));
            }
        }
    }

    fn adopted(&self, reservation: Reservation, asked_at: u64) -> Reservation {
        self.note_hold(&reservation, asked_at);
        reservation
    }

    /// A hold of theirs that they know nothing of.
    async fn find_hold(&mut self, active: &str) -> Option<Reservation> {
        let world = self.world.clone();
        let shop = &world.shops[self.shop % world.shops.len()];
        let mine = world.ask(self.intent.number, "my reservations", shop.mine(active)).await.ok()?;
        mine.into_iter().find(|reservation| reservation.state == "HELD")
    }

    fn note_hold(&self, reservation: &Reservation, asked_at: u64) {
        let Millis(hold_expires_at) = reservation.hold_expires_at;
        let hold = Hold {
            reservation_id: reservation.reservation_id.clone(),
            jti: self.jti.clone(),
            goods: goods_of(reservation),
            hold_expires_at,
            asked_at,
            at: now_ms(),
            end: HoldEnd::Open,
            ended_at: 0,
        };
        self.keep("holds", |visitor| &mut visitor.holds, hold);
    }

    fn held(&self, reservation: Reservation) -> Taken {
        Taken::Held(Box::new(reservation))
    }

    /// Takes note of how the hold ended.
    pub fn hold_ended(&self, reservation: &str, end: HoldEnd) {
        self.note(|visitor| {
            if let Some(hold) = visitor.holds.iter_mut().find(|hold| hold.reservation_id == reservation) {
                (hold.end, hold.ended_at) = (end, now_ms());
            }
        });
    }

    /// With a hold in hand: pay, let go, or let it run out.
    async fn decide(&mut self, active: &str, reservation: &Reservation) -> Ending {
        self.think().await;
        match self.intent.kind {
            Kind::Dawdles => self.dawdle(active, reservation).await,
            Kind::Hesitates => {
                self.let_go(active, reservation).await;
                (End::GaveUp, None)
            }
            _ => self.buy(active, reservation).await,
        }
    }

    /// Does nothing until the hold should be gone, then looks what became of it.
    async fn dawdle(&mut self, active: &str, reservation: &Reservation) -> Ending {
        let Millis(until) = reservation.hold_expires_at;
        sleep(Duration::from_millis(until.saturating_sub(now_ms())) + DAWDLE_MORE).await;
        let (world, id) = (self.world.clone(), &reservation.reservation_id);
        let shops = world.shops.len();
        let send = |shop: usize| world.shops[shop % shops].reservation(active, id);
        let person = (self.intent.number, &mut self.random);
        let (answer, _) = world.persist(person, "reservation", &mut self.shop, send).await;
        match answer {
            Ok(reservation) if reservation.state == "EXPIRED" => self.hold_ended(id, HoldEnd::Gone),
            Ok(reservation) => return (End::Failed, Some(format!("STILL_{}", reservation.state))),
            Err(error) if matches!(error.code(), "HOLD_EXPIRED" | "RESERVATION_NOT_FOUND") => {
                self.hold_ended(id, HoldEnd::Gone);
            }
            Err(error) => return ending_of(&error),
        }
        (End::RanOut, None)
    }

    /// Gives the seats back: in order, or by just leaving.
    pub async fn let_go(&mut self, active: &str, reservation: &Reservation) {
        if !self.intent.resolute {
            return self.leave().await;
        }
        let (world, id, asked_at) = (self.world.clone(), &reservation.reservation_id, now_ms());
        let shops = world.shops.len();
        let send = |shop: usize| world.shops[shop % shops].cancel(active, id);
        let person = (self.intent.number, &mut self.random);
        let (answer, _) = world.persist(person, "cancel", &mut self.shop, send).await;
        let at = if answer.is_ok() { now_ms() } else { 0 };
        match &answer {
            Ok(_) => self.hold_ended(id, HoldEnd::Cancelled),
            Err(error) if is_hold_gone(error) => self.hold_ended(id, HoldEnd::Gone),
            Err(_) => {}
        }
        let departure = Departure { what: Leaving::Cancel, of: id.clone(), asked_at, at };
        self.keep("departures", |visitor| &mut visitor.departures, departure);
        self.release(active).await;
    }

    /// Waits out what may pass; `Some` for what does not.
    async fn bear(&mut self, error: &ApiError) -> Option<Ending> {
        if !error.is_passing() {
            return Some(ending_of(error));
        }
        if matches!(error, ApiError::Lost(_)) {
            self.shop += 1;
        }
        let world = self.world.clone();
        sleep(world.pause(&mut self.random, error.retry_after(), 3)).await;
        None
    }
}

/// Whether the hold is known to be no more.
pub fn is_hold_gone(error: &ApiError) -> bool {
    matches!(
        error.code(),
        "HOLD_EXPIRED" | "RESERVATION_NOT_HELD" | "RESERVATION_NOT_FOUND" | "SEAT_TAKEN" | "SOLD_OUT"
    )
}

/// What a refusal means for a visit.
pub fn ending_of(error: &ApiError) -> Ending {
    let end = match error.code() {
        "SESSION_ENDED" => End::RanOut,
        _ if is_hold_gone(error) => End::RanOut,
        _ => End::Failed,
    };
    (end, Some(error.code().to_owned()))
}

/// What a reservation is of.
pub fn goods_of(reservation: &Reservation) -> Goods {
    Goods {
        seat_ids: reservation.seat_ids.clone(),
        ticket_type_id: reservation.ticket_type_id.clone(),
        quantity: reservation.quantity,
        total_minor: reservation.total_minor,
    }
}
