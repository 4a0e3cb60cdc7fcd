//! Everybody of one client process: who is where, and what is told of them each second.

use std::{cell::RefCell, collections::BTreeMap};

use anyhow::{Context, Result};
use queue_core::token::place::PlaceKeys;
use tokio::task::AbortHandle;

use super::socket::Scratch;
use crate::{
    api::{self, Queue},
    random::Random,
    scale::control::{Kind, Report, Second, Setup, Sight},
};

/// How often a random waiter is drawn before it is given up to find one.
const DRAWS_MAX: usize = 64;
/// Sights kept within one second, at most; more are counted as trouble.
const SIGHTS_MAX: usize = 200_000;

/// Where a visitor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// Has no place yet, or no socket.
    Away,
    Waiting,
    Active,
}

/// One visitor.
#[derive(Debug)]
pub struct Visitor {
    /// The number in line; 0 as long as it is not known.
    pub seq: u64,
    pub token: Box<str>,
    /// Whether every message to them is read.
    pub sampled: bool,
    pub whereabouts: Whereabouts,
    /// The highest number that had been told to anybody here when this one asked to join.
    pub floor: u64,
    /// The last position that was read, and as of when.
    pub position: u64,
    pub as_of: u64,
    task: Option<AbortHandle>,
}

impl Visitor {
    /// Waits, and was shown a position as of `since` or later.
    fn was_shown(&self, since: u64) -> bool {
        self.whereabouts == Whereabouts::Waiting && self.position > 0 && self.as_of >= since
    }
}

#[derive(Debug)]
struct State {
    /// By index; `None` is a free one.
    visitors: Vec<Option<Visitor>>,
    free: Vec<usize>,
    /// By [`Whereabouts`].
    counts: [usize; 3],
    random: Random,
    second: Second,
    told: Vec<u64>,
    troubles: BTreeMap<String, u64>,
    /// The highest number told to anybody here.
    highest_seq: u64,
    joining: bool,
    read_all: bool,
    count_since: Option<u64>,
    connected: u64,
}

/// All of them.
#[derive(Debug)]
pub struct Crowd {
    pub setup: Setup,
    pub keys: PlaceKeys,
    pub scratch: Scratch,
    /// One per node: an admitted visitor says at any of them that it is done.
    pub queues: Vec<Queue>,
    state: RefCell<State>,
}

impl Crowd {
    /// Nobody yet.
    pub fn new(setup: Setup) -> Result<Self> {
        let keys = PlaceKeys::new(&[&setup.place_secret]).context("the place secret")?;
        let http = api::client()?;
        let queue = |node| Queue::new(http.clone(), &format!("http://{node}"), setup.event.as_str());
        let queues = setup.nodes.iter().map(queue).collect();
        let state = State {
            visitors: Vec::new(),
            free: Vec::new(),
            counts: [0; 3],
            random: Random::new(setup.seed, setup.index as u64),
            second: Second::default(),
            told: Vec::new(),
            troubles: BTreeMap::new(),
            highest_seq: 0,
            joining: false,
            read_all: false,
            count_since: None,
            connected: 0,
        };
        Ok(Self { setup, keys, scratch: Scratch::default(), queues, state: RefCell::new(state) })
    }

    /// How many there are, wherever.
    pub fn count(&self) -> usize {
        self.state.borrow().counts.iter().sum()
    }

    /// How many have no place yet, or no socket.
    pub fn away(&self) -> usize {
        self.state.borrow().counts[Whereabouts::Away as usize]
    }

    /// A number below `end`.
    pub fn draw(&self, end: u64) -> u64 {
        self.state.borrow_mut().random.below(end)
    }

    /// One that is taken in turn, for what should be spread evenly.
    pub fn turn(&self) -> u64 {
        let mut state = self.state.borrow_mut();
        state.connected += 1;
        state.connected
    }

    /// Somebody new; their index.
    pub fn add(&self) -> usize {
        let mut state = self.state.borrow_mut();
        let sampled = state.random.below(1_000) < self.setup.sampled_per_mille;
        let floor = state.highest_seq;
        let visitor = Visitor {
            seq: 0,
            token: Box::default(),
            sampled,
            whereabouts: Whereabouts::Away,
            floor,
            position: 0,
            as_of: 0,
            task: None,
        };
        state.counts[Whereabouts::Away as usize] += 1;
        match state.free.pop() {
            Some(index) => {
                state.visitors[index] = Some(visitor);
                index
            }
            None => {
                state.visitors.push(Some(visitor));
                state.visitors.len() - 1
            }
        }
    }

    /// Somebody went home.
    pub fn remove(&self, index: usize) {
        let mut state = self.state.borrow_mut();
        if let Some(gone) = state.visitors[index].take() {
            state.free.push(index);
            state.counts[gone.whereabouts as usize] -= 1;
        }
    }

