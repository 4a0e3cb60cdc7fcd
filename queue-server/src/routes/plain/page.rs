//! The page without scripts as text: each state, in the visitor's language, with everything escaped.

use std::fmt::Write as _;

use http::{
    HeaderValue, Uri,
    header::{CACHE_CONTROL, REFERRER_POLICY},
};
use queue_core::{
    ids::EventId,
    service::{
        http::{Request, Response, html},
        pages::{escape_into, escaped, known_language, language, origin_of},
        trace::TraceId,
    },
    wire::{EndReason, QueueState, QueueStatus},
};

use super::{
    super::{pages::with_policy, site::Site},
    text::{Texts, number},
};

pub const TEMPLATE: &str = include_str!("../../../web/plain.html");
/// A page that is read aloud must not begin anew each second.
const REFRESH_SECS_MIN: u64 = 5;
const REFRESH_SECS_MAX: u64 = 60;
/// Time to read that it is one's turn.
const GO_ON_AFTER_SECS: u64 = 6;
/// Says that the visit has joined already, and should have a cookie.
const JOINED: &str = "joined";

/// Writes the page for one request.
pub struct Page<'r> {
    request: &'r Request,
    site: &'r Site,
    event: EventId,
    lang: &'static str,
    texts: &'static Texts,
}

/// What stands on one state of the page.
struct Content<'a> {
    title: &'a str,
    /// Seconds, and an address.
    refresh: Option<(u64, String)>,
    body: String,
}

impl<'r> Page<'r> {
    pub fn new(request: &'r Request, site: &'r Site, event: EventId) -> Self {
        let lang = language(request);
        Self { request, site, event, lang, texts: Texts::of(lang) }
    }

    /// Whether this address is the one to which a join leads.
    pub fn has_joined(&self) -> bool {
        self.request.query(JOINED).is_some()
    }

    pub fn status(&self, status: &QueueStatus) -> Response {
        match status.status {
            QueueState::Waiting => self.waiting(status),
            QueueState::Scheduled => self.scheduled(status),
            QueueState::Active => self.admitted(status),
            QueueState::Ended => self.ended(status.reason.unwrap_or(EndReason::Gone)),
        }
    }

    fn waiting(&self, status: &QueueStatus) -> Response {
        let t = self.texts;
        let position = status.position.unwrap_or(1);
        let ahead = match position.saturating_sub(1) {
            0 => t.ahead_none.to_owned(),
            1 => t.ahead_one.to_owned(),
            n => t.ahead.replace("{n}", &number(n)),
        };
        let paused = status.paused == Some(true);
        let eta = match status.eta.flatten() {
            _ if paused => t.eta_paused.to_owned(),
            Some(eta) => t.range(eta),
            None => t.eta_none.to_owned(),
        };
        let kept = status.kept_until.map_or(0, |until| until.since(status.as_of));
        let every = refresh_secs(status);
        let number_class = if number(position).len() > 5 { "number long" } else { "number" };
        let mut body = format!(
            "<h1>{}</h1>\n<p class=\"{number_class}\" id=\"position\">{}</p>\n<p class=\"lead\">{ahead}</p>\n",
            t.your_place,
            number(position)
        );
        if paused {
            let _ = writeln!(body, "<p class=\"notice\">{}</p>", t.paused);
        }
        let facts = [(t.eta, eta), (t.in_line, number(status.waiting.unwrap_or(position))), (t.kept, t.duration(kept))];
        let facts: String =
            facts.iter().map(|(name, value)| format!("<div><dt>{name}</dt><dd>{value}</dd></div>")).collect();
        let again = self.link(&self.here(), "quiet", t.look_now);
        let _ = write!(
            body,
            "<dl class=\"facts\">{facts}</dl>\n<p class=\"soft\">{}</p>\n<div class=\"foot\">\n\
             <p class=\"link\" data-link=\"live\"><i aria-hidden=\"true\"></i><span>{}</span></p>\n{again}\n{}</div>",
            t.keep_open,
            t.refreshes.replace("{n}", &every.to_string()),
            self.form("/leave", "quiet", t.leave),
        );
        self.write(Content {
            title: &format!("{} · {}", number(position), t.your_place),
            refresh: Some((every, self.here())),
            body,
        })
    }

    fn scheduled(&self, status: &QueueStatus) -> Response {
        let t = self.texts;
        let left = status.opens_at.map_or(0, |at| at.since(status.as_of));
        let opens = if left < 1000 { t.opens_soon.to_owned() } else { t.opens.replace("{n}", &t.duration(left)) };
        let every = refresh_secs(status).min((left / 1000).max(REFRESH_SECS_MIN));
        let body = format!(
            "<h1>{}</h1>\n<p class=\"lead\">{opens}</p>\n<p class=\"soft\">{}</p>\n",
            t.not_open, t.scheduled_note
        );
        self.write(Content { title: t.not_open, refresh: Some((every, self.here())), body })
    }

