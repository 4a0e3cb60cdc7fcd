//! Identifiers of the ticket server: seats, ticket types, reservations, epochs.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use queue_core::{
    id_type,
    ids::{EventId, InvalidId, VisitorId},
};

id_type!(
    /// Names a seat of an event, such as `A-1-1`.
    SeatId
);
id_type!(
    /// Names a kind of ticket of an event.
    TicketTypeId
);
id_type!(
    /// Names a reservation: a hold, and the booking that it became.
    ReservationId
);

/// Bytes of randomness in a reservation id.
pub const RESERVATION_NONCE_BYTES: usize = 16;
/// Bytes that say whose reservation it is.
const RESERVATION_TAG_BYTES: usize = 8;

impl ReservationId {
    /// A new id. It carries a short hash of whom it was made for, so that a hold which was lost
    /// with its store can still be told from an id that never was: the first answers 410, the
    /// second 404. Nothing else rests on it.
    pub fn mint(event: &EventId, visitor: &VisitorId, nonce: [u8; RESERVATION_NONCE_BYTES]) -> Self {
        let mut bytes = [0; RESERVATION_NONCE_BYTES + RESERVATION_TAG_BYTES];
        bytes[..RESERVATION_NONCE_BYTES].copy_from_slice(&nonce);
        bytes[RESERVATION_NONCE_BYTES..].copy_from_slice(&tag(event, visitor, &nonce));
        let mut text = String::with_capacity(34);
        text.push_str("r_");
        URL_SAFE_NO_PAD.encode_string(bytes, &mut text);
        Self(text.into())
    }

    /// Whether this id was made for that visitor of that event.
    pub fn was_minted_for(&self, event: &EventId, visitor: &VisitorId) -> bool {
        let Some(encoded) = self.0.strip_prefix("r_") else { return false };
        let Ok(bytes) = URL_SAFE_NO_PAD.decode(encoded) else { return false };
        bytes.len() == RESERVATION_NONCE_BYTES + RESERVATION_TAG_BYTES
            && bytes[RESERVATION_NONCE_BYTES..] == tag(event, visitor, &bytes[..RESERVATION_NONCE_BYTES])
    }
}

fn tag(event: &EventId, visitor: &VisitorId, nonce: &[u8]) -> [u8; RESERVATION_TAG_BYTES] {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for part in [event.as_str().as_bytes(), b"\0", visitor.as_str().as_bytes(), b"\0", nonce] {
        context.update(part);
    }
    let mut tag = [0; RESERVATION_TAG_BYTES];
    tag.copy_from_slice(&context.finish().as_ref()[..RESERVATION_TAG_BYTES]);
    tag
}

/// One incarnation of an event's seat states: versions of different epochs do not compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Epoch {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        u64::from_str_radix(text, 16).map(Self).map_err(|_| InvalidId)
    }
}

#[cfg(test)]
mod tests {
    use queue_core::ids::is_valid_id;

    use super::*;

    #[test]
    fn a_reservation_id_knows_whose_it_is() {
        let event = EventId::new("e").unwrap();
        let (ann, bob) = (VisitorId::new("a_1").unwrap(), VisitorId::new("a_2").unwrap());
        let id = ReservationId::mint(&event, &ann, [7; 16]);
        assert!(is_valid_id(id.as_str()));
        assert!(id.was_minted_for(&event, &ann));
        assert!(!id.was_minted_for(&event, &bob));
        assert!(!ReservationId::new("r_nothing").unwrap().was_minted_for(&event, &ann));
    }
}
