//! Rows read of a table are those of the table, and nothing else of it has to be sound.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, FixedSizeBinaryArray, RecordBatch, StructArray, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::take_record_batch;
use arrow::datatypes::DataType;
use retort_cache::{Columns, Dataset, Error, RowsRead, TeacherCache, TeacherWriter, vectors};
use retort_schemas::manifest::{BatchPlan, Shard};
use retort_schemas::{Store, features, tables};

use crate::set;

/// Enough for several pages of every column, dictionaries among them.
const ROWS: usize = 900;

fn taken(batch: &RecordBatch, rows: &[usize]) -> RecordBatch {
    let rows = UInt32Array::from_iter_values(rows.iter().map(|row| *row as u32));
    take_record_batch(batch, &rows).unwrap()
}

/// Rows in every kind of order: none, one, runs, backwards, twice.
fn orders() -> Vec<Vec<usize>> {
    let anywhere = (0..100).map(|at| set::number(at) as usize % ROWS).collect();
    let runs = (0..ROWS).filter(|row| row / 16 % 9 == 4).collect();
    vec![vec![], vec![0], vec![ROWS - 1], runs, (0..ROWS).collect(), (0..ROWS).rev().collect(), anywhere, vec![7, 3, 7]]
}

fn shard_of(dataset: &Dataset, at: usize) -> Shard {
    dataset.shards().nth(at).unwrap().unwrap()
}

fn ids(dataset: &Dataset, shard: &Shard, table: &str) -> ArrayRef {
    dataset.read(shard, table, Columns::All).unwrap().column(0).clone()
}

/// Writes a teacher of pooled vectors of images, and of tokens with their spans, stored as asked.
fn teach(dataset: &Dataset, name: &str, store: Store, ids_of: impl Fn(&Shard, &str) -> ArrayRef) -> TeacherCache {
    let plan = BatchPlan::of_rows(1, 1);
    let mut writer = TeacherWriter::open(dataset, name, false, store, serde_json::json!(name), plan).unwrap();
    for shard in dataset.shards() {
        let shard = &shard.unwrap();
        let rows = shard.rows("images") as usize;
        let floats = |count: usize| -> Vec<f32> {
            (0..count * 32).map(|at| (set::number(at as u64) % 2001) as f32 / 1000.0 - 1.0).collect()
        };
        let stored = vectors::store(store, features::EMBEDDING, 32, &floats(rows)).unwrap();
        let columns = [vec![ids_of(shard, tables::images::NAME)], stored.columns].concat();
        let images = RecordBatch::try_new(features::images::with(stored.fields), columns).unwrap();
        let offsets = OffsetBuffer::<i32>::from_lengths((0..rows).map(set::tokens_of));
        let count = *offsets.last().unwrap() as usize;
        let stored = vectors::store_lists(store, features::tokens::TOKENS, 32, &floats(count), &offsets).unwrap();
        let schema = features::tokens::with(stored.fields);
        let columns =
            [vec![ids_of(shard, tables::texts::NAME)], stored.columns, vec![spans(&schema, &offsets)]].concat();
        let tokens = RecordBatch::try_new(schema, columns).unwrap();
        writer.commit(&shard.name, &[(features::images::NAME, images), (features::tokens::NAME, tokens)]).unwrap();
    }
    TeacherCache::open(dataset, name).unwrap()
}

fn spans(schema: &arrow::datatypes::Schema, offsets: &OffsetBuffer<i32>) -> ArrayRef {
    let DataType::List(item) = schema.field_with_name(features::tokens::TOKEN_SPANS).unwrap().data_type() else {
        panic!("spans are lists")
    };
    let DataType::Struct(fields) = item.data_type() else { panic!("of pairs") };
    let numbers: ArrayRef = Arc::new(UInt32Array::from_iter_values(0..*offsets.last().unwrap() as u32));
    let values = StructArray::new(fields.clone(), vec![numbers.clone(), numbers], None);
    Arc::new(arrow::array::ListArray::new(item.clone(), offsets.clone(), Arc::new(values), None))
}

#[test]
fn rows_of_every_table_are_those_of_the_whole_table() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = set::write(folder.path(), &[3, ROWS]);
    let shard = shard_of(&dataset, 1);
    for table in [tables::images::NAME, tables::texts::NAME] {
        let all = dataset.read(&shard, table, Columns::All).unwrap();
        for rows in orders() {
            assert_eq!(dataset.read_rows(&shard, table, Columns::All, &rows).unwrap(), taken(&all, &rows), "{table}");
        }
    }
    let named = Columns::Named(&[tables::texts::TEXT]);
    let texts = dataset.read(&shard, tables::texts::NAME, named).unwrap();
    assert_eq!(
        dataset.read_rows(&shard, tables::texts::NAME, named, &[5, 2]).unwrap(),
        taken(&texts, &[5, 2]),
        "only the columns asked for"
    );
    let refusal = dataset.read_rows(&shard, tables::texts::NAME, named, &[1, ROWS]).unwrap_err().to_string();
    assert!(refusal.contains("900 rows, no row 900"), "{refusal}");
}