    fn admitted(&self, status: &QueueStatus) -> Response {
        let t = self.texts;
        let target = self.destination(status);
        let left = status.expires_at.map_or(0, |at| at.since(status.as_of));
        let body = format!(
            "<h1>{}</h1>\n<p class=\"lead\">{}</p>\n<p class=\"soft\">{}</p>\n<div class=\"actions\">{}\n{}</div>",
            t.your_turn,
            t.until.replace("{n}", &t.duration(left)),
            t.going.replace("{n}", &GO_ON_AFTER_SECS.to_string()),
            self.link(&target, "primary", t.go_now),
            self.form("/leave", "quiet", t.give_up),
        );
        self.write(Content { title: t.your_turn, refresh: Some((GO_ON_AFTER_SECS, target)), body })
    }

    fn ended(&self, reason: EndReason) -> Response {
        let [title, text] = self.texts.ended(reason);
        let again = match reason {
            EndReason::SoldOut => String::new(),
            _ => format!("<div class=\"actions\">{}</div>", self.form("/join", "primary", self.texts.join_again)),
        };
        let body = format!("<h1>{title}</h1>\n<p class=\"lead\">{text}</p>\n{again}");
        self.write(Content { title, refresh: None, body })
    }

    /// The cookie of the place has not come back.
    pub fn without_cookies(&self) -> Response {
        let [title, text] = self.texts.cookies;
        let start = address(self.request, &self.event, "", false);
        let again = self.link(&start, "primary", self.texts.try_again);
        let body = format!("<h1>{title}</h1>\n<p class=\"lead\">{text}</p>\n<div class=\"actions\">{again}</div>");
        self.write(Content { title, refresh: None, body })
    }

    /// For a browser that fetched this ahead: whoever sees it is asked to join a moment later.
    pub fn not_yet(&self) -> Response {
        let title = self.texts.joining;
        let start = address(self.request, &self.event, "", false);
        let again = self.link(&start, "primary", self.texts.go_now);
        let body = format!("<h1>{title}</h1>\n<div class=\"actions\">{again}</div>");
        self.write(Content { title, refresh: Some((1, start)), body })
    }

    pub fn problem(&self, code: &str, retryable: bool, wait_secs: Option<u64>, trace: TraceId) -> Response {
        let [title, text] = self.texts.error(code);
        let wait = wait_secs.unwrap_or(REFRESH_SECS_MIN).clamp(REFRESH_SECS_MIN, REFRESH_SECS_MAX);
        let small = self.texts.code.replace("{code}", code).replace("{trace}", &trace.to_string());
        let again = self.link(&self.here(), "primary", self.texts.try_again);
        let body = format!(
            "<h1>{title}</h1>\n<p class=\"lead\">{text}</p>\n<div class=\"actions\">{again}</div>\n<p class=\"fine\">{small}</p>"
        );
        self.write(Content { title, refresh: retryable.then(|| (wait, self.here())), body })
    }

    /// This page again, by its own address: the answer to a form has another.
    fn here(&self) -> String {
        address(self.request, &self.event, "", self.has_joined())
    }

    /// Where somebody goes whose turn it is: where a cookie does not reach, the token goes along in the fragment.
    fn destination(&self, status: &QueueStatus) -> String {
        let listed = self.request.query("return").and_then(|asked| listed(&self.site.return_urls, &asked));
        let mut target = match listed {
            Some(listed) => listed,
            None => {
                let mut target = self.site.tickets_url(&self.event);
                if let Some(lang) = self.request.query("lang").and_then(|lang| known_language(&lang)) {
                    let _ = write!(target, "{}lang={lang}", if target.contains('?') { '&' } else { '?' });
                }
                target
            }
        };
        let own = self.request.host().map(hostname);
        let there = origin_of(&target).and_then(|origin| Some(hostname(origin.split_once("://")?.1).to_owned()));
        let fragment = match (&status.active_token, status.expires_at) {
            (_, Some(expires)) if there.as_deref() == own => format!("#until={}", expires.0),
            (Some(token), _) => format!("#active={token}"),
            _ => String::new(),
        };
        target.push_str(&fragment);
        target
    }

    fn link(&self, address: &str, class: &str, text: &str) -> String {
        format!("<a class=\"{class}\" href=\"{}\">{text}</a>", escaped(address))
    }

