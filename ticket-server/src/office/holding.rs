//! Taking, extending and giving up holds.

use std::{cell::RefCell, sync::Arc, time::Instant};

use queue_core::{
    codes::Code,
    ids::EventId,
    service::{
        http::ApiError,
        spans::{self, Kind},
    },
};
use serde_json::{Value, json};

use super::{Caller, Office, Reservation, ReservationState, refused, store_error, unexpected};
use crate::{
    counter::{NoHold, Want},
    ids::{RESERVATION_NONCE_BYTES, ReservationId, SeatId, TicketTypeId},
    limits::{EXTEND_MS_DEFAULT, EXTENSIONS_MAX, HOLD_LIFE_MS_MAX, HOLD_SEATS_MAX},
    model::{Command, Hall, Outcome, Refusal, Taking, Wanted},
    sessions::Standing,
};

/// What is wanted, checked for form.
#[derive(Clone, Debug)]
pub enum HoldWish {
    /// These seats, all or none; none is named twice.
    Seats(Vec<SeatId>),
    /// So many tickets of a type: the best free seats, if it has any.
    Tickets {
        /// The type.
        kind: TicketTypeId,
        /// How many.
        quantity: u64,
        /// Whether the seats must be next to each other.
        together: bool,
    },
}

impl HoldWish {
    fn count(&self) -> u64 {
        match self {
            Self::Seats(seats) => seats.len() as u64,
            Self::Tickets { quantity, .. } => *quantity,
        }
    }
}

impl Office {
    /// Takes seats or tickets for somebody whose token was checked. The order of the checks is the
    /// contract's: event, session, seats.
    pub async fn hold(
        &self,
        caller: &Caller,
        event: &EventId,
        wish: &HoldWish,
        hold_ms: u64,
    ) -> Result<Reservation, ApiError> {
        let result = self.try_hold(caller, event, wish, hold_ms).await;
        self.held.count(&result);
        result
    }

    async fn try_hold(
        &self,
        caller: &Caller,
        event: &EventId,
        wish: &HoldWish,
        hold_ms: u64,
    ) -> Result<Reservation, ApiError> {
        if caller.event != *event {
            return Err(Code::WrongEvent.into());
        }
        let hall = self.hall(event.as_str()).await?;
        self.may_take(caller, event).await?;
        match self.hold_in(&hall, caller, wish, hold_ms).await {
            // Another node changed the event: its new definition is in the ledger.
            Err(Retry::Stale) => {
                let hall = self.load(event).await?;
                self.hold_in(&hall, caller, wish, hold_ms).await.map_err(Retry::into_error)
            }
            result => result.map_err(Retry::into_error),
        }
    }

    /// Whether the caller's session, as far as is known, may take something of that event.
    pub async fn may_take(&self, caller: &Caller, event: &EventId) -> Result<(), ApiError> {
        if caller.event != *event {
            return Err(Code::WrongEvent.into());
        }
        if let Standing::Ended(reason) = self.sessions.standing(event, caller.jti).await {
            self.session_ended(event, &caller.visitor, caller.jti, reason).await;
            return Err(Code::SessionEnded.into());
        }
        Ok(())
    }

    async fn hold_in(
        &self,
        hall: &Arc<Hall>,
        caller: &Caller,
        wish: &HoldWish,
        hold_ms: u64,
    ) -> Result<Reservation, Retry> {
        let (want, total_minor) = want(hall, wish)?;
        let since = Instant::now();
        if self.counter.doubts(hall, &want) {
            let looking = self.counter.look(hall, caller.jti, &want, since);
            let looked = spans::step(Kind::Client, "ticket store", looking).await;
            looked.map_err(|why| self.no_hold(hall, wish, why))?;
        }
        let nonce = random_nonce()?;
        let taking = Taking {
            reservation: ReservationId::mint(&hall.event, &caller.visitor, nonce),
            visitor: caller.visitor.clone(),
            jti: caller.jti,
            hold_ms,
            total_minor,
        };
        match spans::step(Kind::Client, "ticket store", self.counter.take(hall, taking, want, since)).await {
            Ok(hold) => {
                self.live.touch(&hall.event);
                self.sessions.holds(&hall.event, &caller.visitor, caller.jti, hold.end);
                Ok(Reservation::of_hold(hall, hold, ReservationState::Held))
            }
            Err(why) => Err(self.no_hold(hall, wish, why)),
        }
    }

