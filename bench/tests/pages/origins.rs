//! What other sites may do, which cookies there are, and where people are sent.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::{
    browser::Browser,
    chromium,
    stage::{Foreign, Stage, let_go},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_pages_cannot_use_the_cookies() -> Result<()> {
    let Some(program) = chromium() else { return Ok(()) };
    let foreign = Foreign::start().await?;
    let listed = format!("http://localhost:{}/done", foreign.address.port());
    let flags = [format!("--return-urls={listed}"), "--trusted-proxies=127.0.0.1/32".to_owned()];
    let stage = Stage::start(&flags).await?;
    let mut browser = Browser::start(&program, "en").await?;
    let outcome = foreign_pages(&stage, &foreign, &listed, &mut browser).await;
    browser.stop().await;
    stage.stop().await;
    outcome
}

async fn foreign_pages(stage: &Stage, foreign: &Foreign, listed: &str, browser: &mut Browser) -> Result<()> {
    let first = stage.event("shared").await?;
    let (wait, seats) = (format!("{}/wait/shared", stage.queue.url), format!("{}/tickets/shared", stage.tickets.url));
    browser.open(&wait).await?;
    browser.view("waiting").await?;
    let place = browser.cookie(&wait, "usher_place.shared").await?.context("there is no cookie")?;
    is_guarded(&place, false)?;
    ensure!(browser.eval("document.cookie").await? == json!(""), "scripts see the cookie");
    let complaints = browser.complaints().await?;
    ensure!(complaints.is_empty(), "the page complained: {complaints:#?}");

    // Another site, to which the browser gives no cookies; and another port of this one, to which it does.
    let port = foreign.address.port();
    for origin in [format!("http://localhost:{port}"), format!("http://127.0.0.1:{port}")] {
        browser.open(&origin).await?;
        browser.until("the foreign page", "document.title === 'foreign'").await?;
        can_do_nothing(stage, browser, &origin).await?;
    }
    browser.complaints().await?; // All that was refused.

    hands_over_to_listed_addresses_only(browser, &wait, &seats, listed, &first).await?;
    secure_behind_a_proxy_that_says_so(stage, browser).await
}

fn is_guarded(cookie: &Value, secure: bool) -> Result<()> {
    let seen = (&cookie["httpOnly"], &cookie["sameSite"], &cookie["secure"], &cookie["path"]);
    ensure!(seen == (&json!(true), &json!("Lax"), &json!(secure), &json!("/")), "the cookie is {cookie}");
    Ok(())
}

/// Reads, changes, forms and sockets from a page that is not allowed: nothing is learnt and nothing happens.
async fn can_do_nothing(stage: &Stage, browser: &mut Browser, origin: &str) -> Result<()> {
    let (url, socket) = (&stage.queue.url, stage.queue.url.replace("http://", "ws://"));
    let read = |path: &str, options: Value| {
        format!("fetch('{url}{path}', {options}).then((answer) => answer.status, (error) => error.name)")
    };
    for (path, method) in [("status", "GET"), ("check", "POST"), ("leave", "POST")] {
        let options = json!({"method": method, "credentials": "include"});
        let seen = browser.eval(&read(&format!("/api/v1/queue/{path}/shared"), options)).await?;
        ensure!(seen == json!("TypeError"), "{origin} could read what {path} answered: {seen}");
        let unread = json!({"method": method, "credentials": "include", "mode": "no-cors"});
        browser.eval(&read(&format!("/api/v1/queue/{path}/shared"), unread)).await?;
    }
    let connects = format!(
        "new Promise((done) => {{ const socket = new WebSocket('{socket}/ws', 'usher.v1'); \
         socket.onopen = () => done('open'); socket.onerror = () => done('refused'); }})"
    );
    ensure!(browser.eval(&connects).await? == json!("refused"), "{origin} opened a socket");
    let frame = format!(
        "new Promise((done) => {{ const frame = document.createElement('iframe'); frame.onload = () => done(frame.contentDocument?.title ?? 'hidden'); \
         frame.src = '{url}/wait/shared'; document.body.append(frame); }})"
    );
    ensure!(browser.eval(&frame).await? == json!("hidden"), "{origin} shows the page in a frame");
    let sends = format!(
        "(() => {{ const form = document.createElement('form'); form.method = 'post'; \
         form.action = '{url}/wait/shared/plain/leave'; document.body.append(form); form.submit(); }})()"
    );
    browser.eval(&sends).await?;
    browser.until("the refusal", "document.body.innerText.includes('ORIGIN_NOT_ALLOWED')").await?;
    // A place may have been taken without a cookie, as anybody may; ours is still there.
    let own = format!("{url}/wait/shared");
    browser.open(&own).await?;
    browser.view("waiting").await?;
    ensure!(browser.text("position").await? == "1", "the place was lost to {origin}");
    Ok(())
}

async fn hands_over_to_listed_addresses_only(
    browser: &mut Browser,
    wait: &str,
    seats: &str,
    listed: &str,
    first: &(bench::api::Queue, queue_core::wire::QueueStatus),
) -> Result<()> {
    browser.open(&format!("{wait}?return=https://evil.example/done")).await?;
    browser.view("waiting").await?;
    let_go(first).await?;
    browser.view("admitted").await?;
    let go = "document.getElementById('go').href";
    let aim = browser.eval(go).await?;
    ensure!(aim.as_str().is_some_and(|aim| aim.starts_with(seats)), "the way leads to {aim}");

    browser.open(&format!("{wait}?return={listed}?order=7")).await?;
    browser.until("the listed address", &format!("location.href.startsWith('{listed}?order=7#active=ey')")).await?;
    ensure!(browser.eval("document.referrer").await? == json!(""), "an address was told");
    let active = browser.cookie(seats, "usher_active.shared").await?.context("there is no cookie")?;
    is_guarded(&active, false)
}

async fn secure_behind_a_proxy_that_says_so(stage: &Stage, browser: &mut Browser) -> Result<()> {
    stage.policy("secure", &json!({"capacity": 1})).await?;
    // Loopback counts as trustworthy, so that the browser keeps what is meant for TLS.
    browser.header("X-Forwarded-Proto", "https").await?;
    let by_name = stage.queue.url.replace("127.0.0.1", "localhost");
    browser.open(&format!("{by_name}/wait/secure")).await?;
    browser.view("admitted").await?;
    let tls = by_name.replace("http://", "https://");
    let place = browser.cookie(&tls, "usher_place.secure").await?.context("there is no cookie")?;
    is_guarded(&place, true)
}
