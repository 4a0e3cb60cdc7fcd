//! What goes to the store and what comes back, without the client's types.

use std::str::FromStr;

use bytes::Bytes;
use fred::types::{Resp3Frame, Value as FredValue};

use super::StoreError;

/// A key or an argument: any bytes, or a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arg {
    /// Bytes, sent as they are.
    Bytes(Bytes),
    /// A number, sent in decimal.
    Int(i64),
}

macro_rules! arg_from {
    ($($from:ty, $value:ident => $arg:expr;)*) => {
        $(impl From<$from> for Arg {
            fn from($value: $from) -> Self {
                $arg
            }
        })*
    };
}

arg_from! {
    Bytes, value => Self::Bytes(value);
    &Bytes, value => Self::Bytes(value.clone());
    Vec<u8>, value => Self::Bytes(value.into());
    &[u8], value => Self::Bytes(Bytes::copy_from_slice(value));
    String, value => Self::Bytes(value.into());
    &String, value => value.as_str().into();
    &str, value => value.as_bytes().into();
    i64, value => Self::Int(value);
    u32, value => Self::Int(value.into());
    u64, value => i64::try_from(value).map_or_else(|_| value.to_string().into(), Self::Int);
    usize, value => (value as u64).into();
    bool, value => Self::Int(value.into());
    &Arg, value => value.clone();
}

impl From<Arg> for FredValue {
    fn from(arg: Arg) -> Self {
        match arg {
            Arg::Bytes(bytes) => Self::Bytes(bytes),
            Arg::Int(number) => Self::Integer(number),
        }
    }
}

/// An answer of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing.
    Nil,
    /// A whole number.
    Int(i64),
    /// A string of any bytes; also a status such as `OK`.
    Bytes(Bytes),
    /// A list.
    Array(Vec<Value>),
}

impl Value {
    /// Reads a frame. An error in it, however deep, is given as `Err` with the server's words.
    pub(super) fn from_frame(frame: Resp3Frame) -> Result<Self, String> {
        Ok(match frame {
            Resp3Frame::BlobString { data, .. }
            | Resp3Frame::SimpleString { data, .. }
            | Resp3Frame::BigNumber { data, .. }
            | Resp3Frame::VerbatimString { data, .. } => Self::Bytes(data),
            Resp3Frame::ChunkedString(data) => Self::Bytes(data),
            Resp3Frame::Number { data, .. } => Self::Int(data),
            Resp3Frame::Boolean { data, .. } => Self::Int(data.into()),
            Resp3Frame::Double { data, .. } => Self::Bytes(data.to_string().into()),
            Resp3Frame::Null => Self::Nil,
            Resp3Frame::Array { data, .. } | Resp3Frame::Push { data, .. } => Self::list(data)?,
            Resp3Frame::Set { data, .. } => Self::list(data)?,
            Resp3Frame::Map { data, .. } => Self::list(data.into_iter().flat_map(|(key, value)| [key, value]))?,
            Resp3Frame::SimpleError { data, .. } => return Err(data.to_string()),
            Resp3Frame::BlobError { data, .. } => return Err(String::from_utf8_lossy(&data).into_owned()),
            Resp3Frame::Hello { .. } => Self::Nil,
        })
    }

    /// Reads what the client has made of a frame.
    pub(super) fn from_client(value: FredValue) -> Self {
        match value {
            FredValue::Null => Self::Nil,
            FredValue::Integer(number) => Self::Int(number),
            FredValue::Boolean(flag) => Self::Int(flag.into()),
            FredValue::Double(number) => Self::Bytes(number.to_string().into()),
            FredValue::Bytes(bytes) => Self::Bytes(bytes),
            FredValue::String(text) => Self::Bytes(text.into_inner()),
            FredValue::Queued => Self::Bytes(Bytes::from_static(b"QUEUED")),
            FredValue::Array(values) => Self::Array(values.into_iter().map(Self::from_client).collect()),
            FredValue::Map(map) => {
                let pairs = map.inner().into_iter().flat_map(|(key, value)| [key.into(), value]);
                Self::Array(pairs.map(Self::from_client).collect())
            }
        }
    }

    fn list(frames: impl IntoIterator<Item = Resp3Frame>) -> Result<Self, String> {
        frames.into_iter().map(Self::from_frame).collect::<Result<_, _>>().map(Self::Array)
    }

    /// Reads this answer of `name` as a list.
    pub fn into_reply(self, name: &'static str) -> Result<Reply, StoreError> {
        match self {
            Self::Array(items) => Ok(Reply { name, at: 0, items: items.into_iter() }),
            other => Err(wrong(name, "a list", &other)),
        }
    }

