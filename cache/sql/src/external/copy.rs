//! `COPY (query) TO 'file'`: an answer in a file.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use datafusion::execution::SendableRecordBatchStream;
use datafusion::sql::parser::CopyToStatement;
use futures::StreamExt;

use crate::output::Output;
use crate::{Error, Format, Result};

/// Writes an answer where a statement says, and tells its rows. The file is whole or not there.
///
/// # Errors
/// [`Error::Copy`] if the file lies in `opened`, its format is none, or it cannot be written.
pub(crate) async fn copy(
    statement: &CopyToStatement,
    mut answer: SendableRecordBatchStream,
    opened: &Path,
    failed: impl Fn(datafusion::common::DataFusionError) -> Error,
) -> Result<u64> {
    let refused = |problem: &str| Error::Copy { target: statement.target.clone(), problem: problem.to_owned() };
    if !statement.options.is_empty() || !statement.partitioned_by.is_empty() {
        return Err(refused("options and PARTITIONED BY are not understood"));
    }
    let format = format_of(statement).ok_or_else(|| {
        refused("its ending says no format: expected .parquet, .csv, .json or .ndjson, or STORED AS one of them")
    })?;
    let target = Path::new(&statement.target);
    if lies_in(target, opened) {
        return Err(refused("it lies in the folder that is asked, whose files are never changed"));
    }
    let folder = parent_of(target);
    if !folder.is_dir() {
        return Err(refused(&format!("there is no folder {}", folder.display())));
    }
    let unfinished = Unfinished::beside(target)?;
    // A full disk says nothing of the file.
    let failed_to = |error: Error| match error {
        Error::Write(error) => refused(&error.to_string()),
        error => error,
    };
    let written = |error| failed_to(Error::Write(error));
    let mut file = BufWriter::new(File::create(&unfinished.0).map_err(written)?);
    let mut output = Output::open(format, &answer.schema(), None, &mut file).map_err(failed_to)?;
    let mut rows = 0;
    while let Some(batch) = answer.next().await {
        let batch = batch.map_err(&failed)?;
        rows += batch.num_rows() as u64;
        output.write(&batch).map_err(failed_to)?;
    }
    output.finish().map_err(failed_to)?;
    file.flush().and_then(|()| file.get_ref().sync_all()).map_err(written)?;
    std::fs::rename(&unfinished.0, target).map_err(written)?;
    Ok(rows)
}

/// As DataFusion has it, JSON in files is an object a line.
fn format_of(statement: &CopyToStatement) -> Option<Format> {
    let ending = Path::new(&statement.target).extension().and_then(|ending| ending.to_str());
    match statement.stored_as.as_deref().or(ending)?.to_lowercase().as_str() {
        "parquet" => Some(Format::Parquet),
        "csv" => Some(Format::Csv),
        "json" | "ndjson" => Some(Format::Ndjson),
        _ => None,
    }
}

fn lies_in(target: &Path, folder: &Path) -> bool {
    match (parent_of(target).canonicalize(), folder.canonicalize()) {
        (Ok(parent), Ok(folder)) => parent.starts_with(folder),
        // Without its parent there is nothing to write into.
        _ => false,
    }
}

fn parent_of(target: &Path) -> &Path {
    target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A file that is removed unless it was renamed.
struct Unfinished(PathBuf);

impl Unfinished {
    fn beside(target: &Path) -> Result<Self> {
        let no_name = || Error::Copy { target: target.display().to_string(), problem: "it names no file".to_owned() };
        let mut name = target.file_name().ok_or_else(no_name)?.to_owned();
        name.push(format!(".{}.unfinished", std::process::id()));
        Ok(Self(target.with_file_name(name)))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After the renaming there is none.
        let _ = std::fs::remove_file(&self.0);
    }
}
