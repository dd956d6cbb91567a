//! One section a teacher: what it covers, how its embeddings lie, which images it has near one another.

use std::collections::BTreeSet;

use retort_cache::{Dataset, Result, TableSummary, TeacherCache, TeacherSummary};
use retort_schemas::features::{images, texts};

use super::labels::{COLOURED, Colours, colours, of_images, of_texts};
use super::neighbours;
use super::projection::project;
use super::sampled::Sampled;
use super::vectors::Embedded;
use crate::page::Writer;
use crate::plot::{Point, histogram, scatter};
use crate::text::{bytes, count, counted, cut, escape, percent};

/// Bars of a histogram of norms.
const BINS: usize = 24;
/// Characters of a label in a legend.
const LONGEST: usize = 24;

/// Writes the section of a teacher, folded or not, and returns how many images are on it.
///
/// # Errors
/// As [`TeacherCache::read_rows`].
pub(crate) fn write(
    page: &mut Writer,
    dataset: &Dataset,
    sampled: &Sampled,
    teacher: &TeacherCache,
    summary: &TeacherSummary,
    folds: bool,
) -> Result<usize> {
    let space = if summary.joint { "Images and texts lie in one space. " } else { "" };
    let words = format!(
        "{space}Plots are of embeddings evenly spread over {}; projections and neighbours are of embeddings scaled to length 1.",
        sampled.words()
    );
    let begin = if folds { Writer::folded } else { Writer::section };
    begin(page, &format!("Teacher {}", summary.name), &words);
    coverage(page, summary);
    let (mut planes, mut all_norms, mut near, mut shown) = (String::new(), String::new(), String::new(), 0);
    for (table, items) in [(images::NAME, "images"), (texts::NAME, "texts")] {
        if !teacher.manifest().has(table) {
            continue;
        }
        let embedded = Embedded::read(dataset, sampled, teacher, table)?;
        if embedded.spots.is_empty() {
            page.miss(format!("The teacher {} has no embedding of {items} in the shards that are read.", summary.name));
            continue;
        }
        all_norms += &norms(&embedded, items);
        let labels = if table == images::NAME { of_images } else { of_texts };
        planes += &plane(sampled, &embedded, &labels(sampled, &embedded.spots), items);
        if table == images::NAME {
            (near, shown) = neighbours::html(&mut page.gallery, dataset, sampled, &embedded)?;
        }
    }
    if !planes.is_empty() {
        page.html += &format!("<div class=\"panels\">{planes}<div class=\"card\">{all_norms}</div></div>{near}");
    }
    Ok(shown)
}

fn coverage(page: &mut Writer, summary: &TeacherSummary) {
    let rows: String = summary.tables.iter().map(|table| table_row(summary, table)).collect();
    page.html += &format!(
        "<div class=\"card scroll\"><table><tr><th>table</th><th>rows</th><th>shards</th><th>width</th><th class=\"left\">store</th>\
         <th>size</th><th>bytes a row</th><th>worst cosine</th><th class=\"left\">norm: mean (least to greatest), of all</th></tr>\
         {rows}</table></div>"
    );
    let missing = summary.shards_expected.saturating_sub(summary.shards);
    if missing > 0 {
        let lacks = counted(missing, "shard", "shards");
        page.miss(format!("The teacher {} lacks {lacks}: run its teach command again.", summary.name));
    }
}

fn table_row(summary: &TeacherSummary, table: &TableSummary) -> String {
    let none = || "\u{2013}".to_owned();
    let of = |tell: &dyn Fn(&retort_cache::VectorSummary) -> Option<String>| {
        let all: BTreeSet<String> = table.vectors.values().filter_map(tell).collect();
        if all.is_empty() { none() } else { all.into_iter().collect::<Vec<_>>().join(", ") }
    };
    let norms: Vec<String> = table
        .norms
        .iter()
        .map(|(column, norms)| {
            let odd = [(norms.zero, "zero"), (norms.nan, "NaN"), (norms.infinite, "infinite")];
            let odd = odd.iter().filter(|(vectors, _)| *vectors > 0);
            let odd: String = odd.map(|(vectors, what)| format!(", {} {what}", count(*vectors))).collect();
            format!("{} {:.3} ({:.3} to {:.3}){odd}", escape(column), norms.mean, norms.min, norms.max)
        })
        .collect();
    let coverage = summary.shards as f64 / summary.shards_expected.max(1) as f64;
    format!(
        "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"left\">{}</td><td>{}</td><td>{}</td><td>{}</td>\
         <td class=\"left\">{}</td></tr>",
        escape(&table.table),
        count(table.rows),
        percent(coverage),
        of(&|taken| Some(taken.column.width.to_string())),
        summary.store,
        bytes(table.bytes),
        count(table.bytes / table.rows.max(1)),
        of(&|taken| taken.column.worst_cosine.map(|worst| format!("{worst:.6}"))),
        norms.join("<br>"),
    )
}

