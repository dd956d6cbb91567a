//! Rows of images: each query beside those that a teacher's embedding has nearest.

use std::collections::BTreeSet;

use retort_cache::{Dataset, Result};

use super::pictures::Pictures;
use super::sampled::{Sampled, Spot};
use super::vectors::{Embedded, dot};
use crate::examples::spread;
use crate::pictures::Gallery;
use crate::text::count;

/// Queries.
const QUERIES: usize = 4;
/// Neighbours of each.
const NEAREST: usize = 5;

/// A query with its neighbours and their cosines, the nearest first. Numbers are rows of [`Embedded`].
#[derive(Debug, PartialEq)]
struct Near {
    query: usize,
    found: Vec<(usize, f64)>,
}

/// The rows, and how many images are on them.
///
/// # Errors
/// As [`Dataset::read_rows`].
pub(crate) fn html(
    gallery: &mut Gallery,
    dataset: &Dataset,
    sampled: &Sampled,
    embedded: &Embedded,
) -> Result<(String, usize)> {
    let rows = nearest(embedded);
    if rows.is_empty() {
        return Ok((String::new(), 0));
    }
    let spots = |near: &Near| -> Vec<Spot> {
        let all = near.found.iter().map(|(at, _)| *at);
        std::iter::once(near.query).chain(all).map(|at| embedded.spots[at]).collect()
    };
    let pictures = Pictures::read_told(gallery, dataset, sampled, rows.iter().flat_map(spots))?;
    let cell = |at: usize, class: &str, words: &str| {
        let (picture, told) = (pictures.html(embedded.spots[at], ""), pictures.caption(embedded.spots[at]));
        format!("<figure class=\"{class}\">{picture}<figcaption>{words}{told}</figcaption></figure>")
    };
    let mut html = format!(
        "<h3>Nearest images</h3><p class=\"soft\">Each row begins with a query; the images behind it are those of {} with \
         the greatest cosine to it, which stands below, with what a sample says of the image.</p>",
        count(embedded.spots.len() as u64)
    );
    let digits = digits(&rows);
    for near in &rows {
        let found = near.found.iter().map(|(at, cosine)| cell(*at, "", &format!("{cosine:.digits$}")));
        let found: String = found.collect();
        html += &format!("<div class=\"near\">{}{found}</div>", cell(near.query, "query", "query"));
    }
    let images = rows.iter().map(|near| near.found.len() + 1).sum();
    Ok((html, images))
}

/// Decimals that cosines have: three, or as many more as tell some of each row apart, up to five.
fn digits(rows: &[Near]) -> usize {
    const MOST: usize = 5;
    let told = |near: &Near, digits: usize| {
        near.found.iter().map(|(_, cosine)| format!("{cosine:.digits$}")).collect::<BTreeSet<_>>().len()
    };
    // Those that the most decimals do not tell apart are equal.
    let is_told = |near: &Near, digits: usize| told(near, digits) > 1 || told(near, MOST) < 2;
    (3..MOST).find(|digits| rows.iter().all(|near| is_told(near, *digits))).unwrap_or(MOST)
}

/// Evenly spread queries; none is its own neighbour.
fn nearest(embedded: &Embedded) -> Vec<Near> {
    let all = 0..embedded.spots.len();
    let of = |query: usize| {
        let others = all.clone().filter(|at| *at != query);
        let mut found: Vec<(usize, f64)> =
            others.map(|at| (at, dot(embedded.unit(query), embedded.unit(at)).min(1.0))).collect();
        found.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        found.truncate(NEAREST);
        Near { query, found }
    };
    spread(all.clone().collect(), QUERIES).into_iter().map(of).filter(|near| !near.found.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosines_have_as_many_decimals_as_tell_them_apart() {
        let row = |cosines: &[f64]| Near { query: 0, found: cosines.iter().map(|cosine| (1, *cosine)).collect() };
        assert_eq!(digits(&[row(&[0.912, 0.913]), row(&[0.4, 0.1])]), 3);
        assert_eq!(digits(&[row(&[0.99912, 0.99934]), row(&[0.4, 0.1])]), 4);
        assert_eq!(digits(&[row(&[0.999912, 0.999921, 0.99993])]), 5);
        // Equal ones, and one alone, have nothing to tell.
        assert_eq!(digits(&[row(&[0.5])]), 3);
        assert_eq!(digits(&[row(&[1.0, 1.0])]), 3);
        assert_eq!(digits(&[]), 3);
    }

    #[test]
    fn the_nearest_come_first_and_nothing_is_its_own_neighbour() {
        let angles = [0.0_f32, 0.5, 0.1, 3.0, 0.2, 1.0];
        let unit = angles.iter().flat_map(|angle| [angle.cos(), angle.sin()]).collect();
        let embedded = Embedded::of_units(unit, 2);
        let found = nearest(&embedded);
        assert_eq!(found.iter().map(|near| near.query).collect::<Vec<_>>(), [0, 1, 3, 4]);
        let order: Vec<usize> = found[0].found.iter().map(|(at, _)| *at).collect();
        assert_eq!(order, [2, 4, 1, 5, 3]);
        assert!((found[0].found[0].1 - f64::from(0.1_f32).cos()).abs() < 1e-6);
        assert!(nearest(&Embedded::default()).is_empty());
    }
}
