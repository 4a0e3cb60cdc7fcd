//! The waiting page for browsers without scripts: a visit joins by cookie, the page asks again, forms change things.

use super::support::{Answer, Ask, TestServer, capacity, text};
use reqwest::{
    Method,
    header::{ACCEPT_LANGUAGE, COOKIE, ORIGIN},
};

const PLAIN: &str = "/wait/faults/plain";

/// The cookies that an answer sets, as a browser sends them back.
fn cookies(answer: &Answer) -> String {
    let set = answer.headers.get_all("set-cookie").iter();
    let pairs: Vec<_> = set.map(|line| line.to_str().unwrap().split(';').next().unwrap().to_owned()).collect();
    pairs.join("; ")
}

/// One place, taken by somebody else.
async fn full_line(flags: &[&str]) -> (TestServer, serde_json::Value) {
    let server = TestServer::start_with(flags).await;
    server.configure("faults", capacity(1)).await;
    let first = server.join("faults").await;
    assert_eq!(first["status"], "ACTIVE");
    (server, first)
}

async fn visit(server: &TestServer, path: &str) -> (Answer, String) {
    let joined = server.get(path).answer().await;
    assert_eq!(joined.status, 303, "{joined:?}");
    let cookie = cookies(&joined);
    let page = server.get(joined.header("location")).header(COOKIE, &cookie).answer().await;
    (page, cookie)
}

#[tokio::test]
async fn a_visit_joins_once_and_the_page_asks_again() {
    let (server, _) = full_line(&[]).await;
    let main = server.get("/wait/faults?lang=ko").answer().await;
    let refresh = "<noscript><meta http-equiv=\"refresh\" content=\"0; url=/wait/faults/plain?lang=ko\"></noscript>";
    assert!(main.text.contains(refresh), "{}", main.text);

    let (page, cookie) = visit(&server, PLAIN).await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert_eq!(page.header("cache-control"), "no-store");
    assert!(page.header("content-security-policy").contains("form-action 'self'"));
    for part in [
        "<html lang=\"en\">",
        "<p class=\"number\" id=\"position\">1</p>",
        "You are next.",
        "<meta http-equiv=\"refresh\" content=\"5; url=/wait/faults/plain?joined=1\">",
        "<form method=\"post\" action=\"/wait/faults/plain/leave\">",
    ] {
        assert!(page.text.contains(part), "{part} in {}", page.text);
    }
    assert!(!page.text.contains("{{") && !page.text.contains("<script"), "{}", page.text);

    for _ in 0..3 {
        let again = server.get("/wait/faults/plain?joined=1").header(COOKIE, &cookie).answer().await;
        assert!(again.text.contains("id=\"position\">1</p>"));
    }
    let line = server.operate(Method::GET, "admin/faults", None).await;
    assert_eq!(line.json["waiting"], 1, "a refresh joined again: {line:?}");
}

#[tokio::test]
async fn whoever_keeps_no_cookies_joins_once_and_is_told() {
    let (server, _) = full_line(&[]).await;
    let joined = server.get(PLAIN).answer().await;
    assert_eq!((joined.status, joined.header("location")), (303, "/wait/faults/plain?joined=1"));
    for _ in 0..3 {
        let told = server.get(joined.header("location")).answer().await;
        assert!(told.text.contains("Cookies are needed here") && !told.text.contains("http-equiv"), "{}", told.text);
        assert!(told.headers.get("set-cookie").is_none());
    }
    let line = server.operate(Method::GET, "admin/faults", None).await;
    assert_eq!(line.json["waiting"], 1, "{line:?}");
}

#[tokio::test]
async fn what_nobody_looks_at_does_not_join() {
    let (server, _) = full_line(&[]).await;
    for (name, value) in [("sec-purpose", "prefetch;prerender"), ("purpose", "prefetch"), ("sec-fetch-dest", "image")] {
        let ahead = server.get(PLAIN).header(name, value).answer().await;
        assert_eq!(ahead.status, 200);
        assert!(ahead.text.contains("content=\"1; url=/wait/faults/plain\""), "{}", ahead.text);
    }
    let head = server.request(Method::HEAD, PLAIN).answer().await;
    assert!(matches!(head.status, 200 | 405), "{head:?}");
    let line = server.operate(Method::GET, "admin/faults", None).await;
    assert_eq!(line.json["waiting"], 0, "{line:?}");
}