#[test]
fn rows_of_features_are_those_of_the_whole_table_however_they_are_stored() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = set::write(folder.path(), &[3, ROWS]);
    let shard = shard_of(&dataset, 1);
    for (name, store) in [("f32", Store::F32), ("f16", Store::F16), ("cos", Store::cos(0.999).unwrap())] {
        let teacher = teach(&dataset, name, store, |shard, table| ids(&dataset, shard, table));
        for (table, column) in
            [(features::images::NAME, features::EMBEDDING), (features::tokens::NAME, features::tokens::TOKENS)]
        {
            for columns in [Columns::All, Columns::Named(&[column])] {
                let all = teacher.read_columns(&dataset, &shard, table, columns).unwrap();
                for rows in orders() {
                    let read = teacher.read_rows(&dataset, &shard, table, columns, &rows).unwrap();
                    assert_eq!(read, taken(&all, &rows), "{table} stored as {store}");
                    let floats = |batch| vectors::Rows::of(batch, column).unwrap().floats();
                    assert_eq!(floats(&read), floats(&taken(&all, &rows)), "{table} stored as {store}");
                }
            }
        }
    }
}

/// Where bytes that a file has but once lie in it.
fn place_of(file: &Path, contents: &[u8]) -> u64 {
    let bytes = std::fs::read(file).unwrap();
    bytes.windows(contents.len()).position(|window| window == contents).unwrap() as u64
}

#[test]
fn damage_is_found_where_a_page_is_needed_and_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = set::write(folder.path(), &[ROWS]);
    let shard = shard_of(&dataset, 0);
    let teacher = TeacherCache::open(&dataset, "clip").unwrap();
    let read = |row: usize| {
        // Opened anew, as nothing says that a damaged file was not open before.
        let teacher = TeacherCache::open(&dataset, "clip").unwrap();
        teacher.read_rows(&dataset, &shard, features::images::NAME, Columns::All, &[row])
    };
    let all = teacher.read(&dataset, &shard, features::images::NAME).unwrap();
    let vector = all.column(1).as_any().downcast_ref::<FixedSizeBinaryArray>().unwrap().value(ROWS - 1).to_vec();
    let file = teacher.folder().join(features::images::NAME).join(format!("{}.parquet", shard.name));
    let place = place_of(&file, &vector);
    let opened = std::fs::File::options().read(true).write(true).open(&file).unwrap();
    opened.write_all_at(&[vector[0] ^ 1], place).unwrap();
    let refusal = read(ROWS - 1).unwrap_err().to_string();
    assert!(refusal.contains("embedding") && refusal.contains("images"), "{refusal}");
    assert_eq!(read(0).unwrap(), taken(&all, &[0]));
    assert!(teacher.read(&dataset, &shard, features::images::NAME).is_err());
}

#[test]
fn rows_of_another_order_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = set::write(folder.path(), &[20]);
    let shard = shard_of(&dataset, 0);
    let plan = BatchPlan::of_rows(1, 1);
    let identity = serde_json::json!("backwards");
    let mut writer = TeacherWriter::open(&dataset, "backwards", false, Store::F16, identity, plan).unwrap();
    let stored = vectors::store(Store::F16, features::EMBEDDING, 32, &[0.5; 20 * 32]).unwrap();
    let all = dataset.read(&shard, tables::images::NAME, Columns::All).unwrap();
    // All in their places but the last two.
    let rows: Vec<usize> = (0..18).chain([19, 18]).collect();
    let columns = [vec![taken(&all, &rows).column(0).clone()], stored.columns].concat();
    let images = RecordBatch::try_new(features::images::with(stored.fields), columns).unwrap();
    writer.commit(&shard.name, &[(features::images::NAME, images)]).unwrap();
    let read = |rows: &[usize]| writer.cache().read_rows(&dataset, &shard, features::images::NAME, Columns::All, rows);
    // By the manifests: whichever rows are asked for.
    for rows in [&[3, 19][..], &[3, 17], &[]] {
        let refusal = read(rows).unwrap_err();
        assert!(matches!(refusal, Error::Misaligned { row: 18, .. }), "{rows:?}: {refusal}");
    }
}

#[test]
fn bytes_read_and_used_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = set::write(folder.path(), &[ROWS]);
    let shard = shard_of(&dataset, 0);
    let named = Columns::Named(&[tables::images::BYTES]);
    assert_eq!(dataset.rows_read(), RowsRead::default());
    let all: Vec<usize> = (0..ROWS).collect();
    dataset.read_rows(&shard, tables::images::NAME, named, &all).unwrap();
    let whole = dataset.clone().rows_read();
    let file = &shard.tables[tables::images::NAME];
    assert_eq!(whole.used_bytes, file.column_bytes[tables::images::BYTES]);
    let footer = file.bytes - file.rest_offset();
    assert_eq!(whole.read_bytes, whole.used_bytes + footer);
    // One row more: its page is read, the footer is known, and a small part of the page is used.
    dataset.read_rows(&shard, tables::images::NAME, named, &[10]).unwrap();
    let one = dataset.rows_read();
    let (read, used) = (one.read_bytes - whole.read_bytes, one.used_bytes - whole.used_bytes);
    assert!(read > 30 * used && used >= 40 && read < whole.used_bytes, "{read} bytes read, {used} used");
}
