//! Rows taken and streamed are those of the tables.

use arrow::array::{Array, AsArray};
use retort_cache::{Bounds, Columns, Dataset, Position, Rows, StreamOptions, TeacherCache};
use retort_schemas::{features, tables};

use crate::set;

const OPTIONS: StreamOptions =
    StreamOptions { seed: 5, batch: 7, pool_shards: 3, bounds: Bounds { threads: 2, depth: 2, bytes: 1 << 20 } };

/// All rows as the tables say, through the decoder of Parquet.
fn expected(dataset: &Dataset) -> Rows {
    let teacher = TeacherCache::open(dataset, "clip").unwrap();
    let mut rows = Rows { rows: Vec::new(), columns: vec![Default::default(); 4] };
    for shard in dataset.shards() {
        let shard = &shard.unwrap();
        let images = dataset.read(shard, tables::images::NAME, Columns::All).unwrap();
        let pooled = teacher.read(dataset, shard, features::images::NAME).unwrap();
        let tokens = teacher.read(dataset, shard, features::tokens::NAME).unwrap();
        for row in 0..images.num_rows() {
            rows.rows.push(rows.rows.len() as u64);
            let lists = tokens.column(1).as_list::<i32>().value(row);
            let lists = lists.as_fixed_size_binary();
            let tokens_of_row: Vec<u8> = (0..lists.len()).flat_map(|at| lists.value(at).to_vec()).collect();
            let values = [
                images.column(1).as_binary::<i32>().value(row),
                pooled.column(1).as_fixed_size_binary().value(row),
                &tokens_of_row,
                tokens.column(0).as_fixed_size_binary().value(row),
            ];
            for (column, value) in rows.columns.iter_mut().zip(values) {
                column.bytes.extend_from_slice(value);
                column.ends.push(column.bytes.len());
            }
        }
    }
    rows
}

fn assert_rows_of(rows: &Rows, expected: &Rows) {
    for (column, all) in rows.columns.iter().zip(&expected.columns) {
        assert_eq!(column.ends.len(), rows.rows.len());
        for (at, row) in rows.rows.iter().enumerate() {
            assert_eq!(column.row(at), all.row(*row as usize), "row {row}");
        }
    }
}

#[test]
fn taken_rows_are_those_of_the_tables_in_the_order_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    // The last shard has several pages a column.
    let dataset = set::write(folder.path(), &[3, 0, 1, 900]);
    let expected = expected(&dataset);
    let reader = set::reader(&dataset);
    let mut rows = Rows::default();
    let backwards: Vec<u64> = (0..904).rev().collect();
    reader.take(&backwards, &mut rows).unwrap();
    assert_eq!(rows.rows, backwards);
    assert_rows_of(&rows, &expected);
    let some: Vec<u64> = (0..200).map(|at| set::number(at) % 904).chain([7, 7, 903, 0]).collect();
    reader.take(&some, &mut rows).unwrap();
    assert_eq!(rows.rows, some);
    assert_rows_of(&rows, &expected);
    reader.take(&[], &mut rows).unwrap();
    assert!(rows.rows.is_empty());
    let refusal = reader.take(&[904], &mut rows).unwrap_err().to_string();
    assert!(refusal.contains("904 rows, no row 904"), "{refusal}");
    // One open file at a time is enough.
    let few = retort_cache::Reader::with_open_files(set::source(&dataset).unwrap(), 1);
    few.take(&some, &mut rows).unwrap();
    assert_rows_of(&rows, &expected);
}

#[test]
fn a_column_that_is_not_stored_row_by_row_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = set::write(folder.path(), &[9]);
    let take = |columns: &[(&str, &str)]| {
        let source = retort_cache::Source::of_dataset(&dataset, "train", columns).unwrap();
        retort_cache::Reader::new(source).take(&[0], &mut Rows::default()).unwrap_err().to_string()
    };
    assert!(take(&[(tables::texts::NAME, tables::texts::TEXT)]).contains("\"text\" of"));
    assert!(take(&[(tables::texts::NAME, "none")]).contains("is missing"));
}

/// The rows of an epoch, batch by batch.
fn epoch(dataset: &Dataset, options: StreamOptions, from: Position) -> Vec<(Position, Rows)> {
    let mut stream = set::reader(dataset).stream(options, from, from.epoch + 1).unwrap();
    let mut batches = Vec::new();
    let mut rows = Rows::default();
    while let Some(position) = stream.next_into(&mut rows).unwrap() {
        batches.push((position, rows.clone()));
    }
    assert_eq!(stream.position(), Position { epoch: from.epoch + 1, batch: 0 });
    batches
}

