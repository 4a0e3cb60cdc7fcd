//! What must not cost anybody the place: another tab, a reload, going back, a connection that is lost, a page that slept.

use anyhow::{Context as _, Result, ensure};
use bench::api::{self, Queue};
use queue_core::wire::QueueStatus;

use crate::{
    browser::{Browser, Key},
    chromium,
    looks::look,
    stage::{Cable, Foreign, Stage, let_go},
};

const LIVE: &str = "document.getElementById('link').dataset.link === 'live'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_tabs_on_two_nodes() -> Result<()> {
    let Some(program) = chromium() else { return Ok(()) };
    let stage = Stage::two_nodes().await?;
    let mut browser = Browser::start(&program, "en").await?;
    let outcome = two_tabs(&stage, &mut browser).await;
    browser.stop().await;
    stage.stop().await;
    outcome
}

async fn two_tabs(stage: &Stage, browser: &mut Browser) -> Result<()> {
    let first = stage.event("tabs").await?;
    let other = stage.other.as_ref().context("there is one node only")?;
    let older = browser.tab();
    browser.open(&format!("{}/wait/tabs", stage.queue.url)).await?;
    browser.view("waiting").await?;
    browser.until("the live socket", LIVE).await?;

    // The same person, by the cookie, on another node.
    let newer = browser.new_tab().await?;
    browser.open(&format!("{}/wait/tabs", other.url)).await?;
    browser.view("waiting").await?;
    browser.until("the live socket", LIVE).await?;
    browser.turn_to(&older).await?;
    browser.view("elsewhere").await?;
    ensure!(stage.waiting("tabs").await? == 1, "two tabs have two places");
    look(browser, "elsewhere").await?;

    browser.tab_to("#use-here").await?;
    browser.press(Key::Enter).await?;
    browser.view("waiting").await?;
    browser.turn_to(&newer).await?;
    browser.view("elsewhere").await?;
    // It does not take the place back by itself, not even when it is looked at again.
    browser.turn_to(&older).await?;
    browser.until("the live socket", LIVE).await?;
    ensure!(stage.waiting("tabs").await? == 1);

    let_go(&first).await?;
    browser.view("admitted").await?;
    let complaints = browser.complaints().await?;
    ensure!(complaints.is_empty(), "the pages complained: {complaints:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn away_and_back() -> Result<()> {
    let Some(program) = chromium() else { return Ok(()) };
    let foreign = Foreign::start().await?;
    let stage = Stage::start(&[]).await?;
    let mut browser = Browser::start(&program, "en").await?;
    let outcome = goes_away_and_back(&stage, &foreign, &mut browser).await;
    browser.stop().await;
    stage.stop().await;
    outcome
}

async fn goes_away_and_back(stage: &Stage, foreign: &Foreign, browser: &mut Browser) -> Result<()> {
    let first = stage.event("back").await?;
    let ahead = Queue::new(api::client()?, &stage.queue.url, "back");
    let before = ahead.check(None).await?;
    let landing = format!("http://{}/", foreign.address);
    let wait = format!("{}/wait/back", stage.queue.url);
    browser.open(&landing).await?;
    browser.open(&wait).await?;
    browser.view("waiting").await?;
    browser.until("the live socket", LIVE).await?;
    ensure!(browser.text("position").await? == "2");
    hears_of_moves(browser, &ahead, &before).await?;

    // Away while waiting, and back: the same place, live again.
    browser.open(&landing).await?;
    browser.until("the landing page", "document.title === 'foreign'").await?;
    browser.eval("history.back()").await?;
    browser.until("the waiting page", &format!("location.href === '{wait}' && {LIVE}")).await?;
    browser.view("waiting").await?;
    ensure!(stage.waiting("back").await? == 1, "going back joined again");
    // The browser closes the socket of a page that it puts aside, and says so.
    let complaints = browser.complaints().await?;
    ensure!(complaints.iter().all(|text| text.contains("Back-Forward Cache")), "the pages complained: {complaints:#?}");

    // To the seats, and back: the waiting page is not in between, where it would send people forward again.
    let_go(&first).await?;
    browser.view("admitted").await?;
    browser.push("#go").await?;
    let seats = format!("location.href.startsWith('{}/tickets/back')", stage.tickets.url);
    browser.until("the seat page", &seats).await?;
    browser.view("choose").await?;
    browser.eval("history.back()").await?;
    browser.until("the landing page", "document.title === 'foreign'").await?;
    browser.eval("history.forward()").await?;
    browser.until("the seat page", &seats).await?;
    browser.until("the turn to be known", "document.getElementById('turn')?.hidden === false").await?;

    // Whoever opens the waiting page again still has the turn, and may give it up.
    browser.open(&wait).await?;
    browser.view("admitted").await?;
    ensure!(stage.waiting("back").await? == 0);
    // The seat page sends people here to give up; then nobody is sent on.
    browser.open(&format!("{wait}#leave")).await?;
    browser.reload().await?;
    browser.view("admitted").await?;
    look(browser, "admitted").await?;
    browser.push("#give-up").await?;
    browser.view("ended").await?;
    let title = browser.text("ended-title").await?;
    ensure!(title == "You have left the line", "the page says {title}");
    look(browser, "ended").await?;
    let complaints = browser.complaints().await?;
    ensure!(complaints.is_empty(), "the pages complained: {complaints:#?}");
    other_states(stage, browser).await
}

/// What has changed is said aloud, but not again and again: a person listens. Here half a minute passes at once.
async fn hears_of_moves(browser: &mut Browser, ahead: &Queue, before: &QueueStatus) -> Result<()> {
    ensure!(browser.text("say").await?.contains("is 2."), "the position is not announced");
    browser.eval("{ const now = performance.now.bind(performance); performance.now = () => now() + 31_000; }").await?;
    ahead.leave(before.place_token.as_deref().context("no place token")?).await?;
    browser.until("the new position", "document.getElementById('position').innerText === '1'").await?;
    browser.until("its announcement", "document.getElementById('say').innerText.includes('is 1.')").await
}

async fn other_states(stage: &Stage, browser: &mut Browser) -> Result<()> {
    // No line can be made to open later yet, so this view is only shown.
    let shown = "for (const view of document.querySelectorAll('[data-view]')) view.hidden = view.dataset.view !== 'scheduled'; \
                 document.getElementById('opens-in').textContent = '12:34:56'; \
                 document.getElementById('opens-at').textContent = 'The line opens on Friday 20 November 2026 at 14:00.'";
    browser.eval(shown).await?;
    look(browser, "scheduled").await?;
    browser.open(&format!("{}/wait/nothing", stage.queue.url)).await?;
    browser.view("problem").await?;
    look(browser, "problem").await?;
    browser.open(&format!("{}/wait/-x", stage.queue.url)).await?;
    browser.until("the page", "document.title.startsWith('There is no such event')").await?;
    look(browser, "missing").await?;
    stage.event("closed").await?;
    browser.open(&format!("{}/tickets/closed", stage.tickets.url)).await?;
    browser.until("the notice", "document.getElementById('notice').hidden === false").await?;
    look(browser, "seats-without-a-turn").await?;
    stage.standing_only("types").await?;
    browser.open(&format!("{}/tickets/types", stage.tickets.url)).await?;
    browser.until("the kinds of tickets", "document.getElementById('types').hidden === false").await?;
    look(browser, "types").await?;
    while_it_joins(stage, browser).await
}

/// The server cannot be asked: the page says so, and goes on by itself when it can.
async fn while_it_joins(stage: &Stage, browser: &mut Browser) -> Result<()> {
    browser.block(&["*/queue/check/*"]).await?;
    browser.open(&format!("{}/wait/closed", stage.queue.url)).await?;
    browser.until("a word to whoever waits", "document.getElementById('joining-note').innerText.length > 10").await?;
    browser.view("joining").await?;
    look(browser, "joining").await?;
    browser.block(&[]).await?;
    browser.view("waiting").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_laptop_that_slept() -> Result<()> {
    let Some(program) = chromium() else { return Ok(()) };
    let stage = Stage::start(&[]).await?;
    let mut browser = Browser::start(&program, "en").await?;
    let outcome = sleeps(&stage, &mut browser).await;
    browser.stop().await;
    stage.stop().await;
    outcome
}

async fn sleeps(stage: &Stage, browser: &mut Browser) -> Result<()> {
    let first = stage.event("sleep").await?;
    stage.operator()?.order("pause", "sleep").await?;
    let cable = Cable::to(&stage.queue.url).await?;
    browser.open(&format!("{}/wait/sleep", cable.url)).await?;
    browser.view("waiting").await?;
    browser.until("the live socket", LIVE).await?;
    browser.until("the pause", "!document.getElementById('paused').hidden").await?;
    look(browser, "paused").await?;
    let complaints = browser.complaints().await?;
    ensure!(complaints.is_empty(), "the pages complained: {complaints:#?}");

    browser.offline(true).await?;
    cable.cut();
    browser
        .until("the word that there is no connection", "document.getElementById('link').dataset.link === 'offline'")
        .await?;
    look(browser, "offline").await?;
    ensure!(stage.waiting("sleep").await? == 1, "a lost connection cost the place");
    browser.offline(false).await?;
    cable.mend();
    browser.until("the live socket", LIVE).await?;
    browser.view("waiting").await?;
    ensure!(browser.text("position").await? == "1");
    ensure!(stage.waiting("sleep").await? == 1, "coming back joined again");

    // The lid is closed, and while nothing runs and nothing is heard the turn comes.
    browser.frozen(true).await?;
    cable.cut();
    let_go(&first).await?;
    stage.operator()?.order("resume", "sleep").await?;
    admitted(stage, "sleep").await?;
    cable.mend();
    browser.frozen(false).await?;
    browser.view("admitted").await?;
    Ok(())
}

async fn admitted(stage: &Stage, event: &str) -> Result<()> {
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(15);
    while stage.waiting(event).await? > 0 {
        ensure!(tokio::time::Instant::now() < end, "nobody was let in");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    Ok(())
}
