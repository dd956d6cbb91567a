//! Images and texts that several splits have: what a model is tested on should not be among what it has learnt from.

use std::collections::BTreeMap;

use arrow::array::{Array, FixedSizeBinaryArray};
use retort_cache::{Columns, Dataset, Result, column};
use retort_schemas::manifest::Shard;
use retort_schemas::tables::{images, texts};

use super::sampled::Sampled;
use crate::page::Writer;
use crate::text::{count, counted, escape, listed, percent};

/// Shards whose ids are all read: about a million images, 16 bytes each.
const SHARDS: usize = 1024;
/// Pairs of splits shown, and named in the lead.
const PAIRS: usize = 12;
const LEADING: usize = 3;

/// What splits have in common.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    splits: Vec<String>,
    pub(crate) images: Distinct,
    pub(crate) texts: Distinct,
    /// Shards whose ids were read, in words, if these are not all.
    some: Option<String>,
}

/// Of images or texts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Distinct {
    /// How many there are, however often.
    pub(crate) all: u64,
    /// How many are in more than one split.
    pub(crate) shared: u64,
    /// How many each split has.
    of_split: Vec<u64>,
    /// How many two splits have in common, by their places.
    of_pair: BTreeMap<(u32, u32), u64>,
}

impl Shared {
    /// Reads ids: of all shards, or, of a data set of many, of those that are read anyway.
    ///
    /// # Errors
    /// As [`Dataset::read`].
    pub(crate) fn read(dataset: &Dataset, sampled: &Sampled) -> Result<Self> {
        let splits: Vec<String> = dataset.manifest().splits.iter().map(|split| split.name.clone()).collect();
        let is_all = dataset.shard_count() <= SHARDS;
        let (mut images, mut texts) = (Vec::new(), Vec::new());
        let mut add = |shard: &Shard| {
            let split = splits.iter().position(|split| split == Shard::split_of(&shard.name)).unwrap_or(0) as u32;
            read_ids(dataset, shard, (images::NAME, images::IMAGE_ID), split, &mut images)?;
            read_ids(dataset, shard, (texts::NAME, texts::TEXT_ID), split, &mut texts)
        };
        if is_all {
            dataset.shards().try_for_each(|shard| add(&shard?))?;
        } else {
            sampled.shards.iter().try_for_each(|of| add(&of.shard))?;
        }
        let (images, texts) = (Distinct::among(images, splits.len()), Distinct::among(texts, splits.len()));
        Ok(Self { images, texts, some: (!is_all).then(|| sampled.words()), splits })
    }

    /// Whether all of the data set was looked at.
    pub(crate) const fn is_all(&self) -> bool {
        self.some.is_none()
    }

    /// The pairs of splits that share something, those first that share most images.
    fn pairs(&self) -> Vec<(u32, u32)> {
        let mut pairs: Vec<(u32, u32)> = self.images.of_pair.keys().chain(self.texts.of_pair.keys()).copied().collect();
        pairs.sort_by_key(|pair| (std::cmp::Reverse([&self.images, &self.texts].map(|of| of.in_both(*pair))), *pair));
        pairs.dedup();
        pairs
    }

    /// How many images are in several splits, and in which: a sentence, where there are any.
    pub(crate) fn leak(&self) -> Option<String> {
        let shared = counted(self.images.shared, "image is", "images are");
        let pairs =
            self.pairs().into_iter().map(|pair| (pair, self.images.in_both(pair))).filter(|(_, both)| *both > 0);
        let pair =
            |((a, b), both): &((u32, u32), u64)| format!("{} and {} {}", self.name(*a), self.name(*b), count(*both));
        let mut told: Vec<String> = pairs.map(|shared| pair(&shared)).collect();
        if told.len() > LEADING {
            told.truncate(LEADING);
            told.push("\u{2026}".to_owned());
        }
        let of = self.some.as_ref().map(|some| format!("Of {some}, ")).unwrap_or_default();
        (self.images.shared > 0).then(|| format!("{of}{shared} in more than one split: {}", told.join(", ")))
    }

    fn name(&self, at: u32) -> &str {
        self.splits.get(at as usize).map(String::as_str).unwrap_or_default()
    }

    /// Writes what splits share, if there are several.
    pub(crate) fn write(&self, page: &mut Writer) {
        if self.splits.len() < 2 {
            return;
        }
        let pairs = self.pairs();
        let of = self.some.as_ref().map(|some| format!(" of {some}")).unwrap_or_default();
        let kinds = [("image", &self.images), ("text", &self.texts)];
        let told = kinds.map(|(one, of)| match of.shared {
            0 => format!("no {one}"),
            shared => counted(shared, one, &format!("{one}s")),
        });
        page.html += &format!("<p>In more than one split{of}, the same byte for byte: {}.</p>", listed(&told));
        if pairs.is_empty() {
            return;
        }
        let rows: String = pairs.iter().take(PAIRS).map(|pair| self.row(*pair)).collect();
        page.html += &format!(
            "<div class=\"card scroll\"><table><tr><th>splits</th><th>images in both</th><th>texts in both</th></tr>\
             {rows}</table></div><p class=\"soft\">Shares are of the smaller split.</p>"
        );
        if pairs.len() > PAIRS {
            let rest = counted((pairs.len() - PAIRS) as u64, "pair shares", "pairs share");
            page.html += &format!("<p class=\"soft\">{rest} less.</p>");
        }
    }