    /// A button that changes something.
    fn form(&self, what: &str, class: &str, text: &str) -> String {
        let action = escaped(&address(self.request, &self.event, what, false));
        format!("<form method=\"post\" action=\"{action}\"><button class=\"{class}\">{text}</button></form>")
    }

    fn languages(&self) -> String {
        let link = |lang: &str, name: &str| {
            let current = if lang == self.lang { " aria-current=\"true\"" } else { "" };
            let address = with_queries(self.request, &self.event, "", self.has_joined(), Some(lang));
            format!("<a href=\"{}\" lang=\"{lang}\" hreflang=\"{lang}\"{current}>{name}</a>", escaped(&address))
        };
        link("en", "English") + &link("ko", "한국어")
    }

    fn write(&self, content: Content<'_>) -> Response {
        let mut page = String::with_capacity(TEMPLATE.len() + content.body.len() + 1024);
        let refresh = content.refresh.map_or_else(String::new, |(secs, address)| {
            format!("<meta http-equiv=\"refresh\" content=\"{secs}; url={}\">\n", escaped(&address))
        });
        let mut parts = TEMPLATE.split("{{");
        page.push_str(parts.next().unwrap_or_default());
        for part in parts {
            let (name, rest) = part.split_once("}}").expect("each placeholder of the page is closed");
            match name {
                "lang" => page.push_str(self.lang),
                "title" => page.push_str(content.title),
                "event_id" => escape_into(&mut page, self.event.as_str()),
                "refresh" => page.push_str(&refresh),
                "room" => page.push_str(self.texts.room),
                "languages" => page.push_str(&self.languages()),
                "body" => page.push_str(&content.body),
                other => panic!("the page has an unknown placeholder {other}"),
            }
            page.push_str(rest);
        }
        let mut response = with_policy(html(page, ""), self.request, self.site);
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // With no referrer at all browsers send a form's origin as `null`.
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
        response
    }
}

/// An address of this page, with what of the query is ours.
pub fn address(request: &Request, event: &EventId, what: &str, joined: bool) -> String {
    with_queries(request, event, what, joined, None)
}

fn with_queries(request: &Request, event: &EventId, what: &str, joined: bool, lang: Option<&str>) -> String {
    let mut address = format!("/wait/{}/plain{what}", event.as_str());
    let asked = || request.query("lang").and_then(|lang| known_language(&lang));
    let lang = lang.or_else(asked).map(|lang| ("lang", lang.to_owned()));
    let back = request.query("return").map(|back| ("return", back.into_owned()));
    let joined = joined.then(|| (JOINED, "1".to_owned()));
    let mut sign = '?';
    for (name, value) in [joined, lang, back].into_iter().flatten() {
        let _ = write!(address, "{sign}{name}={}", encoded(&value));
        sign = '&';
    }
    address
}

/// The address that was asked for, if it is one of the operator's but for its query.
fn listed(return_urls: &[String], asked: &str) -> Option<String> {
    let asked = asked.split('#').next().unwrap_or_default();
    let uri: Uri = asked.parse().ok()?;
    let origin = origin_of(asked)?;
    let same = |listed: &String| {
        let path = listed.parse::<Uri>().ok().map(|listed| listed.path().to_owned());
        origin_of(listed).is_some_and(|listed| listed.eq_ignore_ascii_case(&origin))
            && path.as_deref() == Some(uri.path())
    };
    return_urls.iter().any(same).then(|| asked.to_owned())
}

/// As the value of a query.
fn encoded(value: &str) -> String {
    value.bytes().fold(String::with_capacity(value.len()), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(byte.into());
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}

/// A host without its port.
fn hostname(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// When a browser asks again; the server says how soon it may.
fn refresh_secs(status: &QueueStatus) -> u64 {
    status.poll_after_ms.unwrap_or_default().div_ceil(1000).clamp(REFRESH_SECS_MIN, REFRESH_SECS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_sent_back_only_to_listed_addresses() {
        let urls = ["https://a.example/done".to_owned()];
        assert_eq!(listed(&urls, "https://a.example/done?x=1#y").as_deref(), Some("https://a.example/done?x=1"));
        for other in [
            "https://a.example/done/more",
            "https://a.example/",
            "http://a.example/done",
            "https://a.example:8443/done",
            "https://a.example@evil.example/done",
            "https://evil.example/done",
            "//a.example/done",
            "javascript:alert(1)",
            "",
        ] {
            assert_eq!(listed(&urls, other), None, "{other}");
        }
    }

    #[test]
    fn hosts_lose_their_port() {
        for (authority, host) in
            [("a.example:80", "a.example"), ("a.example", "a.example"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]")]
        {
            assert_eq!(hostname(authority), host);
        }
    }
}
