//! Keys and secrets in files: read where a setting names them, made once in the state folder
//! where none does, so that tokens outlive a restart and both servers on one machine agree.
//!
//! Invariants: what is made here has mode 0600 in a folder of mode 0700; a file appears whole or
//! not at all, and of several servers that start at the same moment one makes it and all read
//! it; nothing that is there is ever changed; no secret stands in an error or in the log.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use tracing::{info, warn};

use super::secret::Secret;
use crate::ids::Millis;
use crate::token::{
    jwks::JWKS_KEYS_MAX,
    keys::{KeyError, PEM_BYTES_MAX, PublicKey, SigningKey},
    place::{PlaceKeys, PlaceKeysError},
};

/// The file of the secret of place tokens.
pub const PLACE_SECRET: &str = "place-secret";
/// The file of the operator's token.
pub const OPERATOR_TOKEN: &str = "operator-token";
/// The file of the token between the two servers.
pub const PEER_TOKEN: &str = "peer-token";
/// The folder of the keys of active tokens.
pub const SIGNING_KEYS: &str = "signing-keys";
/// The first key of that folder. Named so that about any key put beside it takes over.
const FIRST_KEY: &str = "0001-ed25519.pem";

/// Secrets are at least so long.
pub const SECRET_CHARS_MIN: usize = 32;
/// A file with a secret is at most so long.
const SECRET_BYTES_MAX: u64 = 16 * 1024;
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;

/// Why a key or secret cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file system said no.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder holds no key.
    #[error("no key in {}: expected at least one Ed25519 key in a file named *.pem", .0.display())]
    NoKeys(PathBuf),
    /// The folder holds more keys than can be published.
    #[error("more than {JWKS_KEYS_MAX} keys in {}", .0.display())]
    TooManyKeys(PathBuf),
    /// The file holds something else than a key.
    #[error("{}: {source}", path.display())]
    NotAKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: KeyError,
    },
    /// The file holds no usable secret.
    #[error("{}: expected a secret of at least {SECRET_CHARS_MIN} visible ASCII characters without spaces", .0.display())]
    NotASecret(PathBuf),
    /// There is no randomness to make a key of.
    #[error("the system gave no random bytes")]
    NoRandomness,
}

/// The keys of active tokens.
#[derive(Clone, Debug)]
pub struct SigningKeys {
    /// The one that signs.
    pub signer: SigningKey,
    /// All of them, the signing one included, for the JWKS document.
    pub public: Vec<PublicKey>,
}

/// A key of the folder, and when its file was last put there or changed.
#[derive(Clone, Debug)]
pub struct KeyFile {
    /// The key.
    pub key: SigningKey,
    /// By the clock of the file system.
    pub changed: Millis,
}

/// What a file or the files of a folder look like from outside: another value when something was changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamp(Vec<(PathBuf, i64, i64, u64, u64)>);

/// The state folder.
#[derive(Clone, Debug)]
pub struct StateDir(PathBuf);

impl StateDir {
    /// Takes the folder, and makes it if it is not there.
    pub fn open(path: &Path) -> Result<Self, KeyFileError> {
        make_folder(path)?;
        Ok(Self(path.to_owned()))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The secret in the file of this name, made of 256 random bits if there is none.
    pub fn secret(&self, name: &str) -> Result<Secret, KeyFileError> {
        let path = self.0.join(name);
        make_once(&path, || Ok(format!("{}\n", URL_SAFE_NO_PAD.encode(random()?))))?;
        read_secret(&path)
    }

    /// The keys in the folder [`SIGNING_KEYS`], the first of which is made if there is none.
    pub fn signing_keys(&self) -> Result<SigningKeys, KeyFileError> {
        let folder = self.0.join(SIGNING_KEYS);
        make_folder(&folder)?;
        if key_files(&folder)?.is_empty() {
            // Of a fixed name, so that servers that start together make the same one.
            let path = folder.join(FIRST_KEY);
            let not_a_key = |source| KeyFileError::NotAKey { path: path.clone(), source };
            make_once(&path, || SigningKey::from_seed(&random()?).map(|key| key.to_pem()).map_err(not_a_key))?;
        }
        read_signing_keys(&folder)
    }
}

/// Reads the folder of `--signing-keys`: the newest name, which is the last in the order of
/// bytes, signs, and all verify. Only files named `*.pem` that do not begin with a dot count.
pub fn read_signing_keys(folder: &Path) -> Result<SigningKeys, KeyFileError> {
    let files = key_files(folder)?;
    if files.len() > JWKS_KEYS_MAX {
        return Err(KeyFileError::TooManyKeys(folder.to_owned()));
    }
    let mut signer = None;
    let mut public: Vec<PublicKey> = Vec::with_capacity(files.len());
    for path in files {
        let pem = read_bounded(&path, PEM_BYTES_MAX as u64)?;
        let key = SigningKey::from_pem(&pem).map_err(|source| KeyFileError::NotAKey { path, source })?;
        if !public.contains(key.public()) {
            public.push(key.public().clone());
        }
        signer = Some(key);
    }
    let signer = signer.ok_or_else(|| KeyFileError::NoKeys(folder.to_owned()))?;
    Ok(SigningKeys { signer, public })
}

/// Reads the folder of `--signing-keys` as [`read_signing_keys`] does: each key once, the newest name first.
pub fn read_key_files(folder: &Path) -> Result<Vec<KeyFile>, KeyFileError> {
    let files = key_files(folder)?;
    if files.len() > JWKS_KEYS_MAX {
        return Err(KeyFileError::TooManyKeys(folder.to_owned()));
    }
    let mut keys: Vec<KeyFile> = Vec::with_capacity(files.len());
    for path in files.into_iter().rev() {
        let changed = changed(&path)?;
        let pem = read_bounded(&path, PEM_BYTES_MAX as u64)?;
        let key = SigningKey::from_pem(&pem).map_err(|source| KeyFileError::NotAKey { path, source })?;
        if keys.iter().all(|known| known.key != key) {
            keys.push(KeyFile { key, changed });
        }
    }
    if keys.is_empty() { Err(KeyFileError::NoKeys(folder.to_owned())) } else { Ok(keys) }
}

/// When a file was last changed, moved or linked: not what whoever wrote it says, but what the file system does.
pub fn changed(path: &Path) -> Result<Millis, KeyFileError> {
    let about = metadata(path)?;
    let ms = about.ctime().saturating_mul(1_000).saturating_add(about.ctime_nsec() / 1_000_000);
    Ok(Millis(u64::try_from(ms).unwrap_or_default()))
}

/// What the keys of a folder look like from outside.
pub fn stamp_of_folder(folder: &Path) -> Result<Stamp, KeyFileError> {
    key_files(folder)?.iter().map(|path| stamp(path)).collect::<Result<_, _>>().map(Stamp)
}

/// What a file looks like from outside.
pub fn stamp_of_file(path: &Path) -> Result<Stamp, KeyFileError> {
    Ok(Stamp(vec![stamp(path)?]))
}

fn stamp(path: &Path) -> Result<(PathBuf, i64, i64, u64, u64), KeyFileError> {
    let about = metadata(path)?;
    Ok((path.to_owned(), about.ctime(), about.ctime_nsec(), about.ino(), about.size()))
}

fn metadata(path: &Path) -> Result<fs::Metadata, KeyFileError> {
    fs::metadata(path).map_err(|source| KeyFileError::Io { doing: "look at", path: path.to_owned(), source })
}

/// Reads the secret in a file. White space around it does not belong to it.
pub fn read_secret(path: &Path) -> Result<Secret, KeyFileError> {
    let bytes = read_bounded(path, SECRET_BYTES_MAX)?;
    let text = std::str::from_utf8(&bytes).map(str::trim).unwrap_or_default();
    if text.len() < SECRET_CHARS_MIN || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(KeyFileError::NotASecret(path.to_owned()));
    }
    Ok(Secret::new(text.to_owned()))
}

