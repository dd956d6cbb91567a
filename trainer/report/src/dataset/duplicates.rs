//! Images that look alike, by their perceptual hashes.

use std::collections::{BTreeSet, HashSet};

use arrow::array::{Array, FixedSizeBinaryArray, StringArray, UInt64Array};
use retort_cache::{Columns, Dataset, Result, column};
use retort_schemas::tables::images;

use super::pictures::{Pictures, by_shard};
use super::sampled::{Sampled, Spot};
use super::shared::Shared;
use crate::page::Writer;
use crate::text::{count, counted};

/// Images that are compared, each with each: 33 million pairs, a fraction of a second.
const COMPARED: usize = 8192;
/// Bits of 64 in which near duplicates differ at most.
const MOST_BITS: u32 = 4;
/// Pairs shown.
const SHOWN: usize = 8;

/// An image that is compared.
struct Hashed {
    spot: Spot,
    hash: u64,
}

/// What was found. Numbers are places among the images that were compared.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    pairs: u64,
    /// Bits that differ, and the two: the nearest, each image in one pair.
    shown: Vec<(u32, usize, usize)>,
}

/// Writes the section, and returns how many images are on it.
///
/// # Errors
/// As [`Dataset::read_rows`].
pub(crate) fn write(page: &mut Writer, dataset: &Dataset, sampled: &Sampled, shared: &Shared) -> Result<usize> {
    page.section(
        "Near duplicates",
        &format!(
            "Pairs of different images whose perceptual hashes differ in at most {MOST_BITS} of 64 bits. An image that is \
             the same byte for byte is one image."
        ),
    );
    shared.write(page);
    let (hashed, flat) = read(dataset, sampled)?;
    let found = find(&hashed);
    let compared = counted(hashed.len() as u64, "distinct image was", "distinct images were");
    let pairs = match found.pairs {
        0 => "no pair was".to_owned(),
        pairs => counted(pairs, "pair was", "pairs were"),
    };
    let mut words = format!("{compared} compared: {pairs} found.");
    if flat > 0 {
        let left = counted(flat, "image has", "images have");
        words +=
            &format!(" {left} no edges for a hash to tell, and {} left out.", if flat == 1 { "is" } else { "are" });
    }
    if found.shown.len() as u64 != found.pairs {
        words += &format!(" The {} nearest that share no image are shown.", count(found.shown.len() as u64));
    }
    page.html += &format!("<p class=\"soft\">{words}</p>");
    let spots = found.shown.iter().flat_map(|(_, a, b)| [hashed[*a].spot, hashed[*b].spot]);
    let pictures = Pictures::read_told(&mut page.gallery, dataset, sampled, spots)?;
    let pair = |(bits, a, b): &(u32, usize, usize)| {
        let both = [a, b].map(|at| pictures.html(hashed[*at].spot, "")).concat();
        let caption = match bits {
            0 => "same hash".to_owned(),
            _ => counted(u64::from(*bits), "bit differs", "bits differ"),
        };
        format!("<figure><div class=\"pair\">{both}</div><figcaption>{caption}</figcaption></figure>")
    };
    if !found.shown.is_empty() {
        page.html += &format!("<div class=\"pairs\">{}</div>", found.shown.iter().map(pair).collect::<String>());
    }
    Ok(found.shown.len() * 2)
}

/// Hashes of a sample of the images that are there, each image once; and how many have [none to compare](images::compared_hash).
fn read(dataset: &Dataset, sampled: &Sampled) -> Result<(Vec<Hashed>, u64)> {
    let (mut hashed, mut flat, mut seen) = (Vec::new(), 0, HashSet::new());
    let spots = sampled.rows(COMPARED, |of| of.shard.rows(images::NAME) as usize);
    let wanted = [images::IMAGE_ID, images::FORMAT, images::PHASH];
    for (shard, rows) in by_shard(spots) {
        let batch = dataset.read_rows(&sampled.shards[shard].shard, images::NAME, Columns::Named(&wanted), &rows)?;
        let ids: &FixedSizeBinaryArray = column(&batch, images::IMAGE_ID)?;
        let formats: &StringArray = column(&batch, images::FORMAT)?;
        let hashes: &UInt64Array = column(&batch, images::PHASH)?;
        for at in (0..ids.len()).filter(|at| formats.value(*at) != images::MISSING) {
            if !seen.insert(ids.value(at).to_vec()) {
                continue;
            }
            match images::compared_hash(formats.value(at), hashes.value(at)) {
                Some(hash) => hashed.push(Hashed { spot: Spot { shard, row: rows[at] }, hash }),
                None => flat += 1,
            }
        }
    }
    Ok((hashed, flat))
}

/// Counts all pairs and picks the nearest ones, of equals those of the earlier images.
fn find(images: &[Hashed]) -> Found {
    let mut found = Found::default();
    // Of each distance more than are shown: some share an image with a nearer pair.
    let mut nearest: Vec<Vec<(usize, usize)>> = vec![Vec::new(); MOST_BITS as usize + 1];
    let mut taken: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); MOST_BITS as usize + 1];
    for (a, one) in images.iter().enumerate() {
        for (b, other) in images.iter().enumerate().skip(a + 1) {
            let bits = (one.hash ^ other.hash).count_ones();
            if bits > MOST_BITS {
                continue;
            }
            found.pairs += 1;
            let at = bits as usize;
            if nearest[at].len() < SHOWN * 4 && !taken[at].contains(&a) && !taken[at].contains(&b) {
                nearest[at].push((a, b));
                taken[at].extend([a, b]);
            }
        }
    }
    let mut shown = BTreeSet::new();
    for (bits, pairs) in (0..).zip(nearest) {
        for (a, b) in pairs {
            if found.shown.len() < SHOWN && !shown.contains(&a) && !shown.contains(&b) {
                found.shown.push((bits, a, b));
                shown.extend([a, b]);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashed(hashes: &[u64]) -> Vec<Hashed> {
        let image = |(row, hash): (usize, &u64)| Hashed { spot: Spot { shard: 0, row }, hash: *hash };
        hashes.iter().enumerate().map(image).collect()
    }

    #[test]
    fn pairs_are_counted_and_the_nearest_shown() {
        // 0 and 3 differ in no bit, 1 and 2 in one, each of these pairs from the other in 5 or 4.
        let found = find(&hashed(&[0b1_1111, 0b1_0000_0000, 0b1_0000_0001, 0b1_1111, u64::MAX]));
        assert_eq!(found, Found { pairs: 2, shown: vec![(0, 0, 3), (1, 1, 2)] });
        let near = find(&hashed(&[1, 3, 2]));
        assert_eq!((near.pairs, near.shown), (3, vec![(1, 0, 1)]));
        assert_eq!(find(&[]), Found::default());
    }

    #[test]
    fn a_crowd_of_equals_is_counted_and_not_shown_whole() {
        let found = find(&hashed(&[7; 40]));
        assert_eq!((found.pairs, found.shown.len()), (40 * 39 / 2, SHOWN));
        assert_eq!(found.shown[..2], [(0, 0, 1), (0, 2, 3)]);
    }
}
