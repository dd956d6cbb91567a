//! One safetensors file a table: `embedding` `[rows, width]` as stored, and `ids` u8 `[rows, 16]`.

use std::io::{BufWriter, Write};

use retort_schemas::manifest::Shard;
use retort_schemas::{ID_BYTES, features};
use serde_json::json;

use super::rows::embeddings;
use super::{Exported, Job};
use crate::files::NewFile;
use crate::floats::{Element, Floats};
use crate::{Error, Result, take_ids};

/// Tables of one pooled embedding a row.
const TABLES: [&str; 2] = [features::images::NAME, features::texts::NAME];

fn file_of(table: &str) -> String {
    format!("{table}.safetensors")
}

/// The files that a job writes.
pub(super) fn files(job: &Job<'_>) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for table in TABLES {
        if job.has(table)? {
            files.push(file_of(table));
        }
    }
    Ok(files)
}

/// Writes them.
pub(super) fn write(job: &Job<'_>) -> Result<Exported> {
    let mut exported = Exported::default();
    let mut tables = Vec::new();
    for table in TABLES {
        if job.has(table)? {
            tables.push(table);
        }
    }
    job.progress.begin("export", (tables.len() * job.shards.len()) as u64, "shards");
    for table in tables {
        exported.rows += write_table(job, table)?;
    }
    Ok(exported)
}

/// Writes one table and tells its rows. The header comes first and needs the width, which the first shard tells.
fn write_table(job: &Job<'_>, table: &str) -> Result<u64> {
    let path = job.export.out.join(file_of(table));
    let (new, file) = NewFile::create(&path)?;
    let mut out = BufWriter::new(&file);
    let failed = |error| Error::io("write", &path)(error);
    let rows: u64 =
        job.shards.iter().filter_map(|shard| Some(job.export.teacher.shard(&shard.name)?.rows(table))).sum();
    let mut ids = Vec::new();
    let mut shape: Option<(Element, usize)> = None;
    for shard in &job.shards {
        job.interrupt.check()?;
        let (column, batch) = embeddings(job, shard, table)?;
        if shape.is_none() {
            out.write_all(&header(job, &column, rows)).map_err(failed)?;
        }
        if *shape.get_or_insert((column.element, column.width)) != (column.element, column.width) {
            return Err(job.refuse(&format!("shard {} has {table} of another type or width", shard.name)));
        }
        write_rows(&mut out, &column, batch.num_rows()).map_err(failed)?;
        ids.extend(take_ids(&batch)?.iter().flatten().flatten().copied());
        job.progress.advance(1);
    }
    out.write_all(&ids).and_then(|()| out.flush()).map_err(failed)?;
    drop(out);
    new.commit(&file)?;
    Ok(rows)
}

fn write_rows(out: &mut impl Write, column: &Floats, rows: usize) -> std::io::Result<()> {
    let mut bytes = Vec::with_capacity(column.width * column.element.bytes());
    for row in 0..rows {
        bytes.clear();
        column.element.put(column.row(row), &mut bytes);
        out.write_all(&bytes)?;
    }
    Ok(())
}

/// Length and JSON: names, types, shapes and places of the tensors, padded so that the data is aligned.
fn header(job: &Job<'_>, column: &Floats, rows: u64) -> Vec<u8> {
    let dtype = match column.element {
        Element::F16 => "F16",
        Element::Bf16 => "BF16",
        Element::F32 => "F32",
    };
    let embedding = rows * (column.width * column.element.bytes()) as u64;
    let ids = embedding + rows * ID_BYTES as u64;
    let names: Vec<&str> = job.shards.iter().map(|shard: &&Shard| shard.name.as_str()).collect();
    let header = json!({
        "__metadata__": {
            "teacher": job.export.teacher.folder_name(),
            "fingerprint": job.export.teacher.manifest().fingerprint,
            "shards": names.join(" "),
        },
        "embedding": { "dtype": dtype, "shape": [rows, column.width], "data_offsets": [0, embedding] },
        "ids": { "dtype": "U8", "shape": [rows, ID_BYTES], "data_offsets": [embedding, ids] },
    });
    let mut text = header.to_string();
    text.push_str(&" ".repeat(text.len().next_multiple_of(8) - text.len()));
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}
