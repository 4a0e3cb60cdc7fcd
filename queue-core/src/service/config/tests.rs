//! Tests of the settings.

use std::io::Write;

use super::*;

const OWN: &[Setting] = &[
    Setting::value("listen", "USHER_LISTEN", "ADDR", "").or("127.0.0.1:3003"),
    Setting::value("ops-listen", "USHER_OPS_LISTEN", "ADDR", "").or("127.0.0.1:9003"),
    Setting::value("fast", "USHER_FAST", "BOOL", "").or("false"),
    Setting::value("only-flag", "", "TEXT", "").without_env(),
];
const PROGRAM: Program =
    Program { name: "prog", version: "1.2.3", about: "Tests", tables: &[OWN, SHARED], foreign_env: &["USHER_LEDGER"] };
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

struct Input {
    args: Vec<String>,
    env: Vec<(String, String)>,
}

impl Input {
    fn new(args: &[&str]) -> Self {
        let args = ["prog"].iter().chain(args).map(|arg| (*arg).to_owned()).collect();
        Self { args, env: vec![("HOME".into(), "/home/u".into())] }
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    fn load(&self) -> Command {
        let names: Vec<_> = self.env.iter().map(|(name, _)| name.clone()).collect();
        load(&PROGRAM, self.args.clone(), &|name| self.get(name), names)
    }

    fn get(&self, name: &str) -> Option<String> {
        self.env.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone())
    }

    fn raw(&self) -> Raw {
        match self.load() {
            Command::Run(raw) | Command::CheckConfig(raw) => raw,
            Command::Print(text) => panic!("it prints {text}"),
        }
    }

