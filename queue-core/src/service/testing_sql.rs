//! What tests of ledgers need: a real PostgreSQL and a real MariaDB of their own, each with its files in a folder of
//! its own, durable as in production, on a free port of the loopback interface. Killed when dropped.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::testing::process::{PORTS_TRIED_MAX, free_port, stop};

/// Making the files and starting takes a while on a busy machine.
const START_WITHIN: Duration = Duration::from_secs(90);
/// The user that owns everything; it has no password.
const USER: &str = "usher";

/// A `postgres` of its own.
#[derive(Debug)]
pub struct TestPostgres(Server);

/// A `mariadbd` of its own.
#[derive(Debug)]
pub struct TestMariaDb(Server);

#[derive(Debug)]
struct Server {
    kind: Kind,
    child: Child,
    port: u16,
    folder: TempDir,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Postgres,
    MariaDb,
}

macro_rules! common {
    ($name:ident, $kind:expr, $scheme:literal) => {
        impl $name {
            /// Starts a server and waits until it answers.
            pub fn start() -> Self {
                Self(Server::start($kind))
            }

            /// Its port on 127.0.0.1.
            pub fn port(&self) -> u16 {
                self.0.port
            }

            /// Makes an empty database; where it is.
            pub fn create_database(&self, name: &str) -> String {
                self.0.sql(None, &format!("CREATE DATABASE {name}"));
                self.url(name)
            }

            /// Where a database is.
            pub fn url(&self, database: &str) -> String {
                format!("{}://{USER}@127.0.0.1:{}/{database}", $scheme, self.0.port)
            }

            /// What its own client prints for a statement: a line for each row, tabs between the columns.
            pub fn sql(&self, database: &str, text: &str) -> String {
                self.0.sql(Some(database), text)
            }

            /// The process id of the server.
            pub fn pid(&self) -> u32 {
                self.0.child.id()
            }

            /// Stops its processes, connections stay open and unanswered, until `resume`.
            pub fn pause(&self) {
                self.0.signal("-STOP");
            }

            /// Lets its processes go on.
            pub fn resume(&self) {
                self.0.signal("-CONT");
            }

            /// Kills it (`SIGKILL`). What it had committed is on the disk.
            pub fn kill(&mut self) {
                self.0.kill();
            }

            /// Kills it if it still runs, and starts it again on the same port, with the same files.
            pub fn restart(&mut self) {
                self.0.restart();
            }
        }
    };
}

common!(TestPostgres, Kind::Postgres, "postgres");
common!(TestMariaDb, Kind::MariaDb, "mysql");

impl Server {
    fn start(kind: Kind) -> Self {
        let folder = tempfile::Builder::new().prefix(kind.program()).tempdir().expect("a temporary folder");
        own(folder.path());
        kind.make_files(folder.path());
        for _ in 0..PORTS_TRIED_MAX {
            let port = free_port();
            let mut child = kind.spawn(folder.path(), port);
            if kind.answers(&mut child, folder.path(), port) {
                return Self { kind, child, port, folder };
            }
            stop(&mut child);
        }
        panic!("{} did not start: {}", kind.program(), log_of(folder.path()));
    }

    fn restart(&mut self) {
        self.kill();
        let deadline = Instant::now() + START_WITHIN;
        while Instant::now() < deadline {
            self.child = self.kind.spawn(self.folder.path(), self.port);
            if self.kind.answers(&mut self.child, self.folder.path(), self.port) {
                return;
            }
            // What is left of the killed one may still be about.
            stop(&mut self.child);
            thread::sleep(Duration::from_millis(50));
        }
        panic!("{} did not start again: {}", self.kind.program(), log_of(self.folder.path()));
    }

    fn kill(&mut self) {
        // A stopped process dies of it too; its children end when they see that it is gone.
        self.signal("-KILL");
        let _ = self.child.wait();
    }

    fn sql(&self, database: Option<&str>, text: &str) -> String {
        match self.kind.ask(self.folder.path(), self.port, database, text) {
            Ok(output) => output,
            Err(error) => panic!("{text}: {error}"),
        }
    }

    /// To the server first, so that it makes no new children meanwhile.
    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let children = Command::new("ps").args(["-o", "pid=", "--ppid", &pid]).output();
        let children = children.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        let pids = std::iter::once(pid.as_str()).chain(children.split_whitespace());
        // Fails for those that have ended already.
        let _ = Command::new("kill").arg(signal).args(pids).stderr(Stdio::null()).status();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        // Its children write until they notice; the folder is removed after this.
        thread::sleep(Duration::from_millis(20));
    }
}

