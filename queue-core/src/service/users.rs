//! User tokens in a server: the settings, the keys, and the one check that both servers make.

use std::sync::Arc;

use http::{HeaderValue, header::WWW_AUTHENTICATE};

use super::{
    config::{Raw, Setting},
    http::{ApiError, Request},
    remote_keys::{KeySource, RemoteKeys, Way},
    secret::Secret,
};
use crate::{
    codes::Code,
    ids::{Millis, VisitorId},
    token::user::{self, HS256_SECRET_BYTES_MIN, UserDemands, UserKeys, UserTokenError},
};

/// The settings of user tokens, the same in both servers.
pub const USER_SETTINGS: &[Setting] = &[
    Setting::value(
        "user-jwks",
        "USHER_USER_JWKS",
        "URL",
        "The public keys of user tokens, a JWKS document: its address or its file. Joining needs a user token then",
    ),
    Setting::secret_file(
        "user-hs256-file",
        "USHER_USER_HS256",
        "A file with the secret that user tokens are signed with (HS256), at least 32 characters, in place of user-jwks",
    ),
    Setting::value("user-issuer", "USHER_USER_ISSUER", "NAME", "The issuer (iss) that user tokens must have"),
    Setting::value("user-audience", "USHER_USER_AUDIENCE", "NAME", "The audience (aud) that user tokens must be for"),
];

/// A name in a token is at most this long.
const NAME_CHARS_MAX: usize = 1_024;

/// The settings, checked.
#[derive(Clone, Debug)]
pub struct UserConfig {
    keys: KeyConfig,
    demands: UserDemands,
}

#[derive(Clone, Debug)]
enum KeyConfig {
    Jwks(KeySource),
    Hs256(Secret),
}

impl UserConfig {
    /// Reads them; `None` when user tokens are off. The program's table has [`USER_SETTINGS`].
    pub fn read(raw: &mut Raw) -> Option<Self> {
        let jwks = raw.optional("user-jwks", "an address or a file of a JWKS document", KeySource::parse);
        let secret = raw.secret("user-hs256-file", HS256_SECRET_BYTES_MIN);
        let issuer = raw.optional("user-issuer", "a name", name);
        let audience = raw.optional("user-audience", "a name", name);
        let (by_jwks, by_secret) = (raw.is_given("user-jwks"), raw.is_given("user-hs256-file"));
        if by_jwks && by_secret {
            raw.problem("user-hs256-file", "nothing where user-jwks is given: one of the two");
        }
        for key in ["user-issuer", "user-audience"] {
            if (by_jwks || by_secret) && !raw.is_given(key) {
                raw.problem(key, "a name: user tokens are on");
            }
            if !by_jwks && !by_secret && raw.is_given(key) {
                raw.problem(key, "nothing without user-jwks or user-hs256-file");
            }
        }
        let keys = jwks.map(KeyConfig::Jwks).or_else(|| secret.map(KeyConfig::Hs256))?;
        Some(Self { keys, demands: UserDemands { issuer: issuer?, audience: audience? } })
    }
}

fn name(text: &str) -> Result<String, &'static str> {
    let good = !text.is_empty() && text.chars().count() <= NAME_CHARS_MAX && !text.chars().any(char::is_control);
    if good { Ok(text.to_owned()) } else { Err("not 1 to 1024 characters") }
}

/// Checks user tokens. Clones share the keys.
#[derive(Clone)]
pub struct UserTokens {
    keys: Keys,
    demands: Arc<UserDemands>,
}

#[derive(Clone)]
enum Keys {
    Fetched(RemoteKeys<UserKeys>),
    Given(Arc<UserKeys>),
}

impl UserTokens {
    /// As the settings say.
    pub fn new(config: UserConfig) -> Result<Self, String> {
        let keys = match config.keys {
            KeyConfig::Jwks(source) => {
                let read = |document: &[u8]| UserKeys::from_jwks(document).map_err(|error| error.to_string());
                Keys::Fetched(RemoteKeys::new(source, Way::AsEnvironmentSays, read)?)
            }
            KeyConfig::Hs256(secret) => {
                let keys = UserKeys::hs256(secret.expose().as_bytes());
                Keys::Given(Arc::new(keys.ok_or("the secret of user tokens is too short")?))
            }
        };
        Ok(Self { keys, demands: Arc::new(config.demands) })
    }

    /// The visitor that a user token names: 401 for a bad one, 503 while there is nothing to check it with.
    pub async fn verify(&self, token: &str, now: Millis) -> Result<VisitorId, ApiError> {
        let result = match &self.keys {
            Keys::Given(keys) => user::verify(token, keys, &self.demands, now),
            Keys::Fetched(remote) => {
                let keys = remote.current().await.ok_or(Code::KeysUnavailable)?;
                match user::verify(token, &keys, &self.demands, now) {
                    Err(UserTokenError::UnknownKey) => match remote.newer_than(&keys).await {
                        Some(newer) => user::verify(token, &newer, &self.demands, now),
                        None => Err(UserTokenError::UnknownKey),
                    },
                    result => result,
                }
            }
        };
        result.map_err(|error| refused(Code::UserTokenInvalid, "Bearer error=\"invalid_token\"").log(error))
    }

    /// The visitor that the bearer of a request names, if that is a user token and not another kind of token.
    pub async fn of(&self, request: &Request, now: Millis) -> Result<Option<VisitorId>, ApiError> {
        match request.bearer().filter(|token| user::looks_like_jwt(token)) {
            Some(token) => self.verify(token, now).await.map(Some),
            None => Ok(None),
        }
    }
}

/// 401 for who shows no user token.
pub fn user_token_required() -> ApiError {
    refused(Code::UserTokenRequired, "Bearer")
}

fn refused(code: Code, challenge: &'static str) -> ApiError {
    ApiError::new(code).header(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
}
