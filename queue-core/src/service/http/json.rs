//! JSON bodies: what is wrong with one is told apart as the contract has it: no JSON type 415, too
//! large 413, too slow 408, no JSON 400, breaks the schema 422 with the field.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use serde::de::DeserializeOwned;

use super::error::ApiError;
use super::request::Request;
use crate::codes::Code;

/// The largest body of a route that has no reason for another limit.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

impl Request {
    /// Reads the body as JSON, at most `bytes_max` of it.
    ///
    /// Cancel-safe in so far as the connection is closed when the rest of the body is not read.
    pub async fn read_json<T: DeserializeOwned>(&mut self, bytes_max: usize) -> Result<T, ApiError> {
        parse_json(&self.read_body(bytes_max).await?)
    }

    /// As [`Request::read_json`], but no body at all gives `T::default()`.
    pub async fn read_json_or_default<T: DeserializeOwned + Default>(&mut self, max: usize) -> Result<T, ApiError> {
        let body = self.read_body(max).await?;
        if body.is_empty() { Ok(T::default()) } else { parse_json(&body) }
    }

    /// For routes that need no body: whoever sends one all the same must call it JSON. It is not read.
    pub fn expect_json_or_nothing(&self) -> Result<(), ApiError> {
        if self.inner.body().is_end_stream() { Ok(()) } else { expect_json(self.headers()) }
    }

    /// Reads the body of a request that calls it JSON; empty when there is none.
    pub async fn read_body(&mut self, bytes_max: usize) -> Result<Bytes, ApiError> {
        if self.inner.body().is_end_stream() {
            return Ok(Bytes::new());
        }
        expect_json(self.headers())?;
        if content_length(self.headers()).is_some_and(|length| length > bytes_max as u64) {
            return Err(too_large(bytes_max));
        }
        let limit = self.timeouts().body;
        match tokio::time::timeout(limit, collect(self.inner.body_mut(), bytes_max)).await {
            Ok(read) => read,
            Err(_) => Err(Code::RequestTimeout.into()),
        }
    }
}

async fn collect(body: &mut Incoming, bytes_max: usize) -> Result<Bytes, ApiError> {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| ApiError::new(Code::MalformedBody).message("The body broke off.").log(e))?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + all.len() + data.len() > bytes_max {
            return Err(too_large(bytes_max));
        }
        if first.is_empty() && all.is_empty() {
            // Nearly every body comes in one piece, which needs no copy.
            first = data;
        } else {
            all.extend_from_slice(&std::mem::take(&mut first));
            all.extend_from_slice(&data);
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

/// Reads bytes as `T`: an object, since all our bodies are (serde would take an array for a struct).
pub fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let read = serde_path_to_error::deserialize(&mut reader).map_err(|e| {
        let path = e.path().to_string();
        (path, e.into_inner())
    });
    match read {
        Ok(value) => match reader.end() {
            Ok(()) if !is_object(body) => Err(ApiError::invalid("", "expected an object")),
            Ok(()) => Ok(value),
            Err(e) => Err(malformed(&e)),
        },
        // Reading stopped at the schema; what comes after may still be no JSON. The error's own category
        // does not tell: a number where the name of a variant should stand is called a syntax error.
        Err((path, e)) => match serde_json::from_slice::<serde_json::Value>(body) {
            Ok(_) => Err(violates(&path, &e)),
            Err(e) => Err(malformed(&e)),
        },
    }
}

fn is_object(body: &[u8]) -> bool {
    body.trim_ascii_start().first() == Some(&b'{')
}

fn expect_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let is_json = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(|value| {
        let essence = value.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case("application/json")
    });
    if is_json { Ok(()) } else { Err(Code::UnsupportedMediaType.into()) }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn too_large(bytes_max: usize) -> ApiError {
    ApiError::new(Code::BodyTooLarge).details(serde_json::json!({"bytesMax": bytes_max}))
}

