//! A list of texts and whole numbers as MessagePack has them: all that the scripts need of it.

use std::io::Write as _;

/// A list that grows.
pub(super) struct List {
    bytes: Vec<u8>,
    items: u32,
}

impl List {
    /// The first byte of a list whose length follows in four bytes.
    const ARRAY_32: u8 = 0xdd;
    const TEXT_8: u8 = 0xd9;
    const TEXT_16: u8 = 0xda;
    const UINT_64: u8 = 0xcf;

    pub(super) fn with_capacity(bytes: usize) -> Self {
        let mut list = Vec::with_capacity(bytes + 5);
        list.extend_from_slice(&[Self::ARRAY_32, 0, 0, 0, 0]);
        Self { bytes: list, items: 0 }
    }

    pub(super) fn number(&mut self, number: u64) {
        self.items += 1;
        self.bytes.push(Self::UINT_64);
        self.bytes.extend_from_slice(&number.to_be_bytes());
    }

    pub(super) fn text(&mut self, text: &str) {
        self.items += 1;
        match u8::try_from(text.len()) {
            Ok(length) => self.bytes.extend_from_slice(&[Self::TEXT_8, length]),
            // No identifier is so long, and no hold has so many seats.
            Err(_) => {
                let length = u16::try_from(text.len()).expect("a text of less than 64 KiB");
                self.bytes.push(Self::TEXT_16);
                self.bytes.extend_from_slice(&length.to_be_bytes());
            }
        }
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// A short text, written in place.
    pub(super) fn display(&mut self, value: impl std::fmt::Display) {
        self.items += 1;
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[Self::TEXT_8, 0]);
        let _ = write!(self.bytes, "{value}");
        let length = self.bytes.len() - at - 2;
        self.bytes[at + 1] = u8::try_from(length).expect("a short text");
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bytes[1..5].copy_from_slice(&self.items.to_be_bytes());
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_message_pack() {
        let mut list = List::with_capacity(0);
        list.text("ab");
        list.number(258);
        list.display(7);
        assert_eq!(list.finish(), b"\xdd\0\0\0\x03\xd9\x02ab\xcf\0\0\0\0\0\0\x01\x02\xd9\x017");
    }
}
