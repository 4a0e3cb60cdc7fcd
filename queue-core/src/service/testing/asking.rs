//! A client of our servers: the whole answer, and that an error is one of the contract's.

use http::HeaderMap;
use reqwest::{RequestBuilder, redirect::Policy};
use serde_json::Value;

use super::WITHIN;
use crate::{codes::Code, wire::ErrorBody};

/// A client that follows no redirect and uses no proxy.
pub fn client() -> reqwest::Client {
    let client = reqwest::Client::builder().no_proxy().redirect(Policy::none()).timeout(WITHIN).build();
    client.expect("a client of no special settings")
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
    /// `null` if it is no JSON.
    pub json: Value,
}

/// Sends a request and reads the whole answer. Panics if there is none, or if an error has not the one body.
pub trait Ask {
    fn answer(self) -> impl Future<Output = Answer>;
}

impl Ask for RequestBuilder {
    async fn answer(self) -> Answer {
        let answer = Answer::of(self).await.expect("a whole answer");
        assert_eq!(answer.header("x-trace-id").len(), 32, "{answer:?}");
        if answer.status >= 400 && !answer.header("content-type").starts_with("text/html") {
            answer.assert_is_error();
        }
        answer
    }
}

impl Answer {
    /// What is answered, whatever it is; an error if the server ends before it has said all.
    pub async fn of(request: RequestBuilder) -> reqwest::Result<Self> {
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await?;
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Self { status, headers, text, json })
    }

    /// A header's value; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The code of a refusal; empty if it is none.
    pub fn code(&self) -> &str {
        self.json["code"].as_str().unwrap_or_default()
    }

    /// Status and code.
    pub fn refusal(&self) -> (u16, &str) {
        (self.status, self.code())
    }

    /// Asserts that it is this refusal.
    #[track_caller]
    pub fn is(self, status: u16, code: &str) -> Self {
        assert_eq!(self.refusal(), (status, code), "{self:?}");
        self
    }

    /// Asserts the status; what was said.
    #[track_caller]
    pub fn ok(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        self.json
    }

    /// The `Set-Cookie` line of this cookie.
    pub fn cookie_line(&self, name: &str) -> Option<String> {
        let mut lines = self.headers.get_all("set-cookie").iter().filter_map(|line| line.to_str().ok());
        lines.find(|line| line.starts_with(&format!("{name}="))).map(str::to_owned)
    }

    /// The value of a cookie that is set.
    pub fn cookie(&self, name: &str) -> Option<String> {
        let line = self.cookie_line(name)?;
        let (_, value) = line.split(';').next()?.split_once('=')?;
        Some(value.to_owned())
    }

    #[track_caller]
    fn assert_is_error(&self) {
        assert_eq!(self.header("content-type"), "application/json", "{self:?}");
        let body: ErrorBody = serde_json::from_str(&self.text).expect("the error body");
        let code = Code::ALL.iter().find(|code| code.info().name == body.code);
        let info = code.unwrap_or_else(|| panic!("{} is in no table", body.code)).info();
        assert_eq!((info.status, info.retryable), (self.status, body.retryable), "{self:?}");
        // An answer that is given again has that of the first one.
        assert_eq!(body.trace_id.len(), 32, "{self:?}");
        assert!(!body.message.is_empty());
        assert_eq!(!self.header("retry-after").is_empty(), matches!(self.status, 429 | 503), "{self:?}");
    }
}
