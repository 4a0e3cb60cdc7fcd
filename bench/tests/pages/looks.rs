//! Each state of the pages as people see it: at the size of a desk and of a phone, light and dark, looked through by
//! axe-core, which `make setup` puts into `.tools`. `USHER_SCREENSHOTS` keeps pictures of them all.

use std::{path::PathBuf, sync::LazyLock};

use anyhow::{Result, ensure};
use serde_json::json;

use crate::browser::{Browser, DESKTOP, PHONE};

/// The source of axe-core, or `None` said in one line.
static AXE: LazyLock<Option<String>> = LazyLock::new(|| {
    let usual = concat!(env!("CARGO_MANIFEST_DIR"), "/../.tools/node_modules/axe-core/axe.min.js");
    let path = std::env::var_os("USHER_AXE").map_or_else(|| PathBuf::from(usual), PathBuf::from);
    let source = std::fs::read_to_string(path).ok();
    if source.is_none() {
        eprintln!("left out: no axe-core here; `make setup` installs it where npm is, or USHER_AXE names axe.min.js");
    }
    source
});

/// The simplest page passes more rules than this, if they are looked at at all.
const RULES_PASSED_MIN: u64 = 5;

/// Rules that a page breaks on purpose.
///
/// A page without scripts can only follow the line by asking again, which is what it is for: WCAG 2.2.1 leaves out what
/// is essential, and nothing is lost when the person is slow.
const PLAIN_EXCEPT: &[&str] = &["meta-refresh"];

/// Looks at the state that a page is in now.
pub async fn look(browser: &mut Browser, name: &str) -> Result<()> {
    look_except(browser, name, None).await
}

/// The same for a page without scripts; those of axe-core alone may run. Such a page stays as it is from now on.
pub async fn look_plain(browser: &mut Browser, name: &str) -> Result<()> {
    browser.eval("window.stop()").await?;
    look_except(browser, name, Some(PLAIN_EXCEPT)).await
}

async fn look_except(browser: &mut Browser, name: &str, plain: Option<&[&str]>) -> Result<()> {
    for (place, size) in [("phone", PHONE), ("desk", DESKTOP)] {
        browser.resize(size).await?;
        ensure!(fits_the_width(browser).await?, "{name} is wider than a {place}");
        for scheme in ["dark", "light"] {
            browser.prefer(scheme).await?;
            browser.screenshot(&format!("{name}-{place}-{scheme}")).await?;
            if plain.is_some() {
                browser.scripts(true).await?;
            }
            let outcome =
                has_no_violations(browser, &format!("{name}, {place}, {scheme}"), plain.unwrap_or_default()).await;
            if plain.is_some() {
                browser.scripts(false).await?;
            }
            outcome?;
        }
    }
    Ok(())
}

pub async fn fits_the_width(browser: &mut Browser) -> Result<bool> {
    Ok(browser.eval("document.documentElement.scrollWidth <= innerWidth").await? == json!(true))
}

async fn has_no_violations(browser: &mut Browser, name: &str, except: &[&str]) -> Result<()> {
    let Some(axe) = AXE.as_deref() else { return Ok(()) };
    if browser.eval("typeof axe === 'object'").await? == json!(false) {
        browser.eval(&format!("{axe}; 1")).await?;
    }
    let rules: serde_json::Map<_, _> =
        except.iter().map(|rule| ((*rule).to_owned(), json!({"enabled": false}))).collect();
    let options = json!({"rules": rules, "resultTypes": ["violations"]});
    let told = "violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.slice(0, 3).map((node) => \
                `${node.html} ${node.failureSummary}`).join(' | ')}`).join('\\n')";
    let run = format!("axe.run(document, {options}).then(({{ violations, passes }}) => [passes.length, {told}])");
    let found = browser.eval(&run).await?;
    ensure!(found[1] == json!(""), "{name}: {}", found[1].as_str().unwrap_or_default());
    ensure!(found[0].as_u64() > Some(RULES_PASSED_MIN), "{name}: axe-core looked at nothing: {found}");
    Ok(())
}