/// The ring of place secrets that a setting gives: one, or several with commas between them, the
/// first of which signs.
pub fn place_keys(secret: &Secret) -> Result<PlaceKeys, PlaceKeysError> {
    let secrets = place_secrets(secret);
    PlaceKeys::new(&secrets.iter().map(Secret::expose).collect::<Vec<_>>())
}

/// The secrets of such a ring, each once, the one that signs first.
pub fn place_secrets(secret: &Secret) -> Vec<Secret> {
    let mut secrets: Vec<Secret> = Vec::new();
    for part in secret.expose().split(',').map(str::trim).filter(|part| !part.is_empty()) {
        if secrets.iter().all(|known| known.expose() != part) {
            secrets.push(Secret::new(part.to_owned()));
        }
    }
    secrets
}

fn key_files(folder: &Path) -> Result<Vec<PathBuf>, KeyFileError> {
    let failed = |source| KeyFileError::Io { doing: "list", path: folder.to_owned(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|extension| extension == "pem") && !path.is_dir() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read_bounded(path: &Path, bytes_max: u64) -> Result<Vec<u8>, KeyFileError> {
    let failed = |source| KeyFileError::Io { doing: "read", path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        warn!(path = %path.display(), mode = format!("{:04o}", mode & 0o7777), "others can read this secret; mode 0600 keeps it");
    }
    let mut bytes = Vec::new();
    // One byte more than allowed, so that what is too long fails its check instead of being cut.
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > bytes_max {
        return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, format!("longer than {bytes_max} bytes"))));
    }
    Ok(bytes)
}

fn make_folder(path: &Path) -> Result<(), KeyFileError> {
    let failed = |source| KeyFileError::Io { doing: "make", path: path.to_owned(), source };
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path).map_err(failed)?;
    let mode = fs::metadata(path).map_err(failed)?.permissions().mode();
    if mode & 0o022 != 0 {
        warn!(path = %path.display(), mode = format!("{:04o}", mode & 0o7777), "others can write to the folder of secrets; mode 0700 keeps it");
    }
    Ok(())
}

/// Makes the file unless it is there. It is written under another name and then linked to its
/// own, which fails if somebody else was faster: then theirs counts.
fn make_once(path: &Path, content: impl FnOnce() -> Result<String, KeyFileError>) -> Result<(), KeyFileError> {
    let failed = |source| KeyFileError::Io { doing: "make", path: path.to_owned(), source };
    if path.try_exists().map_err(failed)? {
        return Ok(());
    }
    let content = content()?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", URL_SAFE_NO_PAD.encode(&random()?[..9])));
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    let temporary = path.with_file_name(hidden);
    let linked = write_new(&temporary, &content).and_then(|()| fs::hard_link(&temporary, path));
    let removed = fs::remove_file(&temporary);
    match linked {
        Ok(()) => info!(path = %path.display(), "made a secret"),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(error)),
    }
    removed.map_err(failed)?;
    sync_folder(path).map_err(failed)
}

fn write_new(path: &Path, content: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()
}

/// So that the name, too, outlives a loss of power.
fn sync_folder(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

fn random() -> Result<[u8; 32], KeyFileError> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| KeyFileError::NoRandomness)?;
    Ok(bytes)
}

#[cfg(test)]
#[path = "keyfiles_tests.rs"]
mod tests;