    fn no_hold(&self, hall: &Hall, wish: &HoldWish, why: NoHold) -> Retry {
        match why {
            NoHold::Refused(Refusal::Stale) => Retry::Stale,
            NoHold::Refused(refusal @ (Refusal::NoEvent | Refusal::NotOpen)) => {
                // The store lost the event, or it is being loaded: holds are refused until all bookings are known.
                self.reload(&hall.event);
                ApiError::new(Code::StoreUnavailable).log(format!("{refusal:?} for {}", hall.event)).into()
            }
            NoHold::Refused(refusal) => not_taken(hall, wish, refusal).into(),
            NoHold::NotTogether { left, together } => {
                let details = json!({"available": left, "together": together, "quantity": wish.count()});
                ApiError::new(Code::NotTogether).details(details).into()
            }
            NoHold::Engine(error) => store_error(error).into(),
        }
    }

    /// Makes a hold last longer. Without a wish it gets what is left, up to the default.
    pub async fn extend(
        &self,
        caller: &Caller,
        reservation: &ReservationId,
        seconds: Option<u64>,
    ) -> Result<Reservation, ApiError> {
        let hall = self.hall_of(caller).await?;
        let (add_ms, at_least_ms) = match seconds {
            Some(seconds) => (seconds * 1000, seconds * 1000),
            None => (EXTEND_MS_DEFAULT, 1),
        };
        let (reservation, visitor) = (reservation.clone(), caller.visitor.clone());
        let command = Command::Extend { reservation: reservation.clone(), visitor, add_ms, at_least_ms };
        match self.ask(&hall.event, command).await? {
            Outcome::Hold(hold) => {
                self.sessions.holds(&hall.event, &caller.visitor, hold.jti, hold.end);
                Ok(Reservation::of_hold(&hall, hold, ReservationState::Held))
            }
            Outcome::Refused(refusal) => Err(self.not_held(caller, &reservation, &refusal).await),
            other => Err(unexpected(&other)),
        }
    }

    /// Gives a hold up. Again: the same answer. A booking cannot be given up: this version has no
    /// rule that would refund it.
    pub async fn cancel(&self, caller: &Caller, reservation: &ReservationId) -> Result<Reservation, ApiError> {
        let hall = self.hall_of(caller).await?;
        let command = Command::Cancel { reservation: reservation.clone(), visitor: caller.visitor.clone() };
        match self.ask(&hall.event, command).await? {
            Outcome::Past(crate::model::PastState::Cancelled, hold) => {
                // A session may be done now.
                self.outbox.notify_one();
                Ok(Reservation::of_past(&hall, crate::model::PastState::Cancelled, hold))
            }
            Outcome::Past(..) => Err(Code::HoldExpired.into()),
            Outcome::Refused(refusal) => Err(self.not_held(caller, reservation, &refusal).await),
            other => Err(unexpected(&other)),
        }
    }

    /// The event that the caller's session is for. Whoever has no event here has no reservation either.
    pub(crate) async fn hall_of(&self, caller: &Caller) -> Result<Arc<Hall>, ApiError> {
        self.hall(caller.event.as_str()).await.map_err(|error| match error.code() {
            Code::EventNotFound => Code::ReservationNotFound.into(),
            _ => error,
        })
    }

    /// Why something that is no live hold of the caller cannot be finished.
    pub(super) async fn not_held(&self, caller: &Caller, reservation: &ReservationId, refusal: &Refusal) -> ApiError {
        if let Refusal::ExtensionLimit { extensions, left_ms } = refusal {
            return refused(refusal).details(json!({
                "extensions": extensions, "extensionsMax": EXTENSIONS_MAX,
                "secondsLeft": left_ms / 1000, "holdSecondsMax": HOLD_LIFE_MS_MAX / 1000,
            }));
        }
        if !matches!(refusal, Refusal::NotFound | Refusal::Expired) {
            return refused(refusal);
        }
        match self.own_booking(caller, reservation).await {
            Ok(Some(_)) => Code::ReservationNotHeld.into(),
            Ok(None) if *refusal == Refusal::Expired => Code::HoldExpired.into(),
            Ok(None) => lost_or_never(caller, reservation),
            Err(error) => error,
        }
    }
}

/// An id that was made for the caller and is nowhere: its hold was lost with the store, or long ago.
pub(super) fn lost_or_never(caller: &Caller, reservation: &ReservationId) -> ApiError {
    if reservation.was_minted_for(&caller.event, &caller.visitor) {
        Code::HoldExpired.into()
    } else {
        Code::ReservationNotFound.into()
    }
}

