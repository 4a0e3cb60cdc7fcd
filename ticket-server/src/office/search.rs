//! Finding events by words: whatever their case and their accents, in any script, and by words that mean the same.
//!
//! Every word of a question has to stand somewhere in an event's name, venue, production or id, also within a word:
//! Korean and Japanese do not part theirs. A question is bounded; so is the list of synonyms.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use unicode_normalization::{UnicodeNormalization as _, char::is_combining_mark};

use crate::model::Hall;

/// A question is at most so long.
pub const QUESTION_CHARS_MAX: usize = 200;
/// Words of a question, at most.
const WORDS_MAX: usize = 12;
/// Words of one synonym, at most.
const PHRASE_WORDS_MAX: usize = 4;
/// Bytes of a file of synonyms, at most.
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// Words that mean the same, at most.
const GROUP_MAX: usize = 32;

/// Text as it is compared: without case and accents, in words parted by single spaces.
pub fn folded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // Punctuation parts words, accents are left out.
    for c in text.nfkd().filter(|&c| !is_combining_mark(c)).flat_map(char::to_lowercase) {
        match c {
            'ß' => out.push_str("ss"),
            'æ' => out.push_str("ae"),
            'œ' => out.push_str("oe"),
            'ø' => out.push('o'),
            'đ' => out.push('d'),
            'ł' => out.push('l'),
            'ı' => out.push('i'),
            c if c.is_alphanumeric() => out.push(c),
            _ if out.ends_with(' ') || out.is_empty() => {}
            _ => out.push(' '),
        }
    }
    out.truncate(out.trim_end().len());
    out
}

/// What an event is found by.
pub fn text_of(hall: &Hall) -> String {
    let body = &hall.body;
    let parts = [Some(body.name.as_str()), body.venue.as_deref(), body.production.as_deref()];
    let mut text = folded(hall.event.as_str());
    for part in parts.into_iter().flatten() {
        text.push('\n');
        text.push_str(&folded(part));
    }
    text
}

/// Words that mean the same.
#[derive(Clone, Debug, Default)]
pub struct Synonyms {
    groups: Vec<Vec<String>>,
    /// The group of each.
    of: HashMap<String, usize>,
}

/// A list of synonyms that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadSynonyms {
    /// The file cannot be read.
    #[error("{0} cannot be read: {1}")]
    File(PathBuf, std::io::Error),
    /// The file is too long.
    #[error("the file is longer than {FILE_BYTES_MAX} bytes")]
    TooLong,
    /// A line makes no sense.
    #[error("line {0}: {1}")]
    Line(usize, &'static str),
}

impl Synonyms {
    /// Reads a file: on each line words that mean the same, parted by commas; `#` begins a comment.
    pub fn read(path: &Path) -> Result<Self, BadSynonyms> {
        let failed = |error| BadSynonyms::File(path.to_owned(), error);
        if std::fs::metadata(path).map_err(failed)?.len() > FILE_BYTES_MAX {
            return Err(BadSynonyms::TooLong);
        }
        Self::parse(&std::fs::read_to_string(path).map_err(failed)?)
    }

    /// Reads the text of such a file.
    pub fn parse(text: &str) -> Result<Self, BadSynonyms> {
        let mut synonyms = Self::default();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let words: Vec<_> = line.split(',').map(folded).collect();
            let bad = |problem| Err(BadSynonyms::Line(number, problem));
            if words.len() < 2 || words.len() > GROUP_MAX {
                return bad("2 to 32 words, parted by commas, are expected");
            }
            if words.iter().any(|word| word.is_empty() || word.split(' ').count() > PHRASE_WORDS_MAX) {
                return bad("each is expected to have 1 to 4 words");
            }
            let group = synonyms.groups.len();
            for word in &words {
                if synonyms.of.insert(word.clone(), group).is_some() {
                    return bad("one of them was named before");
                }
            }
            synonyms.groups.push(words);
        }
        Ok(synonyms)
    }

    /// The words of a question; what means the same serves for each. `None` when there are too many.
    pub fn question(&self, text: &str) -> Option<Question> {
        let folded = folded(text);
        let words: Vec<&str> = folded.split(' ').filter(|word| !word.is_empty()).collect();
        if words.len() > WORDS_MAX {
            return None;
        }
        let mut terms = Vec::new();
        let mut at = 0;
        while at < words.len() {
            let longest = (1..=PHRASE_WORDS_MAX.min(words.len() - at)).rev().find_map(|count| {
                let group = self.of.get(&words[at..at + count].join(" "))?;
                Some((count, self.groups[*group].clone()))
            });
            let (count, term) = longest.unwrap_or_else(|| (1, vec![words[at].to_owned()]));
            terms.push(term);
            at += count;
        }
        Some(Question(terms))
    }
}

/// What is asked for: of each term one has to be found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question(Vec<Vec<String>>);

impl Question {
    /// Whether a [`text_of`] an event has it all.
    pub fn is_in(&self, text: &str) -> bool {
        self.0.iter().all(|term| term.iter().any(|word| text.contains(word.as_str())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_accents_do_not_matter() {
        for (text, same) in [
            ("Größe", "GROSSE"),
            ("Beyoncé", "beyonce"),
            ("  Night -- of the   PROMS! ", "night of the proms"),
            ("Ｆｕｌｌ　ｗｉｄｔｈ", "full width"),
            ("İstanbul", "istanbul"),
            ("Žižkov", "zizkov"),
            ("콘서트", "콘서트"),
        ] {
            assert_eq!(folded(text), folded(same), "{text}");
        }
        assert_eq!(folded(" !? "), "");
    }

    #[test]
    fn every_word_has_to_be_found() {
        let synonyms = Synonyms::parse("# music\nconcert, gig, 콘서트\nk-pop, 케이팝 # two\n\n").unwrap();
        let text = ["e1", "2031 서울 봄 콘서트", "Olympic Hall"].map(folded).join("\n");
        let finds = |question: &str| synonyms.question(question).unwrap().is_in(&text);
        for good in ["", "콘서트", "콘서", "서울 concert", "GIG olympic", "hall e1", "봄콘".split_at(3).0] {
            assert!(finds(good), "{good}");
        }
        for bad in ["부산", "콘서트 부산", "gig rock", "hallx"] {
            assert!(!finds(bad), "{bad}");
        }
        let phrase = synonyms.question("big K-Pop night").unwrap();
        assert!(phrase.is_in(&folded("night of 케이팝, big")));
        assert!(synonyms.question(&"a ".repeat(13)).is_none());
    }

    #[test]
    fn bad_lists_are_refused() {
        for bad in ["one", "a,", "a,b\nb,c", "a b c d e, f"] {
            assert!(Synonyms::parse(bad).is_err(), "{bad}");
        }
        assert!(Synonyms::read(Path::new("/nowhere/at/all")).is_err());
    }
}
