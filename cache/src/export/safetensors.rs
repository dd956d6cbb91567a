//! One safetensors file a table: its vectors as stored, and what they belong to.
//!
//! The vectors of the first column stream into the file; all else of a table is small beside them, and waits in memory.
//! The header, which tells sizes, is written last into room that was left for it, and offsets before the vectors, so that
//! all but one byte an element lies aligned.

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use arrow::array::{RecordBatch, StringArray};
use retort_schemas::{ID_BYTES, features};
use serde_json::{Map, Value, json};

use super::rows::{Spans, read};
use super::{Exported, Job};
use crate::files::NewFile;
use crate::floats::{Element, Floats};
use crate::{Error, Result, column, take_ids};

const OFFSETS: &str = "offsets";
const SPANS: &str = "spans";
const IDS: &str = "ids";
const WORDS: &str = "words";

fn file_of(table: &str) -> String {
    format!("{table}.safetensors")
}

/// Names of a table's tensors in the order of their data.
fn names_of(table: &str) -> &'static [&'static str] {
    use features::{EMBEDDING, patches, tokens, words};
    match table {
        patches::NAME => &[patches::GRID, IDS],
        tokens::NAME => &[OFFSETS, tokens::TOKENS, SPANS, IDS],
        words::NAME => &[OFFSETS, words::ISOLATED, words::PROMPT, WORDS],
        _ => &[EMBEDDING, IDS],
    }
}

/// The files that a job writes.
pub(super) fn files(job: &Job<'_>) -> Vec<String> {
    job.tables.iter().map(|table| file_of(table)).collect()
}

/// Writes them.
pub(super) fn write(job: &Job<'_>) -> Result<Exported> {
    let mut exported = Exported::default();
    job.progress.begin("export", (job.tables.len() * job.shards.len()) as u64, "shards");
    for table in &job.tables {
        exported.rows += write_table(job, table)?;
    }
    Ok(exported)
}

/// One tensor as the header has it.
struct Tensor {
    dtype: &'static str,
    shape: Vec<u64>,
    bytes: u64,
}

impl Tensor {
    fn of(dtype: &'static str, element_bytes: u64, shape: &[u64]) -> Self {
        Self { dtype, shape: shape.to_vec(), bytes: shape.iter().product::<u64>() * element_bytes }
    }

    fn vectors(kind: (Element, usize), shape: &[u64]) -> Self {
        let (element, width) = kind;
        let dtype = match element {
            Element::F16 => "F16",
            Element::Bf16 => "BF16",
            Element::F32 => "F32",
        };
        Self::of(dtype, element.bytes() as u64, &[shape, &[width as u64]].concat())
    }

    /// No tensor has a longer description.
    fn longest() -> Self {
        Self { dtype: "BF16", shape: vec![u64::MAX; 3], bytes: u64::MAX }
    }
}

/// What was read of a table so far, the vectors of its first column left out.
#[derive(Default)]
struct Gathered {
    /// Element type and width of each vector column, once a shard was read.
    kinds: Vec<(Element, usize)>,
    /// Vectors of the first column.
    vectors: u64,
    /// Vectors of each row, where all rows have as many.
    vectors_a_row: Option<u64>,
    /// The second vector column, where there is one.
    second: Vec<u8>,
    offsets: Vec<i64>,
    spans: Vec<u8>,
    ids: Vec<u8>,
    words: Vec<u8>,
}

/// Writes one table and tells its rows.
fn write_table(job: &Job<'_>, table: &str) -> Result<u64> {
    let path = job.export.out.join(file_of(table));
    let mut rows = 0;
    for shard in &job.shards {
        rows += job.export.teacher.shard(&shard.name)?.map_or(0, |mine| mine.rows(table));
    }
    let names = names_of(table);
    let room = header(job, names.iter().map(|name| (*name, Tensor::longest()))).len() as u64;
    let front = if names.contains(&OFFSETS) { (rows + 1) * 8 } else { 0 };
    let (new, file) = NewFile::create(&path)?;
    let mut out = BufWriter::new(&file);
    let failed = |error| Error::io("write", &path)(error);
    out.seek(SeekFrom::Start(room + front)).map_err(failed)?;
    let mut gathered = Gathered { offsets: vec![0], ..Gathered::default() };
    for shard in &job.shards {
        job.interrupt.check()?;
        let (columns, batch) = read(job, shard, table)?;
        let another = |what: &str| job.refuse(&format!("shard {} has {table} of another {what}", shard.name));
        let kinds: Vec<_> = columns.iter().map(|column| (column.element, column.width)).collect();
        if gathered.kinds.is_empty() {
            gathered.kinds.clone_from(&kinds);
        }
        if gathered.kinds != kinds {
            return Err(another("type or width"));
        }
        write_rows(&mut out, &columns[0], batch.num_rows()).map_err(failed)?;
        if let Some(second) = columns.get(1) {
            write_rows(&mut gathered.second, second, batch.num_rows()).map_err(failed)?;
        }
        gathered.take(table, &columns[0], &batch)?;
        if table == features::patches::NAME && gathered.vectors_a_row.is_none() && gathered.vectors > 0 {
            return Err(another("number of patches"));
        }
        job.progress.advance(1);
    }
    let tail = [&gathered.second, &gathered.spans, &gathered.ids, &gathered.words];
    tail.iter().try_for_each(|bytes| out.write_all(bytes)).and_then(|()| out.flush()).map_err(failed)?;
    drop(out);
    let tensors = gathered.tensors(table, rows);
    finish(&file, &path, job, room, names.iter().copied().zip(tensors), &gathered.offsets[..(front / 8) as usize])?;
    new.commit(&file)?;
    Ok(rows)
}