fn malformed(e: &serde_json::Error) -> ApiError {
    ApiError::new(Code::MalformedBody).details(serde_json::json!({"problem": e.to_string()}))
}

/// Names the field: the path, and what serde says is missing or not known at the end of it.
fn violates(path: &str, e: &serde_json::Error) -> ApiError {
    let text = e.to_string();
    let problem = text.split(" at line ").next().unwrap_or(&text);
    let named = ["missing field `", "unknown field `", "duplicate field `"]
        .iter()
        .find_map(|start| problem.strip_prefix(start)?.split('`').next());
    let field = match (path, named) {
        (".", Some(name)) => name.to_owned(),
        (".", None) => String::new(),
        (path, Some(name)) if path != name && !path.ends_with(&format!(".{name}")) => format!("{path}.{name}"),
        (path, _) => path.to_owned(),
    };
    ApiError::invalid(&field, problem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::json;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Hold {
        #[allow(dead_code)]
        event_id: String,
        #[allow(dead_code)]
        seats: Vec<Seat>,
        #[allow(dead_code)]
        seconds: Option<u16>,
        #[allow(dead_code)]
        kind: Option<Kind>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "UPPERCASE")]
    enum Kind {
        Hold,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Seat {
        #[allow(dead_code)]
        seat_id: String,
    }

    fn refused(body: &str) -> (Code, String) {
        let error = parse_json::<Hold>(body.as_bytes()).unwrap_err();
        let details = error.body(crate::service::trace::TraceId::random()).details.unwrap();
        (error.code(), details["field"].as_str().unwrap_or("-").to_owned())
    }

    #[test]
    fn what_is_no_json_is_malformed() {
        let good = json!({"eventId": "e", "seats": [{"seatId": "a"}]}).to_string();
        assert!(parse_json::<Hold>(good.as_bytes()).is_ok());
        for bad in
            ["", " ", "{", "nope", "{\"eventId\":5,", "{\"eventId\":\"\\ud800\"}", &format!("{good} x"), "\u{feff}{}"]
        {
            assert_eq!(refused(bad).0, Code::MalformedBody, "{bad}");
        }
        assert_eq!(parse_json::<Hold>(b"{\"eventId\":\"\xff\"}").unwrap_err().code(), Code::MalformedBody);
        let deep = "[".repeat(100_000);
        assert_eq!(refused(&deep).0, Code::MalformedBody);
    }

    #[test]
    fn what_breaks_the_schema_names_the_field() {
        for (bad, field) in [
            (r#"{"seats":[]}"#, "eventId"),
            (r#"{"eventId":5,"seats":[]}"#, "eventId"),
            (r#"{"eventId":"e","seats":[{"seatId":"a"},{}]}"#, "seats[1].seatId"),
            (r#"{"eventId":"e","seats":[{"seatId":7}]}"#, "seats[0].seatId"),
            (r#"{"eventId":"e","seats":[{"seatId":"a","x":1}]}"#, "seats[0].x"),
            (r#"{"eventId":"e","seats":[],"seconds":70000}"#, "seconds"),
            (r#"{"eventId":"e","seats":[],"seconds":-1}"#, "seconds"),
            (r#"{"eventId":"e","seats":[],"other":1}"#, "other"),
            (r#"{"eventId":"e","eventId":"f","seats":[]}"#, "eventId"),
            (r#"{"eventId":"e","seats":[],"kind":5}"#, "kind"),
            (r#"{"eventId":"e","seats":[],"kind":"HOLDS"}"#, "kind"),
            (r#"{"kind":{},"eventId":"e","seats":[]}"#, "kind"),
            ("[]", ""),
            (r#"["e",[]]"#, ""),
            ("5", ""),
            ("null", ""),
        ] {
            assert_eq!(refused(bad), (Code::InvalidRequest, field.to_owned()), "{bad}");
        }
    }
}
