//! Settings: a table of what there is, four places they come from, one list of all that is wrong.
//!
//! A flag beats the environment, which beats the file, which beats the default. A server declares a
//! table of [`Setting`]s; [`load`] reads all sources into a [`Raw`]; the server turns that into its
//! own configuration with [`Raw`]'s getters, which note problems instead of failing, and
//! [`Raw::finish`] gives them all at once.

mod command;
mod file;
mod problem;
mod raw;
mod shared;

pub use command::{Command, Program, load};
pub use problem::{Problem, Problems, Source};
pub use raw::Raw;
pub use shared::{OPERATOR_TOKEN_CHARS_MIN, SHARED, SharedConfig};

/// The environment, as a function so that tests need none.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What kind of value a setting has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One value.
    Value,
    /// Several: a repeated flag, or separated by commas; in the file an array too.
    List,
    /// The flag and the file name a file with the secret in it; the environment holds the secret
    /// itself, or names the file in the variable of that name with `_FILE` behind it.
    SecretFile,
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its name: the flag without dashes, and the key in the file.
    pub key: &'static str,
    /// Its environment variable.
    pub env: Option<&'static str>,
    /// What the help calls its value.
    pub value_name: &'static str,
    /// What it is when nobody says.
    pub default: Option<&'static str>,
    /// What the help says.
    pub help: &'static str,
    /// What kind of value it has.
    pub kind: Kind,
    /// Whether its value is a secret, or a URL that may have a password in it.
    pub secret: bool,
}

impl Setting {
    /// One value, with an environment variable and no default.
    pub const fn value(key: &'static str, env: &'static str, value_name: &'static str, help: &'static str) -> Self {
        Self { key, env: Some(env), value_name, default: None, help, kind: Kind::Value, secret: false }
    }

    /// Several values.
    pub const fn list(key: &'static str, env: &'static str, value_name: &'static str, help: &'static str) -> Self {
        Self { kind: Kind::List, ..Self::value(key, env, value_name, help) }
    }

    /// A secret in a file; `env` holds the secret itself.
    pub const fn secret_file(key: &'static str, env: &'static str, help: &'static str) -> Self {
        Self { kind: Kind::SecretFile, secret: true, ..Self::value(key, env, "FILE", help) }
    }

    /// What it is when nobody says.
    pub const fn or(mut self, default: &'static str) -> Self {
        self.default = Some(default);
        self
    }

    /// A URL that may have a password in it, and is shown only when it has none.
    pub const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// What of a value may be shown: nothing of a secret. A URL's password stands before an `@` or
    /// among its parameters.
    fn shown(&self, value: &str) -> Option<String> {
        let bare = self.kind == Kind::Value && !value.contains(['@', '?']);
        (!self.secret || bare).then(|| value.to_owned())
    }

    /// Without an environment variable.
    pub const fn without_env(mut self) -> Self {
        self.env = None;
        self
    }
}

#[cfg(test)]
mod tests;
