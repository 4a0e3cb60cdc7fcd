//! The public keys that active tokens are checked with.

use queue_core::{
    service::remote_keys::{RemoteKeys, Way},
    token::{active::ActiveVerifier, jwks},
};

pub use queue_core::service::remote_keys::KeySource;

/// Keys of active tokens, and where they come from.
pub type Keys = RemoteKeys<ActiveVerifier>;

/// Keys of that source for tokens of `issuer` for `audience`. Nothing is fetched yet.
pub fn keys(source: KeySource, issuer: &str, audience: &str) -> Result<Keys, String> {
    let demands = ActiveVerifier::new(issuer, audience, []);
    RemoteKeys::new(source, Way::Direct, move |document| {
        let keys = jwks::from_json(document).map_err(|error| error.to_string())?;
        Ok(demands.with_keys(&keys))
    })
}