impl Gathered {
    /// Adds what a shard's table has beside its vectors.
    fn take(&mut self, table: &str, first: &Floats, batch: &RecordBatch) -> Result<()> {
        use features::{tokens, words};
        for row in 0..batch.num_rows() {
            let vectors = (first.row(row).len() / first.width.max(1)) as u64;
            let is_first = self.vectors == 0 && self.vectors_a_row.is_none();
            self.vectors_a_row = if is_first { Some(vectors) } else { self.vectors_a_row.filter(|n| *n == vectors) };
            self.vectors += vectors;
            if table == tokens::NAME {
                self.offsets.push(self.vectors as i64);
            }
        }
        if table == words::NAME {
            for word in column::<StringArray>(batch, words::WORD)?.iter().flatten() {
                self.words.extend(word.as_bytes());
                self.offsets.push(self.words.len() as i64);
            }
            return Ok(());
        }
        if table == tokens::NAME {
            self.spans.extend(Spans::of(batch)?.all.iter().flat_map(|bound| bound.to_le_bytes()));
        }
        self.ids.extend(take_ids(batch)?.iter().flatten().flatten().copied());
        Ok(())
    }

    /// The tensors of a table, in the order of [`names_of`].
    fn tensors(&self, table: &str, rows: u64) -> Vec<Tensor> {
        use features::{patches, tokens, words};
        let kind = |at: usize| self.kinds.get(at).copied().unwrap_or((Element::F32, 0));
        let ids = || Tensor::of("U8", 1, &[rows, ID_BYTES as u64]);
        let offsets = || Tensor::of("I64", 8, &[rows + 1]);
        match table {
            patches::NAME => vec![Tensor::vectors(kind(0), &[rows, self.vectors / rows.max(1)]), ids()],
            tokens::NAME => {
                let spans = Tensor::of("U32", 4, &[self.vectors, 2]);
                vec![offsets(), Tensor::vectors(kind(0), &[self.vectors]), spans, ids()]
            }
            words::NAME => {
                let text = Tensor::of("U8", 1, &[self.words.len() as u64]);
                vec![offsets(), Tensor::vectors(kind(0), &[rows]), Tensor::vectors(kind(1), &[rows]), text]
            }
            _ => vec![Tensor::vectors(kind(0), &[rows]), ids()],
        }
    }
}

/// Writes the header, padded to its room, and the offsets behind it.
fn finish<'a>(
    file: &File,
    path: &Path,
    job: &Job<'_>,
    room: u64,
    tensors: impl Iterator<Item = (&'a str, Tensor)>,
    offsets: &[i64],
) -> Result<()> {
    let mut bytes = header(job, tensors);
    bytes.resize(room as usize, b' ');
    let length = room - 8;
    bytes[..8].copy_from_slice(&length.to_le_bytes());
    bytes.extend(offsets.iter().flat_map(|offset| offset.to_le_bytes()));
    let mut file = file;
    file.seek(SeekFrom::Start(0)).and_then(|_| file.write_all(&bytes)).map_err(Error::io("write", path))
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
fn header<'a>(job: &Job<'_>, tensors: impl Iterator<Item = (&'a str, Tensor)>) -> Vec<u8> {
    let shards: Vec<&str> = job.shards.iter().map(|shard| shard.name.as_str()).collect();
    let mut header = Map::new();
    let metadata = json!({
        "teacher": job.export.teacher.folder_name(),
        "fingerprint": job.export.teacher.manifest().fingerprint,
        "shards": shards.join(" "),
    });
    header.insert("__metadata__".to_owned(), metadata);
    let mut end = 0_u64;
    for (name, Tensor { dtype, shape, bytes }) in tensors {
        let start = end;
        end = end.saturating_add(bytes);
        header.insert(name.to_owned(), json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, end] }));
    }
    let mut text = Value::Object(header).to_string();
    text.push_str(&" ".repeat(text.len().next_multiple_of(8) - text.len()));
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}
