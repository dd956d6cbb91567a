//! `docs/python.md` as it stands: its blocks are run on a data set with a teacher of every store option, and print what the
//! page says they print.

#![allow(clippy::print_stdout, reason = "a test that is skipped says so")]

use std::path::Path;

use retort_cache::{Export, ExportFormat, Interrupt, Quiet, TeacherCache, export};
use support::{Result, write_dataset};
use tempfile::tempdir;

#[path = "support/python.rs"]
mod python;
mod support;

#[test]
fn every_block_of_the_page_on_python_runs_and_prints_what_it_says() -> Result {
    let packages = match python::packages() {
        Ok(packages) => packages,
        Err(skipped) => {
            println!("{skipped}");
            return Ok(());
        }
    };
    let folder = tempdir()?;
    let dataset = write_dataset(&folder.path().join("tiny-set"), 2, 0)?;
    support::stores::write_every_store(&dataset)?;
    // The commands of the page.
    let teacher = TeacherCache::open(&dataset, "clip-f16")?;
    for (format, out) in [
        (ExportFormat::Safetensors, "out-safetensors"),
        (ExportFormat::ClipRetrieval, "out-clip-retrieval"),
        (ExportFormat::Webdataset, "out-webdataset"),
    ] {
        let out = folder.path().join(out);
        let options =
            Export { dataset: &dataset, teacher: &teacher, split: None, tables: &[], format, out: &out, force: false };
        export(&options, &Quiet, &Interrupt::default())?;
    }
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (script, page) = (repository.join("tests/py/check_page.py"), repository.join("docs/python.md"));
    let path = |path: &Path| path.to_str().map(str::to_owned).ok_or("a path that is no text");
    let said = python::run_python(&packages, folder.path(), &[&path(&script)?, &path(&page)?])?;
    // As many as there are: a page whose blocks are not found would pass otherwise.
    assert!(said.contains("5 blocks"), "{said}");
    Ok(())
}
