//! Tar shards as WebDataset reads them: members of one name before the first dot are one sample.

use std::io::{BufWriter, Write};
use std::path::Path;

use arrow::array::{AsArray, RecordBatch};
use serde_json::{Map, Value};

use super::npy;
use super::rows::{Kind, ShardRows};
use super::{Exported, Job};
use crate::files::NewFile;
use crate::{Error, Result};

/// The files that a job writes.
pub(super) fn files(job: &Job<'_>) -> Vec<String> {
    job.shards.iter().map(|shard| tar_of(&shard.name)).collect()
}

fn tar_of(shard: &str) -> String {
    format!("{shard}.tar")
}

/// Writes them.
pub(super) fn write(job: &Job<'_>) -> Result<Exported> {
    let kind = Kind::of(job);
    let mut exported = Exported::default();
    job.progress.begin("export", job.shards.len() as u64, "shards");
    for shard in &job.shards {
        job.interrupt.check()?;
        let rows = ShardRows::read(job, shard, kind)?;
        let path = job.export.out.join(tar_of(&shard.name));
        let (new, file) = NewFile::create(&path)?;
        let archive = tar::Builder::new(BufWriter::new(&file));
        // A key ends at its first dot.
        write_rows(archive, &shard.name.replace('.', "_"), &rows, &path)?;
        new.commit(&file)?;
        exported.rows += rows.len() as u64;
        exported.skipped += rows.skipped;
        job.progress.advance(1);
    }
    Ok(exported)
}

/// One sample a row: `KEY.image.npy`, `KEY.text.npy`, `KEY.patches.npy`, `KEY.tokens.npy`, `KEY.spans.npy`, `KEY.json`.
fn write_rows<W: Write>(mut archive: tar::Builder<W>, shard: &str, rows: &ShardRows, path: &Path) -> Result<()> {
    let failed = |error| Error::io("write", path)(error);
    let metadata = rows.metadata()?;
    for row in 0..rows.len() {
        let key = format!("{shard}-{row:06}");
        for (ending, found) in [("image.npy", rows.image(row)), ("text.npy", rows.text(row))] {
            if let Some((column, values)) = found {
                let bytes = npy::vector(column.element, values);
                append(&mut archive, &format!("{key}.{ending}"), &bytes).map_err(failed)?;
            }
        }
        for (ending, found) in [("patches.npy", rows.patches(row)), ("tokens.npy", rows.tokens(row))] {
            if let Some((column, values)) = found {
                let bytes = npy::vectors(column.element, column.width, values);
                append(&mut archive, &format!("{key}.{ending}"), &bytes).map_err(failed)?;
            }
        }
        if let Some(spans) = rows.spans(row) {
            append(&mut archive, &format!("{key}.spans.npy"), &npy::pairs(spans)).map_err(failed)?;
        }
        let text = format!("{:#}\n", Value::Object(object(&metadata, row)));
        append(&mut archive, &format!("{key}.json"), text.as_bytes()).map_err(failed)?;
    }
    archive.into_inner().and_then(|mut file| file.flush()).map_err(failed)
}

/// A member without times or owners: the same features give the same archive.
fn append<W: Write>(archive: &mut tar::Builder<W>, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(0);
    archive.append_data(&mut header, name, bytes)
}

/// A row of string columns as a JSON object.
fn object(batch: &RecordBatch, row: usize) -> Map<String, Value> {
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns());
    columns.map(|(field, column)| (field.name().clone(), column.as_string::<i32>().value(row).into())).collect()
}
