//! What the seed makes of a scenario: who each visitor is, when they come, and what they will choose. Nothing of it
//! depends on what the servers do, so that the same seed sends the same crowd.

use super::{
    record::Kind,
    scenario::{Crowd, Scenario},
};
use crate::random::Random;

/// Pauses that a visitor has drawn in advance; further ones begin anew.
pub const THOUGHTS: usize = 12;
/// Somebody who reloads does so at most so often.
const RELOADS_MAX: u64 = 3;

/// One visitor, as planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    pub number: u64,
    pub kind: Kind,
    /// After the beginning.
    pub arrives_ms: u64,
    /// Asks again and again, in place of a socket.
    pub polls: bool,
    /// Where the first request goes: to the node of this number modulo theirs.
    pub node: usize,
    /// Leaves or abandons after so long, if that is their kind.
    pub patience_ms: u64,
    /// Reloads so long after the last time.
    pub reloads_ms: Vec<u64>,
    /// How many seats or tickets.
    pub quantity: u64,
    /// Which section or area comes first, modulo theirs.
    pub favourite: usize,
    pub together: bool,
    /// After a declined card, or with a hold that is to be given up: tries another card; cancels in order.
    pub resolute: bool,
    /// Comes to the shop with the session and is still looking; one for each step.
    pub thinks_ms: [u64; THOUGHTS],
    /// What else is chosen on the way, such as a seat, begins with this.
    pub luck: u64,
}

/// Everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan(pub Vec<Intent>);

impl Plan {
    /// What the scenario's seed makes.
    pub fn new(scenario: &Scenario) -> Self {
        let weights = scenario.crowd.kinds.weights();
        let intents = (0..scenario.crowd.visitors)
            .map(|number| intent(scenario, &weights, number, &mut Random::new(scenario.seed, number)));
        Self(intents.collect())
    }
}

fn intent(scenario: &Scenario, weights: &[(Kind, u64)], number: u64, random: &mut Random) -> Intent {
    let crowd = &scenario.crowd;
    // The first number of neighbouring generators is not as far apart as the next ones.
    random.next();
    let kind = kind(weights, random);
    let arrives_ms = arrival(crowd, random);
    let mut between = |low: u64, high: u64| random.between_ms(low, high).as_millis() as u64;
    let patience_ms = between(crowd.patience_seconds[0] * 1_000, crowd.patience_seconds[1] * 1_000);
    let reloads = if kind == Kind::Reloads { between(1, RELOADS_MAX) } else { 0 };
    let reloads_ms = (0..reloads).map(|_| between(300, 3_000)).collect();
    let mut thinks_ms = [0; THOUGHTS];
    thinks_ms.fill_with(|| between(crowd.think_ms[0], crowd.think_ms[1]));
    Intent {
        number,
        kind,
        arrives_ms,
        // A socket is what is dropped, reloaded or opened twice.
        polls: share(random) < crowd.poll_share && !matches!(kind, Kind::Reloads | Kind::TwoTabs),
        node: random.below(1 << 20) as usize,
        patience_ms,
        reloads_ms,
        quantity: 1 + [0, 0, 0, 1, 1, 1, 1, 2, 2, 3][random.below(10) as usize] % scenario.event.seats_per_visitor_max,
        favourite: random.below(1 << 20) as usize,
        together: random.percent(70),
        resolute: random.percent(60),
        thinks_ms,
        luck: random.next(),
    }
}

fn kind(weights: &[(Kind, u64)], random: &mut Random) -> Kind {
    let mut left = random.below(weights.iter().map(|(_, weight)| weight).sum());
    for (kind, weight) in weights {
        match left.checked_sub(*weight) {
            Some(rest) => left = rest,
            None => return *kind,
        }
    }
    Kind::Buyer
}

/// 0 to 1, without 1.
fn share(random: &mut Random) -> f64 {
    (random.next() >> 11) as f64 / (1_u64 << 53) as f64
}

/// The rush is steepest at its beginning and gets thinner; the tail comes evenly.
fn arrival(crowd: &Crowd, random: &mut Random) -> u64 {
    let (rush_ms, tail_ms) = (crowd.rush_seconds as f64 * 1e3, crowd.tail_seconds as f64 * 1e3);
    let rushes = share(random) < crowd.rush_share;
    let when = share(random);
    (if rushes { rush_ms * when * when } else { rush_ms + tail_ms * when }) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearse::scenario::Changes;

    fn plan(seed: u64, visitors: u64) -> Plan {
        let text = include_str!("../../scenarios/small.toml");
        let changes = Changes { visitors: Some(visitors), seed: Some(seed) };
        Plan::new(&Scenario::parse(text, changes).unwrap())
    }

    #[test]
    fn a_seed_makes_the_same_crowd_again_and_another_seed_another_one() {
        assert_eq!(plan(5, 300), plan(5, 300));
        assert_ne!(plan(5, 300), plan(6, 300));
        // Who is added changes nobody.
        assert_eq!(plan(5, 400).0[..300], plan(5, 300).0[..]);
    }

    #[test]
    fn the_crowd_is_what_the_scenario_says() {
        let Plan(all) = plan(1, 10_000);
        let count = |kind| all.iter().filter(|intent| intent.kind == kind).count();
        assert!((2_650..2_950).contains(&count(Kind::Buyer)), "{}", count(Kind::Buyer));
        assert!((230..370).contains(&count(Kind::Bot)), "{}", count(Kind::Bot));
        let rush = all.iter().filter(|intent| intent.arrives_ms < 4_000).count();
        assert!((5_800..6_200).contains(&rush), "{rush}");
        // A quarter of the time brings half of the rush.
        let first = all.iter().filter(|intent| intent.arrives_ms < 1_000).count();
        assert!((2_800..3_200).contains(&first), "{first}");
        assert!(all.iter().all(|intent| intent.arrives_ms < 24_000 && (1..=4).contains(&intent.quantity)));
        let polls = all.iter().filter(|intent| intent.polls).count();
        assert!((1_500..1_900).contains(&polls), "{polls}");
        assert!(all.iter().all(|intent| intent.reloads_ms.is_empty() != (intent.kind == Kind::Reloads)));
    }
}
