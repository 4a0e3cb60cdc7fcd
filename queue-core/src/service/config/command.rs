//! The command line, and the reading of all sources.

use std::collections::HashMap;

use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches};

use super::raw::split;
use super::{Env, Kind, Problem, Raw, Setting, Source, file};

const CONFIG: &str = "config";
const CHECK_CONFIG: &str = "check-config";
const CONFIG_ENV: &str = "USHER_CONFIG";
const ENV_PREFIX: &str = "USHER_";

/// A program that has settings.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// What it is called.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// What it does, in a sentence.
    pub about: &'static str,
    /// Tables of its settings.
    pub tables: &'static [&'static [Setting]],
    /// Environment variables of programs that share the environment.
    pub foreign_env: &'static [&'static str],
}

/// What the command line asks for.
#[derive(Debug)]
pub enum Command {
    /// To run with these settings.
    Run(Raw),
    /// To check these settings only.
    CheckConfig(Raw),
    /// To print this (help or version) and end.
    Print(String),
}

impl Program {
    /// All settings.
    pub fn settings(&self) -> Vec<Setting> {
        self.tables.iter().flat_map(|table| table.iter().copied()).collect()
    }

    fn clap(&self) -> clap::Command {
        let mut command = clap::Command::new(self.name)
            .version(self.version)
            .about(self.about)
            .after_help("A flag beats the environment, which beats the file, which beats the default.")
            .subcommand(clap::Command::new(CHECK_CONFIG).about("Checks the settings, and does nothing else"))
            .arg(arg(CONFIG, "FILE", format!("Settings from a TOML file [env: {CONFIG_ENV}]")));
        for setting in self.settings() {
            let mut help = setting.help.to_owned();
            if let Some(env) = setting.env {
                help += &match setting.kind {
                    Kind::SecretFile => format!(" [env: {env} holds the secret itself]"),
                    _ => format!(" [env: {env}]"),
                };
            }
            if let Some(default) = setting.default {
                help += &format!(" [default: {default}]");
            }
            command = command.arg(arg(setting.key, setting.value_name, help));
        }
        command
    }
}

fn arg(key: &'static str, value_name: &'static str, help: String) -> Arg {
    // Repeated flags are collected here and judged later, together with all else.
    Arg::new(key)
        .long(key)
        .value_name(value_name)
        .help(help)
        .action(ArgAction::Append)
        .num_args(1)
        .allow_negative_numbers(true)
        .value_parser(ValueParser::string())
        .global(true)
}

/// Reads the arguments (the program's name first), the environment and the file.
pub fn load(
    program: &Program,
    args: impl IntoIterator<Item = String>,
    env: Env<'_>,
    env_names: impl IntoIterator<Item = String>,
) -> Command {
    let settings = program.settings();
    let mut problems = Vec::new();
    let matches = match parse_args(program, args.into_iter().collect(), &mut problems) {
        Ok(matches) => matches,
        Err(text) => return Command::Print(text),
    };
    let check = matches.subcommand_name() == Some(CHECK_CONFIG);
    // What stands behind the subcommand is found there: both places count.
    let flags = |key: &str| -> Vec<String> {
        matches.get_many::<String>(key).map(|values| values.cloned().collect()).unwrap_or_default()
    };
    let mut config = flags(CONFIG);
    if config.len() > 1 {
        problems.push(twice(CONFIG, None));
    }
    let path = config.pop().or_else(|| env(CONFIG_ENV).filter(|path| !path.is_empty()));
    let from_file = path.map(|path| file::read(&path, &settings, &mut problems)).unwrap_or_default();
    let values = settings
        .iter()
        .filter_map(|setting| Some((setting.key, merge(setting, flags(setting.key), env, &from_file, &mut problems)?)))
        .collect();
    let warnings = unknown_env(program, &settings, env_names);
    let raw = Raw::new(settings, values, problems, warnings);
    if check { Command::CheckConfig(raw) } else { Command::Run(raw) }
}