#[tokio::test]
async fn whose_turn_it_is_is_sent_on() {
    let tickets = "--tickets-url=https://shop.example/{eventId}?a=1";
    let (server, first) = full_line(&[tickets, "--return-urls=https://a.example/done"]).await;
    let (_, cookie) = visit(&server, PLAIN).await;
    server.post("leave", "faults").header("x-usher-place", text(&first["placeToken"])).answer().await;
    let place = cookie.split(';').find_map(|pair| pair.trim().strip_prefix("usher_place.faults=")).unwrap();
    server.await_status("faults", place, "ACTIVE").await;

    let page = server.get("/wait/faults/plain?joined=1&lang=ko").header(COOKIE, &cookie).answer().await;
    assert!(page.text.contains("차례가 되었습니다"), "{}", page.text);
    assert!(cookies(&page).contains("usher_active.faults=ey"), "{:?}", page.headers);
    // The host is another: a cookie does not reach it.
    let target = "https://shop.example/faults?a=1&amp;lang=ko#active=ey";
    assert!(page.text.contains(&format!("<meta http-equiv=\"refresh\" content=\"6; url={target}")), "{}", page.text);
    assert!(page.text.contains(&format!("<a class=\"primary\" href=\"{target}")));

    let back = |address: &str| format!("/wait/faults/plain?joined=1&return={address}");
    let listed = server.get(&back("https://a.example/done?x=1%26y")).header(COOKIE, &cookie).answer().await;
    assert!(listed.text.contains("href=\"https://a.example/done?x=1&amp;y#active=ey"), "{}", listed.text);
    for foreign in ["https://evil.example/done", "javascript:alert(1)", "https://a.example@evil.example/done"] {
        let page = server.get(&back(foreign)).header(COOKIE, &cookie).answer().await;
        assert!(page.text.contains("href=\"https://shop.example/faults?a=1#active=ey"), "{foreign}: {}", page.text);
        assert!(!page.text.contains(&format!("href=\"{foreign}")), "{foreign}");
    }
    let quoted = server.get(&back("%22%3E%3Cscript%3E")).header(COOKIE, &cookie).answer().await;
    assert!(!quoted.text.contains("<script"), "{}", quoted.text);
}

#[tokio::test]
async fn forms_of_this_page_alone_change_something() {
    let (server, _) = full_line(&[]).await;
    let (_, cookie) = visit(&server, PLAIN).await;
    let send = |what: &str| {
        server
            .request(Method::POST, &format!("{PLAIN}/{what}"))
            .header(COOKIE, &cookie)
            .header("content-type", "application/x-www-form-urlencoded")
            .body("")
    };
    for what in ["leave", "join"] {
        for origin in [None, Some("null"), Some("https://evil.example")] {
            let request = origin.iter().fold(send(what), |request, origin| request.header(ORIGIN, *origin));
            let refused = request.answer().await;
            assert_eq!(refused.status, 403, "{what} from {origin:?}");
            assert!(refused.text.contains("ORIGIN_NOT_ALLOWED") && !refused.text.contains("http-equiv"));
        }
    }
    let own = server.url.clone();
    let left = send("leave").header(ORIGIN, &own).answer().await;
    assert_eq!((left.status, left.header("location")), (303, "/wait/faults/plain?joined=1"), "{left:?}");
    let page = server.get(left.header("location")).header(COOKIE, &cookie).answer().await;
    assert!(page.text.contains("You have left the line") && !page.text.contains("http-equiv"), "{}", page.text);

    let rejoined = send("join").header(ORIGIN, &own).answer().await;
    assert_eq!(rejoined.status, 303, "{rejoined:?}");
    let page = server.get(rejoined.header("location")).header(COOKIE, cookies(&rejoined)).answer().await;
    assert!(page.text.contains("id=\"position\">1</p>"), "{}", page.text);
}

#[tokio::test]
async fn whoever_is_told_to_come_again_comes_by_itself() {
    let (server, _) = full_line(&["--address-joins-per-minute=2"]).await;
    visit(&server, PLAIN).await;
    let told = server.get("/wait/faults/plain?lang=ko").answer().await;
    assert_eq!(told.status, 429, "{told:?}");
    let secs: u64 = told.header("retry-after").parse().unwrap();
    let refresh = format!("content=\"{}; url=/wait/faults/plain?lang=ko\"", secs.clamp(5, 60));
    assert!(told.text.contains(&refresh) && told.text.contains("RATE_LIMITED"), "{}", told.text);
    assert!(told.header("content-type").starts_with("text/html") && told.header("cache-control") == "no-store");
}

#[tokio::test]
async fn other_states_have_words_too() {
    let server = TestServer::start().await;
    let unknown = server.get("/wait/nothing/plain").header(ACCEPT_LANGUAGE, "ko").answer().await;
    assert_eq!(unknown.status, 404);
    assert!(unknown.text.contains("없는 이벤트입니다") && unknown.text.contains("EVENT_NOT_FOUND"), "{}", unknown.text);

    let no_event = server.get("/wait/-x/plain").header("accept", "text/html").answer().await;
    assert_eq!(no_event.status, 404);
}
