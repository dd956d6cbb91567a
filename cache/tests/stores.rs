//! Every store option, written to a file and read back, over shapes of tables.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, FixedSizeBinaryArray, ListArray, RecordBatch, StructArray, UInt32Array};
use arrow::buffer::{Buffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field};
use half::{bf16, f16};
use proptest::prelude::*;
use retort_cache::vectors::{self, Rows};
use retort_cache::{read_plain_table, write_plain_table};
use retort_schemas::{Dtype, Layout, Store, WORST_COSINE_KEY, features};

fn stores() -> impl Strategy<Value = Store> {
    prop_oneof![
        Just(Store::F32),
        Just(Store::F16),
        Just(Store::BF16),
        (0.01..0.9999).prop_map(|bound| Store::cos(bound).unwrap()),
        Just(Store::cos(0.999).unwrap()),
    ]
}

fn ids(rows: usize) -> ArrayRef {
    let bytes = (0..rows).flat_map(|row| (row as u128).to_le_bytes()).collect();
    Arc::new(FixedSizeBinaryArray::try_new(16, Buffer::from_vec(bytes), None).unwrap())
}

/// Writes and reads a table.
fn through_a_file(batch: &RecordBatch, version: retort_schemas::SchemaVersion) -> RecordBatch {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table.parquet");
    write_plain_table(&path, batch).unwrap();
    let read = read_plain_table(&path, version).unwrap();
    assert_eq!(read.schema().fields(), batch.schema().fields(), "what the columns say of themselves");
    read
}

/// What a store promises of each vector.
fn check(store: Store, width: usize, given: &[f32], read: &[f32]) {
    assert_eq!(read.len(), given.len());
    let bound = match store {
        Store::Floats(dtype) => {
            let rounded = |x: &f32| match dtype {
                Dtype::F32 => *x,
                Dtype::F16 => f16::from_f32(*x).to_f32(),
                Dtype::Bf16 => bf16::from_f32(*x).to_f32(),
            };
            assert_eq!(read, given.iter().map(rounded).collect::<Vec<_>>(), "{store}");
            return;
        }
        Store::Cos(bound) => bound.get(),
    };
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    for (given, read) in given.chunks_exact(width).zip(read.chunks_exact(width)) {
        let zero = dot(given, given) == 0.0;
        let cosine = dot(given, read) / (dot(given, given) * dot(read, read)).sqrt();
        assert!(if zero { dot(read, read) == 0.0 } else { cosine >= bound - 1e-12 }, "{store}: {cosine} of {given:?}");
    }
}

/// Tables of 0, 1 and more rows, of vectors of 1 and more elements, some rows of zeros.
fn pooled() -> impl Strategy<Value = (usize, Vec<f32>)> {
    (1..40_usize, prop_oneof![Just(0), Just(1), 2..30_usize]).prop_flat_map(|(width, rows)| {
        let row = prop_oneof![9 => prop::collection::vec(-8.0..8.0_f32, width), 1 => Just(vec![0.0; width])];
        prop::collection::vec(row, rows).prop_map(move |rows| (width, rows.concat()))
    })
}

