//! One section a teacher: what it covers, how its embeddings lie, which images it has near one another.

use std::collections::BTreeSet;

use retort_cache::{Dataset, MissingTable, Result, TableSummary, TeacherCache, TeacherSummary};
use retort_schemas::features::{images, texts};

use super::colours::{Colours, OTHERS};
use super::neighbours;
use super::projection::project;
use super::sampled::Sampled;
use super::vectors::Embedded;
use crate::page::Writer;
use crate::plot::{Point, histogram, scatter};
use crate::text::{bytes, count, counted, escape, listed, percent};

/// Bars of a histogram of norms; odd, so that one is in the middle.
const BINS: usize = 25;
/// What norms differ by at most that are told to be equal, as a share of the greatest: twice what they are said to be off by.
const EQUAL: f64 = 2e-3;

/// Begins the section of a teacher with what the manifests tell of it.
pub(crate) fn begin(page: &mut Writer, sampled: &Sampled, summary: &TeacherSummary, folds: bool) {
    let space = if summary.joint { "Images and texts lie in one space. " } else { "" };
    let words = format!(
        "{space}Plots are of embeddings evenly spread over {}; projections and neighbours are of embeddings scaled to length 1.",
        sampled.words()
    );
    let begin = if folds { Writer::folded } else { Writer::section };
    begin(page, &format!("Teacher {}", summary.name), &words);
    coverage(page, summary);
}

