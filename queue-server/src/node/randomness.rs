//! Random bytes for visitors' ids, drawn from the system's generator a page at a time: asking it for each one costs
//! more than the rest of making an id. What was handed out is wiped.

use std::cell::RefCell;

const PAGE_BYTES: usize = 2_048;

struct Page {
    bytes: [u8; PAGE_BYTES],
    used: usize,
}

thread_local! {
    static PAGE: RefCell<Page> = const { RefCell::new(Page { bytes: [0; PAGE_BYTES], used: PAGE_BYTES }) };
}

/// Sixteen random bytes; `None` when the system has none.
pub fn sixteen() -> Option<[u8; 16]> {
    PAGE.with_borrow_mut(|page| {
        if page.used == PAGE_BYTES {
            aws_lc_rs::rand::fill(&mut page.bytes).ok()?;
            page.used = 0;
        }
        let taken = &mut page.bytes[page.used..page.used + 16];
        let random = (&*taken).try_into().ok()?;
        taken.fill(0);
        page.used += 16;
        Some(random)
    })
}

const _: () = assert!(PAGE_BYTES.is_multiple_of(16));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_comes_twice_and_none_is_kept() {
        let drawn: std::collections::HashSet<_> = (0..10_000).map(|_| sixteen().unwrap()).collect();
        assert_eq!(drawn.len(), 10_000);
        assert!(!drawn.contains(&[0; 16]));
        PAGE.with_borrow(|page| assert!(page.bytes[..page.used].iter().all(|byte| *byte == 0)));
    }
}