#[test]
fn an_epoch_holds_every_row_once_in_an_order_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = set::write(folder.path(), &[20, 1, 0, 33, 8, 5, 300]);
    let expected = expected(&dataset);
    let first = epoch(&dataset, OPTIONS, Position { epoch: 0, batch: 0 });
    first.iter().for_each(|(_, rows)| assert_rows_of(rows, &expected));
    assert!(first[..first.len() - 1].iter().all(|(_, rows)| rows.rows.len() == 7));
    let order = |epoch: &[(Position, Rows)]| epoch.iter().flat_map(|(_, rows)| rows.rows.clone()).collect::<Vec<u64>>();
    let mut sorted = order(&first);
    sorted.sort_unstable();
    assert_eq!(sorted, (0..367).collect::<Vec<u64>>());
    let second = epoch(&dataset, OPTIONS, Position { epoch: 1, batch: 0 });
    assert_ne!(order(&first), order(&second));
    let other = epoch(&dataset, StreamOptions { seed: 6, ..OPTIONS }, Position { epoch: 0, batch: 0 });
    assert_ne!(order(&first), order(&other));
    assert_eq!(order(&first)[..7], [281, 166, 212, 209, 228, 57, 51], "the order of an epoch must never change");
}

#[test]
fn any_threads_and_bounds_give_the_same_batches() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = set::write(folder.path(), &[20, 1, 0, 33, 8, 5, 300]);
    let start = Position { epoch: 3, batch: 0 };
    let expected = epoch(&dataset, OPTIONS, start);
    for (threads, depth, bytes) in [(1, 1, 0), (5, 1, 0), (4, 9, 1 << 30), (2, 100, 5000)] {
        let options = StreamOptions { bounds: Bounds { threads, depth, bytes }, ..OPTIONS };
        assert!(epoch(&dataset, options, start) == expected, "{threads} threads, depth {depth}, {bytes} bytes");
    }
}

#[test]
fn a_resumed_stream_goes_on_where_it_was_without_reading_what_lies_before() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = set::write(folder.path(), &[20, 1, 0, 33, 8, 5, 300, 14]);
    let options = StreamOptions { pool_shards: 1, ..OPTIONS };
    let whole = epoch(&dataset, options, Position { epoch: 2, batch: 0 });
    for taken in 0..=whole.len() {
        let rest = if taken == whole.len() {
            let mut stream =
                set::reader(&dataset).stream(options, Position { epoch: 2, batch: taken as u64 }, 3).unwrap();
            assert_eq!(stream.next_into(&mut Rows::default()).unwrap(), None);
            Vec::new()
        } else {
            epoch(&dataset, options, Position { epoch: 2, batch: taken as u64 })
        };
        assert!(rest == whole[taken..], "{taken}");
    }
    // A shard whose rows have all been taken may be gone.
    let first = shard_of(whole[0].1.rows[0]);
    let rows = [20, 1, 0, 33, 8, 5, 300, 14][first];
    let past = Position { epoch: 2, batch: (rows as u64).div_ceil(7) };
    std::fs::remove_file(folder.path().join(format!("images/train-{first:05}.parquet"))).unwrap();
    let rest = epoch(&dataset, options, past);
    assert!(rest == whole[past.batch as usize..]);
    let behind = set::reader(&dataset).stream(options, Position { epoch: 0, batch: 1000 }, 1);
    assert!(behind.is_err_and(|error| error.to_string().contains("no batch 1000")));
}

fn shard_of(row: u64) -> usize {
    [20, 21, 21, 54, 62, 67, 367, 381].iter().position(|end| row < *end).unwrap()
}

#[test]
fn a_dropped_stream_ends_its_threads_and_an_endless_one_goes_from_epoch_to_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = set::write(folder.path(), &[10, 10, 10]);
    let reader = set::reader(&dataset);
    let mut stream = reader.stream(OPTIONS, Position { epoch: 0, batch: 3 }, u64::MAX).unwrap();
    let mut rows = Rows::default();
    let positions: Vec<(u64, u64)> = (0..4)
        .map(|_| stream.next_into(&mut rows).unwrap().unwrap())
        .map(|position| (position.epoch, position.batch))
        .collect();
    assert_eq!(positions, [(0, 3), (0, 4), (1, 0), (1, 1)]);
    drop(stream);
    assert_eq!(std::sync::Arc::strong_count(&reader), 1);
}
