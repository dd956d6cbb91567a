//! clip-retrieval's layout: embeddings of norm 1 as `.npy`, and a metadata table; row i of all files is one pair.

use parquet::arrow::ArrowWriter;

use super::npy::NpyFile;
use super::rows::{Kind, ShardRows};
use super::{Exported, Job};
use crate::files::NewFile;
use crate::{Error, Result};

const IMAGES: &str = "img_emb/img_emb_0.npy";
const TEXTS: &str = "text_emb/text_emb_0.npy";
const METADATA: &str = "metadata/metadata_0.parquet";

/// The files that a job writes.
pub(super) fn files(job: &Job<'_>) -> Vec<String> {
    let kind = Kind::of(job);
    let wanted = [(IMAGES, kind.has_images()), (TEXTS, kind.has_texts()), (METADATA, true)];
    wanted.iter().filter(|(_, wanted)| *wanted).map(|(file, _)| (*file).to_owned()).collect()
}

/// Writes them.
pub(super) fn write(job: &Job<'_>) -> Result<Exported> {
    let kind = Kind::of(job);
    let path = |file: &str| job.export.out.join(file);
    let (images, texts, metadata) = (path(IMAGES), path(TEXTS), path(METADATA));
    let mut images = kind.has_images().then(|| NpyFile::create(&images)).transpose()?;
    let mut texts = kind.has_texts().then(|| NpyFile::create(&texts)).transpose()?;
    let (new, file) = NewFile::create(&metadata)?;
    let failed = Error::parquet(&metadata);
    let mut table = ArrowWriter::try_new(&file, kind.schema(), None).map_err(&failed)?;
    let mut exported = Exported::default();
    job.progress.begin("export", job.shards.len() as u64, "shards");
    for shard in &job.shards {
        job.interrupt.check()?;
        let rows = ShardRows::read(job, shard, kind)?;
        for row in 0..rows.len() {
            for (file, found) in [(&mut images, rows.image(row)), (&mut texts, rows.text(row))] {
                if let (Some(file), Some((column, values))) = (file, found) {
                    file.push(column.element, &normalised(values))?;
                }
            }
        }
        table.write(&rows.metadata()?).map_err(&failed)?;
        exported.rows += rows.len() as u64;
        exported.skipped += rows.skipped;
        job.progress.advance(1);
    }
    table.close().map_err(&failed)?;
    finish(images)?;
    finish(texts)?;
    new.commit(&file)?;
    Ok(exported)
}

fn finish(file: Option<NpyFile<'_>>) -> Result<()> {
    file.map_or(Ok(()), NpyFile::finish)
}

/// Of norm 1, as clip-retrieval's inner products take for granted; a vector of norm 0 stays.
fn normalised(values: &[f32]) -> Vec<f32> {
    let norm = values.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    let scale = if norm > 0.0 { norm.recip() } else { 1.0 };
    values.iter().map(|x| (f64::from(*x) * scale) as f32).collect()
}
