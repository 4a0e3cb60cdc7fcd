//! The pages in a real browser, against both real servers. `USHER_SCREENSHOTS=folder` keeps pictures of what was seen.
//!
//! Here: the walk from the line to a booking. `plain` walks without scripts; `origins` is about what other sites may
//! do and where people are sent; `places` about tabs, reloads, the back button and lost connections.

mod browser;
mod events;
mod looks;
mod origins;
mod places;
mod plain;
mod stage;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use browser::{Browser, Key, PHONE};
use looks::look;
use serde_json::json;
use stage::{Stage, let_go};

/// A Chromium, or `None` said in one line: `make setup` installs it where it can.
fn chromium() -> Option<PathBuf> {
    let found = browser::find();
    if found.is_none() {
        eprintln!("left out: no Chromium here; `make setup` installs one, or USHER_CHROMIUM names it");
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_the_line_to_a_seat_by_keyboard() -> Result<()> {
    let Some(program) = chromium() else { return Ok(()) };
    let stage = Stage::start(&[]).await?;
    let mut browser = Browser::start(&program, "en-GB,en").await?;
    let outcome = by_keyboard(&stage, &mut browser).await;
    browser.stop().await;
    stage.stop().await;
    outcome
}

async fn by_keyboard(stage: &Stage, browser: &mut Browser) -> Result<()> {
    let first = stage.event("faults").await?;
    browser.open(&format!("{}/wait/faults", stage.queue.url)).await?;
    waits_at_the_head(browser).await?;
    switches_language(browser).await?;
    keeps_the_place_over_a_reload(stage, browser).await?;

    let_go(&first).await?;
    browser.view("admitted").await?;
    ensure!(browser.text("say").await? == "It is your turn", "the turn is not announced");
    let focus = browser.eval("document.activeElement.innerText").await?;
    ensure!(focus == json!("It is your turn"), "the focus is on {focus}");
    browser.tab_to("#go").await?;
    browser.press(Key::Enter).await?;

    arrives(stage, browser, "faults").await?;
    let handed = browser.eval("sessionStorage.getItem('usher.active.faults')").await?;
    ensure!(handed.is_null(), "a token was handed over where the cookie does");
    chooses_by_keyboard(browser).await?;
    holds(browser).await?;
    confirms(stage, browser).await?;
    let complaints = browser.complaints().await?;
    ensure!(complaints.is_empty(), "the pages complained: {complaints:#?}");
    Ok(())
}

async fn waits_at_the_head(browser: &mut Browser) -> Result<()> {
    browser.view("waiting").await?;
    browser.until("position 1", "document.getElementById('position').innerText === '1'").await?;
    browser.until("the live socket", "document.getElementById('link').dataset.link === 'live'").await?;
    ensure!(browser.text("ahead").await? == "You are next.");
    let title = browser.eval("document.title").await?;
    ensure!(title == json!("1 in line · faults"), "the title is {title}");
    let region = "(({ role, ariaLive }) => `${role} ${ariaLive}`)(document.getElementById('say'))";
    ensure!(browser.eval(region).await? == json!("status polite"), "the position is in no live region");
    let said = browser.text("say").await?;
    ensure!(said.starts_with("Your place in line is 1."), "said was {said}");
    moves_only_for_who_wants_it(browser).await?;
    look(browser, "waiting").await
}

async fn moves_only_for_who_wants_it(browser: &mut Browser) -> Result<()> {
    let moving = "document.getAnimations().length";
    browser.until("something that moves", &format!("{moving} > 0")).await?;
    browser.media("prefers-reduced-motion", "reduce").await?;
    browser.until("rest", &format!("{moving} === 0")).await?;
    browser.media("prefers-reduced-motion", "no-preference").await
}

async fn switches_language(browser: &mut Browser) -> Result<()> {
    browser.tab_to("[data-lang=ko]").await?;
    browser.press(Key::Space).await?;
    ensure!(browser.text("waiting-title").await? == "나의 대기 순서");
    ensure!(browser.eval("document.documentElement.lang").await? == json!("ko"));
    browser.screenshot("waiting-desktop-ko").await?;
    // What was chosen lasts over a reload.
    browser.reload().await?;
    browser.view("waiting").await?;
    ensure!(browser.text("waiting-title").await? == "나의 대기 순서");
    browser.tab_to("[data-lang=en]").await?;
    browser.press(Key::Enter).await?;
    ensure!(browser.text("waiting-title").await? == "Your place in line");
    Ok(())
}

async fn keeps_the_place_over_a_reload(stage: &Stage, browser: &mut Browser) -> Result<()> {
    browser.reload().await?;
    browser.view("waiting").await?;
    ensure!(stage.waiting("faults").await? == 1, "a reload joined twice");
    Ok(())
}

async fn arrives(stage: &Stage, browser: &mut Browser, event: &str) -> Result<()> {
    let at = format!("{}/tickets/{event}", stage.tickets.url);
    browser.until("the seat page", &format!("location.href.startsWith('{at}')")).await?;
    browser.view("choose").await?;
    browser.until("all seats", "document.querySelectorAll('#map .seat').length === 168").await?;
    browser.until("the turn to be known", "!document.getElementById('turn').hidden").await?;
    ensure!(browser.eval("document.getElementById('notice').hidden").await? == json!(true), "there is a notice");
    Ok(())
}

async fn chooses_by_keyboard(browser: &mut Browser) -> Result<()> {
    look(browser, "seats").await?;
    browser.tab_to("#map .seat").await?;
    for key in [Key::Right, Key::Down, Key::Space, Key::Right, Key::Enter] {
        browser.press(key).await?;
    }
    let focused = browser.eval("document.activeElement.getAttribute('aria-label')").await?;
    ensure!(focused == json!("Section A, row 2, seat 3, Section A, €120.00, chosen"), "the focus is on {focused}");
    let chosen = browser.text("chosen").await?;
    ensure!(chosen.contains("row 2 · seat 2") && chosen.contains("row 2 · seat 3"), "chosen: {chosen}");
    ensure!(browser.text("total").await? == "€240.00");
    let said = browser.text("say").await?;
    ensure!(said.contains("seat 3") && said.contains("€240.00"), "said was {said}");
    look(browser, "chosen").await
}

async fn holds(browser: &mut Browser) -> Result<()> {
    browser.tab_to("#reserve").await?;
    browser.press(Key::Enter).await?;
    browser.view("held").await?;
    let left = "/^[0-9]+:[0-9][0-9]$/.test(document.getElementById('left').innerText)";
    browser.until("the countdown", left).await?;
    look(browser, "held").await?;
    // A hold outlives the page that made it.
    browser.reload().await?;
    browser.view("held").await?;
    ensure!(browser.text("held-total").await? == "€240.00");
    Ok(())
}

async fn confirms(stage: &Stage, browser: &mut Browser) -> Result<()> {
    browser.tab_to("#confirm").await?;
    browser.press(Key::Enter).await?;
    browser.view("confirmed").await?;
    ensure!(browser.text("booked-seats").await?.contains("row 2 · seat 3"));
    ensure!(!browser.text("booked-id").await?.is_empty(), "no reservation id");
    look(browser, "confirmed").await?;
    let sold = stage.sold("faults").await?;
    ensure!(sold == ["A-2-2", "A-2-3"], "sold are {sold:?}");
    Ok(())
}

/// Where cookies do not reach the seat page, because the host is another, the token travels in the fragment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn to_another_host_on_a_phone_in_korean() -> Result<()> {
    let Some(program) = chromium() else { return Ok(()) };
    let stage = Stage::start(&[]).await?;
    let mut browser = Browser::start(&program, "ko-KR,ko").await?;
    let outcome = to_another_host(&stage, &mut browser).await;
    browser.stop().await;
    stage.stop().await;
    outcome
}

async fn to_another_host(stage: &Stage, browser: &mut Browser) -> Result<()> {
    let first = stage.event("night").await?;
    browser.resize(PHONE).await?;
    browser.prefer("dark").await?;
    let by_name = stage.queue.url.replace("127.0.0.1", "localhost");
    browser.open(&format!("{by_name}/wait/night")).await?;
    browser.view("waiting").await?;
    ensure!(browser.text("waiting-title").await? == "나의 대기 순서");
    browser.screenshot("waiting-phone-ko-dark").await?;
    let_go(&first).await?;

    // Nobody presses anything: the page goes on by itself.
    arrives(stage, browser, "night").await?;
    ensure!(browser.eval("location.hash").await? == json!(""), "the token is still in the address");
    let parts = browser.eval("sessionStorage.getItem('usher.active.night').split('.').length").await?;
    ensure!(parts == json!(3), "no token was handed over");
    browser.eval("document.querySelector('#map .seat[data-s=FREE]').click()").await?;
    browser.screenshot("chosen-phone-ko-dark").await?;
    browser.push("#reserve").await?;
    browser.view("held").await?;
    browser.screenshot("held-phone-ko-dark").await?;
    browser.push("#cancel").await?;
    browser.view("choose").await?;
    let complaints = browser.complaints().await?;
    ensure!(complaints.is_empty(), "the pages complained: {complaints:#?}");
    Ok(())
}