/// Lets clap read the arguments again without each one that it does not know, so that all are named.
fn parse_args(program: &Program, mut args: Vec<String>, problems: &mut Vec<Problem>) -> Result<ArgMatches, String> {
    loop {
        let error = match program.clap().try_get_matches_from(&args) {
            Ok(matches) => return Ok(matches),
            Err(error) => error,
        };
        if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
            return Err(error.render().to_string());
        }
        let named = match error.get(ContextKind::InvalidArg).or_else(|| error.get(ContextKind::InvalidSubcommand)) {
            Some(ContextValue::String(text)) => text.split([' ', '=']).next().unwrap_or_default().to_owned(),
            _ => String::new(),
        };
        let known = program.settings().iter().any(|setting| named.strip_prefix("--") == Some(setting.key));
        let expected =
            if known || named == "--config" { "a value" } else { "a known flag or command: this one is not" };
        problems.push(Problem { key: named.clone(), value: None, source: Source::Flag, expected: expected.to_owned() });
        let at = args.iter().skip(1).position(|arg| *arg == named || arg.starts_with(&format!("{named}=")));
        let Some(at) = at.map(|at| at + 1) else {
            // It cannot be found and left out: what clap says in its own words has to do.
            let expected = error.render().to_string().trim().replace('\n', " ");
            *problems.last_mut().expect("one was just pushed") =
                Problem { key: "arguments".to_owned(), value: None, source: Source::Flag, expected };
            args.truncate(1);
            continue;
        };
        let bare = args.remove(at);
        // What follows an unknown flag is most likely its value, and no problem of its own.
        let is_value = |arg: &String| !arg.starts_with('-') && arg != CHECK_CONFIG;
        if bare.starts_with("--") && !bare.contains('=') && args.get(at).is_some_and(is_value) {
            args.remove(at);
        }
    }
}

fn merge(
    setting: &Setting,
    flags: Vec<String>,
    env: Env<'_>,
    from_file: &HashMap<&'static str, (Vec<String>, Source)>,
    problems: &mut Vec<Problem>,
) -> Option<super::raw::Given> {
    use super::raw::Given;
    if !flags.is_empty() {
        if flags.len() > 1 && setting.kind != Kind::List {
            problems.push(twice(setting.key, setting.shown(&flags.join(", "))));
        }
        let texts = match setting.kind {
            Kind::List => flags.iter().flat_map(|flag| split(flag)).collect(),
            _ => flags.into_iter().take(1).collect(),
        };
        return Some(Given { texts, source: Source::Flag, is_secret_itself: false });
    }
    // A variable that is set to nothing is how many tools leave one out.
    if let Some(name) = setting.env
        && let Some(text) = env(name).filter(|text| !text.is_empty())
    {
        let texts = if setting.kind == Kind::List { split(&text) } else { vec![text] };
        let is_secret_itself = setting.kind == Kind::SecretFile;
        return Some(Given { texts, source: Source::Env(name.to_owned()), is_secret_itself });
    }
    if let Some(name) = setting.env.filter(|_| setting.kind == Kind::SecretFile).map(|name| format!("{name}_FILE"))
        && let Some(text) = env(&name).filter(|text| !text.is_empty())
    {
        return Some(Given { texts: vec![text], source: Source::Env(name), is_secret_itself: false });
    }
    let (texts, source) = from_file.get(setting.key)?.clone();
    Some(Given { texts, source, is_secret_itself: false })
}

fn twice(key: &str, value: Option<String>) -> Problem {
    let expected = "one value: it was given more than once".to_owned();
    Problem { key: key.to_owned(), value, source: Source::Flag, expected }
}

fn unknown_env(program: &Program, settings: &[Setting], names: impl IntoIterator<Item = String>) -> Vec<String> {
    let known = |name: &str| {
        name == CONFIG_ENV
            || program.foreign_env.contains(&name)
            || settings.iter().any(|s| {
                let file = |env: &str| s.kind == Kind::SecretFile && name.strip_suffix("_FILE") == Some(env);
                s.env.is_some_and(|env| env == name || file(env))
            })
    };
    let mut unknown: Vec<_> = names.into_iter().filter(|name| name.starts_with(ENV_PREFIX) && !known(name)).collect();
    unknown.sort();
    unknown.into_iter().map(|name| format!("environment variable {name} is no setting of {}", program.name)).collect()
}