    fn read(&self) -> Result<SharedConfig, Vec<String>> {
        let mut raw = self.raw();
        let config = SharedConfig::read(&mut raw, &|name| self.get(name));
        match raw.finish() {
            Ok(()) => Ok(config),
            Err(problems) => Err(problems.0.iter().map(ToString::to_string).collect()),
        }
    }
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn nothing_said_gives_the_defaults() {
    let config = Input::new(&[]).read().unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:3003");
    assert_eq!(config.ops_listen.to_string(), "127.0.0.1:9003");
    assert_eq!(config.store.expose(), "memory");
    assert_eq!(config.state_dir.to_str(), Some("/home/u/.local/state/usher"));
    assert_eq!(config.drain.as_secs(), 20);
    assert_eq!((config.issuer.as_str(), config.audience.as_str()), ("usher", "tickets"));
    assert!(config.operator_token.is_none());
}

#[test]
fn flag_beats_environment_beats_file_beats_default() {
    let toml = file("listen = \"127.0.0.1:1\"\ndrain_seconds = 3\nissuer = \"file\"\naudience = \"file\"\n");
    let path = toml.path().to_str().unwrap();
    let config = Input::new(&["--config", path, "--listen=127.0.0.1:3"])
        .env("USHER_LISTEN", "127.0.0.1:2")
        .env("USHER_ISSUER", "env")
        .env("USHER_AUDIENCE", "")
        .read()
        .unwrap();
    assert_eq!(config.listen.port(), 3, "flag");
    assert_eq!(config.issuer, "env");
    assert_eq!(config.audience, "file", "an empty variable says nothing");
    assert_eq!(config.drain.as_secs(), 3, "snake case is fine too");
    let config = Input::new(&[]).env("USHER_CONFIG", path).read().unwrap();
    assert_eq!(config.listen.port(), 1);
}

#[test]
fn lists_are_separated_or_repeated() {
    let toml = file(
        "ops-hosts = [\"a.example\", \"b.example:1\"]\nallowed-origins = \"https://x.example, https://y.example\"\n",
    );
    let path = toml.path().to_str().unwrap();
    let config =
        Input::new(&["--config", path, "--trusted-proxies", "10.0.0.0/8,::1", "--trusted-proxies", "192.0.2.1"])
            .read()
            .unwrap();
    assert_eq!(config.ops_hosts.len(), 2);
    assert_eq!(format!("{:?}", config.proxies).matches('/').count(), 3, "{:?}", config.proxies);
    assert!(format!("{:?}", config.origins).contains("https://y.example"));
    let config = Input::new(&[]).env("USHER_OPS_HOSTS", "a, b ,c").read().unwrap();
    assert_eq!(config.ops_hosts.len(), 3);
}

#[test]
fn all_problems_are_told_at_once() {
    let toml = file("drain-seconds = \"soon\"\nnonsense = 1\nissuer = [1]\n[table]\nx = 1\n");
    let path = toml.path().to_str().unwrap();
    let problems =
        Input::new(&["--config", path, "--listen", "here", "--bogus", "7", "--trusted-proxies=10.0.0.0/99,10.0.0.1"])
            .env("USHER_LOG_FORMAT", "xml")
            .env("USHER_LOG", "queue_core=loud")
            .read()
            .unwrap_err();
    let expect = [
        "--bogus (flag): expected a known flag",
        "listen = \"here\" (flag): expected an address and port such as",
        "trusted-proxies = \"10.0.0.0/99\" (flag): expected a network",
        "log-format = \"xml\" (environment variable USHER_LOG_FORMAT): expected auto, json or text",
        "log = \"queue_core=loud\" (environment variable USHER_LOG): expected a filter",
        &format!("drain-seconds = \"soon\" (file {path}): expected a whole number from 1 to 3600"),
        &format!("nonsense (file {path}): expected a known setting"),
        &format!("table (file {path}): expected a known setting"),
        &format!("issuer = \"[1]\" (file {path}): expected a string"),
    ];
    for wanted in expect {
        assert!(problems.iter().any(|problem| problem.starts_with(wanted)), "{wanted} in {problems:#?}");
    }
    assert_eq!(problems.len(), expect.len(), "{problems:#?}");
}

#[test]
fn flags_that_cannot_be_read_are_problems() {
    for (args, wanted) in [
        (&["--listen"][..], "--listen (flag): expected a value"),
        (
            &["--listen=127.0.0.1:1", "--listen=127.0.0.1:2"],
            "listen = \"127.0.0.1:1, 127.0.0.1:2\" (flag): expected one value",
        ),
        (&["start"], "start (flag): expected a known flag or command"),
        (&["-x"], "-x (flag): expected a known flag"),
        (&["--drain-seconds", "-5"], "drain-seconds = \"-5\" (flag): expected a whole number"),
        (&["--config", "/does/not/exist"], "config = \"/does/not/exist\""),
    ] {
        let problems = Input::new(args).read().unwrap_err();
        assert!(problems.iter().any(|problem| problem.starts_with(wanted)), "{wanted} in {problems:#?}");
        assert_eq!(problems.len(), 1, "{problems:#?}");
    }
    let problems = Input::new(&["--one", "1", "--two=2", "three", "--four"]).read().unwrap_err();
    assert_eq!(problems.len(), 4, "{problems:#?}");
}

#[test]
fn broken_files_are_problems() {
    for text in ["listen = ", "listen = 1\nlisten = 2\n", "= 5"] {
        let toml = file(text);
        let problems = Input::new(&["--config", toml.path().to_str().unwrap()]).read().unwrap_err();
        assert!(problems[0].contains("expected TOML (line"), "{problems:#?}");
    }
    let toml = file("ops-hosts = [\"a\"]\nops_hosts = [\"b\"]\n");
    let problems = Input::new(&["--config", toml.path().to_str().unwrap()]).read().unwrap_err();
    assert!(problems[0].contains("there twice"), "{problems:#?}");
}

#[test]
fn secrets_come_from_a_file_or_the_environment() {
    let secret = file(&format!("  {TOKEN}\n"));
    let path = secret.path().to_str().unwrap();
    let token = |input: Input| input.read().unwrap().operator_token.unwrap().expose().to_owned();
    assert_eq!(token(Input::new(&["--operator-token-file", path])), TOKEN);
    assert_eq!(token(Input::new(&[]).env("USHER_OPERATOR_TOKEN", TOKEN)), TOKEN);
    assert_eq!(token(Input::new(&[]).env("USHER_OPERATOR_TOKEN_FILE", path)), TOKEN);
    let toml = file(&format!("operator-token-file = \"{path}\""));
    assert_eq!(token(Input::new(&["--config", toml.path().to_str().unwrap()])), TOKEN);
}

#[test]
fn secrets_are_never_shown() {
    let short = "s3cr3t-but-short";
    let secret = file(short);
    for input in [
        Input::new(&["--operator-token-file", secret.path().to_str().unwrap()]),
        Input::new(&[]).env("USHER_OPERATOR_TOKEN", short),
        Input::new(&[]).env("USHER_PEER_TOKEN", &format!("{short} with spaces and many characters")),
    ] {
        let problems = input.read().unwrap_err();
        assert_eq!(problems.len(), 1);
        assert!(problems[0].contains("token-file") && !problems[0].contains(short), "{problems:#?}");
    }
    let problems = Input::new(&["--operator-token-file", "/does/not/exist"]).read().unwrap_err();
    assert!(problems[0].starts_with("operator-token-file = \"/does/not/exist\" (flag): expected a file"));
    let mut raw = Input::new(&["--store", "redis:/u:hunter2@h"]).raw();
    raw.problem("store", "a store's URL");
    assert!(!format!("{}", raw.finish().unwrap_err()).contains("hunter2"));
    let mut raw = Input::new(&["--store", "mysql://h"]).raw();
    raw.problem("store", "a store's URL");
    assert_eq!(raw.finish().unwrap_err().0[0].value.as_deref(), Some("mysql://h"));
}

#[test]
fn the_state_folder_follows_xdg() {
    let dir = |input: Input| input.read().unwrap().state_dir.display().to_string();
    assert_eq!(dir(Input::new(&[]).env("XDG_STATE_HOME", "/x")), "/x/usher");
    assert_eq!(dir(Input::new(&[]).env("XDG_STATE_HOME", "relative")), "/home/u/.local/state/usher");
    assert_eq!(dir(Input::new(&["--state-dir", "/s"]).env("XDG_STATE_HOME", "/x")), "/s");
    let mut homeless = Input::new(&[]);
    homeless.env.clear();
    assert!(homeless.read().unwrap_err()[0].starts_with("state-dir (default): expected a folder"));
}

#[test]
fn what_does_not_go_together_is_a_problem() {
    let problems = Input::new(&["--ops-listen", "127.0.0.1:3003"]).read().unwrap_err();
    assert!(
        problems[0].starts_with("ops-listen = \"127.0.0.1:3003\" (flag): expected another address"),
        "{problems:?}"
    );
}

#[test]
fn unknown_variables_are_warned_of() {
    let input = Input::new(&[])
        .env("USHER_LEDGER", "of the other server")
        .env("USHER_LISTEM", "typo")
        .env("USHER_OPERATOR_TOKEN_FILE", "")
        .env("OTHER", "x");
    assert_eq!(input.raw().warnings(), ["environment variable USHER_LISTEM is no setting of prog"]);
    assert!(input.read().is_ok());
}

#[test]
fn check_config_help_and_version_are_told_apart() {
    for args in [
        &["check-config"][..],
        &["check-config", "--listen", "127.0.0.1:1"],
        &["--listen", "127.0.0.1:1", "check-config"],
    ] {
        assert!(matches!(Input::new(args).load(), Command::CheckConfig(_)), "{args:?}");
    }
    assert_eq!(Input::new(&["check-config", "--listen", "127.0.0.1:1"]).read().unwrap().listen.port(), 1);
    assert_eq!(Input::new(&["--listen", "127.0.0.1:1", "check-config"]).read().unwrap().listen.port(), 1);
    let Command::Print(help) = Input::new(&["--help"]).load() else { panic!("help") };
    for setting in PROGRAM.settings() {
        assert!(help.contains(&format!("--{}", setting.key)), "{help}");
        assert!(setting.env.is_none_or(|env| help.contains(env)), "{help}");
    }
    let Command::Print(version) = Input::new(&["--version"]).load() else { panic!("version") };
    assert_eq!(version.trim(), "prog 1.2.3");
}

#[test]
fn other_kinds_are_read() {
    let toml = file("fast = true\nworker-threads = 3");
    let mut raw = Input::new(&["--config", toml.path().to_str().unwrap(), "--only-flag", "x"]).raw();
    assert!(raw.boolean("fast"));
    assert_eq!(raw.number("worker-threads", 0, 8), 3);
    assert_eq!(raw.text("only-flag"), Some("x"));
    assert!(raw.is_given("only-flag") && !raw.is_given("store"));
    assert_eq!(raw.optional("state-dir", "", |text| Ok::<_, String>(text.to_owned())), None);
    raw.finish().unwrap();
}
