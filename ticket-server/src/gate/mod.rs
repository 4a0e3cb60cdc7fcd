//! The token gate: who asks, by an active token in a header or in the event's cookie.
//!
//! A token is verified once and remembered whole, bounded; another set of keys forgets it. Whether the session still
//! goes on is not known here.

mod keys;

use std::sync::Arc;

use queue_core::{
    codes::Code,
    ids::{EventId, Millis, VisitorId},
    limits::TOKEN_BYTES_MAX,
    service::{
        checked::CheckedTokens,
        context,
        http::{ApiError, Request},
        users::UserTokens,
    },
    token::{
        active::{ActiveClaims, ActiveTokenError, ActiveVerifier, SKEW_MS},
        user::is_meant_as_user_token,
    },
};

pub use self::keys::{KeySource, Keys, keys};
use crate::{ids::ReservationId, office::Caller};

/// Tokens that are remembered, at most.
const VERIFIED_MAX: usize = 65_536;
/// Cookies of events that are looked at in one request, at most.
const COOKIES_MAX: usize = 16;
/// After `exp` a token serves so much longer for reading, cancelling and finishing.
const READ_AFTER_MS: u64 = 24 * 3_600_000;
/// Begins the names of cookies with an active token.
const COOKIE_PREFIX: &str = "usher_active.";

/// Checks tokens.
pub struct Gate {
    keys: Keys,
    users: Option<UserTokens>,
    verified: CheckedTokens<Remembered>,
}

#[derive(Clone)]
struct Remembered {
    caller: Arc<Caller>,
    verifier: Arc<ActiveVerifier>,
}

/// Callers that a request shows: one by header, or one for each cookie.
#[derive(Debug)]
pub struct Shown {
    callers: Vec<(Arc<Caller>, bool)>,
    by_cookie: bool,
}

impl Gate {
    /// A gate with those keys, and with what user tokens are checked with, if they are on.
    pub fn new(keys: Keys, users: Option<UserTokens>) -> Self {
        Self { keys, users, verified: CheckedTokens::new(VERIFIED_MAX) }
    }

    /// The visitor that a user token in the header names. It serves for reading, cancelling and repeating.
    pub async fn user(&self, request: &Request, now: Millis) -> Result<Option<VisitorId>, ApiError> {
        match (&self.users, request.bearer()) {
            (Some(users), Some(token)) if is_meant_as_user_token(token) => {
                let visitor = users.verify(token, now).await?;
                context::note_visitor(&visitor);
                Ok(Some(visitor))
            }
            _ => Ok(None),
        }
    }

    /// Whom a request shows; refused when there is no good token in it. One that is only expired is good.
    pub async fn shown(&self, request: &Request, now: Millis) -> Result<Shown, ApiError> {
        if let Some(token) = request.bearer() {
            let caller = self.check(token, now).await?;
            return Ok(Shown { callers: vec![caller], by_cookie: false });
        }
        let (mut callers, mut refused) = (Vec::new(), None);
        for token in cookies(request).take(COOKIES_MAX) {
            match self.check(&token, now).await {
                Ok(caller) => callers.push(caller),
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        if callers.is_empty() {
            return Err(refused.unwrap_or_else(|| Code::ActiveTokenRequired.into()));
        }
        Ok(Shown { callers, by_cookie: true })
    }

    /// Whom a token shows that came in a message. One whose session's end has passed is refused.
    pub async fn caller(&self, token: &str, now: Millis) -> Result<Arc<Caller>, ApiError> {
        match self.check(token, now).await? {
            (_, true) => Err(Code::SessionEnded.into()),
            (caller, false) => Ok(caller),
        }
    }

    /// The caller, and whether the session's end has passed.
    async fn check(&self, token: &str, now: Millis) -> Result<(Arc<Caller>, bool), ApiError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Code::ActiveTokenInvalid.into());
        }
        let mut verifier = self.keys.current().await.ok_or(Code::KeysUnavailable)?;
        if let Some(known) = self.verified.get(token)
            && Arc::ptr_eq(&known.verifier, &verifier)
        {
            let ended = now > known.caller.expires.plus(SKEW_MS);
            note(&known.caller);
            return Ok((known.caller, ended));
        }
        let mut result = verifier.verify(token, now);
        if let Err(ActiveTokenError::UnknownKey(_)) = &result
            && let Some(newer) = self.keys.newer_than(&verifier).await
        {
            verifier = newer;
            result = verifier.verify(token, now);
        }
        let (claims, ended) = match result {
            Ok(claims) => (claims, false),
            Err(ActiveTokenError::Expired(claims)) => (*claims, true),
            Err(error) => return Err(ApiError::new(Code::ActiveTokenInvalid).log(error)),
        };
        let caller = Arc::new(caller(claims)?);
        note(&caller);
        self.verified.keep(token, Remembered { caller: Arc::clone(&caller), verifier });
        Ok((caller, ended))
    }
}

/// For the log lines of this request.
fn note(caller: &Caller) {
    context::note_event(&caller.event);
    context::note_visitor(&caller.visitor);
}

fn caller(claims: ActiveClaims) -> Result<Caller, ApiError> {
    let jti = claims.parse_jti().map_err(|error| ApiError::new(Code::ActiveTokenInvalid).log(error))?;
    Ok(Caller {
        visitor: claims.visitor,
        event: claims.event,
        jti,
        admitted: claims.issued_at,
        expires: claims.expires_at,
    })
}

/// The tokens in the cookies of all events.
fn cookies(request: &Request) -> impl Iterator<Item = String> {
    let headers = request.headers().get_all(http::header::COOKIE).into_iter();
    let pairs = headers.filter_map(|header| header.to_str().ok()).flat_map(|header| header.split(';'));
    pairs.filter_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        name.starts_with(COOKIE_PREFIX).then(|| value.trim_matches('"').to_owned())
    })
}

impl Shown {
    /// Who takes something of that event.
    pub fn taker(&self, event: &EventId) -> Result<Arc<Caller>, ApiError> {
        match self.callers.iter().find(|(caller, _)| caller.event == *event) {
            Some((_, true)) => Err(Code::SessionEnded.into()),
            Some((caller, false)) => Ok(Arc::clone(caller)),
            // A browser that waited for another event has no token for this one.
            None if self.by_cookie => Err(Code::ActiveTokenRequired.into()),
            None => Err(Code::WrongEvent.into()),
        }
    }

    /// Who reads or finishes that reservation.
    pub fn owner(&self, reservation: &ReservationId, now: Millis) -> Result<Arc<Caller>, ApiError> {
        let made_for = |caller: &Caller| reservation.was_minted_for(&caller.event, &caller.visitor);
        let readers = self.readers(now)?;
        let owner = readers.iter().find(|caller| made_for(caller)).or(readers.first());
        owner.cloned().ok_or_else(|| Code::SessionEnded.into())
    }

    /// Everybody who may still read.
    pub fn readers(&self, now: Millis) -> Result<Vec<Arc<Caller>>, ApiError> {
        let callers = self.callers.iter().map(|(caller, _)| caller);
        let readers: Vec<_> = callers.filter(|caller| now <= caller.expires.plus(READ_AFTER_MS)).cloned().collect();
        if readers.is_empty() { Err(Code::SessionEnded.into()) } else { Ok(readers) }
    }

    /// Everybody whose session is not over by its token.
    pub fn live(&self) -> impl Iterator<Item = &Arc<Caller>> {
        self.callers.iter().filter(|(_, ended)| !ended).map(|(caller, _)| caller)
    }

    /// Whether a browser added the token by itself.
    pub fn by_cookie(&self) -> bool {
        self.by_cookie
    }
}