fn norms(embedded: &Embedded, items: &str) -> String {
    let (range, bins) = bins(&embedded.norms);
    let label = format!("Norms of the embeddings of {items}");
    let odd = match embedded.odd() {
        0 => String::new(),
        odd => format!(", of which {} no direction", counted(odd as u64, "has", "have")),
    };
    format!(
        "<h3>Norms of {items}</h3><p class=\"soft\">{}{odd}</p>{}",
        embedded.words(items),
        histogram(&label, "norm", range, &bins),
    )
}

/// Norms in bars of equal width from the least to the greatest.
fn bins(norms: &[f64]) -> ((f64, f64), Vec<(u64, u64)>) {
    let low = norms.iter().copied().fold(f64::INFINITY, f64::min);
    let high = norms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    // Equal ones, but for rounding, make one bar in the middle.
    let room = (0.1 * high.abs() - (high - low)).max(0.0) / 2.0;
    let (low, high) = (low - room, (high + room).max(low + 1e-6));
    let mut bins = vec![(0, 0); BINS];
    for norm in norms {
        let at = (((norm - low) / (high - low) * BINS as f64) as usize).min(BINS - 1);
        bins[at] = (bins[at].0 + 1, bins[at].1 + 1);
    }
    ((low, high), bins)
}

/// The embeddings in the plane of their two greatest principal components, coloured by label.
fn plane(sampled: &Sampled, embedded: &Embedded, labels: &[BTreeSet<usize>], items: &str) -> String {
    let title = format!("<h3>Projection of {items}</h3>");
    let Some(projection) = project(&embedded.unit, embedded.width) else {
        return format!("<div class=\"card\">{title}<p class=\"soft\">All embeddings are the same.</p></div>");
    };
    let colours = colours(labels);
    let points = projection.points.iter().zip(&colours.of_item);
    let mut points: Vec<Point> = points.map(|(at, label)| (label.unwrap_or(COLOURED), *at)).collect();
    // Those without a label of their own lie below.
    points.sort_by_key(|(colour, _)| *colour != COLOURED);
    let axis = |name: &str, share: f64| format!("{name} component, {}", percent(share));
    let [across, up] = projection.explained;
    let plot = scatter(
        &format!("The embeddings of {items} on their first two principal components"),
        &axis("first", across),
        &axis("second", up),
        &points,
    );
    format!(
        "<div class=\"card\">{title}<p class=\"soft\">Two principal components explain {} of the variance of {}.</p>{plot}{}</div>",
        percent(across + up),
        embedded.words(items),
        legend(sampled, &colours),
    )
}

fn legend(sampled: &Sampled, colours: &Colours) -> String {
    let item = |class: usize, name: &str| format!("<li><span class=\"key c{class}\"></span>{}</li>", escape(name));
    let known = colours.labels.iter().enumerate();
    let mut items: String = known.map(|(at, label)| item(at, &cut(&sampled.labels[*label], LONGEST))).collect();
    if colours.of_item.iter().any(Option::is_none) {
        let others = match colours.labels.len() {
            0 if !sampled.labels.is_empty() => "most have several labels, which tell none apart",
            coloured if coloured == sampled.labels.len() => "no label",
            _ => "other or none",
        };
        items += &item(COLOURED, others);
    }
    format!("<ul class=\"legend\">{items}</ul>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn norms_fall_into_bars_and_equal_ones_into_the_middle() {
        let (range, all) = bins(&[1.0, 2.0, 3.0, 3.0]);
        assert_eq!((range, all[0].0, all[12].0, all[23].0), ((1.0, 3.0), 1, 1, 2));
        let (range, all) = bins(&[1.0, 1.0001, 1.0]);
        assert!(range.0 > 0.94 && range.0 < 0.96 && range.1 > 1.04, "{range:?}");
        assert_eq!(all.iter().map(|bin| bin.0).sum::<u64>(), 3);
        assert!(all[11].0 + all[12].0 == 3, "{all:?}");
        assert_eq!(bins(&[0.0]).1.iter().map(|bin| bin.0).sum::<u64>(), 1);
    }
}
