//! Seats as they change, as server-sent events.

use http::{
    HeaderName, HeaderValue,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use queue_core::service::http::{ApiError, Body, Request, Response};

use super::PublicApp;
use crate::live::{Place, sse};

/// What a client that was cut off was told last.
const LAST_EVENT_ID: &str = "last-event-id";
/// Tells proxies of the nginx kind not to gather what is sent.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

impl PublicApp {
    pub(super) async fn stream(&self, request: &Request) -> Result<Response, ApiError> {
        let hall = self.hall(request, "id").await?;
        let after = after(request)?;
        let live = &self.office.live;
        let admission = live.admit("sse", request.client_ip().into())?;
        let follower = self.office.follow(&hall.event, after).await?;
        let mut response = Response::new(Body::stream(sse::body(follower, admission)));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
        Ok(response)
    }
}

/// From where on the client wants to hear: `Last-Event-ID`, which browsers send by themselves, else `after` in the
/// query, for who has read the map before. An id that is none of ours is as good as one that is too old.
fn after(request: &Request) -> Result<Option<Place>, ApiError> {
    if let Some(id) = request.header(LAST_EVENT_ID) {
        return Ok(id.trim().parse().ok());
    }
    let Some(after) = request.query("after") else { return Ok(None) };
    after.parse().map(Some).map_err(|_| ApiError::invalid("after", "must be an id of this stream: epoch-version"))
}