/// As [`pooled`], cut into lists, some of them empty.
fn lists() -> impl Strategy<Value = (usize, Vec<f32>, Vec<usize>)> {
    pooled().prop_flat_map(|(width, floats)| {
        let vectors = floats.len() / width;
        prop::collection::vec(0..=vectors, 0..6).prop_map(move |mut cuts| {
            cuts.extend([0, vectors]);
            cuts.sort_unstable();
            (width, floats.clone(), cuts.windows(2).map(|pair| pair[1] - pair[0]).collect())
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_vector_a_row_comes_back((width, floats) in pooled(), store in stores()) {
        let stored = vectors::store(store, features::EMBEDDING, width, &floats).unwrap();
        let schema = features::images::with(stored.fields);
        let rows = floats.len() / width;
        let columns = [vec![ids(rows)], stored.columns].concat();
        let batch = through_a_file(&RecordBatch::try_new(schema, columns).unwrap(), features::images::VERSION);
        let read = Rows::of(&batch, features::EMBEDDING).unwrap();
        prop_assert_eq!((read.len(), read.width(), read.is_empty()), (rows, width, rows == 0));
        check(store, width, &floats, &read.floats());
        for row in 0..rows {
            let part = Rows::of(&batch.slice(row, rows - row), features::EMBEDDING).unwrap();
            prop_assert_eq!(&part.floats()[..], &read.floats()[row * width..]);
        }
        let mut halves = vec![f16::ZERO; floats.len()];
        read.decode_f16(0..rows, &mut halves);
        prop_assert_eq!(halves, read.floats().into_iter().map(f16::from_f32).collect::<Vec<_>>());
    }

    #[test]
    fn lists_of_vectors_come_back((width, floats, lengths) in lists(), store in stores()) {
        let offsets = OffsetBuffer::from_lengths(lengths.iter().copied());
        let stored = vectors::store_lists(store, features::tokens::TOKENS, width, &floats, &offsets).unwrap();
        let schema = features::tokens::with(stored.fields);
        let columns = [vec![ids(lengths.len())], stored.columns, vec![spans(&offsets)]].concat();
        let batch = through_a_file(&RecordBatch::try_new(schema, columns).unwrap(), features::tokens::VERSION);
        let read = Rows::of(&batch, features::tokens::TOKENS).unwrap();
        check(store, width, &floats, &read.floats());
        let found: Vec<usize> = (0..lengths.len()).map(|row| read.of_row(row).len()).collect();
        prop_assert_eq!(&found, &lengths);
        for row in 0..lengths.len() {
            let part = Rows::of(&batch.slice(row, 1), features::tokens::TOKENS).unwrap();
            let mut alone = vec![0.0; read.of_row(row).len() * width];
            read.decode(read.of_row(row), &mut alone);
            prop_assert_eq!(part.floats(), alone);
        }
    }

    /// Nobody could tell afterwards which run wrote a file.
    #[test]
    fn the_same_floats_give_the_same_bytes((width, floats) in pooled(), store in stores()) {
        let write = |path: &Path| {
            let stored = vectors::store(store, features::EMBEDDING, width, &floats).unwrap();
        let schema = features::images::with(stored.fields);
            let columns = [vec![ids(floats.len() / width)], stored.columns].concat();
            write_plain_table(path, &RecordBatch::try_new(schema, columns).unwrap()).unwrap();
            std::fs::read(path).unwrap()
        };
        let folder = tempfile::tempdir().unwrap();
        prop_assert_eq!(write(&folder.path().join("one.parquet")), write(&folder.path().join("two.parquet")));
    }
}

fn spans(offsets: &OffsetBuffer<i32>) -> ArrayRef {
    let count = offsets.last().copied().unwrap_or(0) as u32;
    let numbers = || Arc::new(UInt32Array::from_iter_values(0..count)) as ArrayRef;
    let spans = StructArray::new(features::tokens::span_fields(), vec![numbers(), numbers()], None);
    let item = Field::new_list_field(DataType::Struct(features::tokens::span_fields()), false);
    Arc::new(ListArray::new(Arc::new(item), offsets.clone(), Arc::new(spans), None))
}

/// One number for each row group of the file: 64 Ki rows.
#[test]
fn the_worst_cosine_of_each_row_group_is_noted() {
    const GROUP: usize = 64 * 1024;
    // Of one element, every vector is itself but for its length; of two, it has a direction.
    let mut floats = vec![0.0; 2 * (2 * GROUP + 1)];
    for row in 0..10 {
        floats[2 * row] = 1.0;
        floats[2 * row + 1] = row as f32 / 10.0;
    }
    let last = floats.len() - 2;
    floats[last..].copy_from_slice(&[3.0, 0.0]);
    let stored = vectors::store(Store::cos(0.9).unwrap(), features::EMBEDDING, 2, &floats).unwrap();
    let schema = features::images::with(stored.fields);
    let noted: Vec<&str> = schema.field(1).metadata()[WORST_COSINE_KEY].split(',').collect();
    let first: f64 = noted[0].parse().unwrap();
    assert!((0.9..1.0).contains(&first), "{first}");
    assert_eq!(noted[1..], ["", "1"], "a group of zeros has none");
}

#[test]
fn codes_without_their_scales_are_refused() {
    let stored = vectors::store(Store::cos(0.9).unwrap(), features::EMBEDDING, 2, &[1.0, 2.0]).unwrap();
    let whole = RecordBatch::try_new(features::texts::with(stored.fields), [vec![ids(1)], stored.columns].concat());
    let refusal = Rows::of(&whole.unwrap().project(&[0, 1]).unwrap(), features::EMBEDDING).unwrap_err().to_string();
    assert!(refusal.contains("embedding_scale"), "{refusal}");
}

#[test]
fn a_table_without_rows_has_the_columns_of_its_store() {
    let stored = vectors::store(Store::cos(0.9).unwrap(), features::EMBEDDING, 3, &[]).unwrap();
    assert!(matches!(Layout::of(&stored.fields[0]), Ok(Layout::Codes { width: 3, .. })));
    assert_eq!(stored.columns.iter().map(|column| column.len()).collect::<Vec<_>>(), [0, 0]);
}
