//! What the pages of both servers share: files embedded in the program, addresses, languages, escaped text.

use aws_lc_rs::digest::{SHA256, digest};
use http::{HeaderMap, Uri, header::ACCEPT_LANGUAGE};

use super::http::{ApiError, Request, Response, asset};
use crate::codes::Code;

/// Files are asked for again each time; who has the same version gets 304.
const CACHE: &str = "public, no-cache";

/// A file of a page, part of the program.
#[derive(Clone, Copy, Debug)]
pub struct File {
    /// What it is asked for as.
    pub name: &'static str,
    content_type: &'static str,
    /// What is in it.
    pub content: &'static str,
}

impl File {
    /// A module.
    pub const fn script(name: &'static str, content: &'static str) -> Self {
        Self { name, content_type: "text/javascript; charset=utf-8", content }
    }

    /// A style sheet.
    pub const fn style(name: &'static str, content: &'static str) -> Self {
        Self { name, content_type: "text/css; charset=utf-8", content }
    }

    /// A description of an interface.
    pub const fn json(name: &'static str, content: &'static str) -> Self {
        Self { name, content_type: "application/json", content }
    }
}

/// Files with an entity tag each.
#[derive(Debug)]
pub struct Files(Vec<(File, String)>);

impl Files {
    /// Names their contents.
    pub fn new(files: &[File]) -> Self {
        Self(files.iter().map(|file| (*file, etag(file.content))).collect())
    }

    /// The file of this name, or 304 for who has it; `NOT_FOUND` if there is none.
    pub fn answer(&'static self, headers: &HeaderMap, name: &str) -> Result<Response, ApiError> {
        let (file, etag) = self.0.iter().find(|(file, _)| file.name == name).ok_or(Code::NotFound)?;
        Ok(asset(headers, file.content_type, etag, CACHE, file.content))
    }

    /// The names in `/assets/…` and in imports, of `pages` and of the files themselves, that are no file: for tests.
    pub fn missing(&self, pages: &[&'static str]) -> Vec<&'static str> {
        let named = pages.iter().flat_map(|page| page.split("/assets/").skip(1));
        let named = named.filter_map(|rest| rest.split('"').next());
        let imported = self.0.iter().flat_map(|(file, _)| file.content.split("from './").skip(1));
        let imported = imported.filter_map(|rest| rest.split('\'').next());
        named.chain(imported).filter(|name| !self.0.iter().any(|(file, _)| file.name == *name)).collect()
    }
}

fn etag(content: &str) -> String {
    let hash = digest(&SHA256, content.as_bytes());
    let hex: String = hash.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"")
}

/// The origin of an `http` or `https` address; `None` if it is no such address.
pub fn origin_of(address: &str) -> Option<String> {
    let uri: Uri = address.parse().ok()?;
    let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"))?;
    let authority = uri.authority()?.as_str();
    is_plain_authority(authority).then(|| format!("{scheme}://{authority}"))
}

/// Whether it is a host and a port, and nothing that could end a directive of a policy.
pub fn is_plain_authority(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]_".contains(&b))
}

/// An absolute address of the web from the settings, without a fragment and without what has a meaning in pages.
pub fn web_address(text: &str) -> Result<String, &'static str> {
    let clean = text.bytes().all(|b| b.is_ascii_graphic() && !b"\"<>\\^`{|}#".contains(&b));
    if clean && origin_of(text).is_some() { Ok(text.to_owned()) } else { Err("not an http or https address") }
}

/// `?lang=` if it names a language of ours, else the first that the browser likes.
pub fn language(request: &Request) -> &'static str {
    let asked = request.query("lang").and_then(|lang| known_language(&lang));
    let liked = || request.header(ACCEPT_LANGUAGE.as_str())?.split(',').find_map(known_language);
    asked.or_else(liked).unwrap_or("en")
}

/// Our language that a language range, such as `ko-KR;q=0.9`, is of.
pub fn known_language(range: &str) -> Option<&'static str> {
    let primary = range.split([';', '-']).next().unwrap_or_default().trim();
    ["en", "ko"].into_iter().find(|known| primary.eq_ignore_ascii_case(known))
}

/// Adds text to a page, as text and nothing else.
pub fn escape_into(page: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => page.push_str("&amp;"),
            '<' => page.push_str("&lt;"),
            '>' => page.push_str("&gt;"),
            '"' => page.push_str("&quot;"),
            '\'' => page.push_str("&#39;"),
            c => page.push(c),
        }
    }
}

/// See [`escape_into`].
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    escape_into(&mut escaped, text);
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        assert_eq!(escaped("<a href=\"x\">'&"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;");
    }

    #[test]
    fn languages_are_recognized() {
        assert_eq!(known_language("ko-KR;q=0.9"), Some("ko"));
        assert_eq!(known_language(" EN"), Some("en"));
        assert_eq!(known_language("de"), None);
    }

    #[test]
    fn addresses_are_checked() {
        for good in ["http://127.0.0.1:3002", "https://a.example/e?x=1", "https://[::1]:8443/"] {
            assert!(web_address(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "a.example",
            "/a",
            "ftp://a",
            "https://",
            "https://a b",
            "https://a/{e}",
            "https://a/\"",
            "https://a/#x",
        ] {
            assert!(web_address(bad).is_err(), "{bad}");
        }
        assert_eq!(origin_of("https://a.example:8443/x").as_deref(), Some("https://a.example:8443"));
        assert_eq!(origin_of("ftp://x"), None);
    }

    #[test]
    fn what_is_named_and_not_there_is_found() {
        let files = Files::new(&[File::script("a.js", "import { x } from './b.js';"), File::style("c.css", "")]);
        assert_eq!(files.missing(&["<link href=\"/assets/c.css\"><script src=\"/assets/d.js\">"]), ["d.js", "b.js"]);
    }
}
