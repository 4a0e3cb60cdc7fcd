//! How messages to and from a provider, and to buyers' systems, are signed: HMAC-SHA256 over `timestamp.body`
//! with a shared secret, in `usher-signature: v1=<hex>`, the time in milliseconds in `usher-timestamp`.

use aws_lc_rs::hmac;
use queue_core::{ids::Millis, service::secret::Secret};

/// When it was signed, in milliseconds since 1970.
pub const TIMESTAMP: &str = "usher-timestamp";
/// The signature.
pub const SIGNATURE: &str = "usher-signature";
/// A message that is older, or that much ahead of our clock, is refused: it may be one that somebody recorded.
pub const WINDOW_MS: u64 = 300_000;

const VERSION: &str = "v1=";

/// Signs and checks with one secret.
#[derive(Clone)]
pub struct Signer(hmac::Key);

/// Why a signature does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSignature {
    /// A header is absent or unreadable.
    #[error("no readable signature")]
    Unreadable,
    /// Too old, or from the future.
    #[error("signed at another time")]
    OutOfTime,
    /// Another secret or another message.
    #[error("not signed with the secret")]
    Wrong,
}

impl Signer {
    /// With that secret.
    pub fn new(secret: &Secret) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes()))
    }

    /// The two headers of a message.
    pub fn sign(&self, at: Millis, body: &[u8]) -> [(&'static str, String); 2] {
        let tag = hmac::sign(&self.0, &signed(&at.0.to_string(), body));
        [(TIMESTAMP, at.0.to_string()), (SIGNATURE, format!("{VERSION}{}", hex(tag.as_ref())))]
    }

    /// Whether a message was signed with the secret, and lately; takes as long for a wrong signature as for the
    /// right one.
    pub fn check(
        &self,
        timestamp: Option<&str>,
        signature: Option<&str>,
        body: &[u8],
        now: Millis,
    ) -> Result<(), BadSignature> {
        let (Some(timestamp), Some(signature)) = (timestamp, signature) else { return Err(BadSignature::Unreadable) };
        let at: u64 = timestamp.parse().map_err(|_| BadSignature::Unreadable)?;
        let tag = signature.strip_prefix(VERSION).and_then(unhex).ok_or(BadSignature::Unreadable)?;
        if now.0.abs_diff(at) > WINDOW_MS {
            return Err(BadSignature::OutOfTime);
        }
        hmac::verify(&self.0, &signed(timestamp, body), &tag).map_err(|_| BadSignature::Wrong)
    }
}

fn signed(timestamp: &str, body: &[u8]) -> Vec<u8> {
    [timestamp.as_bytes(), b".", body].concat()
}

/// Lowercase hex digits.
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.push(char::from_digit(u32::from(byte >> 4), 16).expect("four bits"));
        text.push(char::from_digit(u32::from(byte & 15), 16).expect("four bits"));
    }
    text
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    (0..32).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(secret: &str) -> Signer {
        Signer::new(&Secret::new(secret.to_owned()))
    }

    #[test]
    fn only_the_same_message_with_the_same_secret_counts() {
        let (good, bad) = (signer("one secret of ours, long enough"), signer("another secret"));
        let at = Millis(1_700_000_000_000);
        let [(_, timestamp), (_, signature)] = good.sign(at, b"{}");
        let check = |signer: &Signer, body: &[u8], now| signer.check(Some(&timestamp), Some(&signature), body, now);
        assert_eq!(check(&good, b"{}", at), Ok(()));
        assert_eq!(check(&good, b"{ }", at), Err(BadSignature::Wrong));
        assert_eq!(check(&bad, b"{}", at), Err(BadSignature::Wrong));
        assert_eq!(check(&good, b"{}", at.plus(WINDOW_MS + 1)), Err(BadSignature::OutOfTime));
        assert_eq!(check(&good, b"{}", Millis(at.0 - WINDOW_MS - 1)), Err(BadSignature::OutOfTime));
        let other = (at.0 + 1).to_string();
        assert_eq!(good.check(Some(&other), Some(&signature), b"{}", at), Err(BadSignature::Wrong));
        for bad in ["", "v1=", "v1=zz", &signature[3..], "v1=é0"] {
            assert_eq!(good.check(Some(&timestamp), Some(bad), b"{}", at), Err(BadSignature::Unreadable), "{bad}");
        }
        assert_eq!(good.check(None, Some(&signature), b"{}", at), Err(BadSignature::Unreadable));
    }

    /// RFC 4231, test case 2.
    #[test]
    fn it_is_hmac_sha256() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"Jefe");
        let tag = hmac::sign(&key, b"what do ya want for nothing?");
        assert_eq!(hex(tag.as_ref()), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }
}
