//! A Lua script and the name by which the server knows it.

use std::fmt;

use aws_lc_rs::digest;
use bytes::Bytes;

/// A Lua script, known to the server by its SHA-1.
#[derive(Clone)]
pub struct Script {
    name: &'static str,
    source: Bytes,
    sha: Bytes,
}

impl Script {
    /// Prepares a script. `name` stands in errors.
    pub fn new(name: &'static str, source: impl Into<Bytes>) -> Self {
        let source = source.into();
        let sha = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &source);
        let sha: String = sha.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Self { name, source, sha: sha.into() }
    }

    /// The script's name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    pub(super) const fn source(&self) -> &Bytes {
        &self.source
    }

    pub(super) const fn sha(&self) -> &Bytes {
        &self.sha
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Script({})", self.name)
    }
}
