//! Where people are sent, and what the pages may load and call.

use http::HeaderValue;
use queue_core::{
    ids::EventId,
    service::pages::{is_plain_authority, origin_of},
};

/// Stands for the event in an address from the configuration.
pub const EVENT_PLACEHOLDER: &str = "{eventId}";

/// The addresses of the configuration.
#[derive(Clone, Debug)]
pub struct Site {
    /// Where people go after admission: with [`EVENT_PLACEHOLDER`], or a base to which
    /// `/tickets/{eventId}` is added.
    pub tickets_url: String,
    /// The own public address, in the same way with `/wait/{eventId}`; without it addresses are relative.
    pub queue_url: Option<String>,
    /// Other addresses to which the waiting page may hand a token over.
    pub return_urls: Vec<String>,
}

impl Site {
    /// Where somebody goes who was admitted to `event`.
    pub fn tickets_url(&self, event: &EventId) -> String {
        for_event(&self.tickets_url, "/tickets/", event)
    }

    /// Where somebody goes to wait for `event`.
    pub fn waiting_url(&self, event: &EventId) -> String {
        for_event(self.queue_url.as_deref().unwrap_or_default(), "/wait/", event)
    }

    /// The content security policy of a page that is shown by `host`. Browsers have differed on
    /// whether `'self'` covers the own host's WebSocket, so it is named.
    pub fn csp(&self, host: Option<&str>) -> HeaderValue {
        let mut connect = String::from("'self'");
        if let Some(host) = host.filter(|host| is_plain_authority(host)) {
            connect.push_str(&format!(" ws://{host} wss://{host}"));
        }
        if let Some(origin) = origin_of(&self.tickets_url.replace(EVENT_PLACEHOLDER, "e")) {
            connect.push(' ');
            connect.push_str(&origin);
        }
        let policy = format!(
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src {connect}; img-src 'self' data:; \
             base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
        );
        HeaderValue::try_from(policy).expect("hosts and origins were checked to be plain ASCII")
    }
}

fn for_event(address: &str, path: &str, event: &EventId) -> String {
    if address.contains(EVENT_PLACEHOLDER) {
        return address.replace(EVENT_PLACEHOLDER, event.as_str());
    }
    let base = address.trim_end_matches('/');
    let mut url = String::with_capacity(base.len() + path.len() + event.as_str().len());
    url.push_str(base);
    url.push_str(path);
    url.push_str(event.as_str());
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(tickets: &str, queue: Option<&str>) -> Site {
        Site { tickets_url: tickets.into(), queue_url: queue.map(Into::into), return_urls: Vec::new() }
    }

    #[test]
    fn the_event_is_put_in_or_added() {
        let event = EventId::new("faults").unwrap();
        for (address, url) in [
            ("http://127.0.0.1:3002", "http://127.0.0.1:3002/tickets/faults"),
            ("https://shop.example/a/", "https://shop.example/a/tickets/faults"),
            ("https://shop.example/e/{eventId}/seats?x=1", "https://shop.example/e/faults/seats?x=1"),
        ] {
            assert_eq!(site(address, None).tickets_url(&event), url);
        }
        assert_eq!(site("", None).waiting_url(&event), "/wait/faults");
        assert_eq!(site("", Some("https://queue.example/")).waiting_url(&event), "https://queue.example/wait/faults");
    }

    #[test]
    fn the_policy_names_hosts_only() {
        let site = site("https://shop.example:8443/{eventId}", None);
        let csp = site.csp(Some("queue.example:3003"));
        let csp = csp.to_str().unwrap();
        assert!(csp.contains(
            "connect-src 'self' ws://queue.example:3003 wss://queue.example:3003 https://shop.example:8443;"
        ));
        let csp = site.csp(Some("evil; script-src *"));
        assert!(csp.to_str().unwrap().contains("connect-src 'self' https://shop.example:8443;"));
    }
}
