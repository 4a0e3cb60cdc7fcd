use proptest::prelude::*;

use crate::{
    ids::{EventId, Generation, Seq, VisitorId},
    limits::PLACE_TOKEN_BYTES_MAX,
    token::place::{PlaceClaims, PlaceKeys, PlaceKeysError, PlaceTokenError},
};

const OLD: [u8; 32] = [1; 32];
const NEW: [u8; 48] = [2; 48];

fn keys(secrets: &[&[u8]]) -> PlaceKeys {
    PlaceKeys::new(secrets).unwrap()
}

fn claims(visitor: &str, event: &str, seq: u64) -> PlaceClaims {
    PlaceClaims {
        event: EventId::new(event).unwrap(),
        visitor: VisitorId::new(visitor).unwrap(),
        seq: Seq(seq),
        generation: Generation(0x0123_4567_89ab_cdef),
    }
}

fn anonymous() -> String {
    VisitorId::anonymous([7; 16]).as_str().to_owned()
}

#[test]
fn says_what_was_signed() {
    let keys = keys(&[&NEW]);
    let user = format!("u_{}", "A".repeat(43));
    let odd = format!("u_{}", "B".repeat(43)); // stray bits: no spelling of 32 bytes
    for visitor in [anonymous().as_str(), &user, &odd, "someone", "a_", "a_short", "u_x", &"v".repeat(64)] {
        for event in ["e", "faults", &"e".repeat(64)] {
            for seq in [0, 1, 127, 128, 1 << 32, u64::MAX] {
                let claims = claims(visitor, event, seq);
                let token = keys.sign(&claims);
                assert!(token.len() <= PLACE_TOKEN_BYTES_MAX);
                assert_eq!(keys.verify(&token), Ok(claims));
            }
        }
    }
    assert!(keys.sign(&claims(&anonymous(), "concert", 1_000_000)).len() <= 104, "the usual token is short");
}

#[test]
fn secrets_rotate() {
    let claims = claims(&anonymous(), "concert", 42);
    let (old, both, new) = (keys(&[&OLD]), keys(&[&NEW, &OLD]), keys(&[&NEW]));
    assert_eq!(both.verify(&old.sign(&claims)), Ok(claims.clone()));
    assert_eq!(new.verify(&both.sign(&claims)), Ok(claims.clone()), "the first signs");
    assert_eq!(new.verify(&old.sign(&claims)), Err(PlaceTokenError::UnknownSecret));
}

#[test]
fn a_ring_is_checked() {
    assert_eq!(PlaceKeys::new::<&[u8]>(&[]).unwrap_err(), PlaceKeysError::Empty);
    assert_eq!(PlaceKeys::new(&[&OLD[..], &[0; 31]]).unwrap_err(), PlaceKeysError::TooShort(1));
    assert_eq!(PlaceKeys::new(&[[0; 32]; 17]).unwrap_err(), PlaceKeysError::TooMany);
    assert_eq!(format!("{:?}", keys(&[&OLD])), "PlaceKeys(1 secrets)");
}

#[test]
fn other_spellings_are_refused() {
    let keys = keys(&[&NEW]);
    let token = keys.sign(&claims(&anonymous(), "concert", 42));
    for bad in [
        String::new(),
        ".".into(),
        "é".into(),
        format!("{token}="),
        format!("{token}A"),
        format!("{token}AAAA"),
        format!(" {token}"),
        format!("{token}\n"),
        token[..token.len() - 1].into(),
        token[4..].into(),
        token.replace('_', "/").replace('-', "+") + "+",
        "A".repeat(PLACE_TOKEN_BYTES_MAX),
    ] {
        assert!(keys.verify(&bad).is_err(), "{bad}");
    }
    assert_eq!(keys.verify(&"A".repeat(PLACE_TOKEN_BYTES_MAX + 1)), Err(PlaceTokenError::TooLong));
}

proptest! {
    #[test]
    fn round_trip(visitor in "[A-Za-z0-9][A-Za-z0-9._-]{0,63}", event in "[A-Za-z0-9][A-Za-z0-9._-]{0,63}",
                  random: [u8; 16], seq: u64, generation: u64) {
        let keys = keys(&[&NEW]);
        for visitor in [VisitorId::new(&visitor).unwrap(), VisitorId::anonymous(random)] {
            let claims = PlaceClaims {
                event: EventId::new(&event).unwrap(), visitor, seq: Seq(seq), generation: Generation(generation),
            };
            prop_assert_eq!(keys.verify(&keys.sign(&claims)), Ok(claims));
        }
    }

    #[test]
    fn one_changed_bit_is_refused(seq: u64, position: prop::sample::Index, bit in 0u8..8) {
        let keys = keys(&[&NEW, &OLD]);
        let mut bytes = keys.sign(&claims(&anonymous(), "concert", seq)).into_bytes();
        let position = position.index(bytes.len());
        bytes[position] ^= 1 << bit;
        if let Ok(token) = String::from_utf8(bytes) {
            prop_assert!(keys.verify(&token).is_err());
        }
    }

    #[test]
    fn noise_is_refused(noise in "[A-Za-z0-9_-]{0,520}") {
        prop_assert!(keys(&[&NEW]).verify(&noise).is_err());
    }
}
