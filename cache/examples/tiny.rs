//! Writes a small data set with one teacher, to try readers on: `cargo run -p retort-cache --example tiny -- FOLDER`.

use std::path::PathBuf;

#[path = "../tests/support/mod.rs"]
mod support;

fn main() -> support::Result {
    let folder: PathBuf = std::env::args_os().nth(1).ok_or("tell a folder")?.into();
    let dataset = support::write_dataset(&folder, 2, 0)?;
    support::write_teacher(&dataset, "clip", 1.0)
}
