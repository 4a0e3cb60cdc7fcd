//! What figures are made of: medians of rounds, processor time for each of many, and what is said of them.

use std::time::Duration;

use anyhow::{Result, bail};

/// The one in the middle, or what is between the two there; not a number if there is none.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.get(middle), values.len() % 2) {
        (Some(one), 1) => *one,
        (Some(one), _) => values[middle - 1].midpoint(*one),
        (None, _) => f64::NAN,
    }
}

/// Microseconds for each of so many.
pub fn micros(time: Duration, count: u64) -> f64 {
    us(time) / count.max(1) as f64
}

/// Microseconds.
pub fn us(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

const MISSED: &str = "floor **MISSED**";

/// What is said of a figure that may be `floor` at most and should be `goal` at most. Not a number is a miss.
pub fn said(seen: f64, floor: f64, goal: f64) -> &'static str {
    match seen {
        seen if seen <= goal => "goal reached",
        seen if seen <= floor => "floor kept",
        _ => MISSED,
    }
}

/// One figure with what it must not exceed.
#[derive(Debug)]
pub struct Figure {
    /// What was measured, against what.
    pub what: String,
    /// What was seen.
    pub seen: f64,
    /// The most that is allowed.
    pub floor: f64,
    /// What is wanted.
    pub goal: f64,
    /// Behind each number.
    pub unit: &'static str,
}

/// Prints rows for `RESULTS.md`; fails if a floor was missed.
pub fn verdict(figures: &[Figure]) -> Result<()> {
    println!("\n| what | seen | floor | goal | |\n| --- | ---: | ---: | ---: | --- |");
    let mut missed = Vec::new();
    for Figure { what, seen, floor, goal, unit } in figures {
        let said = said(*seen, *floor, *goal);
        println!("| {what} | {seen:.4}{unit} | {floor:.4}{unit} | {goal:.4}{unit} | {said} |");
        if said == MISSED {
            missed.push(what.as_str());
        }
    }
    if missed.is_empty() { Ok(()) } else { bail!("floor missed: {}", missed.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_in_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median([]).is_nan());
        assert_eq!(micros(Duration::from_millis(3), 2), 1_500.0);
    }

    #[test]
    fn floors_are_kept_or_not() {
        assert_eq!(
            [0.5, 1.5, 2.5].map(|seen| said(seen, 2.0, 1.0)),
            ["goal reached", "floor kept", "floor **MISSED**"]
        );
        let figure = |seen| Figure { what: "it".into(), seen, floor: 2.0, goal: 1.0, unit: "" };
        assert!(verdict(&[figure(0.5), figure(1.5)]).is_ok());
        assert!(verdict(&[figure(2.5)]).is_err() && verdict(&[figure(f64::NAN)]).is_err());
    }
}
