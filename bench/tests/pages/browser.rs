//! A headless Chromium, spoken to through its own debugging protocol, so that no driver has to be installed.
//!
//! A browser has a profile of its own, which goes when the browser goes, and tabs, of which one is spoken to at a time.
//! Everything waits with a bound. Dialogs are answered with yes.
//! What the page complains about (exceptions, console errors, refused loads, violations of the content security
//! policy) is collected for the test to look at.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use bench::process::{Child, find_program};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    time::{Instant, sleep, timeout},
};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

use crate::events::{complaint, step, yes};

const START_WAIT: Duration = Duration::from_secs(30);
const CALL_WAIT: Duration = Duration::from_secs(20);
const CONDITION_WAIT: Duration = Duration::from_secs(30);
const TRAIL_STEPS_MAX: usize = 30;
const TABS_MAX: usize = 40;
const POLL: Duration = Duration::from_millis(50);
const PROGRAMS: [&str; 5] = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome"];
const MAC_PROGRAMS: [&str; 2] = [
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
];
const FLAGS: [&str; 11] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
];

/// Where a Chromium is: what `USHER_CHROMIUM` says, else by the usual names.
pub fn find() -> Option<PathBuf> {
    if let Some(asked) = std::env::var_os("USHER_CHROMIUM").filter(|asked| !asked.is_empty()) {
        let path = PathBuf::from(&asked);
        return if path.is_file() { Some(path) } else { find_program(&asked.to_string_lossy()) };
    }
    let named = PROGRAMS.iter().find_map(|name| find_program(name));
    named.or_else(|| MAC_PROGRAMS.iter().map(PathBuf::from).find(|path| path.is_file()))
}

/// A key that the tests press.
#[derive(Clone, Copy)]
pub enum Key {
    Enter,
    Space,
    Tab,
    Right,
    Down,
}

impl Key {
    /// Name, code on the keyboard, virtual key code, and the text it makes.
    const fn facts(self) -> (&'static str, &'static str, u32, &'static str) {
        match self {
            Self::Enter => ("Enter", "Enter", 13, "\r"),
            Self::Space => (" ", "Space", 32, " "),
            Self::Tab => ("Tab", "Tab", 9, ""),
            Self::Right => ("ArrowRight", "ArrowRight", 39, ""),
            Self::Down => ("ArrowDown", "ArrowDown", 40, ""),
        }
    }
}

/// The size of a window.
#[derive(Clone, Copy)]
pub struct Size {
    pub width: u32,
    pub height: u32,
}

pub const DESKTOP: Size = Size { width: 1280, height: 800 };
pub const PHONE: Size = Size { width: 390, height: 844 };

/// A tab of a browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tab {
    session: String,
    target: String,
}

/// A running browser.
pub struct Browser {
    child: Child,
    socket: WebSocketStream<TcpStream>,
    tab: Option<Tab>,
    calls: u64,
    complaints: Vec<String>,
    /// The last requests, answers and frames, for whoever has to find out why a test failed.
    trail: VecDeque<String>,
    // Last, so that the profile goes after the browser.
    _profile: TempDir,
}

impl Browser {
    /// Starts `program` with an empty page. `languages` as in `Accept-Language`.
    pub async fn start(program: &Path, languages: &str) -> Result<Self> {
        let profile = tempfile::Builder::new().prefix("usher-browser-").tempdir()?;
        let mut args: Vec<String> = FLAGS.iter().map(ToString::to_string).collect();
        args.push(format!("--user-data-dir={}", profile.path().join("profile").display()));
        args.push(format!("--accept-lang={languages}"));
        args.push("--remote-debugging-port=0".to_owned());
        args.push("about:blank".to_owned());
        let mut child = Child::start("chromium", program, args, &[], profile.path())?;
        let address = debugger(&mut child, &profile.path().join("profile/DevToolsActivePort")).await?;
        let (host, _) = address.split_once('/').context("the debugger's address has no path")?;
        let stream = TcpStream::connect(host).await.context("connecting to the browser")?;
        let (socket, _) = client_async(format!("ws://{address}"), stream).await.context("the browser's handshake")?;
        let mut browser = Self {
            child,
            socket,
            tab: None,
            calls: 0,
            complaints: Vec::new(),
            trail: VecDeque::new(),
            _profile: profile,
        };
        browser.new_tab().await?;
        Ok(browser)
    }

    /// Opens an empty tab and speaks to it from now on.
    pub async fn new_tab(&mut self) -> Result<Tab> {
        self.tab = None;
        let target = self.call("Target.createTarget", json!({"url": "about:blank"})).await?;
        let target = target["targetId"].as_str().context("no target")?.to_owned();
        let attached = self.call("Target.attachToTarget", json!({"targetId": target, "flatten": true})).await?;
        let session = attached["sessionId"].as_str().context("no session")?.to_owned();
        let tab = Tab { session, target };
        self.tab = Some(tab.clone());
        for domain in ["Page", "Runtime", "Log", "Network"] {
            self.call(&format!("{domain}.enable"), json!({})).await?;
        }
        self.resize(DESKTOP).await?;
        Ok(tab)
    }

