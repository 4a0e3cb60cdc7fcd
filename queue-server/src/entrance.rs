//! Who may join, and how often: user tokens, and what one client address may do. The same for HTTP and sockets.

use std::net::IpAddr;

use queue_core::{
    codes::Code,
    ids::{Millis, VisitorId},
    service::{
        caps::{AddressCount, AddressRate, ClientAddress, Counted},
        http::{ApiError, Request},
        users::{UserTokens, user_token_required},
    },
    token::place::PlaceClaims,
};

use crate::node::Who;

/// What stands at the entrance of every line.
#[derive(Default)]
pub struct Entrance {
    /// Who signs user tokens; `None`: visitors are anonymous.
    pub users: Option<UserTokens>,
    /// New places for one client address.
    pub joins: Option<AddressRate>,
    /// Open sockets of one client address.
    pub sockets: Option<AddressCount>,
}

/// A place token that was shown for the event, and is good.
pub struct Shown {
    pub claims: PlaceClaims,
    /// In a header or message, and not in a cookie, which a browser adds whether it fits or not.
    pub explicitly: bool,
}

impl Entrance {
    /// Whether joining needs a user token; then a bearer of that shape is one.
    pub const fn wants_users(&self) -> bool {
        self.users.is_some()
    }

    /// The visitor that the request's user token names. A bad one is refused.
    pub async fn user(&self, request: &Request, now: Millis) -> Result<Option<VisitorId>, ApiError> {
        match &self.users {
            Some(users) => users.of(request, now).await,
            None => Ok(None),
        }
    }

    /// Who joins, if somebody may: a holder of a place finds it again, a new place counts for the address.
    pub fn who(&self, user: Option<VisitorId>, shown: Option<Shown>, from: IpAddr) -> Result<Who, ApiError> {
        match (user, shown) {
            (Some(user), Some(shown)) if shown.claims.visitor == user => Ok(Who::User(user)),
            (Some(_), Some(shown)) if shown.explicitly => Err(Code::PlaceTokenInvalid.into()),
            (Some(user), _) => self.newcomer(from).map(|()| Who::User(user)),
            (None, Some(shown)) => Ok(Who::Holder(shown.claims)),
            (None, None) if self.wants_users() => Err(user_token_required()),
            (None, None) => self.newcomer(from).map(|()| Who::Anonymous),
        }
    }

    fn newcomer(&self, from: IpAddr) -> Result<(), ApiError> {
        self.joins.as_ref().map_or(Ok(()), |joins| joins.admit(ClientAddress::from(from)))
    }

    /// One more socket of an address; it counts until what is returned is dropped.
    pub fn socket(&self, from: IpAddr) -> Result<Option<Counted>, ApiError> {
        self.sockets.as_ref().map(|sockets| sockets.admit(ClientAddress::from(from))).transpose()
    }
}

#[cfg(test)]
mod tests {
    use queue_core::ids::{EventId, Generation, Seq};

    use super::*;

    const FROM: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn visitor(name: &str) -> VisitorId {
        VisitorId::new(name).unwrap()
    }

    fn shown(name: &str, explicitly: bool) -> Option<Shown> {
        let event = EventId::new("e").unwrap();
        let claims = PlaceClaims { event, visitor: visitor(name), seq: Seq(1), generation: Generation(1) };
        Some(Shown { claims, explicitly })
    }

    #[test]
    fn a_place_and_a_user_must_be_the_same_person() {
        let entrance = Entrance::default();
        let who = |user: Option<&str>, shown| entrance.who(user.map(visitor), shown, FROM).map_err(|e| e.code());
        assert_eq!(who(Some("u_1"), shown("u_1", true)), Ok(Who::User(visitor("u_1"))));
        assert_eq!(who(Some("u_1"), shown("u_2", true)), Err(Code::PlaceTokenInvalid));
        assert_eq!(who(Some("u_1"), shown("u_2", false)), Ok(Who::User(visitor("u_1"))), "a foreign cookie is none");
        assert!(matches!(who(None, shown("a_1", false)), Ok(Who::Holder(_))));
        assert_eq!(who(None, None), Ok(Who::Anonymous));
    }

    #[test]
    fn only_new_places_count() {
        let entrance = Entrance { joins: AddressRate::per_minute(1), ..Entrance::default() };
        for _ in 0..5 {
            assert!(entrance.who(None, shown("a_1", true), FROM).is_ok());
        }
        assert!(entrance.who(None, None, FROM).is_ok());
        assert_eq!(entrance.who(None, None, FROM).unwrap_err().code(), Code::RateLimited);
        assert!(entrance.who(None, None, IpAddr::from([192, 0, 2, 1])).is_ok());
    }
}