    fn row(&self, pair: (u32, u32)) -> String {
        let cells = [&self.images, &self.texts].map(|of| {
            let share = of.in_both(pair) as f64 / of.smaller(pair).max(1) as f64;
            format!("<td>{} \u{b7} {}</td>", count(of.in_both(pair)), percent(share))
        });
        format!("<tr><td>{} and {}</td>{}</tr>", escape(self.name(pair.0)), escape(self.name(pair.1)), cells.concat())
    }
}

impl Distinct {
    /// Of ids with the place of the split that each is in, as often as they come.
    fn among(mut ids: Vec<([u8; 16], u32)>, splits: usize) -> Self {
        ids.sort_unstable();
        ids.dedup();
        let mut found = Self { of_split: vec![0; splits], ..Self::default() };
        for same in ids.chunk_by(|a, b| a.0 == b.0) {
            found.all += 1;
            found.shared += u64::from(same.len() > 1);
            for (at, (_, split)) in same.iter().enumerate() {
                found.of_split[*split as usize] += 1;
                same[at + 1..].iter().for_each(|(_, other)| *found.of_pair.entry((*split, *other)).or_default() += 1);
            }
        }
        found
    }

    fn in_both(&self, pair: (u32, u32)) -> u64 {
        self.of_pair.get(&pair).copied().unwrap_or(0)
    }

    fn smaller(&self, (a, b): (u32, u32)) -> u64 {
        let of = |at: u32| self.of_split.get(at as usize).copied().unwrap_or(0);
        of(a).min(of(b))
    }
}

/// Adds the ids of a shard's table.
fn read_ids(
    dataset: &Dataset,
    shard: &Shard,
    (table, id): (&str, &str),
    split: u32,
    ids: &mut Vec<([u8; 16], u32)>,
) -> Result<()> {
    if shard.rows(table) == 0 {
        return Ok(());
    }
    let batch = dataset.read(shard, table, Columns::Named(&[id]))?;
    let all: &FixedSizeBinaryArray = column(&batch, id)?;
    ids.extend((0..all.len()).filter_map(|row| Some((all.value(row).try_into().ok()?, split))));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(of: &[(u8, u32)]) -> Vec<([u8; 16], u32)> {
        of.iter().map(|(id, split)| ([*id; 16], *split)).collect()
    }

    #[test]
    fn what_splits_share_is_counted_once() {
        // 1 is twice in split 0 and once in 2, 2 is in all three, 3 twice in one.
        let found = Distinct::among(ids(&[(1, 0), (2, 2), (3, 1), (1, 0), (2, 0), (1, 2), (2, 1), (3, 1)]), 3);
        assert_eq!((found.all, found.shared, found.of_split.as_slice()), (3, 2, [2, 2, 2].as_slice()));
        assert_eq!(found.of_pair, BTreeMap::from([((0, 1), 1), ((0, 2), 2), ((1, 2), 1)]));
        assert_eq!(Distinct::among(Vec::new(), 0), Distinct::default());
    }

    #[test]
    fn pairs_of_splits_are_told_the_greatest_first() {
        let images = Distinct::among(ids(&[(1, 0), (1, 2), (2, 1), (2, 2), (3, 1), (3, 2), (4, 1)]), 3);
        let texts = Distinct::among(ids(&[(1, 0), (2, 1)]), 3);
        let splits = ["<a>", "b", "c"].map(str::to_owned).into();
        let mut page = Writer::default();
        let shared = Shared { splits, images, texts, some: None };
        assert_eq!(shared.leak().unwrap(), "3 images are in more than one split: b and c 2, <a> and c 1");
        shared.write(&mut page);
        let told = [
            "In more than one split, the same byte for byte: 3 images and no text.",
            "<td>b and c</td><td>2 \u{b7} 66.7\u{202f}%</td>",
        ];
        assert!(told.iter().all(|told| page.html.contains(told)), "{}", page.html);
        let at = |words: &str| page.html.find(words);
        assert!(at("b and c") < at("&lt;a&gt; and c") && at("&lt;a&gt; and c").is_some(), "{}", page.html);
        let mut alone = Writer::default();
        Shared { splits: vec!["a".to_owned()], ..Shared::default() }.write(&mut alone);
        assert_eq!((alone.html.as_str(), Shared::default().leak()), ("", None));
    }
}
