//! How many texts have more tokens than the student reads: what is cut off teaches nothing, and nobody sees it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Counts the texts of batches; a text that comes again counts again.
#[derive(Debug, Default)]
pub(crate) struct TextsRead {
    all: AtomicU64,
    cut: AtomicU64,
    said: AtomicBool,
}

impl TextsRead {
    pub(super) fn count(&self, cut: bool) {
        self.all.fetch_add(1, Ordering::Relaxed);
        self.cut.fetch_add(u64::from(cut), Ordering::Relaxed);
    }

    /// The share of them that were cut, 0 to 1.
    pub(crate) fn share_cut(&self) -> f64 {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        of(&self.cut) as f64 / of(&self.all).max(1) as f64
    }

    /// What to say of it: once, and nothing as long as none was cut.
    pub(crate) fn said_of_cut(&self, text_tokens: usize) -> Option<String> {
        let share = self.share_cut();
        if share == 0.0 || self.said.swap(true, Ordering::Relaxed) {
            return None;
        }
        let (all, percent) = (self.all.load(Ordering::Relaxed), share * 100.0);
        Some(format!(
            "{percent:.1} % of the first {all} texts have more than student.text_tokens = {text_tokens} tokens: the student \
             does not read what is behind"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_are_cut_are_told_of_once() {
        let texts = TextsRead::default();
        assert_eq!((texts.share_cut(), texts.said_of_cut(24)), (0.0, None));
        for cut in [false, false, false, true] {
            assert_eq!(texts.said_of_cut(24), None);
            texts.count(cut);
        }
        let said = texts.said_of_cut(24).unwrap();
        assert!(
            said.starts_with("25.0 % of the first 4 texts have more than student.text_tokens = 24 tokens"),
            "{said}"
        );
        assert_eq!((texts.share_cut(), texts.said_of_cut(24)), (0.25, None));
    }
}
