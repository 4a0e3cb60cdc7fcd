//! The waiting page for browsers without scripts: the server joins for them, writes where they stand, and the page
//! asks again by itself.
//!
//! The place is in the cookie alone. A visit without one joins and is sent to the same page with a mark; whoever
//! then comes without a cookie keeps none and is told so, so that no refresh joins a second time. What changes
//! something that a cookie authenticates is a form of this page, and its origin is checked.

mod page;
mod text;

use std::sync::Arc;

use http::{Method, StatusCode, header::RETRY_AFTER};
use queue_core::{
    codes::Code,
    ids::EventId,
    service::http::{ApiError, Request, Response, redirect},
    wire::{EndReason, QueueStatus},
};

use super::{
    event, pages,
    site::Site,
    tokens::{self, Jar, Shown, ShownPlace},
};
use crate::{
    entrance::{self, Entrance},
    node::Node,
};
use page::Page;
#[cfg(test)]
pub use page::TEMPLATE;

/// What a visit needs.
struct Visit<'r> {
    node: &'r Arc<Node>,
    entrance: &'r Entrance,
    request: &'r Request,
    event: EventId,
    page: Page<'r>,
}

/// The address of this page of an event, with what the visit asked for.
pub fn address(request: &Request, event: &EventId) -> String {
    page::address(request, event, "", false)
}

/// Shows where the visitor stands. A visit without a place joins.
pub async fn show(node: &Arc<Node>, entrance: &Entrance, site: &Site, request: Request) -> Result<Response, ApiError> {
    let Some(visit) = visit(node, entrance, site, &request) else { return pages::missing_page(&request, site) };
    visit.answer(visit.standing().await)
}

/// The button that joins again after a place has ended.
pub async fn join(node: &Arc<Node>, entrance: &Entrance, site: &Site, request: Request) -> Result<Response, ApiError> {
    let Some(visit) = visit(node, entrance, site, &request) else { return pages::missing_page(&request, site) };
    visit.answer(visit.joins_by_button().await)
}

/// The button that leaves.
pub async fn leave(node: &Arc<Node>, entrance: &Entrance, site: &Site, request: Request) -> Result<Response, ApiError> {
    let Some(visit) = visit(node, entrance, site, &request) else { return pages::missing_page(&request, site) };
    visit.answer(visit.leaves().await)
}

fn visit<'r>(node: &'r Arc<Node>, entrance: &'r Entrance, site: &'r Site, request: &'r Request) -> Option<Visit<'r>> {
    let event = event(request).ok()?;
    let page = Page::new(request, site, event.clone());
    Some(Visit { node, entrance, request, event, page })
}

impl Visit<'_> {
    async fn standing(&self) -> Result<Response, ApiError> {
        let Some(place) = self.place()? else {
            if self.page.has_joined() {
                return Ok(self.page.without_cookies());
            }
            return if is_looked_at(self.request) { self.joins(None).await } else { Ok(self.page.not_yet()) };
        };
        let status = self.node.status(&self.event, place.claims.clone()).await?;
        if status.reason == Some(EndReason::QueueReset) && is_looked_at(self.request) {
            return self.joins(Some(place)).await;
        }
        let mut response = self.page.status(&status);
        Jar::of(self.request, &self.event).set(&mut response, &status, place.token);
        Ok(response)
    }

    async fn joins_by_button(&self) -> Result<Response, ApiError> {
        self.request.require_origin()?;
        self.joins(self.place()?).await
    }

    async fn joins(&self, place: Option<ShownPlace<'_>>) -> Result<Response, ApiError> {
        let user = self.entrance.user(self.request, self.node.now()).await?;
        let shown = place.map(|place| {
            let explicitly = place.shown == Shown::Explicitly;
            entrance::Shown { claims: place.claims, explicitly }
        });
        let who = self.entrance.who(user, shown)?;
        let status = self.entrance.join(self.node, &self.event, who, self.request.client_ip()).await?.status;
        if status.place_token.is_none() {
            // Not open yet: there is no place to keep.
            return Ok(self.page.status(&status));
        }
        Ok(self.back_to_the_page(Some(&status)))
    }

    async fn leaves(&self) -> Result<Response, ApiError> {
        self.request.require_origin()?;
        if let Some(place) = self.place()? {
            self.node.leave(&self.event, &place.claims.visitor).await?;
        }
        let mut response = self.back_to_the_page(None);
        Jar::of(self.request, &self.event).forget_active(&mut response, &self.event);
        Ok(response)
    }

    fn place(&self) -> Result<Option<ShownPlace<'_>>, ApiError> {
        tokens::place(self.request, self.node.keys(), &self.event, self.entrance.wants_users())
    }

    /// A reload must repeat no form, so every change ends with a page that is asked for.
    fn back_to_the_page(&self, status: Option<&QueueStatus>) -> Response {
        let mut response = redirect(&page::address(self.request, &self.event, "", true));
        *response.status_mut() = StatusCode::SEE_OTHER;
        if let Some(status) = status {
            Jar::of(self.request, &self.event).set(&mut response, status, "");
        }
        response
    }

    /// People read a page where programs would read an error.
    fn answer(&self, outcome: Result<Response, ApiError>) -> Result<Response, ApiError> {
        let error = match outcome {
            Ok(response) => return Ok(response),
            Err(error) if error.code() == Code::Internal => return Err(error),
            Err(error) => error,
        };
        let trace = self.request.trace_id();
        let info = error.info();
        let refusal = error.into_response(trace);
        let wait = refusal.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let mut response = self.page.problem(info.name, info.retryable, wait, trace);
        *response.status_mut() = refusal.status();
        for (name, value) in refusal.headers().iter().filter(|(name, _)| **name != http::header::CONTENT_TYPE) {
            response.headers_mut().append(name, value.clone());
        }
        Ok(response)
    }
}

/// Whether a person looks at what is answered: what a browser fetches ahead or as a part of another page must not
/// join. Browsers that say nothing of it are believed.
fn is_looked_at(request: &Request) -> bool {
    let says = |name: &str, what: &str| request.header(name).is_some_and(|value| value.contains(what));
    let part = request.header("sec-fetch-dest").is_some_and(|dest| dest != "document");
    request.method() != Method::HEAD && !part && !says("sec-purpose", "prefetch") && !says("purpose", "prefetch")
}
