//! How labels and the lengths of texts are distributed, and which labels are told apart by colour.

use std::collections::BTreeMap;

use arrow::array::StringArray;
use retort_cache::{Columns, Dataset, Result, column};
use retort_schemas::tables::texts;

use super::sampled::{Sampled, Spot};
use super::shares;
use crate::page::Writer;
use crate::plot::histogram;
use crate::text::{count, counted};

/// Bars of a histogram of lengths, at most.
const BINS: u64 = 30;

/// Labels with their samples.
fn counted_labels(sampled: &Sampled) -> Vec<(&str, u64)> {
    let mut counts = vec![0; sampled.labels.len()];
    for label in sampled.shards.iter().flat_map(|shard| shard.labels.iter().flatten()) {
        counts[*label] += 1;
    }
    sampled.labels.iter().map(String::as_str).zip(counts).collect()
}

/// Writes the distribution of labels.
pub(crate) fn write(page: &mut Writer, sampled: &Sampled) {
    let all = counted_labels(sampled);
    let samples: u64 = sampled.shards.iter().map(|shard| shard.labels.len() as u64).sum();
    let labelled: u64 = all.iter().map(|(_, samples)| samples).sum();
    if labelled == 0 {
        page.miss("There is no label to count.".to_owned());
        return;
    }
    let choices = if sampled.has_choices() { " Of a choice among texts, the place of the right one." } else { "" };
    page.section("Labels", &format!("Samples by label.{choices} From {}.", sampled.words()));
    if labelled < samples {
        let lack = counted(samples - labelled, "sample has", "samples have");
        page.miss(format!("{lack} no label, of {}.", count(samples)));
    }
    page.html += &shares::card("Samples by label", all, ["other label", "other labels"]);
}

/// Writes the distribution of the lengths of texts.
///
/// # Errors
/// As [`Dataset::read`].
pub(crate) fn write_lengths(page: &mut Writer, dataset: &Dataset, sampled: &Sampled) -> Result<()> {
    page.section("Lengths of texts", &format!("Distinct texts of each shard. From {}.", sampled.words()));
    let (mut words, mut characters) = (Vec::new(), Vec::new());
    for shard in sampled.shards.iter().map(|of| &of.shard).filter(|shard| shard.rows(texts::NAME) > 0) {
        let batch = dataset.read(shard, texts::NAME, Columns::Named(&[texts::TEXT]))?;
        for text in column::<StringArray>(&batch, texts::TEXT)?.iter().flatten() {
            words.push(text.split_whitespace().count() as u64);
            characters.push(text.chars().count() as u64);
        }
    }
    if words.is_empty() {
        page.miss("There is no text.".to_owned());
        return Ok(());
    }
    let panels = panel("Words", "words a text", words) + &panel("Characters", "characters a text", characters);
    page.html += &format!("<div class=\"halves\">{panels}</div>");
    Ok(())
}

fn panel(title: &str, across: &str, mut lengths: Vec<u64>) -> String {
    lengths.sort_unstable();
    let at = |share: f64| lengths[((lengths.len() - 1) as f64 * share).round() as usize];
    let (bins, width) = bins(&lengths);
    let reach = width * bins.len() as u64;
    let beyond = if at(1.0) >= reach { "; last bar: all longer" } else { "" };
    let [half, most, longest] = [0.5, 0.95, 1.0].map(|share| count(at(share)));
    let facts = format!("median {half}, 95\u{202f}% at most {most}, longest {longest}{beyond}");
    let range = (0.0, reach as f64);
    let bins: Vec<(u64, u64)> = bins.into_iter().map(|texts| (texts, texts)).collect();
    let label = format!("Texts by their {across}");
    let plot = histogram(&label, (across, "texts"), range, &bins);
    format!("<div class=\"card\"><h3>{title}</h3><p class=\"soft\">{facts}</p>{plot}</div>")
}

/// Texts by length in bars of equal width from 0, and that width. The last bar has what is longer, too: all but a
/// hundredth of sorted lengths decide how far the bars reach.
fn bins(lengths: &[u64]) -> (Vec<u64>, u64) {
    let reach = lengths.get((lengths.len() * 99).div_ceil(100).saturating_sub(1)).copied().unwrap_or(0) + 1;
    let width = reach.div_ceil(BINS).max(1);
    let mut bins = vec![0; reach.div_ceil(width) as usize];
    let last = bins.len() - 1;
    for length in lengths {
        bins[((length / width) as usize).min(last)] += 1;
    }
    (bins, width)
}

/// What tells an item apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Group {
    /// Place in [`Sampled::labels`].
    Label(usize),
    /// A text that is the right one of a choice, or a wrong one.
    Right,
    Wrong,
    /// Place in [`Sampled::splits`].
    Split(usize),
}

