//! What tells the points of a plot apart: labels where they do, splits where labels do not, with one colour each on the whole page.
//!
//! ```text
//! the label of at least 60 % of an item's samples       if half of the labelled items have one
//! the one of some labels that exclude one another       if half of them have one: no item, or nearly none, has two
//! its split                                             if there are several
//! its commonest label                                   else, where there are labels
//! ```
//!
//! An item is an image or a text, and its labels are those of the samples that have it.

use std::collections::{BTreeMap, BTreeSet};

use super::labels::{Counts, Group, of_images, of_texts};
use super::sampled::{Sampled, Spot};
use super::vectors::Embedded;
use crate::text::{count, cut, escape};

/// The share of an item's samples that its label has at least, in percent.
const MAJORITY: u64 = 60;
/// Labels that exclude one another, at most.
const EXCLUSIVE: usize = 7;
/// The share of its items that such a label shares with those before it, at most, in percent.
const SHARED: usize = 10;
/// Colours of the style sheet for labels and then splits, but for the last label's: [`OTHERS`] is of what has none.
const COLOURS: [usize; 11] = [0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11];
const LABELS: usize = 9;
pub(crate) const OTHERS: usize = 7;
/// Characters of a label in a legend.
const LONGEST: usize = 24;

/// How items are told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    Majority,
    Exclusive(BTreeSet<Group>),
    Split,
    Commonest,
    /// There is nothing that tells them apart.
    None,
}

/// What an item is told to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    Group(Group),
    /// Of several labels, or in several splits.
    Several,
    /// Of a label that has no colour.
    Other,
    Unlabelled,
    /// Nothing is told.
    Any,
}

/// Images or texts, with the labels of their samples.
#[derive(Debug)]
struct Items {
    labels: BTreeMap<Spot, Counts>,
    /// Place of each shard's split.
    splits: Vec<usize>,
    rule: Rule,
}

/// The colours of a page.
#[derive(Debug)]
pub(crate) struct Colours<'a> {
    sampled: &'a Sampled,
    images: Items,
    texts: Items,
    colour_of: BTreeMap<Group, usize>,
}

impl<'a> Colours<'a> {
    /// Looks at the labels of all images and texts of the shards that are read.
    pub(crate) fn of(sampled: &'a Sampled) -> Self {
        let [images, texts] = [of_images(sampled), of_texts(sampled)].map(|labels| Items::of(sampled, labels));
        let colour_of = palette([&images, &texts]);
        Self { sampled, images, texts, colour_of }
    }

    /// The colour of each embedding, and the legend: what has a point, with its number of points. `items` is `images` or `texts`.
    pub(crate) fn points(&self, embedded: &Embedded, items: &str) -> (Vec<usize>, String) {
        let of = if items == "images" { &self.images } else { &self.texts };
        let told = (0..embedded.spots.len()).map(|at| of.told(&embedded.spots_of(at)));
        let told: Vec<Told> = told.map(|told| self.with_colour(told)).collect();
        let legend = format!("<p class=\"soft\">{}</p>{}", of.words(items), self.legend(&of.rule, &told));
        (told.into_iter().map(|told| self.colour(told)).collect(), legend)
    }

    fn with_colour(&self, told: Told) -> Told {
        match told {
            Told::Group(group) if !self.colour_of.contains_key(&group) => Told::Other,
            told => told,
        }
    }

    fn colour(&self, told: Told) -> usize {
        match told {
            Told::Group(group) => self.colour_of.get(&group).copied().unwrap_or(OTHERS),
            Told::Any => COLOURS[0],
            Told::Several | Told::Other | Told::Unlabelled => OTHERS,
        }
    }

    fn legend(&self, rule: &Rule, told: &[Told]) -> String {
        let mut points: BTreeMap<Told, u64> = BTreeMap::new();
        told.iter().filter(|told| **told != Told::Any).for_each(|told| *points.entry(*told).or_default() += 1);
        let by = if *rule == Rule::Split { "split" } else { "label" };
        let item = |colour: usize, words: &str| format!("<li><span class=\"key c{colour}\"></span>{words}</li>");
        let mut rows: Vec<(usize, String)> = Vec::new();
        let mut rest = Vec::new();
        for (told, points) in points {
            let points = count(points);
            match told {
                Told::Group(group) => {
                    let name = escape(&cut(&self.name(group), LONGEST));
                    rows.push((self.colour(told), format!("{name} <span class=\"soft\">{points}</span>")));
                }
                Told::Several => rest.push(format!("several {by}s <span class=\"soft\">{points}</span>")),
                Told::Other => rest.push(format!("other {by}s <span class=\"soft\">{points}</span>")),
                Told::Unlabelled | Told::Any => rest.push(format!("no label <span class=\"soft\">{points}</span>")),
            }
        }
        rows.sort();
        let mut rows: String = rows.iter().map(|(colour, words)| item(*colour, words)).collect();
        if !rest.is_empty() {
            rows += &item(OTHERS, &rest.join(", "));
        }
        if rows.is_empty() { rows } else { format!("<ul class=\"legend\">{rows}</ul>") }
    }