impl Kind {
    const fn program(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::MariaDb => "mariadbd",
        }
    }

    fn make_files(self, folder: &Path) {
        let data = folder.join("data");
        let mut command = match self {
            Self::Postgres => {
                let mut command = as_user(&find("initdb"));
                command.args(["--no-sync", "--auth=trust", "--encoding=UTF8", "--no-locale", "-U", USER, "-D"]);
                command.arg(&data);
                command
            }
            Self::MariaDb => {
                let mut command = as_user(&find("mariadb-install-db"));
                command.args(["--no-defaults", "--skip-test-db", "--skip-name-resolve"]);
                command.arg("--auth-root-authentication-method=normal").arg("--innodb-log-file-size=16M");
                command.arg(format!("--datadir={}", data.display()));
                command
            }
        };
        let output = command.current_dir(folder).output();
        let output = output.unwrap_or_else(|error| panic!("cannot run {}: {error}", self.program()));
        let said = || [output.stdout.as_slice(), output.stderr.as_slice()].concat();
        assert!(output.status.success(), "{}: {}", self.program(), String::from_utf8_lossy(&said()));
    }

    fn spawn(self, folder: &Path, port: u16) -> Child {
        let data = folder.join("data");
        let mut command = as_user(&find(self.program()));
        match self {
            Self::Postgres => {
                command.arg("-D").arg(&data);
                for setting in [
                    format!("port={port}"),
                    "listen_addresses=127.0.0.1".into(),
                    format!("unix_socket_directories={}", folder.display()),
                    "max_connections=200".into(),
                ] {
                    command.args(["-c", &setting]);
                }
            }
            Self::MariaDb => {
                command.args(["--no-defaults", "--bind-address=127.0.0.1", "--skip-name-resolve"]);
                command.args(["--innodb-log-file-size=16M", "--max-connections=200"]);
                command.arg(format!("--datadir={}", data.display())).arg(format!("--port={port}"));
                command.arg(format!("--socket={}", folder.join("s").display()));
                command.arg(format!("--pid-file={}", folder.join("pid").display()));
                let user = format!("CREATE USER IF NOT EXISTS {USER}@'%';\nGRANT ALL ON *.* TO {USER}@'%';\n");
                let init = folder.join("init.sql");
                fs::write(&init, user).expect("a file in a folder of our own");
                command.arg(format!("--init-file={}", init.display()));
            }
        }
        let log = fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).expect("a log file");
        let errors = log.try_clone().expect("a second handle of a file");
        command.stdin(Stdio::null()).stdout(log).stderr(errors).current_dir(folder);
        command.spawn().unwrap_or_else(|error| panic!("cannot run {}: {error}", self.program()))
    }

    fn answers(self, child: &mut Child, folder: &Path, port: u16) -> bool {
        let deadline = Instant::now() + START_WITHIN;
        while Instant::now() < deadline {
            if !matches!(child.try_wait(), Ok(None)) {
                return false;
            }
            if self.ask(folder, port, None, "SELECT 1").is_ok() {
                return true;
            }
            thread::sleep(Duration::from_millis(50));
        }
        false
    }

    fn ask(self, folder: &Path, port: u16, database: Option<&str>, text: &str) -> Result<String, String> {
        let port = port.to_string();
        let mut command = match self {
            Self::Postgres => {
                let mut command = Command::new(find("psql"));
                command.args(["-X", "-q", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-U", USER, "-p", &port]);
                command.arg("-h").arg(folder).args(["-d", database.unwrap_or("postgres"), "-c", text]);
                command
            }
            Self::MariaDb => {
                let mut command = Command::new(find("mariadb"));
                command.args(["--no-defaults", "-N", "-B", "-h", "127.0.0.1", "-u", USER, "-P", &port]);
                command.args(["-D", database.unwrap_or("mysql"), "-e", text]);
                command
            }
        };
        let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }
}

/// Where a program is: on the path, or where packages put what is not meant to be on it.
fn find(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    for place in ["/usr/lib/postgresql", "/usr/local/opt", "/opt/homebrew/opt"] {
        let mut versions: Vec<PathBuf> =
            fs::read_dir(place).into_iter().flatten().flatten().map(|entry| entry.path().join("bin")).collect();
        versions.sort();
        folders.extend(versions.into_iter().rev());
    }
    folders.extend(["/usr/sbin", "/usr/libexec", "/usr/bin"].map(PathBuf::from));
    let found = folders.into_iter().map(|folder| folder.join(program)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{program} is not installed, and tests of the ledger need it: run `make setup`"))
}

/// The servers refuse to run as root.
fn as_user(program: &Path) -> Command {
    match other_user() {
        Some(id) => {
            let mut command = Command::new("setpriv");
            command.arg(format!("--reuid={id}")).arg(format!("--regid={id}")).arg("--clear-groups").arg("--");
            command.arg(program);
            command
        }
        None => Command::new(program),
    }
}

fn own(folder: &Path) {
    if let Some(id) = other_user() {
        std::os::unix::fs::chown(folder, Some(id), Some(id)).expect("a folder of our own");
    }
}

/// Whom to be when we are root.
fn other_user() -> Option<u32> {
    let id = |args: &[&str]| {
        let output = Command::new("id").args(args).stderr(Stdio::null()).output().ok()?;
        String::from_utf8_lossy(&output.stdout).trim().parse::<u32>().ok()
    };
    if id(&["-u"]) == Some(0) { id(&["-u", "nobody"]) } else { None }
}

fn log_of(folder: &Path) -> String {
    let mut text = String::new();
    let _ = fs::File::open(folder.join("log")).and_then(|mut file| file.read_to_string(&mut text));
    text.lines().rev().take(20).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n")
}
