//! Without scripts: the page joins, follows the line, leads to the seats and lets go, by what the server writes alone.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::{
    browser::{Browser, Key},
    chromium,
    looks::look_plain,
    stage::{Stage, let_go},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_scripts_from_the_line_to_the_door() -> Result<()> {
    let Some(program) = chromium() else { return Ok(()) };
    let stage = Stage::start(&[]).await?;
    let mut browser = Browser::start(&program, "ko-KR,ko,en").await?;
    let outcome = without_scripts(&stage, &mut browser).await;
    browser.stop().await;
    stage.stop().await;
    outcome
}

const TITLE: &str = "document.querySelector('h1')?.innerText";

async fn shows(browser: &mut Browser, title: &str) -> Result<()> {
    browser.until(title, &format!("{TITLE} === '{title}'")).await
}

async fn without_scripts(stage: &Stage, browser: &mut Browser) -> Result<()> {
    let first = stage.event("calm").await?;
    browser.scripts(false).await?;
    browser.open(&format!("{}/wait/calm", stage.queue.url)).await?;
    shows(browser, "나의 대기 순서").await?;
    let at = browser.eval("location.pathname + location.search").await?;
    ensure!(at == json!("/wait/calm/plain?joined=1"), "the page is at {at}");
    ensure!(browser.text("position").await? == "1");
    browser.tab_to("a[hreflang=en]").await?;
    browser.press(Key::Enter).await?;
    shows(browser, "Your place in line").await?;
    look_plain(browser, "plain-waiting").await?;

    leaves_and_comes_back(stage, browser).await?;
    // Nobody presses anything: the page asks again by itself.
    let_go(&first).await?;
    shows(browser, "It is your turn").await?;
    look_plain(browser, "plain-admitted").await?;
    browser.reload().await?;
    let seats = format!("location.href.startsWith('{}/tickets/calm')", stage.tickets.url);
    browser.until("the seat page", &seats).await?;
    browser.until("its words", "document.body.innerText.includes('JavaScript is needed to choose seats')").await?;
    look_plain(browser, "plain-seats").await?;
    let active = browser.cookie(&stage.tickets.url, "usher_active.calm").await?;
    ensure!(active.is_some(), "the seat page has no token");

    let complaints = browser.complaints().await?;
    ensure!(complaints.is_empty(), "the pages complained: {complaints:#?}");
    other_states(stage, browser).await
}

async fn leaves_and_comes_back(stage: &Stage, browser: &mut Browser) -> Result<()> {
    browser.tab_to("form[action*=leave] button").await?;
    browser.press(Key::Enter).await?;
    shows(browser, "You have left the line").await?;
    ensure!(stage.waiting("calm").await? == 0);
    look_plain(browser, "plain-left").await?;
    browser.tab_to("form[action*=join] button").await?;
    browser.press(Key::Enter).await?;
    shows(browser, "Your place in line").await?;
    ensure!(stage.waiting("calm").await? == 1);
    Ok(())
}

async fn other_states(stage: &Stage, browser: &mut Browser) -> Result<()> {
    browser.open(&format!("{}/wait/other/plain?joined=1&lang=en", stage.queue.url)).await?;
    shows(browser, "Cookies are needed here").await?;
    look_plain(browser, "plain-cookies").await?;
    browser.open(&format!("{}/wait/nothing?lang=en", stage.queue.url)).await?;
    shows(browser, "There is no such event").await?;
    look_plain(browser, "plain-missing").await
}
