//! Who may join, and how often: user tokens, and what one client address may do. The same for HTTP and sockets.

use std::{net::IpAddr, sync::Arc};

use queue_core::{
    codes::Code,
    ids::{EventId, Millis, VisitorId},
    service::{
        caps::{AddressCount, AddressRate, ClientAddress, Counted},
        http::{ApiError, Request},
        users::{UserTokens, user_token_required},
    },
    token::place::PlaceClaims,
};

use crate::node::{Joining, Node, Who};

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

    /// Who asks to join, by what they show.
    pub fn who(&self, user: Option<VisitorId>, shown: Option<Shown>) -> Result<Who, ApiError> {
        match (user, shown) {
            (Some(user), Some(shown)) if shown.claims.visitor == user => Ok(Who::User(user, Some(shown.claims))),
            (Some(_), Some(shown)) if shown.explicitly => Err(Code::PlaceTokenInvalid.into()),
            (Some(user), _) => Ok(Who::User(user, None)),
            (None, Some(shown)) => Ok(Who::Holder(shown.claims)),
            (None, None) if self.wants_users() => Err(user_token_required()),
            (None, None) => Ok(Who::Anonymous),
        }
    }

    /// Joins, if they may: a holder of a place finds it again, a new place counts for the address.
    pub async fn join(&self, node: &Arc<Node>, event: &EventId, who: Who, from: IpAddr) -> Result<Joining, ApiError> {
        let who = self.doubt(node, event, who, from).await?;
        let holds = who.place().is_some();
        if !holds {
            self.newcomer(from)?;
        }
        let joining = node.join(event, who).await?;
        if holds {
            self.found(node, &joining, from);
        }
        Ok(joining)
    }

    /// Whoever shows a place that has ended is new. The store is asked only where that matters: while whoever is new
    /// is refused.
    async fn doubt(&self, node: &Arc<Node>, event: &EventId, who: Who, from: IpAddr) -> Result<Who, ApiError> {
        let Some(place) = who.place() else { return Ok(who) };
        // Without a user token nobody gets a new place, and the join asks the store itself.
        if self.wants_users() && matches!(who, Who::Holder(_)) {
            return Ok(who);
        }
        let line = node.line(event).await?;
        let matters = || self.is_over(from) || line.joins.backlog.refuses();
        if node.believes(&line, place) || !matters() || node.has_place(&line, &place.visitor).await? {
            return Ok(who);
        }
        Ok(who.without_place())
    }

    /// One more new place, if the address may have it.
    pub fn newcomer(&self, from: IpAddr) -> Result<(), ApiError> {
        self.joins.as_ref().map_or(Ok(()), |joins| joins.admit(ClientAddress::from(from)))
    }

    /// What became of the join of somebody who showed a place. If it had ended, the new one counts afterwards.
    pub fn found(&self, node: &Node, joining: &Joining, from: IpAddr) {
        if !joining.fresh {
            return;
        }
        // The view that still has the old place is not believed a second time.
        joining.line.leave_view(&joining.visitor, node.now());
        if let Some(joins) = &self.joins {
            joins.charge(ClientAddress::from(from));
        }
    }

    fn is_over(&self, from: IpAddr) -> bool {
        self.joins.as_ref().is_some_and(|joins| joins.over(ClientAddress::from(from)).is_some())
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
        let who = |user: Option<&str>, shown| entrance.who(user.map(visitor), shown).map_err(|e| e.code());
        let own = shown("u_1", true).map(|shown| shown.claims);
        assert_eq!(who(Some("u_1"), shown("u_1", true)), Ok(Who::User(visitor("u_1"), own)));
        assert_eq!(who(Some("u_1"), shown("u_2", true)), Err(Code::PlaceTokenInvalid));
        let user = Who::User(visitor("u_1"), None);
        assert_eq!(who(Some("u_1"), shown("u_2", false)), Ok(user), "a foreign cookie is none");
        assert!(matches!(who(None, shown("a_1", false)), Ok(Who::Holder(_))));
        assert_eq!(who(None, None), Ok(Who::Anonymous));
    }

    #[test]
    fn new_places_count_for_their_address() {
        let entrance = Entrance { joins: AddressRate::per_minute(1), ..Entrance::default() };
        assert!(entrance.newcomer(FROM).is_ok());
        assert_eq!(entrance.newcomer(FROM).unwrap_err().code(), Code::RateLimited);
        assert!(entrance.newcomer(IpAddr::from([192, 0, 2, 1])).is_ok());
    }
}
