//! Writes a small data set with two teachers, to try readers on: `cargo run -p retort-cache --example tiny -- FOLDER`.
//! One has vectors of half precision, the other the same as codes. The manifests of the data set and of the first teacher are
//! in parts of two shards. `tests/data/format-3.0` was made with it.

use std::path::PathBuf;

use retort_cache::{Interrupt, Quiet, convert};

#[path = "../tests/support/mod.rs"]
mod support;

fn main() -> support::Result {
    let folder: PathBuf = std::env::args_os().nth(1).ok_or("tell a folder")?.into();
    let dataset = support::write_split_in_runs(&folder, "train", 3, 0, 2)?;
    support::write_features_in_runs(&dataset, "clip", 1.0, &support::ALL, 2)?;
    convert(&dataset, "clip", "cos:0.99".parse()?, false, &Quiet, &Interrupt::default())?;
    Ok(())
}
