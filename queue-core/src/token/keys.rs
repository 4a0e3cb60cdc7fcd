//! Ed25519 keys of active tokens: PEM in and out, and the name (`kid`) of each.
//!
//! A key's `kid` is the RFC 7638 thumbprint of its public half, so the same key has the same
//! name on every node without anybody agreeing on one.

use std::sync::Arc;

use aws_lc_rs::{
    digest,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jsonwebtoken::{DecodingKey, EncodingKey};

/// A PEM file with a key is at most this long.
pub const PEM_BYTES_MAX: usize = 16 * 1024;

/// Why a key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text holds no Ed25519 private key.
    #[error("not an Ed25519 private key in PKCS#8 PEM (\"-----BEGIN PRIVATE KEY-----\")")]
    NotEd25519Pem,
    /// The bytes are no key.
    #[error("not an Ed25519 key")]
    Rejected,
}

/// The public half of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PublicKey {
    kid: String,
    raw: [u8; 32],
}

impl PublicKey {
    /// Names the key by its thumbprint.
    pub fn new(raw: [u8; 32]) -> Self {
        let x = URL_SAFE_NO_PAD.encode(raw);
        // RFC 7638 and RFC 8037 appendix A.3: the required members only, in this order, no spaces.
        let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
        Self { kid: URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, members.as_bytes())), raw }
    }

    /// A key that somebody else has named.
    pub(super) fn named(kid: String, raw: [u8; 32]) -> Self {
        Self { kid, raw }
    }

    /// The key's name.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The 32 bytes.
    pub fn raw(&self) -> &[u8; 32] {
        &self.raw
    }

    pub(super) fn decoding_key(&self) -> DecodingKey {
        DecodingKey::from_ed_der(&self.raw)
    }
}

/// A key that signs.
#[derive(Clone)]
pub struct SigningKey {
    public: PublicKey,
    pair: Arc<Ed25519KeyPair>,
}

/// Two are the same key when their public halves are.
impl PartialEq for SigningKey {
    fn eq(&self, other: &Self) -> bool {
        self.public == other.public
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", self.public.kid)
    }
}

impl SigningKey {
    /// The key that 32 random bytes make.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, KeyError> {
        Self::from_pair(Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| KeyError::Rejected)?)
    }

    /// Reads a PKCS#8 PEM, as `openssl genpkey -algorithm ED25519` writes it.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        if pem.len() > PEM_BYTES_MAX {
            return Err(KeyError::NotEd25519Pem);
        }
        let encoding = EncodingKey::from_ed_pem(pem).map_err(|_| KeyError::NotEd25519Pem)?;
        let pair = Ed25519KeyPair::from_pkcs8(encoding.as_bytes()).map_err(|_| KeyError::NotEd25519Pem)?;
        Self::from_pair(pair)
    }

    fn from_pair(pair: Ed25519KeyPair) -> Result<Self, KeyError> {
        let raw = pair.public_key().as_ref().try_into().map_err(|_| KeyError::Rejected)?;
        Ok(Self { public: PublicKey::new(raw), pair: Arc::new(pair) })
    }

    /// The key as PKCS#8 PEM, which OpenSSL reads too.
    pub fn to_pem(&self) -> String {
        let mut pem = String::from("-----BEGIN PRIVATE KEY-----\n");
        let text = STANDARD.encode(self.pair.to_pkcs8v1().expect("a key that was read can be written"));
        for start in (0..text.len()).step_by(64) {
            pem.push_str(&text[start..text.len().min(start + 64)]);
            pem.push('\n');
        }
        pem.push_str("-----END PRIVATE KEY-----\n");
        pem
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The signature of `message`.
    pub(super) fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut signature = [0; 64];
        signature.copy_from_slice(self.pair.sign(message).as_ref());
        signature
    }
}
