//! Place tokens: an opaque, authenticated statement of event, visitor, sequence number and
//! generation.
//!
//! Layout, before base64url without padding:
//!
//! | bytes | what |
//! | --- | --- |
//! | 1 | version, [`VERSION`] |
//! | 4 | id of the secret: the first bytes of its SHA-256 |
//! | 8 | generation, big endian |
//! | 1–10 | sequence number, LEB128 |
//! | 1 + n | visitor: kind, then 16 raw bytes (`a_`), 32 raw bytes (`u_`), or length and text |
//! | 1 + n | event: length and text |
//! | 32 | HMAC-SHA256 of all the bytes before |
//!
//! A token has one spelling: base64 with stray bits, padding or trailing bytes is refused.

use aws_lc_rs::{digest, hmac};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    ids::{EventId, Generation, Seq, VisitorId},
    limits::{ID_BYTES_MAX, PLACE_TOKEN_BYTES_MAX},
};

/// The first byte of each token.
const VERSION: u8 = 1;
/// A secret is at least this long.
pub const PLACE_SECRET_BYTES_MIN: usize = 32;
/// Secrets in one ring, at most.
pub const PLACE_SECRETS_MAX: usize = 16;

const SECRET_ID_BYTES: usize = 4;
const TAG_BYTES: usize = 32;
const VARINT_BYTES_MAX: usize = 10;
const KIND_TEXT: u8 = 0;
const KIND_ANONYMOUS: u8 = 1;
const KIND_USER: u8 = 2;
const RAW_BYTES_MAX: usize =
    1 + SECRET_ID_BYTES + 8 + VARINT_BYTES_MAX + 2 + ID_BYTES_MAX + 1 + ID_BYTES_MAX + TAG_BYTES;

const _: () = assert!(RAW_BYTES_MAX.div_ceil(3) * 4 <= PLACE_TOKEN_BYTES_MAX, "the longest token fits its bound");
const _: () = assert!(ID_BYTES_MAX <= u8::MAX as usize, "a length fits its byte");

/// What a place token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceClaims {
    /// The event whose line it is.
    pub event: EventId,
    /// Whose place it is.
    pub visitor: VisitorId,
    /// The place.
    pub seq: Seq,
    /// The incarnation of the line that gave the place.
    pub generation: Generation,
}

/// Why a place token was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceTokenError {
    /// Longer than any place token.
    #[error("longer than {PLACE_TOKEN_BYTES_MAX} bytes")]
    TooLong,
    /// Not a place token, or not spelled as one.
    #[error("not a place token")]
    Malformed,
    /// Authenticated with a secret that is not in the ring.
    #[error("made with a secret that is not known here")]
    UnknownSecret,
    /// Not authentic.
    #[error("not authentic")]
    BadTag,
}

/// Why a ring of secrets cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceKeysError {
    /// There is nothing to sign with.
    #[error("at least one place secret is needed")]
    Empty,
    /// More than [`PLACE_SECRETS_MAX`].
    #[error("at most {PLACE_SECRETS_MAX} place secrets are taken")]
    TooMany,
    /// The secret at this index (from 0) is too short.
    #[error("place secret {0} is shorter than {PLACE_SECRET_BYTES_MIN} bytes")]
    TooShort(usize),
}

struct PlaceKey {
    id: [u8; SECRET_ID_BYTES],
    key: hmac::Key,
}

/// A ring of secrets: the first signs, all verify.
pub struct PlaceKeys {
    ring: Vec<PlaceKey>,
}

impl std::fmt::Debug for PlaceKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PlaceKeys({} secrets)", self.ring.len())
    }
}

impl PlaceKeys {
    /// Prepares the ring.
    pub fn new<S: AsRef<[u8]>>(secrets: &[S]) -> Result<Self, PlaceKeysError> {
        if secrets.is_empty() {
            return Err(PlaceKeysError::Empty);
        }
        if secrets.len() > PLACE_SECRETS_MAX {
            return Err(PlaceKeysError::TooMany);
        }
        let prepare = |(index, secret): (usize, &S)| {
            let secret = secret.as_ref();
            if secret.len() < PLACE_SECRET_BYTES_MIN {
                return Err(PlaceKeysError::TooShort(index));
            }
            let mut id = [0; SECRET_ID_BYTES];
            id.copy_from_slice(&digest::digest(&digest::SHA256, secret).as_ref()[..SECRET_ID_BYTES]);
            Ok(PlaceKey { id, key: hmac::Key::new(hmac::HMAC_SHA256, secret) })
        };
        Ok(Self { ring: secrets.iter().enumerate().map(prepare).collect::<Result<_, _>>()? })
    }

    /// Makes the token that says `claims`.
    pub fn sign(&self, claims: &PlaceClaims) -> String {
        let signer = &self.ring[0];
        let mut raw = Writer::new();
        raw.put(&[VERSION]);
        raw.put(&signer.id);
        raw.put(&claims.generation.0.to_be_bytes());
        raw.varint(claims.seq.0);
        raw.visitor(claims.visitor.as_str());
        raw.text(claims.event.as_str());
        let tag = hmac::sign(&signer.key, raw.bytes());
        raw.put(tag.as_ref());
        URL_SAFE_NO_PAD.encode(raw.bytes())
    }

