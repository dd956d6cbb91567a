//! How labels and the lengths of texts are distributed, and which labels are told apart by colour.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::StringArray;
use retort_cache::{Columns, Dataset, Result, column};
use retort_schemas::tables::texts;

use super::sampled::{Sampled, SampledShard, Spot};
use crate::page::Writer;
use crate::plot::{Bar, bars, histogram};
use crate::text::{count, counted, cut, percent};

/// Labels shown: the commonest.
const LABELS: usize = 30;
/// Plots of labels side by side, and rows that one has at least.
const PLOTS: usize = 3;
const ROWS: usize = 6;
/// Characters of a label beside its bar.
const LONGEST: usize = 30;
/// Bars of a histogram of lengths, at most.
const BINS: u64 = 30;
/// Labels with a colour of their own; the others share the last colour.
pub(crate) const COLOURED: usize = 7;

/// Labels with their samples, the commonest first; of equals, in order of name.
fn commonest(sampled: &Sampled) -> Vec<(&str, u64)> {
    let mut counts = vec![0; sampled.labels.len()];
    for label in sampled.shards.iter().flat_map(|shard| shard.labels.iter().flatten()) {
        counts[*label] += 1;
    }
    let mut all: Vec<(&str, u64)> = sampled.labels.iter().map(String::as_str).zip(counts).collect();
    all.sort_by_key(|(name, samples)| (std::cmp::Reverse(*samples), *name));
    all
}

/// Writes the distribution of labels.
pub(crate) fn write(page: &mut Writer, sampled: &Sampled) {
    let mut all = commonest(sampled);
    let samples: u64 = sampled.shards.iter().map(|shard| shard.labels.len() as u64).sum();
    let labelled: u64 = all.iter().map(|(_, samples)| samples).sum();
    if labelled == 0 {
        page.miss("There is no label to count.".to_owned());
        return;
    }
    page.section("Labels", &format!("Samples by label. From {}.", sampled.words()));
    if labelled < samples {
        let lack = counted(samples - labelled, "sample has", "samples have");
        page.miss(format!("{lack} no label, of {}.", count(samples)));
    }
    let most = all.first().map_or(0, |label| label.1).max(1) as f64;
    let rest = all.split_off(all.len().min(LABELS));
    let bar = |colour, name: String, samples: u64| Bar {
        colour,
        name,
        note: format!("{} \u{b7} {}", count(samples), percent(samples as f64 / labelled as f64)),
        value: samples as f64,
    };
    let mut rows: Vec<Bar> = all.iter().map(|(name, samples)| bar(0, cut(name, LONGEST), *samples)).collect();
    if !rest.is_empty() {
        let others = counted(rest.len() as u64, "other label", "other labels");
        rows.push(bar(COLOURED, others, rest.iter().map(|(_, samples)| samples).sum()));
    }
    let panel = |rows: &[Bar]| format!("<div class=\"card\">{}</div>", bars("Samples by label", rows, most));
    page.html += &format!(
        "<div class=\"panels\">{}</div>",
        rows.chunks(rows.len().div_ceil(PLOTS).max(ROWS)).map(panel).collect::<String>()
    );
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
    page.html += &format!("<div class=\"panels\">{panels}</div>");
    Ok(())
}

fn panel(title: &str, across: &str, mut lengths: Vec<u64>) -> String {
    lengths.sort_unstable();
    let at = |share: f64| lengths[((lengths.len() - 1) as f64 * share).round() as usize];
    let (bins, width) = bins(&lengths);
    let reach = width * bins.len() as u64;
    let beyond = if at(1.0) >= reach { "; the last bar has all longer ones" } else { "" };
    let [half, most, longest] = [0.5, 0.95, 1.0].map(|share| count(at(share)));
    let facts = format!("median {half}, 95\u{202f}% at most {most}, longest {longest}{beyond}");
    let range = (0.0, reach as f64);
    let bins: Vec<(u64, u64)> = bins.into_iter().map(|texts| (texts, texts)).collect();
    let label = format!("Texts by their {across}");
    let plot = histogram(&label, across, range, &bins);
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

/// The labels of some images: those of the samples that show each.
pub(crate) fn of_images(sampled: &Sampled, spots: &[Spot]) -> Vec<BTreeSet<usize>> {
    of_rows(sampled, spots, |shard, sample| Some(shard.images[sample]))
}

/// The labels of some texts: those of the samples that have each; of a choice, of the right one.
pub(crate) fn of_texts(sampled: &Sampled, spots: &[Spot]) -> Vec<BTreeSet<usize>> {
    of_rows(sampled, spots, SampledShard::text_of)
}

fn of_rows(
    sampled: &Sampled,
    spots: &[Spot],
    row: impl Fn(&SampledShard, usize) -> Option<usize>,
) -> Vec<BTreeSet<usize>> {
    let places: BTreeMap<Spot, usize> = spots.iter().enumerate().map(|(at, spot)| (*spot, at)).collect();
    let mut found = vec![BTreeSet::new(); spots.len()];
    for sample in sampled.samples() {
        let of = &sampled.shards[sample.shard];
        let item = row(of, sample.row).map(|row| Spot { shard: sample.shard, row });
        if let (Some(at), Some(label)) = (item.and_then(|item| places.get(&item)), of.labels[sample.row]) {
            found[*at].insert(label);
        }
    }
    found
}

/// Which labels have a colour, the commonest first, and each item's place among them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Colours {
    pub(crate) labels: Vec<usize>,
    pub(crate) of_item: Vec<Option<usize>>,
}

