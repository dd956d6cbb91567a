//! The page of a data set: what is in it, what is odd, and how its teachers see it.
//!
//! ```text
//! manifests            splits, sizes, coverage, norms      all of it
//! ids                  images and texts of several splits  of 1,024 shards; of more, of those below
//! samples, texts       labels, lengths                     of about 32 shards, evenly spread over the splits
//! images               samples, neighbours, duplicates     single rows of these shards
//! cache/<teacher>/     norms, projection, words            at most 2,000 rows of a table
//! ```
//!
//! Whatever is read of a sample only says so on the page. What was chosen depends on the data alone.

mod colours;
mod duplicates;
mod labels;
mod neighbours;
mod pictures;
mod projection;
mod regions;
mod sampled;
mod samples;
mod shared;
mod shares;
mod tables;
mod teachers;
mod vectors;
mod words;

use std::path::Path;

use colours::Colours;
use retort_cache::{Dataset, Error, Result, Summary, TeacherCache};
use retort_schemas::manifest::DATASET_FILE;
use sampled::Sampled;
use shared::Shared;

use crate::load::last_name;
use crate::page::{Page, Writer};

/// Whether a folder is a data set, or what is left of one.
pub(crate) fn is_there(folder: &Path) -> bool {
    folder.join(DATASET_FILE).is_file() || matches!(Dataset::open(folder), Err(Error::NoManifest { .. }))
}

/// The page of a data set.
///
/// # Errors
/// As [`Dataset::open`] and [`Dataset::read_rows`]: damage is an error. What is missing is a sentence on the page, and so is
/// what is wrong with a teacher.
pub(crate) fn build(folder: &Path) -> Result<Page> {
    let dataset = Dataset::open(folder)?;
    let summary = Summary::of(&dataset)?;
    let sampled = Sampled::read(&dataset)?;
    let title = format!("Data set {}", last_name(folder));
    let colours = Colours::of(&sampled);
    let shared = Shared::read(&dataset, &sampled)?;
    let mut page = Writer::default();
    tables::head(&mut page, &title, &dataset, &summary, (&sampled, &shared));
    page.contents();
    let mut images = samples::write(&mut page, &dataset, &sampled)?;
    labels::write(&mut page, &sampled);
    regions::write(&mut page, &dataset, &sampled)?;
    labels::write_lengths(&mut page, &dataset, &sampled)?;
    tables::rejected(&mut page, &dataset, &summary)?;
    images += teachers(&mut page, &dataset, (&sampled, &colours), &summary);
    images += duplicates::write(&mut page, &dataset, &sampled, &shared)?;
    tables::sizes(&mut page, &summary);
    Ok(page.finish(&title, images))
}

/// A section a teacher, and the words of all of them; returns how many images are on them. What a damaged teacher would
/// show is told in its place.
fn teachers(
    page: &mut Writer,
    dataset: &Dataset,
    (sampled, colours): (&Sampled, &Colours<'_>),
    summary: &Summary,
) -> usize {
    if summary.teachers.is_empty() {
        page.section("Teachers", "What frozen encoders make of the images and texts.");
        page.miss("No teacher has features of this data set yet: `retort teach` makes them.".to_owned());
        return 0;
    }
    // Also one whose section fails may have words: where these cannot be read either, their section says so.
    let (mut opened, mut images) = (Vec::new(), 0);
    for (at, summary) in summary.teachers.iter().enumerate() {
        teachers::begin(page, sampled, summary, at > 0);
        images += or_told(page, None, |page| {
            let teacher = TeacherCache::open(dataset, &summary.name)?;
            let images = teachers::write(page, dataset, (sampled, colours), (&teacher, summary));
            opened.push(teacher);
            images
        });
    }
    if opened.is_empty() {
        return images;
    }
    images + or_told(page, Some("Words"), |page| words::write(page, dataset, sampled, &opened))
}

/// Writes a section of this title, or the rest of one that is begun, or what keeps it from being written.
fn or_told(page: &mut Writer, title: Option<&str>, write: impl FnOnce(&mut Writer) -> Result<usize>) -> usize {
    let mark = page.mark();
    write(page).unwrap_or_else(|error| {
        page.back_to(&mark);
        let what = match title {
            Some(title) => {
                page.section(title, "");
                "This section is"
            }
            None => "Its plots are",
        };
        page.miss(format!("{what} left out: {}.", told(&error)));
        0
    })
}

/// An error with its causes and what to do.
fn told(error: &Error) -> String {
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(deeper) = cause {
        words += &format!(": {deeper}");
        cause = deeper.source();
    }
    match error.hint() {
        Some(hint) => format!("{words}. What to do: {hint}"),
        None => words,
    }
}
