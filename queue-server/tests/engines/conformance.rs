//! What a user of an engine counts on, checked on both.

use queue_core::{
    ids::{Generation, Jti, Millis, Rank, Seq},
    limits::{ADMIT_BATCH_MAX, END_BATCH_MAX, ENDED_KEPT_MS, SEEN_PERIOD_MS, SEQ_BEHIND_GAP, SESSIONS_BATCH_MAX},
    line::{Command, Configure, Outcome, Place, Refusal, SessionState, Standing, Stock, Was},
    policy::{OnReturn, Policy},
    positions::PositionIndex,
    wire::EndReason,
};
use queue_server::engine::{EngineError, Signal, TakenOver};

use crate::support::{START, World, visitor, visitors, waiting};

macro_rules! on_both_engines {
    ($($name:ident)*) => {
        mod memory {
            $(#[tokio::test] async fn $name() { super::$name(crate::support::World::memory()).await; })*
        }
        mod redis {
            $(#[tokio::test] async fn $name() { super::$name(crate::support::World::redis().await).await; })*
        }
    };
}

on_both_engines! {
    an_unknown_event_is_said_to_be
    a_policy_is_created_and_replaced
    another_generation_is_refused
    joins_are_ordered_and_idempotent
    large_batches_are_cut
    a_full_line_takes_nobody
    a_draining_line_takes_nobody_new
    a_sold_out_line_closes_and_ends_who_waits
    the_rate_holds_for_all
    admission_is_in_order_up_to_capacity
    a_lowered_capacity_evicts_nobody
    no_shows_give_their_slot_away
    signs_of_life_claim_an_admission
    sessions_end_in_time
    leaving_and_revoking_end_what_there_is
    a_release_ends_one_session_and_no_other
    who_is_not_heard_of_is_abandoned
    nobody_is_abandoned_while_nobody_listens
    a_longer_grace_holds_at_once
    who_was_abandoned_by_mistake_comes_back
    a_paused_line_admits_nobody
    a_line_is_cleared_in_batches
    only_an_empty_event_is_removed
    a_rebuilt_line_starts_closed
    positions_come_from_the_snapshot
    the_ended_are_remembered
    takeovers_are_announced
}

async fn an_unknown_event_is_said_to_be(world: World) {
    let commands = [
        Command::Join { visitors: visitors("v", 2), floor: Seq(0) },
        Command::Status(visitor("v")),
        Command::Lookup(visitor("v")),
        Command::Session(Seq(1)),
        Command::Leave(visitor("v")),
        Command::Release(vec![(visitor("v"), Seq(1))]),
        Command::Admit { max: 1 },
        Command::Expire,
        Command::Seen { period: Millis(START).period(), first_byte: 0, bytes: vec![1] },
        Command::Abandon { first_byte: 0, len: 1 },
        Command::Restore(vec![(visitor("v"), Seq(1))]),
        Command::Pause,
        Command::ClearWaiting { upto: Rank(9), reason: EndReason::Cleared },
        Command::ClearActive,
        Command::Remove,
        Command::Describe,
        Command::Snapshot,
    ];
    for command in commands {
        let refused = world.try_apply(command.clone()).await;
        assert!(matches!(refused, Err(EngineError::Refused(Refusal::NoSuchEvent))), "{command:?}: {refused:?}");
    }
    assert_eq!(world.engine.events().await.unwrap(), []);
}

async fn a_policy_is_created_and_replaced(mut world: World) {
    let first = world.configure(Policy::with_capacity(1)).await;
    assert_eq!(first.outcome, Outcome::Configured { created: true });
    assert_eq!((first.generation, first.now), (Generation(7), Millis(START)));
    let changed = world.signal(|signal| matches!(signal, Signal::EventChanged(_))).await;
    assert!(matches!(changed, Signal::EventChanged(event) if event == world.event));
    world.join(&["a", "b"]).await;

    let policy = Policy { admit_per_minute: Some(60), max_waiting: Some(9), ..Policy::with_capacity(3) };
    let configure = Configure { floor: Seq(99), closed_ms: 5, ..Configure::new(policy.clone(), Generation(8)) };
    let second = world.apply(Command::Configure(configure)).await;
    assert_eq!((second.outcome, second.generation), (Outcome::Configured { created: false }, Generation(7)));
    let description = world.describe().await;
    assert_eq!(description.policy, policy);
    let summary = description.summary;
    assert_eq!((summary.version, summary.seq, summary.waiting, summary.active), (2, Seq(2), 1, 1));
    assert_eq!(world.engine.events().await.unwrap(), [world.event.clone()]);
}

async fn another_generation_is_refused(world: World) {
    world.configure(Policy::with_capacity(1)).await;
    let join = Command::Join { visitors: visitors("v", 1), floor: Seq(0) };
    let refused = world.engine.apply(&world.event, Some(Generation(8)), join.clone()).await;
    assert!(matches!(refused, Err(EngineError::Refused(Refusal::StaleGeneration(Generation(7))))), "{refused:?}");
    assert_eq!(world.describe().await.summary.seq, Seq(0));
    assert!(world.engine.apply(&world.event, Some(Generation(7)), join).await.is_ok());
}

async fn joins_are_ordered_and_idempotent(world: World) {
    world.configure(Policy::with_capacity(1)).await;
    let joined = world.join(&["a", "b", "c"]).await;
    let expires = Millis(START + 300_000);
    let let_in = |fresh| Place::Active { seq: Seq(1), expires, fresh };
    assert_eq!(joined.places, [let_in(true), waiting(2, 1, true), waiting(3, 2, true)]);
    assert_eq!((joined.waiting, joined.paused), (2, false));
    let again = world.join(&["c", "d", "a"]).await;
    assert_eq!(again.places, [waiting(3, 2, false), waiting(4, 3, true), let_in(false)]);
    // The same twice in one batch, and numbers above a floor.
    let floor = Command::Join { visitors: ["e", "d", "e"].map(visitor).to_vec(), floor: Seq(10) };
    let Outcome::Joined(joined) = world.outcome(floor).await else { panic!() };
    let above = 10 + SEQ_BEHIND_GAP + 1;
    assert_eq!(joined.places, [waiting(above, 4, true), waiting(4, 3, false), waiting(above, 4, false)]);
    assert_eq!(joined.waiting, 4);
    let nobody = world.join(&[]).await;
    assert_eq!((nobody.places.len(), nobody.waiting), (0, 4));
}

/// The sizes of the batches in which so many are dealt with.
fn in_batches(count: usize, max: usize) -> Vec<usize> {
    let mut sizes = vec![max; count / max];
    sizes.push(count % max);
    sizes
}

async fn large_batches_are_cut(world: World) {
    world.configure(Policy::with_capacity(300)).await;
    let joined = world.join_all(visitors("v", 600)).await;
    assert_eq!((joined.places.len(), joined.waiting), (600, 300));
    assert!(joined.places[..300].iter().all(|place| matches!(place, Place::Active { fresh: true, .. })));
    assert_eq!(joined.places[599], waiting(600, 300, true));
    let all = visitors("v", 300).into_iter().zip(1..).map(|(visitor, seq)| (visitor, Seq(seq))).collect();
    assert_eq!(world.outcome(Command::Release(all)).await, Outcome::Released(vec![true; 300]));
    let admitted = world.admit().await;
    assert_eq!(admitted.sessions.len(), ADMIT_BATCH_MAX, "one batch at most");
    assert_eq!(world.admit().await.sessions.len(), ADMIT_BATCH_MAX);
    assert_eq!(world.admit().await.sessions.len(), 300 - 2 * ADMIT_BATCH_MAX);
}

async fn a_full_line_takes_nobody(world: World) {
    world.configure(Policy { max_waiting: Some(1), ..Policy::with_capacity(1) }).await;
    let joined = world.join(&["a", "b", "c"]).await;
    assert_eq!(joined.places[1..], [waiting(2, 1, true), Place::Full]);
    assert_eq!(world.lookup("c").await, Standing::Unknown);
    assert_eq!(world.join(&["b"]).await.places, [waiting(2, 1, false)]);
    world.outcome(Command::Leave(visitor("b"))).await;
    assert_eq!(world.join(&["c"]).await.places, [waiting(3, 1, true)]);
}

async fn a_draining_line_takes_nobody_new(mut world: World) {
    world.configure(Policy::with_capacity(1)).await;
    world.join(&["a", "b"]).await;
    assert_eq!(world.outcome(Command::Drain).await, Outcome::Done);
    world.signal(|signal| matches!(signal, Signal::EventChanged(_))).await;
    assert_eq!(world.join(&["b", "c"]).await.places, [waiting(2, 1, false), Place::Closed]);
    world.outcome(Command::Leave(visitor("a"))).await;
    assert_eq!(world.admit_names().await, ["b"], "who waits is still served");
    assert!(world.describe().await.summary.draining);
    world.outcome(Command::Resume).await;
    assert_eq!(world.join(&["c"]).await.places, [waiting(3, 1, true)]);
}

async fn a_sold_out_line_closes_and_ends_who_waits(mut world: World) {
    let policy = |on_return| Policy { on_return, ..Policy::with_capacity(1) };
    world.configure(policy(OnReturn::Close)).await;
    world.join(&["a", "b", "c"]).await;
    let stock = |left, held, at| Command::Stock(Stock { left, held, at: Millis(at) });
    let end = Command::ClearWaiting { upto: Rank(9), reason: EndReason::SoldOut };
    world.outcome(stock(0, 1, 10)).await;
    assert_eq!(world.outcome(end.clone()).await, Outcome::Cleared(0), "what is held may come back");
    world.outcome(stock(0, 0, 20)).await;
    world.signal(|signal| matches!(signal, Signal::EventChanged(_))).await;
    world.outcome(stock(5, 0, 15)).await;
    let summary = world.describe().await.summary;
    assert!(summary.sold_out && summary.version == 2, "older news changes nothing: {summary:?}");
    assert_eq!(summary.stock, Some(Stock { left: 0, held: 0, at: Millis(20) }));
    world.outcome(Command::Leave(visitor("a"))).await;
    assert!(world.admit_names().await.is_empty());
    assert_eq!(world.join(&["b", "d"]).await.places, [waiting(2, 1, false), Place::Closed]);
    assert_eq!(world.outcome(end).await, Outcome::Cleared(2));
    assert_eq!(world.lookup("b").await, Standing::Ended { seq: Seq(2), reason: EndReason::SoldOut });

    world.outcome(stock(1, 0, 30)).await;
    assert_eq!(world.join(&["d"]).await.places, [Place::Closed], "until an operator says so");
    world.outcome(Command::Resume).await;
    assert!(matches!(world.join(&["d"]).await.places[..], [Place::Active { seq: Seq(4), .. }]));
    world.outcome(stock(0, 0, 40)).await;
    world.outcome(Command::Resume).await;
    world.outcome(stock(0, 0, 50)).await;
    assert_eq!(world.join(&["e"]).await.places, [waiting(5, 1, true)], "the same news does not close it again");

    world.configure(policy(OnReturn::Reopen)).await;
    world.outcome(stock(1, 0, 60)).await;
    world.outcome(stock(0, 0, 70)).await;
    assert_eq!(world.join(&["f"]).await.places, [Place::Closed]);
    world.outcome(stock(0, 2, 80)).await;
    assert_eq!(world.join(&["f"]).await.places, [waiting(6, 2, true)]);
}

async fn the_rate_holds_for_all(world: World) {
    // 120 a minute: two at once, then one each half second.
    world.configure(Policy { admit_per_minute: Some(120), ..Policy::with_capacity(100) }).await;
    let joined = world.join(&["a", "b", "c", "d"]).await;
    assert!(matches!(joined.places[1], Place::Active { .. }), "direct entries are let in");
    assert_eq!(joined.places[2..], [waiting(3, 1, true), waiting(4, 2, true)]);
    let blocked = world.admit().await;
    assert_eq!((blocked.sessions.len(), blocked.rate_opens), (0, Some(Millis(START + 500))), "and counted");
    world.clock.advance(499);
    assert!(world.admit().await.sessions.is_empty());
    world.clock.advance(1);
    let one = world.admit().await;
    assert_eq!((one.sessions.len(), one.rate_opens), (1, Some(Millis(START + 1000))));
    world.clock.advance(3_600_000);
    let rest = world.admit().await;
    assert_eq!((rest.sessions.len(), rest.rate_opens), (1, None));
}

async fn admission_is_in_order_up_to_capacity(mut world: World) {
    world.configure(Policy::with_capacity(3)).await;
    world.outcome(Command::Pause).await;
    world.join(&["a", "b"]).await;
    world.clock.advance(5_000);
    world.join(&["c", "d", "e"]).await;
    world.outcome(Command::Resume).await;
    let Outcome::Admitted(first) = world.outcome(Command::Admit { max: 1 }).await else { panic!() };
    assert_eq!((first.sessions.len(), first.rate_opens), (1, None));
    let rest = world.admit().await;
    let names: Vec<_> = rest.sessions.iter().map(|session| session.visitor.as_str()).collect();
    assert_eq!(names, ["b", "c"]);
    let joined: Vec<_> = rest.sessions.iter().map(|session| session.joined).collect();
    assert_eq!(joined, [Some(Millis(START)), Some(Millis(START + 5_000))]);
    assert_eq!(rest.sessions[1].expires, Millis(START + 305_000));
    assert!(world.admit().await.sessions.is_empty(), "no slot is free");
    let signal = world.signal(|signal| matches!(signal, Signal::Admitted { .. })).await;
    let Signal::Admitted { event, generation, sessions } = signal else { panic!() };
    assert_eq!((event, generation, sessions), (world.event.clone(), Generation(7), first.sessions));
    let signal = world.signal(|signal| matches!(signal, Signal::Admitted { .. })).await;
    assert!(matches!(signal, Signal::Admitted { sessions, .. } if sessions == rest.sessions));
    assert_eq!(world.lookup("d").await, Standing::Waiting { seq: Seq(4), position: 1, waiting: 2 });
}

async fn a_lowered_capacity_evicts_nobody(world: World) {
    world.configure(Policy::with_capacity(3)).await;
    world.join(&["a", "b", "c", "d"]).await;
    world.configure(Policy::with_capacity(1)).await;
    assert_eq!(world.describe().await.summary.active, 3);
    assert_eq!(world.release(&[("a", 1), ("b", 2)]).await, [true, true]);
    assert!(world.admit().await.sessions.is_empty());
    assert_eq!(world.release(&[("c", 3)]).await, [true]);
    assert_eq!(world.admit_names().await, ["d"]);
}

async fn no_shows_give_their_slot_away(mut world: World) {
    world.configure(Policy { claim_seconds: 5, ..Policy::with_capacity(1) }).await;
    world.join(&["a", "b"]).await;
    world.clock.advance(4_999);
    assert_eq!(world.outcome(Command::Expire).await, Outcome::Expired(0));
    world.clock.advance(1);
    let gone = Standing::Ended { seq: Seq(1), reason: EndReason::Expired };
    assert_eq!(world.lookup("a").await, gone, "also before anybody has ended it");
    assert_eq!(world.describe().await.summary.active, 1);
    assert_eq!(world.outcome(Command::Expire).await, Outcome::Expired(1));
    let signal = world.signal(|signal| matches!(signal, Signal::SessionEnded(_))).await;
    let Signal::SessionEnded(ended) = signal else { panic!() };
    assert_eq!((ended.visitor_id.as_str(), ended.reason, ended.at), ("a", EndReason::Expired, Millis(START + 5_000)));
    assert_eq!(ended.jti, Jti { generation: Generation(7), seq: Seq(1) });
    assert_eq!(world.admit_names().await, ["b"]);
    assert_eq!(world.lookup("a").await, gone);
}

async fn signs_of_life_claim_an_admission(world: World) {
    world.configure(Policy { claim_seconds: 5, ..Policy::with_capacity(9) }).await;
    world.join(&["by-status", "by-use", "by-join", "looked-up"]).await;
    world.clock.advance(4_000);
    world.status("by-status").await;
    let expires = Millis(START + 300_000);
    let live = SessionState::Live { visitor: visitor("by-use"), expires };
    assert_eq!(world.session(2).await, live);
    world.join(&["by-join"]).await;
    world.lookup("looked-up").await;
    world.clock.advance(200_000);
    assert_eq!(world.outcome(Command::Expire).await, Outcome::Expired(1));
    assert_eq!(world.status("by-status").await, Standing::Active { seq: Seq(1), expires });
    assert_eq!(world.session(2).await, live);
    assert_eq!(world.session(4).await, SessionState::Ended(EndReason::Expired));
    assert_eq!(world.session(5).await, SessionState::Unknown);
}

async fn sessions_end_in_time(world: World) {
    world.configure(Policy { active_ttl_seconds: 10, claim_seconds: 10, ..Policy::with_capacity(400) }).await;
    world.join_all(visitors("v", 300)).await;
    assert_eq!(world.describe().await.summary.next_end, Some(Millis(START + 10_000)));
    world.clock.advance(10_000);
    // A sign of life comes too late.
    assert_eq!(world.status("v7").await, Standing::Ended { seq: Seq(8), reason: EndReason::Expired });
    assert_eq!(world.session(9).await, SessionState::Ended(EndReason::Expired));
    let batches = in_batches(298, SESSIONS_BATCH_MAX);
    for count in batches {
        assert_eq!(world.outcome(Command::Expire).await, Outcome::Expired(count), "one batch at most");
    }
    assert_eq!(world.outcome(Command::Expire).await, Outcome::Expired(0));
    let summary = world.describe().await.summary;
    assert_eq!((summary.active, summary.totals.expired, summary.next_end), (0, 300, None));
}

async fn leaving_and_revoking_end_what_there_is(mut world: World) {
    world.configure(Policy::with_capacity(2)).await;
    world.join(&["a", "b", "c", "d"]).await;
    assert_eq!(world.outcome(Command::Leave(visitor("c"))).await, Outcome::Left(Some(Was::Waiting)));
    assert_eq!(world.outcome(Command::Leave(visitor("c"))).await, Outcome::Left(None));
    assert_eq!(world.outcome(Command::Leave(visitor("a"))).await, Outcome::Left(Some(Was::Active)));
    let signal = world.signal(|signal| matches!(signal, Signal::SessionEnded(_))).await;
    assert!(matches!(signal, Signal::SessionEnded(ended) if ended.reason == EndReason::Left));
    assert_eq!(world.outcome(Command::Revoke(visitor("b"))).await, Outcome::Left(Some(Was::Active)));
    assert_eq!(world.outcome(Command::Revoke(visitor("d"))).await, Outcome::Left(Some(Was::Waiting)));
    let ended = |seq, reason| Standing::Ended { seq: Seq(seq), reason };
    assert_eq!(world.status("a").await, ended(1, EndReason::Left));
    assert_eq!(world.status("b").await, ended(2, EndReason::Revoked));
    assert_eq!(world.status("c").await, ended(3, EndReason::Left));
    assert_eq!(world.status("d").await, ended(4, EndReason::Revoked));
    assert_eq!(world.session(2).await, SessionState::Ended(EndReason::Revoked));
    assert_eq!(world.session(4).await, SessionState::Unknown, "it never was a session");
    assert_eq!(world.describe().await.summary.totals.released, 1);
    let again = world.join(&["a"]).await;
    assert!(matches!(again.places[0], Place::Active { seq: Seq(5), fresh: true, .. }), "a new place, at the end");
}

async fn a_release_ends_one_session_and_no_other(world: World) {
    world.configure(Policy::with_capacity(2)).await;
    world.join(&["a", "b", "c"]).await;
    assert_eq!(world.release(&[("a", 2), ("b", 1), ("c", 3), ("x", 1)]).await, [false; 4]);
    assert_eq!(world.release(&[("a", 1), ("a", 1)]).await, [true, false]);
    world.join(&["a"]).await;
    assert_eq!(world.admit_names().await, ["c"]);
    world.outcome(Command::Leave(visitor("c"))).await;
    assert_eq!(world.admit_names().await, ["a"]);
    assert_eq!(world.release(&[("a", 1)]).await, [false], "an old one cannot end the newer session");
    assert!(matches!(world.status("a").await, Standing::Active { seq: Seq(4), .. }));
    assert_eq!(world.release(&[]).await, [false; 0]);
}

async fn who_is_not_heard_of_is_abandoned(world: World) {
    world.configure(Policy { grace_seconds: 60, ..Policy::with_capacity(1) }).await;
    world.join(&["active", "a", "b", "c"]).await;
    let mut gone_at = None;
    for _ in 0..15 {
        world.clock.advance(10_000);
        // Heard of: a by its node, b by joining again. Nobody hears of c.
        let bytes = vec![0, 0, 0, 0b0000_0000];
        world.outcome(Command::Seen { period: world.clock.now().period(), first_byte: 0, bytes }).await;
        let seen = Command::Seen { period: world.clock.now().period(), first_byte: 0, bytes: vec![0b0010_0000] };
        assert_eq!(world.outcome(seen).await, Outcome::Done);
        world.join(&["b"]).await;
        let gone = world.abandon().await;
        if !gone.is_empty() {
            assert_eq!(gone, ["c"]);
            assert_eq!(gone_at, None);
            gone_at = Some(world.clock.now().since(Millis(START)));
        }
    }
    assert!(gone_at.is_some_and(|ms| (60_000..=120_000).contains(&ms)), "{gone_at:?}");
    assert_eq!(world.lookup("c").await, Standing::Ended { seq: Seq(4), reason: EndReason::Abandoned });
    let summary = world.describe().await.summary;
    assert_eq!((summary.waiting, summary.totals.abandoned), (2, 1));
    // Of a period long past nothing is noted.
    let old = Command::Seen { period: world.clock.now().period() - 3, first_byte: 0, bytes: vec![255] };
    assert_eq!(world.outcome(old).await, Outcome::Done);
}

async fn nobody_is_abandoned_while_nobody_listens(world: World) {
    world.configure(Policy { grace_seconds: 60, ..Policy::with_capacity(1) }).await;
    world.join(&["active", "a"]).await;
    world.clock.advance(3_600_000);
    assert_eq!(world.abandon().await, [""; 0], "the store was away: who is there is heard first");
    assert_eq!(world.sweep_for(80_000).await, [""; 0]);
    assert_eq!(world.sweep_for(20_000).await, ["a"]);
}

async fn a_longer_grace_holds_at_once(world: World) {
    world.configure(Policy { grace_seconds: 60, ..Policy::with_capacity(1) }).await;
    world.join(&["active", "a"]).await;
    assert_eq!(world.sweep_for(50_000).await, [""; 0]);
    world.configure(Policy { grace_seconds: 300, ..Policy::with_capacity(1) }).await;
    assert_eq!(world.sweep_for(240_000).await, [""; 0]);
    assert_eq!(world.sweep_for(70_000).await, ["a"]);
}

async fn who_was_abandoned_by_mistake_comes_back(world: World) {
    world.configure(Policy { grace_seconds: 60, ..Policy::with_capacity(1) }).await;
    world.join(&["active", "a", "b", "c"]).await;
    assert_eq!(world.sweep_for(120_000).await, ["a", "b", "c"]);
    world.outcome(Command::Leave(visitor("active"))).await;
    let places = [("b", 3), ("c", 3), ("active", 1), ("c", 4), ("c", 4), ("x", 9)];
    let places = places.map(|(name, seq)| (visitor(name), Seq(seq))).to_vec();
    let back = world.outcome(Command::Restore(places)).await;
    assert_eq!(back, Outcome::Restored(vec![true, false, false, true, false, false]));
    assert_eq!(world.lookup("b").await, Standing::Waiting { seq: Seq(3), position: 1, waiting: 2 });
    assert_eq!(world.describe().await.summary.totals.abandoned, 1);
    assert_eq!(world.sweep_for(50_000).await, [""; 0], "coming back is a sign of life");
    assert_eq!(world.admit_names().await, ["b"]);
}

async fn a_paused_line_admits_nobody(world: World) {
    world.configure(Policy::with_capacity(2)).await;
    assert_eq!(world.outcome(Command::Pause).await, Outcome::Done);
    let joined = world.join(&["a"]).await;
    assert_eq!((joined.places[0], joined.paused), (waiting(1, 1, true), true));
    let none = world.admit().await;
    assert_eq!((none.sessions.len(), none.rate_opens), (0, None));
    let summary = world.snapshot().await.summary;
    assert!(summary.paused && !summary.draining && summary.version == 2);
    world.outcome(Command::Resume).await;
    assert_eq!(world.admit_names().await, ["a"]);
}

async fn a_line_is_cleared_in_batches(mut world: World) {
    world.configure(Policy::with_capacity(300)).await;
    world.join_all(visitors("v", 600)).await;
    let clear = |upto| Command::ClearWaiting { upto: Rank(upto), reason: EndReason::Cleared };
    assert_eq!(world.outcome(clear(310)).await, Outcome::Cleared(10));
    for count in in_batches(290, END_BATCH_MAX) {
        assert_eq!(world.outcome(clear(u64::MAX)).await, Outcome::Cleared(count));
    }
    assert_eq!(world.lookup("v599").await, Standing::Ended { seq: Seq(600), reason: EndReason::Cleared });
    assert_eq!(world.describe().await.summary.active, 300);
    for count in in_batches(300, SESSIONS_BATCH_MAX) {
        assert_eq!(world.outcome(Command::ClearActive).await, Outcome::Cleared(count));
    }
    assert_eq!(world.session(1).await, SessionState::Ended(EndReason::Cleared));
    let signal = world.signal(|signal| matches!(signal, Signal::SessionEnded(_))).await;
    assert!(matches!(signal, Signal::SessionEnded(ended) if ended.reason == EndReason::Cleared));
    let joined = world.join(&["new"]).await;
    assert!(matches!(joined.places[0], Place::Active { seq: Seq(601), .. }), "numbers go on");
}

async fn only_an_empty_event_is_removed(mut world: World) {
    world.configure(Policy::with_capacity(1)).await;
    world.join(&["a", "b"]).await;
    assert_eq!(world.outcome(Command::Remove).await, Outcome::Removed(false));
    world.outcome(Command::Leave(visitor("a"))).await;
    assert_eq!(world.outcome(Command::Remove).await, Outcome::Removed(false));
    world.outcome(Command::Leave(visitor("b"))).await;
    world.signal(|signal| matches!(signal, Signal::SessionEnded(_))).await;
    assert_eq!(world.outcome(Command::Remove).await, Outcome::Removed(true));
    world.signal(|signal| matches!(signal, Signal::EventChanged(_))).await;
    assert_eq!(world.engine.events().await.unwrap(), []);
    assert!(world.try_apply(Command::Describe).await.is_err());
    world.configure(Policy::with_capacity(1)).await;
    assert_eq!(world.lookup("a").await, Standing::Unknown, "nothing is left of the old one");
    assert_eq!(world.describe().await.summary.seq, Seq(0));
    assert_eq!(world.engine.events().await.unwrap(), [world.event.clone()]);
}

async fn a_rebuilt_line_starts_closed(world: World) {
    let policy = Policy::with_capacity(5);
    let configure = Configure { floor: Seq(1 << 20), closed_ms: 60_000, ..Configure::new(policy, Generation(9)) };
    world.apply(Command::Configure(configure)).await;
    assert_eq!(world.describe().await.summary.admit_not_before, Millis(START + 60_000));
    assert_eq!(world.join(&["a"]).await.places, [waiting((1 << 20) + 1, 1, true)]);
    world.clock.advance(59_999);
    let closed = world.admit().await;
    assert_eq!((closed.sessions.len(), closed.rate_opens), (0, None));
    world.clock.advance(1);
    assert_eq!(world.admit_names().await, ["a"]);
}

async fn positions_come_from_the_snapshot(world: World) {
    world.configure(Policy::with_capacity(1)).await;
    let empty = world.snapshot().await;
    assert_eq!((empty.first_byte, empty.present.len(), empty.summary.oldest_joined), (0, 0, None));
    world.join(&["active"]).await;
    world.clock.advance(2_000);
    world.join_all(visitors("v", 100)).await;
    for left in (0..40).chain([50, 77, 99]) {
        world.outcome(Command::Leave(visitor(&format!("v{left}")))).await;
    }
    let snapshot = world.snapshot().await;
    assert_eq!(snapshot.summary.waiting, 57);
    assert_eq!(snapshot.summary.oldest_joined, Some(Millis(START + 2_000)));
    assert_eq!(snapshot.first_byte, 0, "from the head of the line, to the word");
    assert_eq!(snapshot.present.len(), 100 / 8 + 1, "to its tail");
    let index = PositionIndex::new(snapshot.first_byte, snapshot.present);
    for (i, visitor) in visitors("v", 100).into_iter().enumerate() {
        let rank = Rank(i as u64 + 2);
        match world.outcome(Command::Lookup(visitor)).await {
            Outcome::Standing(Standing::Waiting { position, .. }) => {
                assert!(index.contains(rank) && index.position(rank) == position, "{rank:?}");
            }
            _ => assert!(!index.contains(rank), "{rank:?}"),
        }
    }
}

async fn the_ended_are_remembered(world: World) {
    world.configure(Policy::with_capacity(1)).await;
    world.join(&["a", "b", "c"]).await;
    world.outcome(Command::Leave(visitor("a"))).await;
    world.clock.advance(ENDED_KEPT_MS);
    world.outcome(Command::Leave(visitor("b"))).await;
    assert_eq!(world.lookup("a").await, Standing::Ended { seq: Seq(1), reason: EndReason::Left });
    assert_eq!(world.session(1).await, SessionState::Ended(EndReason::Left));
    world.clock.advance(ENDED_KEPT_MS);
    world.outcome(Command::Leave(visitor("c"))).await;
    assert_eq!(world.lookup("a").await, Standing::Unknown);
    assert_eq!(world.session(1).await, SessionState::Unknown);
    assert_eq!(world.lookup("b").await, Standing::Ended { seq: Seq(2), reason: EndReason::Left });
    const { assert!(ENDED_KEPT_MS > SEEN_PERIOD_MS) };
}

async fn takeovers_are_announced(mut world: World) {
    let taken = TakenOver { event_id: world.event.clone(), visitor_id: visitor("a"), node: u64::MAX, socket: 3 };
    world.engine.announce(taken.clone()).await.unwrap();
    let signal = world.signal(|signal| matches!(signal, Signal::TakenOver(_))).await;
    assert!(matches!(signal, Signal::TakenOver(told) if told == taken));
}
