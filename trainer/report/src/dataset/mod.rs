//! The page of a data set: what is in it, what is odd, and how its teachers see it.
//!
//! ```text
//! manifests            splits, sizes, coverage, norms      all of it
//! samples, texts       labels, lengths                     of about 32 shards, evenly spread over the splits
//! images               samples, neighbours, duplicates     single rows of these shards
//! cache/<teacher>/     norms, projection, words            at most 2,000 rows of a table
//! ```
//!
//! Whatever is read of a sample only says so on the page. What was chosen depends on the data alone.

mod duplicates;
mod labels;
mod neighbours;
mod pictures;
mod projection;
mod sampled;
mod samples;
mod tables;
mod teachers;
mod vectors;
mod words;

use std::path::Path;

use retort_cache::{Dataset, Error, Result, Summary, TeacherCache};
use retort_schemas::manifest::DATASET_FILE;
use sampled::Sampled;

use crate::load::last_name;
use crate::page::{Page, Writer};

/// Whether a folder is a data set, or what is left of one.
pub(crate) fn is_there(folder: &Path) -> bool {
    folder.join(DATASET_FILE).is_file() || matches!(Dataset::open(folder), Err(Error::NoManifest { .. }))
}

/// The page of a data set.
///
/// # Errors
/// As [`Dataset::open`], [`Dataset::read_rows`], [`TeacherCache::open`] and [`TeacherCache::read_rows`]: damage is an error,
/// and what is missing a sentence on the page.
pub(crate) fn build(folder: &Path) -> Result<Page> {
    let dataset = Dataset::open(folder)?;
    let summary = Summary::of(&dataset)?;
    let sampled = Sampled::read(&dataset)?;
    let all = summary.teachers.iter().map(|teacher| TeacherCache::open(&dataset, &teacher.name));
    let all = all.collect::<Result<Vec<_>>>()?;
    let title = format!("Data set {}", last_name(folder));
    let mut page = Writer::default();
    tables::head(&mut page, &title, &dataset, &summary, &sampled);
    let mut images = samples::write(&mut page, &dataset, &sampled)?;
    labels::write(&mut page, &sampled);
    labels::write_lengths(&mut page, &dataset, &sampled)?;
    tables::rejected(&mut page, &dataset, &summary)?;
    tables::sizes(&mut page, &summary);
    for (teacher, summary) in all.iter().zip(&summary.teachers) {
        images += teachers::write(&mut page, &dataset, &sampled, teacher, summary)?;
    }
    if all.is_empty() {
        page.section("Teachers", "What frozen encoders make of the images and texts.");
        page.miss("No teacher has features of this data set yet: `retort teach` makes them.".to_owned());
    } else {
        images += words::write(&mut page, &dataset, &sampled, &all)?;
    }
    images += duplicates::write(&mut page, &dataset, &sampled)?;
    Ok(page.finish(&title, images))
}