/// Labels of an item, and how many of its samples have each.
pub(crate) type Counts = BTreeMap<Group, u64>;

/// The labels of all images: those of the samples that show each.
pub(crate) fn of_images(sampled: &Sampled) -> BTreeMap<Spot, Counts> {
    let mut all: BTreeMap<Spot, Counts> = BTreeMap::new();
    for sample in sampled.samples() {
        let of = &sampled.shards[sample.shard];
        let mine = all.entry(Spot { row: of.images[sample.row], ..sample }).or_default();
        if let Some(label) = of.labels[sample.row] {
            *mine.entry(Group::Label(label)).or_default() += 1;
        }
    }
    all
}

/// The labels of all texts: those of the samples that have each. A text of a choice is the right one or a wrong one.
pub(crate) fn of_texts(sampled: &Sampled) -> BTreeMap<Spot, Counts> {
    let mut all: BTreeMap<Spot, Counts> = BTreeMap::new();
    for sample in sampled.samples() {
        let of = &sampled.shards[sample.shard];
        let right = of.right_of(sample.row);
        for (at, row) in of.texts[sample.row].iter().enumerate() {
            let label = match right {
                Some(right) => Some(if at == right { Group::Right } else { Group::Wrong }),
                None => of.labels[sample.row].map(Group::Label),
            };
            let mine = all.entry(Spot { row: *row, ..sample }).or_default();
            if let Some(label) = label {
                *mine.entry(label).or_default() += 1;
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::sampled::SampledShard;
    use super::*;

    #[test]
    fn lengths_fall_into_bars_of_whole_numbers() {
        assert_eq!(bins(&[0, 1, 1, 3]), (vec![1, 2, 0, 1], 1));
        assert_eq!(bins(&[]), (vec![0], 1));
        let mut long: Vec<u64> = (0..=59).collect();
        let (bars, width) = bins(&long);
        assert_eq!((bars.len(), width), (30, 2));
        assert!(bars.iter().all(|texts| *texts == 2), "{bars:?}");
        // One in two hundred that is far longer does not press the others together.
        long.extend([59; 139]);
        long.push(10_000);
        let (bars, width) = bins(&long);
        assert_eq!((bars.len(), width, bars[29]), (30, 2, 2 + 139 + 1));
    }

    #[test]
    fn labels_are_counted_and_ordered() {
        let shard = |labels: &[Option<usize>]| SampledShard {
            shard: retort_schemas::manifest::Shard { name: "a-00000".to_owned(), tables: BTreeMap::new() },
            split: "a".to_owned(),
            images: (0..labels.len()).collect(),
            texts: vec![vec![0]; labels.len()],
            classes: vec![None; labels.len()],
            labels: labels.to_vec(),
        };
        let shards = vec![shard(&[Some(0), None, Some(1)]), shard(&[Some(1), Some(2)])];
        let sampled = Sampled::of(["yes", "<no>", "a"].map(str::to_owned).into(), shards);
        assert_eq!(BTreeMap::from_iter(counted_labels(&sampled)), BTreeMap::from([("<no>", 2), ("a", 1), ("yes", 1)]));
        let mut page = Writer::default();
        write(&mut page, &sampled);
        assert!(page.html.contains("&lt;no&gt;") && page.html.contains("2 \u{b7} 50.0\u{202f}%"), "{}", page.html);
        assert_eq!(page.missing, ["1 sample has no label, of 5."]);
        let at = |shard, row| Spot { shard, row };
        let once = |label| Counts::from([(Group::Label(label), 1)]);
        let images = of_images(&sampled);
        assert_eq!((images.len(), &images[&at(0, 0)], &images[&at(1, 1)]), (5, &once(0), &once(2)));
        assert!(images[&at(0, 1)].is_empty(), "{images:?}");
        let texts = of_texts(&sampled);
        assert_eq!(texts[&at(0, 0)], Counts::from([(Group::Label(0), 1), (Group::Label(1), 1)]));
    }

    #[test]
    fn texts_of_a_choice_are_right_or_wrong() {
        let shard = SampledShard {
            shard: retort_schemas::manifest::Shard { name: "a-00000".to_owned(), tables: BTreeMap::new() },
            split: "a".to_owned(),
            images: vec![0, 0, 1],
            texts: vec![vec![0, 1], vec![1, 0], vec![2, 3]],
            classes: vec![Some(1), Some(1), None],
            labels: vec![Some(0), Some(0), None],
        };
        let found = of_texts(&Sampled::of(vec!["2nd".to_owned()], vec![shard]));
        let of = |row| &found[&Spot { shard: 0, row }];
        assert_eq!((of(0), of(1)), (&Counts::from([(Group::Right, 1), (Group::Wrong, 1)]), of(0)));
        assert!(of(2).is_empty() && of(3).is_empty(), "{found:?}");
    }
}
