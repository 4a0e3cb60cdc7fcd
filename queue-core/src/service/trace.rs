//! Trace ids as W3C Trace Context has them: a valid `traceparent` is continued, anything else
//! starts a new trace. Ids are random, not secret: a fast generator per thread makes them.

use std::cell::Cell;
use std::fmt;

use http::{HeaderMap, HeaderValue};

/// The name of the request header that carries a trace from caller to callee.
pub const TRACEPARENT: http::HeaderName = http::HeaderName::from_static("traceparent");

/// A trace id: 16 bytes, never all zero, written as 32 lowercase hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId([u8; 16]);

/// What is known of the trace that a request belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub id: TraceId,
    /// The caller's span; 0 when there is no caller, or none that said so.
    pub parent: u64,
    /// Whether the caller records the trace.
    pub sampled: bool,
}

const HEX: &[u8; 16] = b"0123456789abcdef";

impl TraceId {
    /// A new random id.
    pub fn random() -> Self {
        loop {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&random_u64().to_be_bytes());
            bytes[8..].copy_from_slice(&random_u64().to_be_bytes());
            if bytes != [0; 16] {
                return Self(bytes);
            }
        }
    }

    /// The id from 32 lowercase hex digits that are not all zero.
    pub fn from_hex(text: &[u8]) -> Option<Self> {
        let bytes: [u8; 16] = from_hex(text)?;
        (bytes != [0; 16]).then_some(Self(bytes))
    }

    /// The 16 bytes.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    /// The 32 lowercase hex digits.
    pub fn hex(&self) -> [u8; 32] {
        let mut text = [0; 32];
        for (i, byte) in self.0.iter().enumerate() {
            text[2 * i] = HEX[usize::from(byte >> 4)];
            text[2 * i + 1] = HEX[usize::from(byte & 15)];
        }
        text
    }

    /// As a header value.
    pub fn header(&self) -> HeaderValue {
        HeaderValue::from_bytes(&self.hex()).expect("hex digits are a valid header value")
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.hex()).expect("hex digits are UTF-8"))
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl TraceContext {
    /// A new trace.
    pub fn new() -> Self {
        Self { id: TraceId::random(), parent: 0, sampled: false }
    }

    /// The caller's trace if its `traceparent` is valid and the only one, else a new one.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(TRACEPARENT).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => Self::parse(value.as_bytes()).unwrap_or_else(Self::new),
            _ => Self::new(),
        }
    }

    /// Reads `version-traceid-parentid-flags`; a later version may have more behind it.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() < 55 || text[2] != b'-' || text[35] != b'-' || text[52] != b'-' {
            return None;
        }
        let [version]: [u8; 1] = from_hex(&text[..2])?;
        match (version, text.len()) {
            (0xff, _) => return None,
            (0, 55) => {}
            (0, _) => return None,
            (_, 55) => {}
            (_, _) if text[55] == b'-' => {}
            _ => return None,
        }
        let id = TraceId::from_hex(&text[3..35])?;
        let parent = u64::from_be_bytes(from_hex(&text[36..52])?);
        let [flags]: [u8; 1] = from_hex(&text[53..55])?;
        (parent != 0).then_some(Self { id, parent, sampled: flags & 1 == 1 })
    }

    /// The header for a request to another server that belongs to this trace.
    pub fn traceparent(&self) -> String {
        format!("00-{}-{:016x}-{:02x}", self.id, random_u64().max(1), u8::from(self.sampled))
    }
}

impl Default for TraceContext {
    fn default() -> Self {
        Self::new()
    }
}

fn from_hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

fn digit(c: u8) -> Option<u8> {
    match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    }
}

thread_local! {
    static STATE: Cell<u64> = Cell::new(seed());
}

fn seed() -> u64 {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system has randomness");
    u64::from_le_bytes(bytes)
}

/// SplitMix64 (Steele, Lea and Flood 2014), seeded per thread from the system: fast, well spread,
/// and predictable, so for ids and jitter only.
pub fn random_u64() -> u64 {
    STATE.with(|state| {
        let next = state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        state.set(next);
        let z = (next ^ (next >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_valid_traceparent_is_continued() {
        let context = TraceContext::parse(GOOD.as_bytes()).unwrap();
        assert_eq!(context.id.to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert!(context.sampled);
        assert!(context.traceparent().starts_with("00-0af7651916cd43dd8448eb211c80319c-"));
        assert!(TraceContext::parse(context.traceparent().as_bytes()).is_some());
    }

    #[test]
    fn later_versions_may_have_more() {
        assert!(TraceContext::parse(format!("cc{}-what-else", &GOOD[2..]).as_bytes()).is_some());
        assert!(TraceContext::parse(format!("cc{}.what-else", &GOOD[2..]).as_bytes()).is_none());
    }

    #[test]
    fn what_the_standard_calls_invalid_starts_anew() {
        for bad in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0x",
            "00_0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331_01",
        ] {
            assert_eq!(TraceContext::parse(bad.as_bytes()), None, "{bad}");
        }
        let mut twice = HeaderMap::new();
        twice.append(TRACEPARENT, HeaderValue::from_static(GOOD));
        twice.append(TRACEPARENT, HeaderValue::from_static(GOOD));
        assert_ne!(TraceContext::of(&twice).id.to_string(), "0af7651916cd43dd8448eb211c80319c");
    }

    #[test]
    fn random_ids_differ() {
        let ids: std::collections::HashSet<_> = (0..1000).map(|_| TraceId::random()).collect();
        assert_eq!(ids.len(), 1000);
    }
}
