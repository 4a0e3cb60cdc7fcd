//! Live seats and the seat map, measured against their limits in the same run.

mod fanout;
pub mod seatmap;
pub mod send_loop;
pub mod sse;

use crate::figures::said;

/// Whether a ratio keeps to what the project has set itself.
fn verdict(ratio: f64, floor: f64, goal: f64) -> String {
    format!("{ratio:.2} (floor {floor}, goal {goal}: {})", said(ratio, floor, goal))
}
