//! The one error that handlers return, and the one body it becomes.

use std::borrow::Cow;

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use serde_json::{Value, json};

use super::body::Body;
use super::response::{APPLICATION_JSON, Response};
use crate::codes::{Code, CodeInfo};
use crate::service::trace::TraceId;
use crate::wire::ErrorBody;

/// What `Retry-After` says where nothing better is known.
const RETRY_AFTER_SECS_DEFAULT: u32 = 1;

/// An error on its way to the client: a code from the table, and what to add to it.
///
/// `internal` is for the log alone. Build it up: `ApiError::new(Code::SeatTaken).details(…)`.
#[derive(Debug, thiserror::Error)]
#[error("{}{}", code.info().name, extra.as_ref().and_then(|e| e.internal.as_deref()).map(|i| format!(": {i}")).unwrap_or_default())]
pub struct ApiError {
    code: Code,
    retry_after_secs: Option<u32>,
    extra: Option<Box<Extra>>,
}

#[derive(Debug, Default)]
struct Extra {
    message: Option<Cow<'static, str>>,
    details: Option<Value>,
    internal: Option<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl From<Code> for ApiError {
    fn from(code: Code) -> Self {
        Self::new(code)
    }
}

impl ApiError {
    /// The bare code, with the table's message.
    pub const fn new(code: Code) -> Self {
        Self { code, retry_after_secs: None, extra: None }
    }

    /// 500 `INTERNAL`; what happened goes to the log only.
    pub fn internal(what: impl std::fmt::Display) -> Self {
        Self::new(Code::Internal).log(what)
    }

    /// 422 `INVALID_REQUEST` with the field and what is wrong with it.
    pub fn invalid(field: &str, problem: impl std::fmt::Display) -> Self {
        Self::new(Code::InvalidRequest).details(json!({"field": field, "problem": problem.to_string()}))
    }

    /// 422 `NOT_SUPPORTED` with the field that is not supported yet.
    pub fn not_supported(field: &str) -> Self {
        Self::new(Code::NotSupported).details(json!({"field": field}))
    }

    /// A message for people that says more than the table's.
    pub fn message(mut self, message: impl Into<Cow<'static, str>>) -> Self {
        self.extra().message = Some(message.into());
        self
    }

    /// What helps a program.
    pub fn details(mut self, details: Value) -> Self {
        self.extra().details = Some(details);
        self
    }

    /// When to try again.
    pub fn retry_after_secs(mut self, secs: u32) -> Self {
        self.retry_after_secs = Some(secs);
        self
    }

    /// What is logged with it and never leaves the server.
    pub fn log(mut self, what: impl std::fmt::Display) -> Self {
        self.extra().internal = Some(what.to_string());
        self
    }

    /// A header of the answer.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.extra().headers.push((name, value));
        self
    }

    /// The code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The code's row in the table.
    pub fn info(&self) -> CodeInfo {
        self.code.info()
    }

    /// What is logged with it.
    pub fn internal_message(&self) -> Option<&str> {
        self.extra.as_ref()?.internal.as_deref()
    }

    fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    /// The body that says it, for answers and for sockets.
    pub fn body(&self, trace: TraceId) -> ErrorBody {
        let (info, extra) = (self.code.info(), self.extra.as_deref());
        let message = extra.and_then(|e| e.message.as_deref()).unwrap_or(info.message).to_owned();
        ErrorBody::new(info, message, trace, extra.and_then(|e| e.details.clone()))
    }

    /// The answer that says it.
    pub fn into_response(mut self, trace: TraceId) -> Response {
        let (info, status) = (self.code.info(), self.code.info().status);
        let body = match self.extra.as_deref_mut() {
            Some(extra) if extra.message.is_some() || extra.details.is_some() => {
                let message = extra.message.take().map_or_else(|| info.message.to_owned(), Cow::into_owned);
                let body = ErrorBody::new(info, message, trace, extra.details.take());
                serde_json::to_vec(&body).expect("an error body is plain data")
            }
            _ => table_body(info, trace),
        };
        let mut response = Response::new(Body::full(body));
        *response.status_mut() = http::StatusCode::from_u16(status).expect("the table has valid statuses");
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, APPLICATION_JSON);
        let must_say = matches!(status, 429 | 503).then_some(RETRY_AFTER_SECS_DEFAULT);
        if let Some(secs) = self.retry_after_secs.or(must_say) {
            headers.insert(RETRY_AFTER, HeaderValue::from(secs));
        }
        for (name, value) in self.extra.into_iter().flat_map(|extra| extra.headers) {
            headers.append(name, value);
        }
        response
    }
}

impl ErrorBody {
    fn new(info: CodeInfo, message: String, trace: TraceId, details: Option<Value>) -> Self {
        let (code, trace_id) = (info.name.to_owned(), trace.to_string());
        Self { code, message, trace_id, retryable: info.retryable, details }
    }
}

/// The body of a code with nothing added to it, of which refusing under load makes many.
fn table_body(info: CodeInfo, trace: TraceId) -> Vec<u8> {
    let retryable = if info.retryable { "true}" } else { "false}" };
    let trace = trace.hex();
    let parts = [
        &b"{\"code\":\""[..],
        info.name.as_bytes(),
        b"\",\"message\":\"",
        info.message.as_bytes(),
        b"\",\"traceId\":\"",
        &trace,
        b"\",\"retryable\":",
        retryable.as_bytes(),
    ];
    parts.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_bodies_need_no_escaping() {
        for code in Code::ALL {
            let (error, trace) = (ApiError::new(*code), TraceId::random());
            let wanted = serde_json::to_string(&error.body(trace)).unwrap();
            assert_eq!(String::from_utf8(table_body(error.info(), trace)).unwrap(), wanted);
        }
    }

    #[test]
    fn overload_always_says_when_to_come_back() {
        for code in Code::ALL {
            let info = code.info();
            let response = ApiError::new(*code).into_response(TraceId::random());
            assert_eq!(response.headers().contains_key(RETRY_AFTER), matches!(info.status, 429 | 503), "{}", info.name);
        }
        let response = ApiError::new(Code::Overloaded).retry_after_secs(7).into_response(TraceId::random());
        assert_eq!(response.headers()[RETRY_AFTER], "7");
    }

    #[test]
    fn the_internal_message_stays_inside() {
        let error = ApiError::internal("redis said no").message("Sorry.").details(json!({"a": 1}));
        let body = serde_json::to_string(&error.body(TraceId::random())).unwrap();
        assert!(!body.contains("redis"));
        assert!(body.contains("Sorry.") && body.contains("\"details\":{\"a\":1}"));
        assert_eq!(error.to_string(), "INTERNAL: redis said no");
    }

    #[test]
    fn it_stays_small() {
        assert!(size_of::<ApiError>() <= 24);
    }
}
