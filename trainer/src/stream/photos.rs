//! What reading by blocks costs where images are as large as photos: 384 pixels encoded are some 40 kB.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, FixedSizeBinaryArray, ListArray, RecordBatch, StringArray, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, SchemaRef};
use retort_cache::{Columns, Dataset, DatasetWriter, SplitPlan, TeacherCache, TeacherWriter, vectors};
use retort_schemas::manifest::BatchPlan;
use retort_schemas::{Dtype, VectorType, features, tables};
use tempfile::tempdir;

use super::*;
use crate::fixture::{Asked, Result, write};

const SHARDS: usize = 2;
/// Images of a shard, each with one sample.
const IMAGES: usize = 1024;

/// So many copies of the first row of a table, with other columns in their places.
fn rows_like(table: &RecordBatch, schema: SchemaRef, columns: &[(&str, ArrayRef)]) -> Result<RecordBatch> {
    let same = take_record_batch(table, &UInt32Array::from(vec![0; IMAGES]))?;
    let other = |(field, column): (&Arc<Field>, &ArrayRef)| {
        columns.iter().find(|(name, _)| name == field.name()).map_or(column, |(_, other)| other).clone()
    };
    let columns = same.schema().fields().iter().zip(same.columns()).map(other).collect();
    Ok(RecordBatch::try_new(schema, columns)?)
}

fn ids(shard: usize) -> Result<ArrayRef> {
    let id = |row| ((shard * IMAGES + row) as u128).to_le_bytes();
    Ok(Arc::new(FixedSizeBinaryArray::try_from_iter((0..IMAGES).map(id))?))
}

fn texts_of_samples(table: &RecordBatch) -> Result<ArrayRef> {
    let schema = table.schema();
    let DataType::List(item) = schema.field_with_name(tables::samples::TEXTS)?.data_type() else {
        return Err("no list".into());
    };
    let rows = Arc::new(UInt32Array::from_iter_values(0..IMAGES as u32));
    Ok(Arc::new(ListArray::try_new(item.clone(), OffsetBuffer::from_lengths(vec![1; IMAGES]), rows, None)?))
}

/// Photos of 20 to 60 kB with a text each, and a joint teacher of 512 elements.
fn photos(folder: &Path) -> Result<(Plan, Sources)> {
    let small = Dataset::open(&write(&folder.join("small"), Asked::Class)?)?;
    let like = &small.split_shards("train")?.next().ok_or("no shard")??;
    let table = |name| small.read(like, name, Columns::All);
    let (images, texts, samples) =
        (table(tables::images::NAME)?, table(tables::texts::NAME)?, table(tables::samples::NAME)?);
    let plan = SplitPlan {
        name: "train".to_owned(),
        source: "test".to_owned(),
        options: serde_json::Value::Null,
        answers: Some(small.answers()?.clone()),
    };
    let path = folder.join("photos");
    let mut writer = DatasetWriter::begin(&path, plan)?;
    for shard in 0..SHARDS {
        let size = |row: usize| 20_000 + (shard * IMAGES + row) * 7919 % 40_000;
        let bytes = Arc::new(BinaryArray::from_iter_values((0..IMAGES).map(|row| vec![row as u8; size(row)])));
        let words = |row: usize| format!("what is it that photo {row} of {shard} shows?");
        let said = Arc::new(StringArray::from_iter_values((0..IMAGES).map(words)));
        let names = (0..IMAGES).map(|row| format!("{shard}/{row}"));
        writer.commit(&[
            (
                tables::images::NAME,
                rows_like(
                    &images,
                    tables::images::schema(),
                    &[(tables::images::IMAGE_ID, ids(shard)?), (tables::images::BYTES, bytes)],
                )?,
            ),
            (
                tables::texts::NAME,
                rows_like(
                    &texts,
                    tables::texts::schema(),
                    &[(tables::texts::TEXT_ID, ids(shard)?), (tables::texts::TEXT, said)],
                )?,
            ),
            (
                tables::samples::NAME,
                rows_like(
                    &samples,
                    tables::samples::schema(),
                    &[
                        (tables::samples::SAMPLE_ID, Arc::new(StringArray::from_iter_values(names))),
                        (tables::samples::IMAGE, Arc::new(UInt32Array::from_iter_values(0..IMAGES as u32))),
                        (tables::samples::TEXTS, texts_of_samples(&samples)?),
                        (tables::samples::GROUP, ids(shard)?),
                    ],
                )?,
            ),
        ])?;
    }
    writer.finish()?;
    let dataset = Dataset::open(&path)?;
    let batches = BatchPlan::of_rows(8, 8);
    let mut writer = TeacherWriter::open(&dataset, "clip", true, Dtype::F16, serde_json::json!("clip"), batches)?;
    let vector = VectorType { dtype: Dtype::F16, width: 512 };
    for (shard, of) in dataset.shards().enumerate() {
        let of = of?;
        let columns = || -> Result<Vec<ArrayRef>> {
            Ok(vec![ids(shard)?, Arc::new(vectors::encode(vector, &vec![0.25; IMAGES * 512])?)])
        };
        let images = RecordBatch::try_new(features::images::schema(vector), columns()?)?;
        let texts = RecordBatch::try_new(features::texts::schema(vector), columns()?)?;
        writer.commit(&of.name, &[(features::images::NAME, images), (features::texts::NAME, texts)])?;
    }
    let parts = dataset.shards().map(|shard| Ok(Part { shard: shard?, rows: (0..IMAGES).collect() }));
    let plan = Plan { parts: parts.collect::<Result<_>>()?, seed: 1, batch: 64, pool_samples: 0, block_samples: 0 };
    let sources = Sources {
        image_teacher: Some(TeacherCache::open(&dataset, "clip")?),
        text_teacher: Some(TeacherCache::open(&dataset, "clip")?),
        with_tokens: false,
        with_pixels: true,
        with_regions: false,
        grid_teacher: None,
        random: None,
        dataset,
    };
    Ok((plan, sources))
}

/// Bytes read over bytes used of an epoch whose pools have so many samples of each shard.
fn read_ratio(photos: &(Plan, Sources), of_shard: usize, block_samples: usize) -> Result<f64> {
    let plan = Plan { pool_samples: of_shard * SHARDS, block_samples, ..photos.0.clone() };
    let before = photos.1.rows_read();
    for blocks in plan.pools(0) {
        Pool::load(&plan, &photos.1, &blocks)?;
    }
    let after = photos.1.rows_read();
    Ok((after.read_bytes - before.read_bytes) as f64 / (after.used_bytes - before.used_bytes) as f64)
}

#[test]
fn blocks_of_photos_read_little_in_vain() -> Result {
    let folder = tempdir()?;
    let photos = photos(folder.path())?;
    let block = crate::Recipe::parse(Path::new("recipe.toml"), "[data]\ndataset = \"d\"", &[])?.data.block_samples;
    // A pool of 8,192 samples has 80 of each of 100 shards.
    let (wanted, finer) = (read_ratio(&photos, 80, block)?, read_ratio(&photos, 80, block / 4)?);
    assert!(wanted > 1.0 && wanted <= 1.15, "{wanted} with blocks of {block}");
    assert!(finer > 1.15, "{finer} with blocks of a quarter");
    Ok(())
}
