//! Commands larger than one script may take, cut into several, and their outcomes put together again.

use std::collections::HashSet;

use queue_core::{
    ids::VisitorId,
    limits::{BITMAP_CHUNK_BYTES_MAX, JOIN_BATCH_MAX, SESSIONS_BATCH_MAX, SWEEP_BATCH_MAX},
    line::{Command, Outcome},
};

/// The commands that together carry out `command`: itself, if it is small enough. Never empty.
pub fn split(command: Command) -> Vec<Command> {
    match command {
        Command::Join { visitors, floor } => {
            let batches = distinct(visitors, JOIN_BATCH_MAX).into_iter();
            batches.map(|visitors| Command::Join { visitors, floor }).collect()
        }
        Command::Release(sessions) if sessions.len() > SESSIONS_BATCH_MAX => {
            sessions.chunks(SESSIONS_BATCH_MAX).map(|chunk| Command::Release(chunk.to_vec())).collect()
        }
        Command::Restore(places) if places.len() > SWEEP_BATCH_MAX => {
            places.chunks(SWEEP_BATCH_MAX).map(|chunk| Command::Restore(chunk.to_vec())).collect()
        }
        Command::Seen { period, first_byte, bytes } if bytes.len() > BITMAP_CHUNK_BYTES_MAX => {
            let chunks = bytes.chunks(BITMAP_CHUNK_BYTES_MAX).enumerate();
            let start = |i: usize| first_byte + (i * BITMAP_CHUNK_BYTES_MAX) as u64;
            chunks.map(|(i, bytes)| Command::Seen { period, first_byte: start(i), bytes: bytes.to_vec() }).collect()
        }
        Command::Abandon { first_byte, len } if len > BITMAP_CHUNK_BYTES_MAX => (0..len)
            .step_by(BITMAP_CHUNK_BYTES_MAX)
            .map(|at| Command::Abandon {
                first_byte: first_byte + at as u64,
                len: BITMAP_CHUNK_BYTES_MAX.min(len - at),
            })
            .collect(),
        command => vec![command],
    }
}

/// Whether the rest of what [`split`] gave need not be asked for.
pub fn is_enough(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Abandoned(gone) if gone.len() >= SWEEP_BATCH_MAX)
}

/// Adds a later outcome of the same command.
pub fn append(whole: &mut Outcome, part: Outcome) {
    match (whole, part) {
        (Outcome::Joined(whole), Outcome::Joined(part)) => {
            whole.places.extend(part.places);
            whole.waiting = part.waiting;
            whole.paused = part.paused;
        }
        (Outcome::Released(whole), Outcome::Released(part)) | (Outcome::Restored(whole), Outcome::Restored(part)) => {
            whole.extend(part);
        }
        (Outcome::Abandoned(whole), Outcome::Abandoned(part)) => whole.extend(part),
        (whole, part) => *whole = part,
    }
}

/// Cuts at `max` and before a visitor who is in the batch already: a script takes distinct ones.
fn distinct(visitors: Vec<VisitorId>, max: usize) -> Vec<Vec<VisitorId>> {
    if let [] | [_] = visitors.as_slice() {
        return vec![visitors];
    }
    let mut cuts = vec![];
    let mut batch = HashSet::with_capacity(visitors.len().min(max));
    for (i, visitor) in visitors.iter().enumerate() {
        if batch.len() == max || !batch.insert(visitor) {
            cuts.push(i);
            batch.clear();
            batch.insert(visitor);
        }
    }
    let mut rest = visitors;
    let mut batches: Vec<_> = cuts.into_iter().rev().map(|cut| rest.split_off(cut)).collect();
    batches.push(rest);
    batches.reverse();
    batches
}

#[cfg(test)]
mod tests {
    use queue_core::ids::Seq;

    use super::*;

    fn visitor(i: usize) -> VisitorId {
        VisitorId::new(&format!("v{i}")).unwrap()
    }

    #[test]
    fn joins_are_cut_at_the_limit_and_before_a_repetition() {
        let mut visitors: Vec<_> = (0..600).map(visitor).collect();
        visitors[3] = visitor(1);
        let sizes: Vec<_> = distinct(visitors.clone(), 256).iter().map(Vec::len).collect();
        assert_eq!(sizes, [3, 256, 256, 85]);
        assert_eq!(distinct(visitors.clone(), 256).concat(), visitors);
        assert_eq!(distinct(vec![], 256), [vec![]]);
    }

    #[test]
    fn nothing_is_lost() {
        let pairs: Vec<_> = (0..513).map(|i| (visitor(i), Seq(i as u64))).collect();
        assert_eq!(split(Command::Release(pairs.clone())).len(), 513_usize.div_ceil(SESSIONS_BATCH_MAX));
        assert_eq!(split(Command::Restore(pairs)).len(), 513_usize.div_ceil(SWEEP_BATCH_MAX));
        let parts = split(Command::Abandon { first_byte: 5, len: 20_000 });
        assert_eq!(parts[1], Command::Abandon { first_byte: 16_389, len: 3_616 });
        let parts = split(Command::Seen { period: 1, first_byte: 7, bytes: vec![1; 16_385] });
        assert_eq!(parts[1], Command::Seen { period: 1, first_byte: 16_391, bytes: vec![1] });
    }
}
