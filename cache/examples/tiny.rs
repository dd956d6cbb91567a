//! Writes a small data set with two teachers, to try readers on: `cargo run -p retort-cache --example tiny -- FOLDER`.
//! One has vectors of half precision, the other the same as codes. `tests/data/format-2.0` was made with it.

use std::path::PathBuf;

use retort_cache::{Interrupt, Quiet, convert};

#[path = "../tests/support/mod.rs"]
mod support;

fn main() -> support::Result {
    let folder: PathBuf = std::env::args_os().nth(1).ok_or("tell a folder")?.into();
    let dataset = support::write_dataset(&folder, 2, 0)?;
    support::write_teacher(&dataset, "clip", 1.0)?;
    convert(&dataset, "clip", "cos:0.99".parse()?, false, &Quiet, &Interrupt::default())?;
    Ok(())
}