/// Writes the rest of the section: plots of its embeddings, and neighbours; returns how many images are on it.
///
/// # Errors
/// As [`TeacherCache::read_rows`].
pub(crate) fn write(
    page: &mut Writer,
    dataset: &Dataset,
    (sampled, colours): (&Sampled, &Colours<'_>),
    (teacher, summary): (&TeacherCache, &TeacherSummary),
) -> Result<usize> {
    let (mut panels, mut all_norms, mut near, mut shown) = (String::new(), String::new(), String::new(), 0);
    for (table, items) in [(images::NAME, "images"), (texts::NAME, "texts")] {
        if !teacher.manifest().has(table) {
            continue;
        }
        let embedded = Embedded::read(dataset, sampled, teacher, table)?;
        if embedded.is_empty() {
            page.miss(format!("The teacher {} has no embedding of {items} in the shards that are read.", summary.name));
            continue;
        }
        let equal = equal_norms(&embedded);
        match plane(colours, &embedded, items, equal.as_deref().unwrap_or_default()) {
            Ok(card) => panels += &card,
            Err(why) => {
                let words = [Some(embedded.words(items)), Some(why.to_owned()), equal.clone()];
                page.html += &format!("<p>{}</p>", words.into_iter().flatten().collect::<Vec<_>>().join(". ") + ".");
            }
        }
        if equal.is_none() {
            all_norms += &norms(&embedded, items);
        }
        if table == images::NAME {
            (near, shown) = neighbours::html(&mut page.gallery, dataset, sampled, &embedded)?;
        }
    }
    panels += &all_norms;
    if !panels.is_empty() {
        page.html += &format!("<div class=\"halves\">{panels}</div>");
    }
    page.html += &near;
    Ok(shown)
}

fn coverage(page: &mut Writer, summary: &TeacherSummary) {
    let rows: String = summary.tables.iter().map(|table| table_row(summary, table)).collect();
    page.html += &format!(
        "<div class=\"card scroll\"><table><tr><th>table</th><th>rows</th><th>shards</th><th>width</th><th class=\"left\">store</th>\
         <th>size</th><th>bytes a row</th><th>worst cosine</th><th class=\"left\">norm: mean (least to greatest), of all</th></tr>\
         {rows}</table></div>"
    );
    // What it could have besides is no fault.
    for missing in summary.missing.iter().filter(|missing| missing.begun) {
        page.miss(lack(&summary.name, &missing.tables, &missing.command));
    }
}

/// What a teacher lacks, and the command that computes it.
fn lack(name: &str, tables: &[MissingTable], command: &str) -> String {
    let mut tables_of: Vec<(u64, Vec<String>)> = Vec::new();
    for table in tables {
        match tables_of.iter_mut().find(|(shards, _)| *shards == table.shards) {
            Some((_, tables)) => tables.push(table.table.to_owned()),
            None => tables_of.push((table.shards, vec![table.table.to_owned()])),
        }
    }
    let of = |(shards, tables): &(u64, Vec<String>)| {
        format!("{} of {}", listed(tables), counted(*shards, "shard", "shards"))
    };
    let lacks = listed(&tables_of.iter().map(of).collect::<Vec<_>>());
    format!("The teacher {name} lacks {lacks}: `{command}` computes what is missing.")
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
    let coverage = table.shards as f64 / summary.shards_expected.max(1) as f64;
    format!(
        "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"left\">{}</td><td>{}</td><td>{}</td><td>{}</td>\
         <td class=\"left\">{}</td></tr>",
        escape(&table.table),
        count(table.rows),
        percent(coverage),
        of(&|taken| Some(taken.column.width.to_string())),
        summary.store,
        bytes(table.bytes),
        count(each(table.bytes, table.rows)),
        of(&|taken| taken.column.worst_cosine.map(|worst| format!("{worst:.6}"))),
        norms.join("<br>"),
    )
}

/// Bytes a row, rounded.
fn each(bytes: u64, rows: u64) -> u64 {
    (bytes as f64 / rows.max(1) as f64).round() as u64
}

/// What norms are that need no plot, as they are all the same.
fn equal_norms(embedded: &Embedded) -> Option<String> {
    let (low, high) = ends(&embedded.norms);
    if embedded.norms.is_empty() {
        return Some("No norm is finite".to_owned());
    }
    let middle = f64::midpoint(low, high);
    let within = if low < high { format!(" to within {}", percent(EQUAL / 2.0)) } else { String::new() };
    (high - low <= EQUAL * high).then(|| format!("All norms are {middle:.3}{within}"))
}

fn norms(embedded: &Embedded, items: &str) -> String {
    let label = format!("Norms of the embeddings of {items}");
    let odd = match embedded.odd() {
        0 => String::new(),
        odd => format!(", of which {} no direction", counted(odd as u64, "has", "have")),
    };
    let (range, bins) = bins(&embedded.norms);
    format!(
        "<div class=\"card\"><h3>Norms of {items}</h3><p class=\"soft\">{}{odd}</p>{}</div>",
        embedded.words(items),
        histogram(&label, ("norm", items), range, &bins)
    )
}

/// The least and the greatest.
fn ends(norms: &[f64]) -> (f64, f64) {
    let low = norms.iter().copied().fold(f64::INFINITY, f64::min);
    (low, norms.iter().copied().fold(f64::NEG_INFINITY, f64::max))
}

/// Norms in bars of equal width from the least to the greatest.
fn bins(norms: &[f64]) -> ((f64, f64), Vec<(u64, u64)>) {
    let (low, high) = ends(norms);
    // Nearly equal ones make one bar in the middle.
    let room = (0.1 * high.abs() - (high - low)).max(0.0) / 2.0;
    let (low, high) = (low - room, (high + room).max(low + 1e-6));
    let mut bins = vec![(0, 0); BINS];
    for norm in norms {
        let at = (((norm - low) / (high - low) * BINS as f64) as usize).min(BINS - 1);
        bins[at] = (bins[at].0 + 1, bins[at].1 + 1);
    }
    ((low, high), bins)
}

/// The embeddings in the plane of their two greatest principal components, coloured as all of the page, and what their norms are
/// where these are all the same; or why there is none.
fn plane(
    colours: &Colours<'_>,
    embedded: &Embedded,
    items: &str,
    equal: &str,
) -> std::result::Result<String, &'static str> {
    if embedded.spots.is_empty() {
        return Err("No embedding has a direction");
    }
    let Some(projection) = project(&embedded.unit, embedded.width) else {
        return Err("All embeddings have the same direction");
    };
    let (colour_of, legend) = colours.points(embedded, items);
    let mut points: Vec<Point> = colour_of.into_iter().zip(projection.points).collect();
    // Those that are told apart by nothing lie below.
    points.sort_by_key(|(colour, _)| *colour != OTHERS);
    let axis = |name: &str, share: f64| format!("{name} component, {}", percent(share));
    let [across, up] = projection.explained;
    let plot = scatter(
        &format!("The embeddings of {items} on their first two principal components"),
        &axis("first", across),
        &axis("second", up),
        &points,
    );
    let equal = if equal.is_empty() { String::new() } else { format!("<p class=\"soft\">{equal}.</p>") };
    Ok(format!(
        "<div class=\"card\"><h3>Projection of {items}</h3>{plot}<p class=\"soft\">Two principal components explain {} of the \
         variance of {}.</p>{legend}{equal}</div>",
        percent(across + up),
        embedded.words(items),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn norms_fall_into_bars_and_equal_ones_into_the_middle() {
        let (range, all) = bins(&[1.0, 2.0, 3.0, 3.0]);
        assert_eq!((range, all[0].0, all[12].0, all[24].0), ((1.0, 3.0), 1, 1, 2));
        let (range, all) = bins(&[1.0, 1.001, 1.0]);
        assert!(range.0 > 0.94 && range.0 < 0.96 && range.1 > 1.04, "{range:?}");
        assert_eq!(all.iter().map(|bin| bin.0).sum::<u64>(), 3);
        assert_eq!(all[12].0, 3, "{all:?}");
        assert_eq!(bins(&[0.0]).1.iter().map(|bin| bin.0).sum::<u64>(), 1);
    }

    #[test]
    fn equal_norms_are_told_in_words() {
        let of = |all: &[f64]| {
            let mut embedded = Embedded::of_units(Vec::new(), 1);
            embedded.norms = all.to_vec();
            equal_norms(&embedded)
        };
        assert_eq!(of(&[0.0; 3]).unwrap(), "All norms are 0.000");
        assert_eq!(of(&[0.9991, 1.001]).unwrap(), "All norms are 1.000 to within 0.1\u{202f}%");
        assert_eq!(of(&[]).unwrap(), "No norm is finite");
        assert_eq!((of(&[1.0, 1.003]), of(&[0.0, 1e-6])), (None, None));
    }

    #[test]
    fn bytes_a_row_are_rounded() {
        assert_eq!([each(7937, 10), each(7934, 10), each(631, 0)], [794, 793, 631]);
    }

    #[test]
    fn what_is_missing_is_told_by_table() {
        let table = |table, shards| MissingTable { table, shards };
        let all = [table("patches", 3), table("tokens", 18), table("words", 18)];
        let told = "The teacher clip lacks patches of 3 shards and tokens and words of 18 shards: `retort teach D` computes \
                    what is missing.";
        assert_eq!(lack("clip", &all, "retort teach D"), told);
        assert!(lack("clip", &[table("patches", 1)], "x").contains(" lacks patches of 1 shard: `x`"));
    }
}
