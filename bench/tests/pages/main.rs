//! The walk through the pages in a real browser, against both real servers: wait, be admitted, choose a seat by
//! keyboard, hold it, confirm it. `USHER_SCREENSHOTS=folder` keeps pictures of what was seen.

mod browser;

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use bench::{
    api::{self, Operator, Queue, Tickets},
    process::free_port,
    random,
    servers::{Server, Setup},
};
use browser::{Browser, DESKTOP, Key, PHONE};
use queue_core::wire::QueueStatus;
use serde_json::json;
use tempfile::TempDir;

/// Both servers on the memory engine, with an operator.
struct Stage {
    queue: Server,
    tickets: Server,
    token: String,
    _folder: TempDir,
}

impl Stage {
    async fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("usher-pages-").tempdir()?;
        let state_dir = folder.path().join("state");
        std::fs::create_dir(&state_dir)?;
        let token = random::secret()?;
        let [queue, queue_ops, tickets, tickets_ops] = [free_port()?, free_port()?, free_port()?, free_port()?];
        let setup = |name, listen, ops, flags| Setup {
            name,
            listen,
            ops,
            store: "memory",
            state_dir: &state_dir,
            operator_token: &token,
            flags,
            threads: Some(2),
        };
        let by_name = format!("http://localhost:{}", queue.port());
        let origins = format!("--allowed-origins=http://{queue},http://{tickets},{by_name}");
        let flags = vec![origins.clone(), format!("--tickets-url=http://{tickets}")];
        let queue_server = setup("queue-server", queue, queue_ops, flags).start("queue-server", folder.path()).await?;
        let flags = vec![
            origins,
            format!("--queue-url=http://{queue}"),
            format!("--jwks=http://{queue}/.well-known/jwks.json"),
            format!("--queue=http://{queue_ops}"),
        ];
        let ticket_server =
            setup("ticket-server", tickets, tickets_ops, flags).start("ticket-server", folder.path()).await?;
        Ok(Self { queue: queue_server, tickets: ticket_server, token, _folder: folder })
    }

    /// An event for one visitor at a time, the place already taken. Gives who took it.
    async fn event(&self, event: &str) -> Result<(Queue, QueueStatus)> {
        let http = api::client()?;
        let hall =
            api::hall("Faults in the Night", "2030-12-24T19:00:00.000Z", &[("A", 6, 12, 12_000), ("B", 8, 12, 6_500)]);
        Operator::new(http.clone(), &self.tickets.ops_url, &self.token).put_event(event, &hall).await?;
        Operator::new(http.clone(), &self.queue.ops_url, &self.token).put_queue(event, &json!({"capacity": 1})).await?;
        let first = Queue::new(http, &self.queue.url, event);
        let status = first.check(None).await?;
        ensure!(status.active_token.is_some(), "the first visitor should be let in at once");
        Ok((first, status))
    }

    async fn stop(self) {
        self.tickets.child.stop().await;
        self.queue.child.stop().await;
    }
}

async fn let_go((queue, status): &(Queue, QueueStatus)) -> Result<()> {
    let place = status.place_token.as_deref().context("the first visitor has no place token")?;
    Ok(queue.leave(place).await?)
}

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
    let stage = Stage::start().await?;
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
    browser.screenshot("admitted-desktop").await?;
    browser.push("#go").await?;

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
    browser.screenshot("waiting-desktop").await?;
    browser.resize(PHONE).await?;
    ensure!(fits_the_width(browser).await?, "the waiting page is wider than a phone");
    browser.screenshot("waiting-phone").await?;
    browser.resize(DESKTOP).await
}

async fn fits_the_width(browser: &mut Browser) -> Result<bool> {
    Ok(browser.eval("document.documentElement.scrollWidth <= innerWidth").await? == json!(true))
}

async fn switches_language(browser: &mut Browser) -> Result<()> {
    browser.push("[data-lang=ko]").await?;
    ensure!(browser.text("waiting-title").await? == "나의 대기 순서");
    ensure!(browser.eval("document.documentElement.lang").await? == json!("ko"));
    browser.screenshot("waiting-desktop-ko").await?;
    browser.push("[data-lang=en]").await?;
    ensure!(browser.text("waiting-title").await? == "Your place in line");
    Ok(())
}

async fn keeps_the_place_over_a_reload(stage: &Stage, browser: &mut Browser) -> Result<()> {
    browser.reload().await?;
    browser.view("waiting").await?;
    let operator = Operator::new(api::client()?, &stage.queue.ops_url, &stage.token);
    let line = operator.queue("faults").await?;
    ensure!(line["waiting"] == json!(1), "a reload joined twice: {line}");
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
    browser.screenshot("seats-desktop").await?;
    browser.focus("#map .seat[tabindex=\"0\"]").await?;
    for key in [Key::Right, Key::Down, Key::Space, Key::Right, Key::Enter] {
        browser.press(key).await?;
    }
    let focused = browser.eval("document.activeElement.getAttribute('aria-label')").await?;
    ensure!(focused == json!("Section A, row 2, seat 3, Section A, €120.00, chosen"), "the focus is on {focused}");
    let chosen = browser.text("chosen").await?;
    ensure!(chosen.contains("row 2 · seat 2") && chosen.contains("row 2 · seat 3"), "chosen: {chosen}");
    ensure!(browser.text("total").await? == "€240.00");
    browser.screenshot("chosen-desktop").await?;
    browser.resize(PHONE).await?;
    ensure!(fits_the_width(browser).await?, "the seat page is wider than a phone");
    browser.screenshot("chosen-phone").await?;
    browser.resize(DESKTOP).await
}

async fn holds(browser: &mut Browser) -> Result<()> {
    browser.push("#reserve").await?;
    browser.view("held").await?;
    let left = "/^[0-9]+:[0-9][0-9]$/.test(document.getElementById('left').innerText)";
    browser.until("the countdown", left).await?;
    browser.screenshot("held-desktop").await?;
    // A hold outlives the page that made it.
    browser.reload().await?;
    browser.view("held").await?;
    ensure!(browser.text("held-total").await? == "€240.00");
    Ok(())
}

async fn confirms(stage: &Stage, browser: &mut Browser) -> Result<()> {
    browser.push("#confirm").await?;
    browser.view("confirmed").await?;
    ensure!(browser.text("booked-seats").await?.contains("row 2 · seat 3"));
    ensure!(!browser.text("booked-id").await?.is_empty(), "no reservation id");
    browser.screenshot("confirmed-desktop").await?;
    let seats = Tickets::new(api::client()?, &stage.tickets.url, "faults").seats().await?;
    let sold: Vec<_> = seats.iter().filter(|seat| seat.state == "SOLD").map(|seat| seat.seat_id.as_str()).collect();
    ensure!(sold == ["A-2-2", "A-2-3"], "sold are {sold:?}");
    Ok(())
}

/// Where cookies do not reach the seat page, because the host is another, the token travels in the fragment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn to_another_host_on_a_phone_in_korean() -> Result<()> {
    let Some(program) = chromium() else { return Ok(()) };
    let stage = Stage::start().await?;
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
