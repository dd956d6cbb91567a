//! `retort export`.

use std::process::ExitCode;

use anyhow::Result;
use retort_cache::{Dataset, Export, ExportFormat, TeacherCache, export};

use super::print;
use crate::cli::{Export as Options, ExportLayout};
use crate::progress::Terminal;

pub fn run(options: &Options, terminal: &Terminal) -> Result<ExitCode> {
    let dataset = Dataset::open(&options.dataset)?;
    let teacher = TeacherCache::open(&dataset, &options.teacher)?;
    let format = match options.format {
        ExportLayout::ClipRetrieval => ExportFormat::ClipRetrieval,
        ExportLayout::Webdataset => ExportFormat::Webdataset,
        ExportLayout::Safetensors => ExportFormat::Safetensors,
    };
    let what = Export {
        dataset: &dataset,
        teacher: &teacher,
        split: options.split.as_deref(),
        tables: &options.tables,
        format,
        out: &options.out,
        force: options.force,
    };
    let done = export(&what, terminal, terminal.interrupt())?;
    let skipped = match done.skipped {
        0 => String::new(),
        count => format!("; {count} samples without a text left out"),
    };
    let left_out = match &done.left_out[..] {
        [] => String::new(),
        tables => format!("; no place in this layout for its {}, left out", tables.join(" and ")),
    };
    let files = done.files.len();
    print(&format!("{} exported: {} rows in {files} files{skipped}{left_out}\n", teacher.folder_name(), done.rows))?;
    Ok(ExitCode::SUCCESS)
}