    /// Somebody is somewhere else now.
    pub fn moves(&self, index: usize, to: Whereabouts) {
        let mut state = self.state.borrow_mut();
        if let Some(visitor) = &mut state.visitors[index] {
            let from = std::mem::replace(&mut visitor.whereabouts, to);
            state.counts[from as usize] -= 1;
            state.counts[to as usize] += 1;
        }
    }

    /// Looks at or changes somebody. Indices stay theirs until [`Self::remove`].
    pub fn with<T>(&self, index: usize, change: impl FnOnce(&mut Visitor) -> T) -> Option<T> {
        self.state.borrow_mut().visitors[index].as_mut().map(change)
    }

    /// This task is the visitor's life from now on.
    pub fn follow(&self, index: usize, task: AbortHandle) {
        self.with(index, |visitor| visitor.task = Some(task));
    }

    /// Takes note of a number that was told; says whether it comes after those told before it was asked for.
    pub fn saw_seq(&self, index: usize, seq: u64) -> bool {
        let mut state = self.state.borrow_mut();
        state.highest_seq = state.highest_seq.max(seq);
        state.visitors[index].as_ref().is_some_and(|visitor| seq > visitor.floor)
    }

    /// Whoever joins again asks only now.
    pub fn asks_now(&self, index: usize) {
        let mut state = self.state.borrow_mut();
        let highest = state.highest_seq;
        if let Some(visitor) = &mut state.visitors[index] {
            visitor.floor = highest;
        }
    }

    /// Lets the socket of a random waiter fall, if one is found; whose it was.
    pub fn fall(&self, now_ms: u64) -> Option<usize> {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let all = state.visitors.len() as u64;
        for _ in 0..DRAWS_MAX {
            let index = state.random.below(all) as usize;
            let Some(Some(visitor)) = state.visitors.get_mut(index) else { continue };
            if visitor.whereabouts != Whereabouts::Waiting {
                continue;
            }
            visitor.whereabouts = Whereabouts::Away;
            state.counts[Whereabouts::Waiting as usize] -= 1;
            state.counts[Whereabouts::Away as usize] += 1;
            if let Some(task) = visitor.task.take() {
                task.abort();
            }
            if visitor.sampled {
                let sight = Sight { seq: visitor.seq, kind: Kind::Fall, as_of: 0, position: 0, seen: now_ms };
                state.second.sights.push(sight);
            }
            return Some(index);
        }
        None
    }

    /// Something went wrong.
    pub fn trouble(&self, what: &str) {
        *self.state.borrow_mut().troubles.entry(what.to_owned()).or_default() += 1;
    }

    /// Adds to what is told of this second.
    pub fn note(&self, note: impl FnOnce(&mut Second)) {
        note(&mut self.state.borrow_mut().second);
    }

    /// A sampled waiter saw something.
    pub fn sight(&self, sight: Sight) {
        let mut state = self.state.borrow_mut();
        if state.second.sights.len() < SIGHTS_MAX {
            state.second.sights.push(sight);
        } else {
            drop(state);
            self.trouble("sight not kept");
        }
    }

    /// Somebody was told that it is their turn.
    pub fn told(&self, seq: u64) {
        self.state.borrow_mut().told.push(seq);
    }

    /// Whether new ones still come and sockets fall.
    pub fn set_joining(&self, joining: bool) {
        self.state.borrow_mut().joining = joining;
    }

    /// See [`Self::set_joining`].
    pub fn is_joining(&self) -> bool {
        self.state.borrow().joining
    }

    /// From now on everybody's positions are read.
    pub fn read_all(&self) {
        let mut state = self.state.borrow_mut();
        state.read_all = true;
        for visitor in state.visitors.iter_mut().flatten() {
            (visitor.position, visitor.as_of) = (0, 0);
        }
    }

    /// See [`Order::CountSince`](crate::scale::control::Order::CountSince).
    pub fn count_since(&self, ms: u64) {
        self.state.borrow_mut().count_since = Some(ms);
    }

    /// Whether the position that comes for `index` is to be read.
    pub fn reads(&self, index: usize) -> bool {
        let state = self.state.borrow();
        state.read_all || state.visitors[index].as_ref().is_some_and(|visitor| visitor.sampled)
    }

    /// What happened since this was last asked.
    pub fn second(&self) -> Second {
        let mut state = self.state.borrow_mut();
        let mut second = std::mem::take(&mut state.second);
        [second.away, second.waiting, second.active] = state.counts;
        if let Some(since) = state.count_since {
            second.shown = state.visitors.iter().flatten().filter(|visitor| visitor.was_shown(since)).count();
        }
        second.troubles = state.troubles.clone();
        second
    }

    /// What became of everybody.
    pub fn report(&self) -> Report {
        let state = self.state.borrow();
        let waiting = state.visitors.iter().flatten().filter(|visitor| visitor.whereabouts == Whereabouts::Waiting);
        Report {
            waiting: waiting.map(|visitor| (visitor.seq, visitor.position, visitor.as_of)).collect(),
            told: state.told.clone(),
            troubles: state.troubles.clone(),
        }
    }
}