/// Tells items apart by label. An item with several has the first of them that has a colour. A label that more than half
/// of the items have beside others, such as a *yes* that is the answer to some question about nearly every image, tells
/// little apart: it comes behind all others, and where all are such, none has a colour. The last colour goes to the label that most items without a colour have.
pub(crate) fn colours(items: &[BTreeSet<usize>]) -> Colours {
    let mut counts: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    for labels in items {
        for label in labels {
            let (all, beside) = counts.entry(*label).or_default();
            (*all, *beside) = (*all + 1, *beside + usize::from(labels.len() > 1));
        }
    }
    let mut order: Vec<(usize, (usize, usize))> = counts.into_iter().collect();
    let is_everywhere = |beside: usize| beside * 2 > items.len();
    order.sort_by_key(|(label, (all, beside))| (is_everywhere(*beside), std::cmp::Reverse(*all), *label));
    if order.first().is_some_and(|(_, (_, beside))| is_everywhere(*beside)) {
        order.clear();
    }
    let order: Vec<usize> = order.into_iter().map(|(label, _)| label).collect();
    let (first, rest) = order.split_at(order.len().min(COLOURED - 1));
    let left: Vec<&BTreeSet<usize>> =
        items.iter().filter(|item| !first.iter().any(|label| item.contains(label))).collect();
    let last = rest
        .iter()
        .max_by_key(|label| (left.iter().filter(|item| item.contains(*label)).count(), std::cmp::Reverse(**label)));
    let labels: Vec<usize> = first.iter().chain(last).copied().collect();
    let place = |item: &BTreeSet<usize>| labels.iter().position(|label| item.contains(label));
    Colours { of_item: items.iter().map(place).collect(), labels }
}

#[cfg(test)]
mod tests {
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
    fn labels_that_nearly_all_items_share_are_coloured_last() {
        let items = [[0, 1], [0, 2], [0, 1], [0, 3]].map(BTreeSet::from);
        let found = colours(&items);
        assert_eq!(found.labels, [1, 2, 3, 0]);
        assert_eq!(found.of_item, [Some(0), Some(1), Some(0), Some(2)]);
        let all = colours(&[BTreeSet::from([0, 1]), BTreeSet::from([0, 1]), BTreeSet::from([0])]);
        assert_eq!((all.labels, all.of_item), (Vec::new(), vec![None; 3]));
        // As the only label it tells all there is to tell.
        let items = [BTreeSet::from([0]), BTreeSet::from([0]), BTreeSet::from([1]), BTreeSet::new()];
        assert_eq!(colours(&items), Colours { labels: vec![0, 1], of_item: vec![Some(0), Some(0), Some(1), None] });
        // Eight labels that come with 9 or alone, and 9, which alone most of the others have.
        let mut shared: Vec<BTreeSet<usize>> = (0..8).map(|label| BTreeSet::from([label, 9])).collect();
        shared.push(BTreeSet::from([9]));
        let found = colours(&shared);
        assert_eq!((found.labels.as_slice(), found.of_item[8]), ([0, 1, 2, 3, 4, 5, 9].as_slice(), Some(6)));
        let many: Vec<BTreeSet<usize>> = (0..9).map(|label| BTreeSet::from([label])).collect();
        assert_eq!(colours(&many).of_item[6..], [Some(6), None, None]);
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
        assert_eq!(commonest(&sampled), [("<no>", 2), ("a", 1), ("yes", 1)]);
        let mut page = Writer::default();
        write(&mut page, &sampled);
        assert!(page.html.contains("&lt;no&gt;") && page.html.contains("2 \u{b7} 50.0\u{202f}%"), "{}", page.html);
        assert_eq!(page.missing, ["1 sample has no label, of 5."]);
        let images = [Spot { shard: 0, row: 0 }, Spot { shard: 1, row: 1 }];
        assert_eq!(of_images(&sampled, &images), [BTreeSet::from([0]), BTreeSet::from([2])]);
        assert_eq!(of_texts(&sampled, &images)[0], BTreeSet::from([0, 1]));
    }
}