    /// Reads this answer of `name` as a whole number.
    pub fn into_int(self, name: &'static str) -> Result<i64, StoreError> {
        match &self {
            Self::Int(number) => Some(*number),
            Self::Bytes(bytes) => std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()),
            _ => None,
        }
        .ok_or_else(|| wrong(name, "a whole number", &self))
    }

    /// Reads this answer of `name` as bytes.
    pub fn into_bytes(self, name: &'static str) -> Result<Bytes, StoreError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Int(number) => Ok(number.to_string().into()),
            other => Err(wrong(name, "a string", &other)),
        }
    }

    /// Reads this answer of `name` as text.
    pub fn into_text(self, name: &'static str) -> Result<String, StoreError> {
        String::from_utf8(self.into_bytes(name)?.into())
            .map_err(|_| StoreError::Reply { name, problem: "expected UTF-8".to_owned() })
    }

    /// Nothing, or something.
    pub fn into_option(self) -> Option<Self> {
        match self {
            Self::Nil => None,
            other => Some(other),
        }
    }
}

fn wrong(name: &'static str, expected: &str, got: &Value) -> StoreError {
    let got = match got {
        Value::Nil => "nothing",
        Value::Int(_) => "a number",
        Value::Bytes(_) => "a string",
        Value::Array(_) => "a list",
    };
    StoreError::Reply { name, problem: format!("expected {expected}, got {got}") }
}

/// Reads a list from front to back. Each error says which element of whose answer was wrong.
#[derive(Clone, Debug)]
pub struct Reply {
    name: &'static str,
    at: usize,
    items: std::vec::IntoIter<Value>,
}

impl Reply {
    /// The next element, whatever it is.
    pub fn value(&mut self) -> Result<Value, StoreError> {
        self.at += 1;
        self.items.next().ok_or_else(|| self.problem("the list ends before it"))
    }

    /// A whole number, also when it came as decimal text.
    pub fn int(&mut self) -> Result<i64, StoreError> {
        let value = self.value()?;
        value.into_int(self.name).map_err(|error| self.placed(error))
    }

    /// A whole number that is not negative, also when it came as decimal text.
    pub fn u64(&mut self) -> Result<u64, StoreError> {
        match self.value()? {
            Value::Int(number) => u64::try_from(number).map_err(|_| self.problem("negative")),
            other => {
                let text = other.into_text(self.name).map_err(|error| self.placed(error))?;
                text.parse().map_err(|_| self.problem("expected a whole number"))
            }
        }
    }

    /// Nothing (nil or an empty string), or a whole number that is not negative.
    pub fn optional_u64(&mut self) -> Result<Option<u64>, StoreError> {
        match self.items.as_slice().first() {
            Some(Value::Nil) => self.value().map(|_| None),
            Some(Value::Bytes(bytes)) if bytes.is_empty() => self.value().map(|_| None),
            _ => self.u64().map(Some),
        }
    }

    /// Any bytes.
    pub fn bytes(&mut self) -> Result<Bytes, StoreError> {
        let value = self.value()?;
        value.into_bytes(self.name).map_err(|error| self.placed(error))
    }

    /// Text.
    pub fn text(&mut self) -> Result<String, StoreError> {
        let value = self.value()?;
        value.into_text(self.name).map_err(|error| self.placed(error))
    }

    /// Text that spells a `T`.
    pub fn parse<T: FromStr>(&mut self) -> Result<T, StoreError> {
        let text = self.bytes()?;
        let parsed = std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok());
        parsed.ok_or_else(|| self.problem(&format!("not a {}", std::any::type_name::<T>())))
    }

    /// Nothing (nil or an empty string), or text that spells a `T`.
    pub fn optional_parse<T: FromStr>(&mut self) -> Result<Option<T>, StoreError> {
        match self.items.as_slice().first() {
            Some(Value::Nil) => self.value().map(|_| None),
            Some(Value::Bytes(bytes)) if bytes.is_empty() => self.value().map(|_| None),
            _ => self.parse().map(Some),
        }
    }

    /// A list in the list.
    pub fn list(&mut self) -> Result<Reply, StoreError> {
        let value = self.value()?;
        value.into_reply(self.name).map_err(|error| self.placed(error))
    }

    /// How many elements are left.
    pub fn remaining(&self) -> usize {
        self.items.len()
    }

    /// Whether no element is left.
    pub fn is_empty(&self) -> bool {
        self.remaining() == 0
    }

    /// An error about the element that was read last.
    pub fn problem(&self, problem: &str) -> StoreError {
        StoreError::Reply { name: self.name, problem: format!("element {}: {problem}", self.at) }
    }

    fn placed(&self, error: StoreError) -> StoreError {
        match error {
            StoreError::Reply { problem, .. } => self.problem(&problem),
            other => other,
        }
    }
}