    /// The tab that is spoken to.
    pub fn tab(&self) -> Tab {
        self.tab.clone().expect("there is a tab once the browser has started")
    }

    /// Brings another tab to the front and speaks to it.
    pub async fn turn_to(&mut self, tab: &Tab) -> Result<()> {
        self.tab = Some(tab.clone());
        self.call("Page.bringToFront", json!({})).await.map(drop)
    }

    /// Gives the window another size; a narrow one is a phone.
    pub async fn resize(&mut self, Size { width, height }: Size) -> Result<()> {
        let mobile = width < 600;
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile});
        self.call("Emulation.setDeviceMetricsOverride", metrics).await.map(drop)
    }

    /// Asks for the dark or the light scheme.
    pub async fn prefer(&mut self, scheme: &str) -> Result<()> {
        self.media("prefers-color-scheme", scheme).await
    }

    /// Sets what a person prefers, as pages ask for it.
    pub async fn media(&mut self, name: &str, value: &str) -> Result<()> {
        let features = json!({"features": [{"name": name, "value": value}]});
        self.call("Emulation.setEmulatedMedia", features).await.map(drop)
    }

    /// Switches scripts off or on for the pages that are opened from now on. The debugger's own always run.
    pub async fn scripts(&mut self, on: bool) -> Result<()> {
        self.call("Emulation.setScriptExecutionDisabled", json!({"value": !on})).await.map(drop)
    }

    /// Takes the network away, or gives it back: requests fail, and the page is told.
    pub async fn offline(&mut self, offline: bool) -> Result<()> {
        let conditions = json!({"offline": offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1});
        self.call("Network.emulateNetworkConditions", conditions).await.map(drop)
    }

    /// Refuses the requests whose address fits one of the patterns; none lets all through again.
    pub async fn block(&mut self, patterns: &[&str]) -> Result<()> {
        self.call("Network.setBlockedURLs", json!({"urls": patterns})).await.map(drop)
    }

    /// Stops a page as browsers do with those that are not looked at, or lets it go on.
    pub async fn frozen(&mut self, frozen: bool) -> Result<()> {
        let state = if frozen { "frozen" } else { "active" };
        self.call("Page.setWebLifecycleState", json!({"state": state})).await.map(drop)
    }

    /// Sends a header with every request, as a proxy in front of the server would.
    pub async fn header(&mut self, name: &str, value: &str) -> Result<()> {
        self.call("Network.setExtraHTTPHeaders", json!({"headers": {name: value}})).await.map(drop)
    }

    /// A cookie that would go along to `url`, with its attributes.
    pub async fn cookie(&mut self, url: &str, name: &str) -> Result<Option<Value>> {
        let answer = self.call("Network.getCookies", json!({"urls": [url]})).await?;
        let cookies = answer["cookies"].as_array().context("no cookies")?;
        Ok(cookies.iter().find(|cookie| cookie["name"] == json!(name)).cloned())
    }

    /// Opens an address.
    pub async fn open(&mut self, url: &str) -> Result<()> {
        let answer = self.call("Page.navigate", json!({"url": url})).await?;
        ensure!(answer.get("errorText").is_none(), "{url} did not open: {}", answer["errorText"]);
        Ok(())
    }

    /// Loads the page again; a mark on the old document tells when it is gone.
    pub async fn reload(&mut self) -> Result<()> {
        self.eval("window.isOld = true").await?;
        self.call("Page.reload", json!({})).await?;
        self.until("the page to be loaded again", "!window.isOld && document.readyState === 'complete'").await
    }

    /// The value of a JavaScript expression.
    pub async fn eval(&mut self, expression: &str) -> Result<Value> {
        let ask = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let mut answer = self.call("Runtime.evaluate", ask).await?;
        if let Some(thrown) = answer.get("exceptionDetails") {
            bail!("{expression}: {}", thrown["exception"]["description"]);
        }
        Ok(answer["result"]["value"].take())
    }

    /// The text of the element with this id.
    pub async fn text(&mut self, id: &str) -> Result<String> {
        let value = self.eval(&format!("document.getElementById('{id}').innerText.trim()")).await?;
        Ok(value.as_str().unwrap_or_default().to_owned())
    }

    /// Waits until an expression is true; while a page is being changed for another it may fail.
    pub async fn until(&mut self, what: &str, expression: &str) -> Result<()> {
        let end = Instant::now() + CONDITION_WAIT;
        let mut last = String::new();
        while Instant::now() < end {
            match self.eval(expression).await {
                Ok(Value::Bool(true)) => return Ok(()),
                Ok(value) => last = value.to_string(),
                Err(error) => last = error.to_string(),
            }
            sleep(POLL).await;
        }
        let shown = self.eval("location.href + '\\n' + document.body.innerText").await.unwrap_or_default();
        bail!(
            "waited in vain for {what} ({expression} gave {last})\nthe page: {}\ncomplaints: {:#?}\nwhat went before: {:#?}",
            shown.as_str().unwrap_or_default(),
            self.complaints,
            self.trail
        )
    }

    /// Waits until a view of the page is the one that is shown.
    pub async fn view(&mut self, name: &str) -> Result<()> {
        let shown = "[...document.querySelectorAll('[data-view]')].filter((view) => !view.hidden)";
        let is = format!("{shown}.map((view) => view.dataset.view).join() === '{name}'");
        self.until(&format!("the view {name}"), &is).await
    }

    /// Puts the keyboard focus on the first element that a selector finds.
    pub async fn focus(&mut self, selector: &str) -> Result<()> {
        let focus = format!(
            "(() => {{ const node = document.querySelector('{selector}'); node?.focus(); \
             return node !== null && document.activeElement === node; }})()"
        );
        ensure!(self.eval(&focus).await? == json!(true), "{selector} takes no focus");
        Ok(())
    }

    /// Presses and releases a key.
    pub async fn press(&mut self, key: Key) -> Result<()> {
        let (name, code, number, text) = key.facts();
        let mut event = json!({"type": "keyDown", "key": name, "code": code, "windowsVirtualKeyCode": number});
        if !text.is_empty() {
            event["text"] = json!(text);
        }
        self.call("Input.dispatchKeyEvent", event.clone()).await?;
        event["type"] = json!("keyUp");
        event.as_object_mut().context("an object")?.remove("text");
        self.call("Input.dispatchKeyEvent", event).await.map(drop)
    }

    /// Presses Tab until the focus is on what a selector finds: only what the keyboard reaches can be used by it.
    pub async fn tab_to(&mut self, selector: &str) -> Result<()> {
        let reached = format!("document.activeElement.matches('{selector}')");
        for _ in 0..TABS_MAX {
            if self.eval(&reached).await? == json!(true) {
                return Ok(());
            }
            self.press(Key::Tab).await?;
        }
        bail!("{selector} is not reached by Tab")
    }

    /// Puts the focus on a button and presses it by keyboard.
    pub async fn push(&mut self, selector: &str) -> Result<()> {
        self.focus(selector).await?;
        self.press(Key::Enter).await
    }

    /// Saves what the window shows, if `USHER_SCREENSHOTS` names a folder.
    pub async fn screenshot(&mut self, name: &str) -> Result<()> {
        let Some(folder) = std::env::var_os("USHER_SCREENSHOTS").filter(|folder| !folder.is_empty()) else {
            return Ok(());
        };
        std::fs::create_dir_all(&folder)?;
        let answer = self.call("Page.captureScreenshot", json!({"format": "png"})).await?;
        let data = answer["data"].as_str().context("no picture")?;
        let picture = base64::engine::general_purpose::STANDARD.decode(data)?;
        Ok(std::fs::write(PathBuf::from(folder).join(format!("{name}.png")), picture)?)
    }

    /// What the pages have complained about so far; forgotten by being told.
    pub async fn complaints(&mut self) -> Result<Vec<String>> {
        // An answer comes after everything that was reported before it.
        self.eval("1").await?;
        Ok(std::mem::take(&mut self.complaints))
    }

    /// Ends it.
    pub async fn stop(mut self) {
        self.tab = None;
        let _ = self.call("Browser.close", json!({})).await;
        self.child.stop().await;
    }

    async fn call(&mut self, method: &str, params: Value) -> Result<Value> {
        self.calls += 1;
        let id = self.calls;
        let mut request = json!({"id": id, "method": method, "params": params});
        if let Some(tab) = &self.tab {
            request["sessionId"] = json!(tab.session);
        }
        let exchange = async {
            self.socket.send(Message::text(request.to_string())).await?;
            loop {
                let Some(frame) = self.socket.next().await else { bail!("the browser is gone") };
                let Message::Text(text) = frame? else { continue };
                let mut message: Value = serde_json::from_str(&text)?;
                if message["id"] == json!(id) {
                    ensure!(message.get("error").is_none(), "{method}: {}", message["error"]);
                    return Ok(message["result"].take());
                }
                if message["method"] == json!("Page.javascriptDialogOpening") {
                    self.socket.send(Message::text(yes(&message))).await?;
                }
                self.complaints.extend(complaint(&message));
                self.trail.extend(step(&message));
                while self.trail.len() > TRAIL_STEPS_MAX {
                    self.trail.pop_front();
                }
            }
        };
        timeout(CALL_WAIT, exchange).await.with_context(|| format!("the browser did not answer {method}"))?
    }
}

/// Waits for the file in which the browser says where its debugger listens.
async fn debugger(child: &mut Child, file: &Path) -> Result<String> {
    let end = Instant::now() + START_WAIT;
    loop {
        if let Ok(text) = std::fs::read_to_string(file)
            && let Some((port, path)) = text.trim_end().split_once('\n')
        {
            return Ok(format!("127.0.0.1:{port}{path}"));
        }
        ensure!(child.is_running(), "the browser ended at its start:\n{}", child.last_lines());
        ensure!(Instant::now() < end, "the browser did not start:\n{}", child.last_lines());
        sleep(POLL).await;
    }
}