    fn name(&self, group: Group) -> String {
        match group {
            Group::Label(label) => self.sampled.labels.get(label).cloned().unwrap_or_default(),
            Group::Right => "right choice".to_owned(),
            Group::Wrong => "wrong choice".to_owned(),
            Group::Split(split) => self.sampled.splits().get(split).map(|name| (*name).to_owned()).unwrap_or_default(),
        }
    }
}

impl Items {
    fn of(sampled: &Sampled, labels: BTreeMap<Spot, Counts>) -> Self {
        let splits = sampled.split_of_shards();
        let labelled: Vec<&Counts> = labels.values().filter(|labels| !labels.is_empty()).collect();
        let half = labelled.len().div_ceil(2).max(1);
        let rule = if labelled.iter().filter(|labels| majority(labels).is_some()).count() >= half {
            Rule::Majority
        } else if let Some(labels) = exclusive(&labelled, half) {
            Rule::Exclusive(labels)
        } else if splits.iter().any(|split| *split > 0) {
            Rule::Split
        } else if labelled.is_empty() {
            Rule::None
        } else {
            Rule::Commonest
        };
        Self { labels, splits, rule }
    }

    /// What an item is told to be that is in these rows.
    fn told(&self, spots: &[Spot]) -> Told {
        let mut labels = Counts::new();
        for (label, samples) in spots.iter().filter_map(|spot| self.labels.get(spot)).flatten() {
            *labels.entry(*label).or_default() += samples;
        }
        let one = |found: Option<Group>| found.map_or(Told::Several, Told::Group);
        match &self.rule {
            Rule::None => Told::Any,
            Rule::Split => {
                let splits: BTreeSet<usize> = spots.iter().map(|spot| self.splits[spot.shard]).collect();
                one(splits.first().filter(|_| splits.len() == 1).map(|split| Group::Split(*split)))
            }
            _ if labels.is_empty() => Told::Unlabelled,
            Rule::Majority => one(majority(&labels)),
            Rule::Commonest => one(commonest(&labels)),
            Rule::Exclusive(known) => {
                let mut mine = labels.keys().filter(|label| known.contains(label));
                match (mine.next(), mine.next()) {
                    (Some(label), None) => Told::Group(*label),
                    (None, _) => Told::Other,
                    _ => Told::Several,
                }
            }
        }
    }

    /// What the colours say.
    fn words(&self, items: &str) -> String {
        let one = items.trim_end_matches('s');
        match &self.rule {
            Rule::None => format!("No {one} has a label."),
            Rule::Split if self.labels.values().all(Counts::is_empty) => {
                format!("Coloured by split: no {one} has a label.")
            }
            Rule::Split => format!("Coloured by split: most {items} have several labels."),
            Rule::Commonest => {
                format!("Coloured by the commonest label of each {one}\u{2019}s samples: most {items} have several.")
            }
            Rule::Majority if self.labels.values().all(|labels| labels.len() < 2) => "Coloured by label.".to_owned(),
            Rule::Majority => {
                format!("Coloured by the label that {MAJORITY}\u{202f}% or more of the samples of each {one} have.")
            }
            Rule::Exclusive(_) => format!(
                "Coloured by the one of these labels that some sample of the {one} has: hardly any {one} has two of them."
            ),
        }
    }
}

/// The colours of all that is told by the labels of either table, those first that the greatest share of one has.
fn palette(tables: [&Items; 2]) -> BTreeMap<Group, usize> {
    let mut shares: BTreeMap<Group, f64> = BTreeMap::new();
    for items in tables {
        let mut points: BTreeMap<Group, u64> = BTreeMap::new();
        for spot in items.labels.keys() {
            if let Told::Group(group) = items.told(&[*spot]) {
                *points.entry(group).or_default() += 1;
            }
        }
        for (group, points) in points {
            let share = points as f64 / items.labels.len().max(1) as f64;
            let known = shares.entry(group).or_default();
            *known = known.max(share);
        }
    }
    let (splits, mut labels): (Vec<_>, Vec<_>) =
        shares.into_iter().partition(|(group, _)| matches!(group, Group::Split(_)));
    labels.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    labels.truncate(LABELS);
    labels.into_iter().chain(splits).map(|(group, _)| group).zip(COLOURS).collect()
}

