//! Writes a small data set with two teachers, to try readers on: `cargo run -p retort-cache --example tiny -- FOLDER`.
//! One has vectors of half precision, the other the same as codes. With `parts` behind the folder it has three shards, and
//! the manifests of the data set and of the first teacher are in parts of two: `tests/data/format-3.1` was made so.

use std::path::PathBuf;

use retort_cache::{Interrupt, Quiet, convert};
use retort_schemas::parts::PART_SHARDS;

#[path = "../tests/support/mod.rs"]
mod support;

fn main() -> support::Result {
    let folder: PathBuf = std::env::args_os().nth(1).ok_or("tell a folder")?.into();
    let (shards, run) = match std::env::args().nth(2).as_deref() {
        None => (2, PART_SHARDS),
        Some("parts") => (3, 2),
        Some(other) => return Err(format!("expected nothing or parts, found {other:?}").into()),
    };
    let dataset = support::write_split_in_runs(&folder, "train", shards, 0, run)?;
    support::write_features_in_runs(&dataset, "clip", 1.0, &support::ALL, run)?;
    convert(&dataset, "clip", "cos:0.99".parse()?, false, &Quiet, &Interrupt::default())?;
    Ok(())
}