    /// Checks `token` and reads what it says.
    pub fn verify(&self, token: &str) -> Result<PlaceClaims, PlaceTokenError> {
        if token.len() > PLACE_TOKEN_BYTES_MAX {
            return Err(PlaceTokenError::TooLong);
        }
        let mut buffer = [0; PLACE_TOKEN_BYTES_MAX];
        let length = URL_SAFE_NO_PAD.decode_slice(token, &mut buffer).map_err(|_| PlaceTokenError::Malformed)?;
        let split = length.checked_sub(TAG_BYTES).ok_or(PlaceTokenError::Malformed)?;
        let (said, tag) = buffer[..length].split_at(split);
        let mut reader = Reader(said);
        if reader.byte()? != VERSION {
            return Err(PlaceTokenError::Malformed);
        }
        let id = reader.array::<SECRET_ID_BYTES>()?;
        self.authenticate(id, said, tag)?;
        let claims = PlaceClaims {
            generation: Generation(u64::from_be_bytes(reader.array()?)),
            seq: Seq(reader.varint()?),
            visitor: reader.visitor()?,
            event: EventId::new(reader.text()?).map_err(|_| PlaceTokenError::Malformed)?,
        };
        if reader.0.is_empty() { Ok(claims) } else { Err(PlaceTokenError::Malformed) }
    }

    /// Two secrets may share an id by chance, so each one that bears it is tried.
    fn authenticate(&self, id: [u8; SECRET_ID_BYTES], said: &[u8], tag: &[u8]) -> Result<(), PlaceTokenError> {
        let mut refusal = PlaceTokenError::UnknownSecret;
        for candidate in self.ring.iter().filter(|k| k.id == id) {
            if hmac::verify(&candidate.key, said, tag).is_ok() {
                return Ok(());
            }
            refusal = PlaceTokenError::BadTag;
        }
        Err(refusal)
    }
}

/// Gathers a token's bytes on the stack.
struct Writer {
    buffer: [u8; RAW_BYTES_MAX],
    length: usize,
}

impl Writer {
    fn new() -> Self {
        Self { buffer: [0; RAW_BYTES_MAX], length: 0 }
    }

    fn bytes(&self) -> &[u8] {
        &self.buffer[..self.length]
    }

    /// Never overflows: identifiers are at most [`ID_BYTES_MAX`] long by their type.
    fn put(&mut self, bytes: &[u8]) {
        self.buffer[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.put(&[value as u8 | 0x80]);
            value >>= 7;
        }
        self.put(&[value as u8]);
    }

    fn text(&mut self, text: &str) {
        self.put(&[text.len() as u8]);
        self.put(text.as_bytes());
    }

    fn visitor(&mut self, text: &str) {
        if let Some(raw) = text.strip_prefix("a_").and_then(decode_exactly::<16>) {
            self.put(&[KIND_ANONYMOUS]);
            self.put(&raw);
        } else if let Some(raw) = text.strip_prefix("u_").and_then(decode_exactly::<32>) {
            self.put(&[KIND_USER]);
            self.put(&raw);
        } else {
            self.put(&[KIND_TEXT]);
            self.text(text);
        }
    }
}

/// Takes a token's bytes apart.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], PlaceTokenError> {
        let (head, tail) = self.0.split_at_checked(count).ok_or(PlaceTokenError::Malformed)?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PlaceTokenError> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or(PlaceTokenError::Malformed)?;
        self.0 = tail;
        Ok(*head)
    }

    fn byte(&mut self) -> Result<u8, PlaceTokenError> {
        Ok(self.array::<1>()?[0])
    }

    fn varint(&mut self) -> Result<u64, PlaceTokenError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if (bits << shift) >> shift != bits {
                return Err(PlaceTokenError::Malformed);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(PlaceTokenError::Malformed)
    }

    fn text(&mut self) -> Result<&'a str, PlaceTokenError> {
        let length = self.byte()?;
        std::str::from_utf8(self.take(length.into())?).map_err(|_| PlaceTokenError::Malformed)
    }

    fn visitor(&mut self) -> Result<VisitorId, PlaceTokenError> {
        let id = match self.byte()? {
            KIND_ANONYMOUS => return Ok(VisitorId::anonymous(self.array()?)),
            KIND_USER => {
                let mut text = *b"u_0000000000000000000000000000000000000000000";
                let encoded = URL_SAFE_NO_PAD.encode_slice(self.array::<32>()?, &mut text[2..]);
                encoded.map_err(|_| PlaceTokenError::Malformed)?;
                std::str::from_utf8(&text).ok().and_then(|text| VisitorId::new(text).ok())
            }
            KIND_TEXT => VisitorId::new(self.text()?).ok(),
            _ => None,
        };
        id.ok_or(PlaceTokenError::Malformed)
    }
}

/// The bytes that `text` is the base64url of, when they are exactly `N`.
fn decode_exactly<const N: usize>(text: &str) -> Option<[u8; N]> {
    // The decoder wants room for its estimate, which can exceed the exact length by two.
    let mut buffer = [0; 64];
    if text.len() > 64 {
        return None;
    }
    let length = URL_SAFE_NO_PAD.decode_slice(text, &mut buffer).ok()?;
    buffer[..length].try_into().ok()
}
