//! Settings as texts, and the getters that turn them into values and note what is wrong.

use std::collections::HashMap;
use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;

use super::{Problem, Problems, Setting, Source};
use crate::service::secret::Secret;

/// A secret's file is at most so large.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// What was said about one setting.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) texts: Vec<String>,
    pub(super) source: Source,
    /// Not the name of a file with the secret, but the secret.
    pub(super) is_secret_itself: bool,
}

/// Settings as they were given.
#[derive(Debug)]
pub struct Raw {
    table: Vec<Setting>,
    values: HashMap<&'static str, Given>,
    problems: Vec<Problem>,
    warnings: Vec<String>,
}

impl Raw {
    pub(super) fn new(
        table: Vec<Setting>,
        values: HashMap<&'static str, Given>,
        problems: Vec<Problem>,
        warnings: Vec<String>,
    ) -> Self {
        Self { table, values, problems, warnings }
    }

    /// The value of a setting that has a default. `expected` says what is right, as in "an address
    /// such as 127.0.0.1:3003". For a bad value, the default stands in until [`Raw::finish`].
    ///
    /// # Panics
    /// When the table has no such setting, or no default for it that can be read: a bug in the table.
    pub fn value<T, E: Display>(&mut self, key: &str, expected: &str, read: impl Fn(&str) -> Result<T, E>) -> T {
        if let Some(value) = self.optional(key, expected, &read) {
            return value;
        }
        let default = self.setting(key).default.unwrap_or_else(|| panic!("setting {key} has no default"));
        read(default).unwrap_or_else(|e| panic!("the default of setting {key} is bad: {e}"))
    }

    /// The value of a setting that may be absent (then its default, if it has one).
    pub fn optional<T, E: Display>(
        &mut self,
        key: &str,
        expected: &str,
        read: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = match self.texts(key) {
            Some(texts) => texts.first()?.clone(),
            None => self.setting(key).default?.to_owned(),
        };
        read(&text).map_err(|e| self.bad(key, &text, expected, &e.to_string())).ok()
    }

    /// As [`Raw::value`], for what `FromStr` reads.
    pub fn parse<T: FromStr<Err: Display>>(&mut self, key: &str, expected: &str) -> T {
        self.value(key, expected, str::parse)
    }

    /// A whole number within bounds.
    pub fn number(&mut self, key: &str, least: u64, most: u64) -> u64 {
        let expected = format!("a whole number from {least} to {most}");
        self.value(key, &expected, |text| match text.parse::<u64>() {
            Ok(number) if (least..=most).contains(&number) => Ok(number),
            Ok(_) => Err("out of range"),
            Err(_) => Err("not a whole number"),
        })
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, key: &str) -> bool {
        self.value(key, "true or false", str::parse::<bool>)
    }

    /// All values of a list; each bad one is noted and left out.
    pub fn list<T, E: Display>(&mut self, key: &str, expected: &str, read: impl Fn(&str) -> Result<T, E>) -> Vec<T> {
        let texts = match self.texts(key) {
            Some(texts) => texts.to_vec(),
            None => self.setting(key).default.map(split).unwrap_or_default(),
        };
        let mut values = Vec::new();
        for text in texts {
            match read(&text) {
                Ok(value) => values.push(value),
                Err(e) => self.bad(key, &text, expected, &e.to_string()),
            }
        }
        values
    }

    /// A secret of at least `chars_min` characters, from its file or from the environment; white
    /// space around it does not belong to it.
    pub fn secret(&mut self, key: &str, chars_min: usize) -> Option<Secret> {
        let given = self.given(key)?.clone();
        let text = given.texts.first()?;
        let secret = if given.is_secret_itself {
            text.clone()
        } else {
            match read_secret(text) {
                Ok(secret) => secret,
                Err(e) => {
                    // The name of the file is no secret, and who has to mend it needs it.
                    let expected = format!("a file with the secret in it ({e})");
                    self.note(key, Some(text.clone()), expected);
                    return None;
                }
            }
        };
        let secret = secret.trim();
        if secret.chars().count() < chars_min {
            self.note(key, None, format!("a secret of at least {chars_min} characters"));
            return None;
        }
        if !secret.chars().all(|c| c.is_ascii_graphic()) {
            self.note(key, None, "a secret of visible ASCII characters without spaces".to_owned());
            return None;
        }
        Some(Secret::new(secret.to_owned()))
    }

    /// The file that a secret stands in, when it stands in one.
    pub fn secret_path(&self, key: &str) -> Option<PathBuf> {
        let given = self.given(key).filter(|given| !given.is_secret_itself)?;
        given.texts.first().map(PathBuf::from)
    }

    /// The text of a setting, its default included, unread.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.texts(key) {
            Some(texts) => texts.first().map(String::as_str),
            None => self.setting(key).default,
        }
    }

    /// Whether somebody said something about it.
    pub fn is_given(&self, key: &str) -> bool {
        self.given(key).is_some()
    }

    /// Notes a problem that only shows when settings are seen together.
    pub fn problem(&mut self, key: &str, expected: &str) {
        let shown = self.shown(key);
        self.note(key, shown, expected.to_owned());
    }

    /// What is odd and stops nothing.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// All that is wrong, if anything is.
    pub fn finish(&mut self) -> Result<(), Problems> {
        let mut problems = std::mem::take(&mut self.problems);
        problems.dedup();
        if problems.is_empty() { Ok(()) } else { Err(Problems(problems)) }
    }

    fn setting(&self, key: &str) -> &Setting {
        self.table.iter().find(|setting| setting.key == key).unwrap_or_else(|| panic!("no setting is called {key}"))
    }

    fn given(&self, key: &str) -> Option<&Given> {
        let key = self.setting(key).key;
        self.values.get(key)
    }

    fn texts(&self, key: &str) -> Option<&[String]> {
        self.given(key).map(|given| given.texts.as_slice())
    }

    /// The value as a problem may show it: all of a list.
    fn shown(&self, key: &str) -> Option<String> {
        let text = self.texts(key).map(|texts| texts.join(", ")).or_else(|| self.text(key).map(str::to_owned))?;
        self.setting(key).shown(&text)
    }

    fn bad(&mut self, key: &str, text: &str, expected: &str, error: &str) {
        let shown = self.setting(key).shown(text);
        // An error's own words may repeat the value: those about a hidden one are left out.
        let expected = if shown.is_some() { format!("{expected} ({error})") } else { expected.to_owned() };
        self.note(key, shown, expected);
    }

    fn note(&mut self, key: &str, value: Option<String>, expected: String) {
        let source = self.given(key).map_or(Source::Default, |given| given.source.clone());
        self.problems.push(Problem { key: key.to_owned(), value, source, expected });
    }
}

/// A list in one text: its parts between commas, without the spaces around them.
pub(super) fn split(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

fn read_secret(path: &str) -> std::io::Result<String> {
    let length = std::fs::metadata(path)?.len();
    if length > SECRET_BYTES_MAX {
        return Err(std::io::Error::other(format!("{length} bytes are more than {SECRET_BYTES_MAX}")));
    }
    std::fs::read_to_string(path)
}
