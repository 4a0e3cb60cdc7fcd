//! Reads JSON bodies field by field and names every problem at once, unknown fields included.

use std::ops::RangeInclusive;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::limits::PROBLEMS_MAX;

/// One thing that is wrong with a body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Where, such as `sections[0].rows`.
    pub field: String,
    /// What kind of problem it is, for programs.
    pub code: &'static str,
    /// What was expected.
    pub problem: String,
    /// The field is in the contract, but not built yet.
    #[serde(skip)]
    pub not_supported: bool,
}

/// What kind of problem it is, where nothing more is to be said by a code.
const INVALID: &str = "INVALID";

/// What was wrong so far, bounded.
#[derive(Debug, Default)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Notes a problem.
    pub fn add(&mut self, field: impl Into<String>, problem: impl Into<String>) {
        self.add_coded(field, INVALID, problem);
    }

    /// Notes a problem of a kind.
    pub fn add_coded(&mut self, field: impl Into<String>, code: &'static str, problem: impl Into<String>) {
        if !self.is_full() {
            self.0.push(Problem { field: field.into(), code, problem: problem.into(), not_supported: false });
        }
    }

    /// Whether no more are noted: who looks for them may stop.
    pub fn is_full(&self) -> bool {
        self.0.len() >= PROBLEMS_MAX
    }

    /// Notes a field that a later version will take.
    pub fn not_supported(&mut self, field: impl Into<String>) {
        if !self.is_full() {
            let (code, problem) = ("NOT_SUPPORTED", "is not supported yet".into());
            self.0.push(Problem { field: field.into(), code, problem, not_supported: true });
        }
    }

    /// Whether anything is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether something is wrong with that field.
    pub fn names(&self, field: &str) -> bool {
        self.0.iter().any(|problem| problem.field == field)
    }

    /// The value, if nothing was wrong.
    pub fn or<T>(self, value: Option<T>) -> Result<T, Vec<Problem>> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(self.0),
        }
    }
}

/// One object of a body. Fields are taken out of it; what is left at the end is unknown.
pub struct Fields<'a> {
    left: Map<String, Value>,
    path: String,
    problems: &'a mut Problems,
}

impl<'a> Fields<'a> {
    /// Opens an object. `path` is empty for the body itself.
    pub fn open(value: Value, path: String, problems: &'a mut Problems) -> Option<Self> {
        match value {
            Value::Object(left) => Some(Self { left, path, problems }),
            _ => {
                problems.add_coded(path, "NOT_AN_OBJECT", "must be an object");
                None
            }
        }
    }

    /// The full name of a field.
    pub fn name(&self, field: &str) -> String {
        if self.path.is_empty() { field.to_owned() } else { format!("{}.{field}", self.path) }
    }

    /// Notes a problem of a field.
    pub fn problem(&mut self, field: &str, problem: impl Into<String>) {
        self.problem_coded(field, INVALID, problem);
    }

    /// Notes a problem of a field, of a kind.
    pub fn problem_coded(&mut self, field: &str, code: &'static str, problem: impl Into<String>) {
        let name = self.name(field);
        self.problems.add_coded(name, code, problem);
    }

    /// The list of problems, for what is nested.
    pub fn problems(&mut self) -> &mut Problems {
        self.problems
    }

    /// Takes a field out; `null` is the same as absent.
    pub fn take(&mut self, field: &str) -> Option<Value> {
        self.left.remove(field).filter(|value| !value.is_null())
    }

    /// Puts a taken field back, for whoever reads it next.
    fn put_back(&mut self, field: &str, value: Value) {
        self.left.insert(field.to_owned(), value);
    }

    /// Whether a field is there and not `null`.
    pub fn has(&self, field: &str) -> bool {
        self.left.get(field).is_some_and(|value| !value.is_null())
    }

    /// A field that must be there.
    fn required(&mut self, field: &str, expected: &str) -> Option<Value> {
        let value = self.take(field);
        if value.is_none() {
            self.problem_coded(field, "REQUIRED", format!("is required: {expected}"));
        }
        value
    }

    /// An identifier that must be there.
    pub fn id<T: std::str::FromStr<Err = queue_core::ids::InvalidId>>(&mut self, field: &str) -> Option<T> {
        let value = self.required(field, "an identifier")?;
        let id = value.as_str().and_then(|text| text.parse().ok());
        if id.is_none() {
            self.problem_coded(field, "INVALID_ID", queue_core::ids::InvalidId.to_string());
        }
        id
    }

    /// An identifier that may be absent.
    pub fn optional_id<T: std::str::FromStr<Err = queue_core::ids::InvalidId>>(&mut self, field: &str) -> Option<T> {
        let value = self.take(field)?;
        self.put_back(field, value);
        self.id(field)
    }

    /// A text of 1 to `chars_max` characters, none of them a control character.
    pub fn text(&mut self, field: &str, chars_max: usize) -> Option<String> {
        let expected = format!("1 to {chars_max} characters");
        let value = self.required(field, &expected)?;
        let text = value.as_str().filter(|text| {
            let chars = text.chars().count();
            (1..=chars_max).contains(&chars) && !text.chars().any(char::is_control) && !text.trim().is_empty()
        });
        if text.is_none() {
            self.problem_coded(field, "INVALID_TEXT", format!("must be text of {expected}"));
        }
        text.map(str::to_owned)
    }

    /// As [`text`](Self::text), but may be absent.
    pub fn optional_text(&mut self, field: &str, chars_max: usize) -> Option<String> {
        let value = self.take(field)?;
        self.put_back(field, value);
        self.text(field, chars_max)
    }

    /// A whole number that must be there.
    pub fn number(&mut self, field: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let value = self.required(field, &expected(&range))?;
        let number = value.as_u64().filter(|number| range.contains(number));
        if number.is_none() {
            self.problem_coded(field, "OUT_OF_RANGE", format!("must be {}", expected(&range)));
        }
        number
    }

    /// A whole number that may be absent.
    pub fn optional_number(&mut self, field: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let value = self.take(field)?;
        self.put_back(field, value);
        self.number(field, range)
    }

    /// Yes or no; absent is `None`.
    pub fn optional_flag(&mut self, field: &str) -> Option<bool> {
        let value = self.take(field)?;
        let flag = value.as_bool();
        if flag.is_none() {
            self.problem(field, "must be true or false");
        }
        flag
    }

    /// A list of at most `len_max`; absent is `None`.
    pub fn list(&mut self, field: &str, len_max: usize) -> Option<Vec<Value>> {
        match self.take(field)? {
            Value::Array(items) if items.len() <= len_max => Some(items),
            other => {
                let code = if other.is_array() { "TOO_MANY" } else { "NOT_A_LIST" };
                self.problem_coded(field, code, format!("must be a list of at most {len_max}"));
                None
            }
        }
    }

    /// Notes every field that was not taken.
    pub fn finish(self) {
        for field in self.left.keys() {
            let name = if self.path.is_empty() { field.clone() } else { format!("{}.{field}", self.path) };
            // The name came from outside: a short form of it goes into the answer.
            self.problems.add_coded(
                name.chars().take(200).collect::<String>(),
                "UNKNOWN_FIELD",
                "is not a known field",
            );
        }
    }
}

fn expected(range: &RangeInclusive<u64>) -> String {
    format!("a whole number from {} to {}", range.start(), range.end())
}
