//! One event's holds: what has gathered is sent, again and again.

use std::{sync::Arc, time::Instant};

use queue_core::{ids::EventId, service::trace::random_u64};
use tokio::sync::mpsc;

use super::{
    Job, NoHold, SENT_WITHIN, Want, broken, gather,
    looking::Seen,
    too_late,
    view::{Chosen, View},
};
use crate::{
    engine::{Engine, EngineError},
    limits::HOLD_BATCH_MAX,
    model::{Command, Hold, Outcome, Refusal, Wanted, What, Wish},
};

/// How often the best seats are chosen anew when somebody on another node was faster. Each time that this happens
/// somebody else was served.
const ATTEMPTS_MAX: u32 = 8;

/// Sends what has gathered until nobody can ask any more.
pub(super) async fn serve(engine: Arc<dyn Engine>, event: EventId, seen: Arc<Seen>, mut jobs: mpsc::Receiver<Job>) {
    let mut event = Event { engine, event, seen, view: None };
    let mut waiting = Vec::with_capacity(HOLD_BATCH_MAX);
    loop {
        if waiting.is_empty() && event.wait(&mut jobs, &mut waiting).await == 0 {
            return;
        }
        // Those that somebody else was faster than go first.
        gather(&mut jobs, &mut waiting).await;
        waiting = event.send(still_waiting(waiting)).await;
    }
}

/// Those who have neither given up nor waited for too long.
fn still_waiting(jobs: Vec<Job>) -> Vec<Job> {
    let now = Instant::now();
    let (young, old): (Vec<_>, Vec<_>) =
        jobs.into_iter().filter(|job| !job.reply.is_closed()).partition(|job| now - job.since < SENT_WITHIN);
    for job in old {
        job.answer(Err(too_late()));
    }
    young
}

/// One event on its way.
struct Event {
    engine: Arc<dyn Engine>,
    event: EventId,
    seen: Arc<Seen>,
    /// What is free, for whoever wants the best; let go when nobody does for a while.
    view: Option<View>,
}

impl Event {
    async fn wait(&mut self, jobs: &mut mpsc::Receiver<Job>, waiting: &mut Vec<Job>) -> usize {
        if self.view.is_some() {
            match tokio::time::timeout(View::KEPT, jobs.recv_many(waiting, HOLD_BATCH_MAX)).await {
                Ok(count) => return count,
                Err(_) => self.view = None,
            }
        }
        jobs.recv_many(waiting, HOLD_BATCH_MAX).await
    }

    /// Sends those that go by the same definition as the first. Gives those that have to go again, in their order.
    async fn send(&mut self, jobs: Vec<Job>) -> Vec<Job> {
        let Some(first) = jobs.first() else { return jobs };
        let hall = Arc::clone(&first.hall);
        let (jobs, mut later): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|job| job.hall.revision == hall.revision);
        let best = jobs.iter().any(|job| matches!(job.want, Want::Best { .. }));
        if best && let Err(why) = View::refresh(&mut self.view, self.engine.as_ref(), &hall).await {
            jobs.into_iter().for_each(|job| job.answer(Err(why.clone())));
            return later;
        }
        let (sent, wishes, again) = self.choose(jobs, best);
        let mut again = again;
        if !wishes.is_empty() {
            let (revision, limit) = (hall.revision, hall.body.max_seats_per_visitor);
            let outcome = self.engine.apply(&self.event, Command::Hold { revision, limit, wishes }).await;
            if let Some(view) = &mut self.view {
                view.give_back();
            }
            self.answer(sent, outcome, &mut again);
        }
        again.append(&mut later);
        again
    }

    /// The wishes of a batch, and who has to wait for the next one.
    fn choose(&mut self, jobs: Vec<Job>, best: bool) -> (Vec<Job>, Vec<Wish>, Vec<Job>) {
        let mut wishes = Vec::with_capacity(jobs.len());
        let (mut sent, mut again) = (Vec::with_capacity(jobs.len()), Vec::new());
        let best_count = jobs.iter().filter(|job| matches!(job.want, Want::Best { .. })).count() as u64;
        for job in jobs {
            let wanted = match (&job.want, &mut self.view) {
                (Want::This(wanted), view) => {
                    if let (true, Some(view), Wanted::Seats(seats)) = (best, view, wanted) {
                        view.claim(seats);
                    }
                    wanted.clone()
                }
                (Want::Best { kind, count, together }, Some(view)) => {
                    // Who was too late looks a little further on, or servers would run into each other for ever.
                    let spread = best_count * u64::from(job.attempts);
                    let skip = if spread == 0 { 0 } else { random_u64() % (spread + 1) };
                    match view.choose(kind, *count, *together, skip as usize) {
                        Chosen::Seats(seats) => Wanted::Seats(seats),
                        Chosen::None(why) => {
                            job.answer(Err(why));
                            continue;
                        }
                        Chosen::LookAgain => {
                            again.push(job);
                            continue;
                        }
                    }
                }
                (Want::Best { .. }, None) => {
                    again.push(job);
                    continue;
                }
            };
            wishes.push(Wish { taking: job.taking.clone(), wanted });
            sent.push(job);
        }
        if self.view.as_ref().is_some_and(View::is_doubtful) {
            self.view = None;
        }
        (sent, wishes, again)
    }

    /// Whoever wants these seats next is probably refused.
    fn see(&self, answer: &Result<Hold, Refusal>) {
        match answer {
            Ok(Hold { what: What::Seats(seats), .. }) => self.seen.taken(seats.iter().copied()),
            Err(Refusal::Taken(seats)) => self.seen.taken(seats.iter().map(|(seat, _)| *seat)),
            _ => {}
        }
    }

    fn answer(&mut self, jobs: Vec<Job>, outcome: Result<Outcome, EngineError>, again: &mut Vec<Job>) {
        let answers = match outcome {
            Ok(Outcome::Each(answers)) if answers.len() == jobs.len() => answers,
            other => {
                let why = match other {
                    Ok(Outcome::Refused(refusal)) => NoHold::Refused(refusal),
                    Ok(other) => broken(&other).into(),
                    Err(error) => error.into(),
                };
                return jobs.into_iter().for_each(|job| job.answer(Err(why.clone())));
            }
        };
        let mut late = Vec::new();
        for (mut job, answer) in jobs.into_iter().zip(answers) {
            self.see(&answer);
            match answer {
                Err(Refusal::Taken(_)) if matches!(job.want, Want::Best { .. }) => {
                    job.attempts += 1;
                    // What was read is not what is: it is read anew.
                    self.view = None;
                    if job.attempts < ATTEMPTS_MAX {
                        late.push(job);
                    } else {
                        job.answer(Err(EngineError::Overloaded.into()));
                    }
                }
                answer => job.answer(answer.map_err(NoHold::Refused)),
            }
        }
        // All that go again came before those that have not been sent yet.
        late.append(again);
        *again = late;
    }
}

impl Job {
    fn answer(self, answer: Result<Hold, NoHold>) {
        // Who went away has a hold that expires.
        let _ = self.reply.send(answer);
    }
}
