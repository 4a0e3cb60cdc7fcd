use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::{Arc, Barrier},
};

use tempfile::TempDir;

use super::*;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn pem(seed: u8) -> String {
    SigningKey::from_seed(&[seed; 32]).unwrap().to_pem()
}

fn kid(seed: u8) -> String {
    SigningKey::from_seed(&[seed; 32]).unwrap().public().kid().to_owned()
}

/// The names in a folder, the hidden ones included.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_is_missing_is_made_once_and_kept() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a/usher");
    let state = StateDir::open(&path).unwrap();
    let secret = state.secret(PLACE_SECRET).unwrap();
    let keys = state.signing_keys().unwrap();
    assert!(secret.expose().len() >= SECRET_CHARS_MIN);
    assert_ne!(secret, state.secret(OPERATOR_TOKEN).unwrap());
    assert_eq!((mode(&path), mode(&path.join(SIGNING_KEYS))), (0o700, 0o700));
    for file in [PLACE_SECRET, OPERATOR_TOKEN, "signing-keys/0001-ed25519.pem"] {
        assert_eq!(mode(&path.join(file)), 0o600, "{file}");
    }
    let again = StateDir::open(&path).unwrap();
    assert_eq!(again.secret(PLACE_SECRET).unwrap(), secret);
    assert_eq!(again.signing_keys().unwrap().public, keys.public);
    assert_eq!(keys.public, [keys.signer.public().clone()]);
    assert_eq!(names(&path), [OPERATOR_TOKEN, PLACE_SECRET, SIGNING_KEYS], "nothing is left behind");
    assert!(place_keys(&secret).is_ok());
}

#[test]
fn servers_that_start_together_agree() {
    const SERVERS: usize = 16;
    for _ in 0..10 {
        let folder = TempDir::new().unwrap();
        let barrier = Arc::new(Barrier::new(SERVERS));
        let servers: Vec<_> = (0..SERVERS)
            .map(|_| {
                let (path, barrier) = (folder.path().join("usher"), Arc::clone(&barrier));
                std::thread::spawn(move || {
                    barrier.wait();
                    let state = StateDir::open(&path).unwrap();
                    let kid = state.signing_keys().unwrap().signer.public().kid().to_owned();
                    (state.secret(PLACE_SECRET).unwrap().expose().to_owned(), kid)
                })
            })
            .collect();
        let mut seen: Vec<_> = servers.into_iter().map(|server| server.join().unwrap()).collect();
        seen.dedup();
        assert_eq!(seen.len(), 1);
        assert_eq!(names(&folder.path().join("usher/signing-keys")), [FIRST_KEY]);
    }
}

#[test]
fn the_newest_name_signs_and_all_verify() {
    let folder = TempDir::new().unwrap();
    for (name, seed) in [("2026-01.pem", 1), ("2026-10.pem", 3), ("2026-02.pem", 2), (".2027.pem", 9)] {
        fs::write(folder.path().join(name), pem(seed)).unwrap();
    }
    fs::write(folder.path().join("README"), "not a key").unwrap();
    fs::create_dir(folder.path().join("..data.pem")).unwrap();
    let keys = read_signing_keys(folder.path()).unwrap();
    assert_eq!(keys.signer.public().kid(), kid(3));
    let kids: Vec<&str> = keys.public.iter().map(PublicKey::kid).collect();
    assert_eq!(kids, [kid(1), kid(2), kid(3)]);
    // The same key under a newer name signs, and is published once.
    fs::write(folder.path().join("2026-11.pem"), pem(1)).unwrap();
    let keys = read_signing_keys(folder.path()).unwrap();
    assert_eq!((keys.signer.public().kid(), keys.public.len()), (kid(1).as_str(), 3));
}

#[test]
fn a_key_that_was_put_there_takes_over_from_the_made_one() {
    let folder = TempDir::new().unwrap();
    let state = StateDir::open(folder.path()).unwrap();
    let made = state.signing_keys().unwrap();
    fs::write(folder.path().join(SIGNING_KEYS).join("0002-ed25519.pem"), pem(7)).unwrap();
    let keys = state.signing_keys().unwrap();
    assert_eq!(keys.signer.public().kid(), kid(7));
    assert!(keys.public.contains(made.signer.public()));
}

#[test]
fn what_is_wrong_is_said() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    let said = |result: Result<SigningKeys, KeyFileError>| result.unwrap_err().to_string();
    assert!(said(read_signing_keys(path)).starts_with("no key in "));
    assert!(said(read_signing_keys(&path.join("none"))).contains("No such file"));
    fs::write(path.join("a.pem"), "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();
    assert!(said(read_signing_keys(path)).contains("a.pem: not an Ed25519 private key"));
    fs::write(path.join("a.pem"), vec![b'x'; PEM_BYTES_MAX + 1]).unwrap();
    assert!(said(read_signing_keys(path)).contains("longer than"));
    for seed in 0..=JWKS_KEYS_MAX {
        fs::write(path.join(format!("{seed:03}.pem")), pem(seed as u8)).unwrap();
    }
    fs::remove_file(path.join("a.pem")).unwrap();
    assert!(said(read_signing_keys(path)).starts_with("more than 64 keys"));

    let secret = path.join("secret");
    for bad in ["", "short", &"x".repeat(31), &format!("{} {}", "x".repeat(20), "y".repeat(20)), &"é".repeat(40)] {
        fs::write(&secret, bad).unwrap();
        let said = read_secret(&secret).unwrap_err().to_string();
        assert!(said.contains("secret: expected a secret of at least 32"), "{said}");
        assert!(bad.is_empty() || !said.contains(bad));
    }
    fs::write(&secret, format!("  {}\r\n", "x".repeat(32))).unwrap();
    assert_eq!(read_secret(&secret).unwrap().expose(), "x".repeat(32));
    assert!(StateDir::open(&secret).unwrap_err().to_string().starts_with("cannot make"));
}

#[test]
fn place_secrets_rotate_by_commas() {
    let ring = |text: String| place_keys(&Secret::new(text));
    let (old, new) = ("o".repeat(32), "n".repeat(32));
    assert!(ring(format!("{new},{old}")).is_ok());
    assert_eq!(ring(format!("{new},short")).unwrap_err(), PlaceKeysError::TooShort(1));
    assert_eq!(ring(",".to_owned()).unwrap_err(), PlaceKeysError::Empty);
}
