//! The files of the keys, watched: what is put there or taken away counts a moment later, without a restart.
//!
//! Every node looks for itself, so several that share a folder agree. A file that cannot be used (half written,
//! not a key) changes nothing: the keys stay as they are, it is said in the log, and the next look tries again.

use std::{path::PathBuf, sync::Arc, time::Duration};

use queue_core::{
    ids::Millis,
    service::{
        keyfiles::{self, KeyFileError, Stamp, StateDir},
        secret::Secret,
    },
    token::{keys::SigningKey, place::PlaceKeysError},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    clock,
    config::Config,
    node::{Found, Keys, Node},
};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Where the keys of a node are.
#[derive(Clone, Debug)]
pub struct KeyPlaces {
    /// The folder of the keys of active tokens.
    pub signing: PathBuf,
    /// The file of the secret of place tokens; `None`: it stands in the environment, and never changes.
    pub place: Option<PathBuf>,
}

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error(transparent)]
    File(#[from] KeyFileError),
    #[error(transparent)]
    Place(#[from] PlaceKeysError),
}

/// What was seen last, so that what has not changed is neither read nor complained about again.
#[derive(Default)]
struct Seen {
    signing: Option<Stamp>,
    place: Option<Stamp>,
    complained: Option<String>,
}

impl KeyPlaces {
    /// Where the settings say, else in the state folder, in which what is missing is made.
    pub fn find(config: &Config) -> Result<Self, KeyFileError> {
        // The folder is opened only for what nobody gives: it may not even be writable.
        let state = || StateDir::open(&config.shared.state_dir);
        let signing = match &config.signing_keys_dir {
            Some(folder) => folder.clone(),
            None => {
                let state = state()?;
                state.signing_keys()?;
                state.path().join(keyfiles::SIGNING_KEYS)
            }
        };
        let place = match (&config.place_secret_path, &config.place_secret) {
            (Some(path), _) => Some(path.clone()),
            (None, Some(_)) => None,
            (None, None) => {
                let state = state()?;
                state.secret(keyfiles::PLACE_SECRET)?;
                Some(state.path().join(keyfiles::PLACE_SECRET))
            }
        };
        Ok(Self { signing, place })
    }

    /// The keys of active tokens there are now.
    pub fn signing(&self) -> Result<Vec<Found<SigningKey>>, KeyFileError> {
        let files = keyfiles::read_key_files(&self.signing)?;
        Ok(files.into_iter().map(|file| Found { key: file.key, since: file.changed }).collect())
    }

    /// The secrets of place tokens there are now; `given` when they stand in no file.
    pub fn place(&self, given: Option<&Secret>) -> Result<Vec<Found<Secret>>, KeyFileError> {
        let (secret, since) = match (&self.place, given) {
            (Some(path), _) => (keyfiles::read_secret(path)?, keyfiles::changed(path)?),
            (None, Some(given)) => (given.clone(), Millis(0)),
            (None, None) => return Ok(Vec::new()),
        };
        Ok(keyfiles::place_secrets(&secret).into_iter().map(|key| Found { key, since }).collect())
    }
}

/// Looks at the files every now and then, and whenever `reload` says so, until `stop`.
pub async fn watch(places: KeyPlaces, node: Arc<Node>, mut reload: watch::Receiver<u64>, stop: CancellationToken) {
    let mut seen = Seen::default();
    loop {
        let told = tokio::select! {
            () = stop.cancelled() => return,
            Ok(()) = reload.changed() => true,
            () = tokio::time::sleep(LOOK) => false,
        };
        if told {
            seen = Seen::default();
        }
        let (places, keys) = (places.clone(), node.clone());
        // Files may be on a disk that is slow or far away.
        let looked = tokio::task::spawn_blocking(move || {
            let result = look(&places, keys.keys(), &mut seen);
            (seen, result)
        });
        let Ok((back, result)) = looked.await else { return };
        seen = back;
        complain(&mut seen, result);
        node.keys().advance(clock::now());
    }
}

fn look(places: &KeyPlaces, keys: &Keys, seen: &mut Seen) -> Result<(), Problem> {
    // The one does not keep the other from being looked at.
    let signing = look_at_signing(places, keys, seen);
    let place = look_at_place(places, keys, seen);
    signing.and(place)
}

fn look_at_signing(places: &KeyPlaces, keys: &Keys, seen: &mut Seen) -> Result<(), Problem> {
    let stamp = keyfiles::stamp_of_folder(&places.signing)?;
    if seen.signing.as_ref() != Some(&stamp) {
        let found: Vec<SigningKey> = places.signing()?.into_iter().map(|found| found.key).collect();
        keys.found_signing(&found, clock::now());
        seen.signing = Some(stamp);
    }
    Ok(())
}

fn look_at_place(places: &KeyPlaces, keys: &Keys, seen: &mut Seen) -> Result<(), Problem> {
    let Some(path) = &places.place else { return Ok(()) };
    let stamp = keyfiles::stamp_of_file(path)?;
    if seen.place.as_ref() != Some(&stamp) {
        let found: Vec<Secret> = places.place(None)?.into_iter().map(|found| found.key).collect();
        keys.found_place(&found, clock::now())?;
        seen.place = Some(stamp);
    }
    Ok(())
}

/// Says what is wrong once, and once that it is well again.
fn complain(seen: &mut Seen, result: Result<(), Problem>) {
    match result {
        Ok(()) => {
            if seen.complained.take().is_some() {
                tracing::info!("the files of keys can be used again");
            }
        }
        Err(problem) => {
            let problem = problem.to_string();
            if seen.complained.as_ref() != Some(&problem) {
                tracing::warn!(problem, "the files of keys cannot be used: the keys stay as they are");
            }
            seen.complained = Some(problem);
        }
    }
}
