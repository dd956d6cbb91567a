//! The grid of single samples.

use std::collections::HashMap;

use retort_cache::{Dataset, Result};

use super::pictures::{Pictures, read_texts};
use super::sampled::{Sampled, Spot};
use crate::examples::spread;
use crate::page::Writer;
use crate::text::{cut, escape};

/// Samples shown, about.
const SHOWN: usize = 24;
/// Characters shown of a text.
const LONGEST: usize = 240;

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
    let pictures = Pictures::read(dataset, sampled, chosen.iter().map(image))?;
    let words = read_texts(dataset, sampled, chosen.iter().flat_map(texts))?;
    let cards: String = chosen.iter().map(|sample| card(sampled, *sample, image(sample), &pictures, &words)).collect();
    page.html += &format!("<div class=\"grid\">{cards}</div>");
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

fn card(sampled: &Sampled, sample: Spot, image: Spot, pictures: &Pictures, words: &HashMap<Spot, String>) -> String {
    let of = &sampled.shards[sample.shard];
    let rows = &of.texts[sample.row];
    let text =
        |row: &usize| words.get(&Spot { shard: sample.shard, row: *row }).map(String::as_str).unwrap_or_default();
    let right = of.classes[sample.row].filter(|_| rows.len() > 1).map(|class| class as usize);
    let lines: String = rows
        .iter()
        .enumerate()
        .map(|(at, row)| {
            let class = if right == Some(at) { "text chosen" } else { "text" };
            format!("<p class=\"{class}\">{}</p>", escape(&cut(text(row), LONGEST)))
        })
        .collect();
    let label = match of.labels[sample.row].map(|label| sampled.labels[label].as_str()) {
        Some(label) => format!("<span class=\"label\">{}</span>", escape(&cut(label, LONGEST))),
        None => "<span class=\"soft\">no label \u{b7}</span>".to_owned(),
    };
    let alt = rows.first().map(text).unwrap_or_default();
    format!(
        "<div class=\"example\">{}<div class=\"words\">{lines}{label} <span class=\"soft\">{}</span></div></div>",
        pictures.html(image, alt),
        escape(&of.split),
    )
}
