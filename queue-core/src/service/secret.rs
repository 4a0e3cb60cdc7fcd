//! Secrets that are compared: kept as a digest, compared in constant time, never shown.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};

/// A secret's SHA-256, so that neither its bytes nor its length can leak.
#[derive(Clone)]
pub struct SecretDigest([u8; 32]);

impl SecretDigest {
    /// The digest of a secret.
    pub fn new(secret: &str) -> Self {
        Self(sha256(secret))
    }

    /// Whether this is the secret; takes as long for a wrong one as for the right one.
    pub fn matches(&self, presented: &str) -> bool {
        verify_slices_are_equal(&self.0, &sha256(presented)).is_ok()
    }
}

impl fmt::Debug for SecretDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretDigest(…)")
    }
}

/// A secret that has to be kept as it is, for signing or for showing to another server.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps it.
    pub fn new(secret: String) -> Self {
        Self(secret)
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is needed to compare it.
    pub fn digest(&self) -> SecretDigest {
        SecretDigest::new(&self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

fn sha256(text: &str) -> [u8; 32] {
    digest(&SHA256, text.as_bytes()).as_ref().try_into().expect("SHA-256 is 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_secret_itself_matches() {
        let secret = Secret::new("correct horse battery staple".into());
        let digest = secret.digest();
        assert!(digest.matches("correct horse battery staple"));
        for wrong in
            ["", "correct horse battery stapl", "correct horse battery staple ", "Correct horse battery staple"]
        {
            assert!(!digest.matches(wrong));
        }
        assert!(!format!("{secret:?}{digest:?}").contains("horse"));
    }
}