/// The definition was not the store's, or an error.
enum Retry {
    Stale,
    Error(ApiError),
}

impl Retry {
    fn into_error(self) -> ApiError {
        match self {
            Self::Stale => Code::StoreUnavailable.into(),
            Self::Error(error) => error,
        }
    }
}

impl<E: Into<ApiError>> From<E> for Retry {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

/// What the store is asked for, and what it costs.
fn want(hall: &Hall, wish: &HoldWish) -> Result<(Want, u64), ApiError> {
    let (id, quantity, together) = match wish {
        HoldWish::Seats(names) => {
            let seats = find_seats(hall, names)?;
            let total_minor = seats.iter().map(|&seat| hall.price_of(seat)).sum();
            return Ok((Want::This(Wanted::Seats(seats)), total_minor));
        }
        HoldWish::Tickets { kind, quantity, together } => (kind, *quantity, *together),
    };
    let kind = hall.body.ticket_type(id).ok_or(Code::TicketTypeNotFound)?;
    let total_minor = kind.price_minor * quantity;
    if let Some(total) = kind.quantity {
        return Ok((Want::This(Wanted::Quantity { kind: id.clone(), quantity, total }), total_minor));
    }
    let count = usize::try_from(quantity).ok().filter(|count| *count <= HOLD_SEATS_MAX);
    let count = count.ok_or_else(|| {
        ApiError::invalid("quantity", format!("must be at most {HOLD_SEATS_MAX} for a type with seats"))
    })?;
    Ok((Want::Best { kind: id.clone(), count, together }, total_minor))
}

/// Which seat or limit it is that there is no hold for.
fn not_taken(hall: &Hall, wish: &HoldWish, refusal: Refusal) -> ApiError {
    let error = refused(&refusal);
    match refusal {
        Refusal::Taken(seats) => {
            let (mut message, mut names) = (String::from("Taken: "), Vec::with_capacity(seats.len()));
            for (seat, state) in &seats {
                let Some(name) = hall.name_of(*seat) else { continue };
                let comma = if names.is_empty() { "" } else { ", " };
                message.extend([comma, name.as_str(), " is ", state.word()]);
                names.push(Value::from(name.as_str()));
            }
            message.push('.');
            error.message(message).details(json!({"seatIds": names}))
        }
        Refusal::SoldOut { left } => error.details(json!({"available": left, "quantity": wish.count()})),
        Refusal::LimitExceeded { has } => {
            let limit = hall.body.max_seats_per_visitor;
            let wanted = wish.count();
            error.details(json!({"limit": limit, "held": has, "wanted": wanted, "maxSeatsPerVisitor": limit}))
        }
        _ => error,
    }
}

fn find_seats(hall: &Hall, names: &[SeatId]) -> Result<Vec<u32>, ApiError> {
    let mut seats = Vec::with_capacity(names.len());
    seats.extend(names.iter().map_while(|name| hall.index_of(name.as_str())));
    if seats.len() == names.len() {
        return Ok(seats);
    }
    let missing: Vec<_> = names.iter().filter(|name| hall.index_of(name.as_str()).is_none()).collect();
    Err(ApiError::new(Code::SeatNotFound).details(json!({"seatIds": missing})))
}

thread_local! {
    /// Randomness that was asked for together, and how much of it is used.
    static NONCES: RefCell<([u8; NONCES_BYTES], usize)> = const { RefCell::new(([0; NONCES_BYTES], NONCES_BYTES)) };
}

/// Randomness for 64 ids: asking for each alone costs thirty times as much.
const NONCES_BYTES: usize = 64 * RESERVATION_NONCE_BYTES;

fn random_nonce() -> Result<[u8; RESERVATION_NONCE_BYTES], ApiError> {
    NONCES.with_borrow_mut(|(bytes, used)| {
        if *used == NONCES_BYTES {
            aws_lc_rs::rand::fill(bytes).map_err(|_| ApiError::internal("no randomness"))?;
            *used = 0;
        }
        let mut nonce = [0; RESERVATION_NONCE_BYTES];
        nonce.copy_from_slice(&bytes[*used..*used + RESERVATION_NONCE_BYTES]);
        bytes[*used..*used + RESERVATION_NONCE_BYTES].fill(0);
        *used += RESERVATION_NONCE_BYTES;
        Ok(nonce)
    })
}
