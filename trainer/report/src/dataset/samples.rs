//! The grid of single samples.

use std::collections::{BTreeSet, HashMap};

use retort_cache::{Dataset, Result};

use super::pictures::{Pictures, read_texts};
use super::regions::{self, Region, frames};
use super::sampled::{Sampled, Spot};
use crate::examples::spread;
use crate::page::Writer;
use crate::text::{counted, cut, escape};

/// Samples shown, about.
const SHOWN: usize = 24;
/// Of these, so many are seen before the rest is unfolded.
const FIRST: usize = 12;
/// Characters shown of a text.
const LONGEST: usize = 240;
/// Characters shown of a label.
const LONGEST_LABEL: usize = 60;

/// Writes the grid, and returns how many samples are shown.
///
/// # Errors
/// As [`Dataset::read_rows`].
pub(crate) fn write(page: &mut Writer, dataset: &Dataset, sampled: &Sampled) -> Result<usize> {
    page.section("Samples", "Evenly spread over every split, in the order of the data.");
    let chosen = choose(sampled);
    if chosen.is_empty() {
        page.miss("There is no sample to show.".to_owned());
        return Ok(0);
    }
    let image = |sample: &Spot| Spot { row: sampled.shards[sample.shard].images[sample.row], ..*sample };
    let texts = |sample: &Spot| {
        let shard = sample.shard;
        sampled.shards[shard].texts[sample.row].iter().map(move |row| Spot { shard, row: *row })
    };
    let told = Told {
        pictures: Pictures::read(&mut page.gallery, dataset, sampled, chosen.iter().map(image))?,
        words: read_texts(dataset, sampled, chosen.iter().flat_map(texts))?,
        regions: regions::read(dataset, sampled, chosen.iter().map(image))?,
    };
    let grid = |samples: &[Spot]| -> String {
        let cards: String = samples.iter().map(|sample| card(sampled, *sample, image(sample), &told)).collect();
        format!("<div class=\"grid\">{cards}</div>")
    };
    let (first, rest) = first_and_rest(sampled, &chosen);
    page.html += &grid(&first);
    if !rest.is_empty() {
        let more = counted(rest.len() as u64, "more sample", "more samples");
        page.html += &format!("<details><summary>{more}</summary>{}</details>", grid(&rest));
    }
    Ok(chosen.len())
}

/// As many samples of each split as of any other.
fn choose(sampled: &Sampled) -> Vec<Spot> {
    let splits: Vec<&str> = sampled.shards.iter().map(|shard| shard.split.as_str()).collect();
    let mut names = splits.clone();
    names.dedup();
    let each = SHOWN.div_ceil(names.len().max(1));
    let of = |name: &&str| -> Vec<Spot> { sampled.samples().filter(|sample| splits[sample.shard] == *name).collect() };
    let mut chosen: Vec<Spot> = names.iter().flat_map(|name| spread(of(name), each)).collect();
    // More splits than samples are left with one each, of which as many as fit are shown.
    if chosen.len() > SHOWN + names.len() {
        chosen = spread(chosen, SHOWN);
    }
    chosen
}

/// Those that are seen at once, evenly spread over every split, and the others.
fn first_and_rest(sampled: &Sampled, chosen: &[Spot]) -> (Vec<Spot>, Vec<Spot>) {
    if chosen.len() <= FIRST + FIRST / 2 {
        return (chosen.to_vec(), Vec::new());
    }
    let split = |sample: &Spot| &sampled.shards[sample.shard].split;
    let runs: Vec<&[Spot]> = chosen.chunk_by(|a, b| split(a) == split(b)).collect();
    let each = FIRST.div_ceil(runs.len());
    let first: BTreeSet<Spot> = runs.iter().flat_map(|run| spread(run.to_vec(), each)).collect();
    chosen.iter().partition(|sample| first.contains(sample))
}

/// What cards are made of.
struct Told {
    pictures: Pictures,
    words: HashMap<Spot, String>,
    regions: HashMap<Spot, Vec<Region>>,
}

fn card(sampled: &Sampled, sample: Spot, image: Spot, told: &Told) -> String {
    let of = &sampled.shards[sample.shard];
    let rows = &of.texts[sample.row];
    let text =
        |row: &usize| told.words.get(&Spot { shard: sample.shard, row: *row }).map(String::as_str).unwrap_or_default();
    let right = of.classes[sample.row].filter(|_| rows.len() > 1).map(|class| class as usize);
    let lines: String = rows
        .iter()
        .enumerate()
        .map(|(at, row)| {
            let class = if right == Some(at) { "text chosen" } else { "text" };
            format!("<p class=\"{class}\" dir=\"auto\">{}</p>", escape(&cut(text(row), LONGEST)))
        })
        .collect();
    let label = match of.labels[sample.row].map(|label| sampled.labels[label].as_str()) {
        Some(label) => {
            format!("<span class=\"label\" dir=\"auto\">{}</span>", escape(&cut(label, LONGEST_LABEL)))
        }
        None => "<span class=\"soft\">no label \u{b7}</span>".to_owned(),
    };
    let alt = rows.first().map(text).unwrap_or_default();
    let (frames, boxes) = frames(told.regions.get(&image).map(Vec::as_slice).unwrap_or_default());
    format!(
        "<div class=\"example\">{}<div class=\"words\">{lines}{label} <span class=\"soft\">{}</span>{boxes}</div></div>",
        told.pictures.html_with(image, alt, &frames),
        escape(&of.split),
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::sampled::SampledShard;
    use super::*;

    fn sampled(splits: &[(&str, usize)], label: &str) -> Sampled {
        let shard = |(split, samples): &(&str, usize)| SampledShard {
            shard: retort_schemas::manifest::Shard { name: format!("{split}-00000"), tables: BTreeMap::new() },
            split: (*split).to_owned(),
            images: (0..*samples).collect(),
            texts: vec![vec![0]; *samples],
            classes: vec![None; *samples],
            labels: vec![Some(0); *samples],
        };
        Sampled::of(vec![label.to_owned()], splits.iter().map(shard).collect())
    }

    #[test]
    fn every_split_is_among_the_first_samples() {
        let sampled = sampled(&[("a", 90), ("b", 20), ("c", 3)], "");
        let chosen = choose(&sampled);
        let (first, rest) = first_and_rest(&sampled, &chosen);
        let of = |samples: &[Spot]| [0, 1, 2].map(|shard| samples.iter().filter(|spot| spot.shard == shard).count());
        assert_eq!((of(&chosen), of(&first), of(&rest)), ([8, 8, 3], [4, 4, 3], [4, 4, 0]));
        assert!(first.is_sorted() && rest.is_sorted());
        // A few more than the first are not worth a fold.
        let (first, rest) = first_and_rest(&sampled, &chosen[..FIRST + 3]);
        assert_eq!((first.len(), rest.len()), (FIRST + 3, 0));
    }

    #[test]
    fn a_label_that_would_fill_its_card_is_cut() {
        let sampled = sampled(&[("a", 1)], &"L".repeat(500));
        let told = Told { pictures: Pictures::default(), words: HashMap::new(), regions: HashMap::new() };
        let spot = Spot { shard: 0, row: 0 };
        let html = card(&sampled, spot, spot, &told);
        assert!(
            html.contains(&format!("<span class=\"label\" dir=\"auto\">{}\u{2026}</span>", "L".repeat(59))),
            "{html}"
        );
    }
}
