//! Writes the small data set that `docs/python.md` reads, with a teacher of every store option:
//! `cargo run -p retort-cache --example every_store -- FOLDER`.

use std::path::PathBuf;

#[path = "../tests/support/mod.rs"]
mod support;

fn main() -> support::Result {
    let folder: PathBuf = std::env::args_os().nth(1).ok_or("tell a folder")?.into();
    support::stores::write_every_store(&support::write_dataset(&folder, 2, 0)?)
}
