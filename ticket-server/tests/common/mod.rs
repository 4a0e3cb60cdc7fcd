//! What several tests share.
#![allow(dead_code)]

pub mod steps;

/// How many random sequences a model test runs.
pub fn model_cases() -> u32 {
    std::env::var("USHER_MODEL_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(500)
}