/// The label of most of an item's samples.
fn majority(labels: &Counts) -> Option<Group> {
    let all: u64 = labels.values().sum();
    labels.iter().find(|(_, samples)| **samples * 100 >= all * MAJORITY).map(|(label, _)| *label)
}

/// The label that more of an item's samples have than any other.
fn commonest(labels: &Counts) -> Option<Group> {
    let most = labels.values().max()?;
    let mut all = labels.iter().filter(|(_, samples)| *samples == most);
    let first = all.next().map(|(label, _)| *label);
    if all.next().is_some() { None } else { first }
}

/// Labels that exclude one another and that so many items have one of, the commonest first; but for those that more than half of
/// the items have beside others, such as a *yes* that is the answer to some question about nearly every image.
fn exclusive(items: &[&Counts], wanted: usize) -> Option<BTreeSet<Group>> {
    let mut items_of: BTreeMap<Group, Vec<usize>> = BTreeMap::new();
    for (at, labels) in items.iter().enumerate() {
        labels.keys().for_each(|label| items_of.entry(*label).or_default().push(at));
    }
    let beside = |mine: &[usize]| mine.iter().filter(|at| items[**at].len() > 1).count();
    let mut order: Vec<(Group, Vec<usize>)> =
        items_of.into_iter().filter(|(_, mine)| beside(mine) * 2 <= items.len()).collect();
    order.sort_by_key(|(label, mine)| (std::cmp::Reverse(mine.len()), *label));
    let (mut found, mut labels_of) = (BTreeSet::new(), vec![0_usize; items.len()]);
    for (label, mine) in order {
        let shared = mine.iter().filter(|at| labels_of[**at] > 0).count();
        if found.len() < EXCLUSIVE && shared * 100 <= mine.len() * SHARED {
            mine.iter().for_each(|at| labels_of[*at] += 1);
            found.insert(label);
        }
    }
    let told = labels_of.iter().filter(|labels| **labels == 1).count();
    (told >= wanted).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::super::sampled::SampledShard;
    use super::*;

    /// One shard a split; a sample is an image and its label, and its text is 0.
    fn sampled(splits: &[&[(usize, Option<usize>)]]) -> Sampled {
        let shard = |(at, samples): (usize, &&[(usize, Option<usize>)])| SampledShard {
            shard: retort_schemas::manifest::Shard { name: format!("s{at}-00000"), tables: BTreeMap::new() },
            split: format!("s{at}"),
            images: samples.iter().map(|(image, _)| *image).collect(),
            texts: vec![vec![0]; samples.len()],
            classes: vec![None; samples.len()],
            labels: samples.iter().map(|(_, label)| *label).collect(),
        };
        let labels = ["yes", "no", "circle", "square", "red", "blue"].map(str::to_owned);
        Sampled::of(labels.into(), splits.iter().enumerate().map(shard).collect())
    }

    /// The colours of the images at some places, each as (shard, row) of all its rows, and the legend without markup.
    fn points(sampled: &Sampled, at: &[&[(usize, usize)]], items: &str) -> (Vec<usize>, String) {
        let spot = |(shard, row): &(usize, usize)| Spot { shard: *shard, row: *row };
        let embedded = Embedded::of_rows(at.iter().map(|rows| rows.iter().map(spot).collect()).collect());
        let (colours, legend) = Colours::of(sampled).points(&embedded, items);
        let words = legend.split('<').map(|tag| tag.split_once('>').map_or("", |(_, words)| words));
        (colours, words.filter(|words| !words.trim().is_empty()).collect::<Vec<_>>().join("|"))
    }

    #[test]
    fn an_item_has_the_label_of_most_of_its_samples_or_several() {
        let yes = |image| (image, Some(0));
        let no = |image| (image, Some(1));
        let sampled = sampled(&[&[yes(0), yes(0), no(0), yes(1), no(1), no(2), (3, None), no(4)]]);
        let (colours, legend) = points(&sampled, &[&[(0, 0)], &[(0, 1)], &[(0, 2)], &[(0, 3)], &[(0, 4)]], "images");
        // Of image 0 two in three samples are yes, of image 1 one in two; no is the commoner one.
        assert_eq!(colours, [1, OTHERS, 0, OTHERS, 0]);
        assert!(legend.ends_with("|no |2|yes |1|several labels |1|, no label |1"), "{legend}");
        assert!(legend.contains("60\u{202f}% or more of the samples of each image"), "{legend}");
        // Four in seven samples of the one text are no: too few, and the most.
        let (colours, legend) = points(&sampled, &[&[(0, 0)]], "texts");
        assert!(colours == [0] && legend.starts_with("Coloured by the commonest label"), "{legend}");
    }

    #[test]
    fn the_legend_has_what_has_a_point() {
        let sampled = sampled(&[&[(0, Some(0)), (1, Some(1)), (2, Some(2)), (3, Some(2))]]);
        let (colours, legend) = points(&sampled, &[&[(0, 1)]], "images");
        assert_eq!((colours, legend.as_str()), (vec![2], "Coloured by label.|no |1"));
        // Samples of all rows of an image count: those of the second decide for the first.
        let (colours, _) = points(&sampled, &[&[(0, 0), (0, 2), (0, 3)]], "images");
        assert_eq!(colours, [0]);
    }

    #[test]
    fn labels_that_exclude_one_another_tell_images_of_many_questions_apart() {
        let about = |image: usize| [0, 1, 2 + image % 2, 4 + image / 2].map(|label| (image, Some(label)));
        let samples: Vec<_> = (0..4).flat_map(about).collect();
        let (colours, legend) = points(&sampled(&[&samples]), &[&[(0, 0)], &[(0, 1)], &[(0, 2)], &[(0, 3)]], "images");
        // Circle and square; each has every colour, and yes and no are everywhere.
        assert_eq!((colours[0] == colours[2], colours[1] == colours[3], colours[0] == colours[1]), (true, true, false));
        assert!(legend.ends_with("|circle |2|square |2"), "{legend}");
    }

    #[test]
    fn where_labels_fail_splits_tell_apart_and_the_commonest_label_of_one_split() {
        let all = |image: usize| [0, 1, 1, 2].map(|label| (image, Some(label)));
        let samples: Vec<_> = (0..3).flat_map(all).chain([(0, Some(2))]).collect();
        let both = [samples.as_slice(), samples.as_slice()];
        let (colours, legend) = points(&sampled(&both), &[&[(0, 0)], &[(1, 1)], &[(0, 2), (1, 2)]], "images");
        assert_eq!(legend, "Coloured by split: most images have several labels.|s0 |1|s1 |1|several splits |1");
        assert!(colours[0] != colours[1] && colours[2] == OTHERS, "{colours:?}");
        let (colours, legend) = points(&sampled(&both[..1]), &[&[(0, 0)], &[(0, 1)], &[(0, 2)]], "images");
        // Of image 0 both no and circle are twice there.
        assert!(legend.ends_with("|no |2|several labels |1"), "{legend}");
        assert_eq!(colours, [OTHERS, 0, 0]);
        let (colours, legend) = points(&sampled(&[&[(0, None)]]), &[&[(0, 0)]], "images");
        assert_eq!((colours, legend.as_str()), (vec![0], "No image has a label."));
        let (_, legend) = points(&sampled(&[&[(0, None)], &[(0, None)]]), &[&[(1, 0)]], "images");
        assert_eq!(legend, "Coloured by split: no image has a label.|s1 |1");
    }

    #[test]
    fn a_label_has_one_colour_on_the_page() {
        // Images are mostly squares, and the text is mostly a circle.
        let rows = [(0, 3), (1, 3), (2, 2), (2, 2), (2, 2), (2, 2)].map(|(image, label)| (image, Some(label)));
        let sampled = sampled(&[&rows]);
        let colours = Colours::of(&sampled);
        let all: BTreeSet<usize> = colours.colour_of.values().copied().collect();
        assert_eq!((all.len(), colours.colour_of.len()), (2, 2));
        let (images, _) = points(&sampled, &[&[(0, 1)], &[(0, 2)]], "images");
        let (text, _) = points(&sampled, &[&[(0, 0)]], "texts");
        assert_eq!((images, text[0]), (vec![1, 0], 0));
    }

    #[test]
    fn many_labels_leave_room_for_splits() {
        let items = |group: fn(usize) -> Group, all: usize| -> BTreeMap<Spot, Counts> {
            (0..all).map(|row| (Spot { shard: 0, row }, Counts::from([(group(row), 1)]))).collect()
        };
        let labels = Items { labels: items(Group::Label, 20), splits: vec![0], rule: Rule::Majority };
        let split = Items { labels: items(Group::Label, 1), splits: vec![5], rule: Rule::Split };
        let found = palette([&labels, &split]);
        assert_eq!((found.len(), found.get(&Group::Split(5))), (LABELS + 1, Some(&COLOURS[LABELS])));
        assert!(found.values().all(|colour| *colour != OTHERS));
    }
}
