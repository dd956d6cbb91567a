//! Features join the rows they were made from, whatever happened in between: rows out of order, caches of other data
//! sets, teachers that fail.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, AsArray, ListArray, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Schema, UInt32Type};
use retort_cache::{
    Columns, Dataset, Error as CacheError, Interrupt, Quiet, TeacherCache, TeacherWriter, column, take_ids,
    teachers_of, vectors, verify,
};
use retort_schemas::manifest::{BatchPlan, CACHE_FOLDER, Shard};
use retort_schemas::{Dtype, SCHEMA_KEY, Store, VectorType, features, tables};
use retort_teachers::nn::pixels::decode;
use retort_teachers::{Error, Job, Options, Report, Teacher, teach};
use safetensors::SafeTensors;
use tch::Device;

use crate::support::dataset::{Rows, hex_id, stripes, write_dataset};
use crate::support::{Result, copy_folder, golden, tree};

/// Batches so small that every table of a shard takes several.
const OPTIONS: Options = Options {
    store: Store::F16,
    tokens: true,
    words: true,
    patches: false,
    batch: BatchPlan::of_rows(1, 2),
    find_batch: false,
};

/// Two shards. The first has more images than batches wait for the encoder; a text and some words are in both.
fn two_shards() -> Result<Vec<Rows>> {
    let images = |ids: [u8; 5]| ids.into_iter().map(|id| Ok((id, stripes(id)?))).collect::<Result<Vec<_>>>();
    Ok(vec![
        Rows {
            images: images([1, 2, 3, 4, 5])?,
            texts: vec![(101, "a red circle"), (102, "Is there a blue square?"), (103, "what is it")],
        },
        Rows {
            images: images([6, 7, 8, 9, 10])?,
            texts: vec![(104, "the red square and a GREEN triangle"), (101, "a red circle"), (105, "")],
        },
    ])
}

fn clip() -> Result<Teacher> {
    Ok(Teacher::open(&golden("clip"), Device::Cpu, Dtype::F32)?)
}

fn teach_quietly(dataset: &Dataset, teacher: &Teacher) -> Result<Report, Error> {
    teach_clip(dataset, teacher, &OPTIONS)
}

fn teach_clip(dataset: &Dataset, teacher: &Teacher, options: &Options) -> Result<Report, Error> {
    Ok(teach(dataset, &mut [Job::new("clip", teacher)], options, &Quiet, &Interrupt::default())?.remove(0))
}

/// A new data set of these shards, taught by golden clip.
fn taught(folder: &Path, shards: &[Rows]) -> Result<(Dataset, Report)> {
    let dataset = write_dataset(folder, shards)?;
    let report = teach_quietly(&dataset, &clip()?)?;
    Ok((dataset, report))
}

fn shards(dataset: &Dataset) -> Result<Vec<Shard>> {
    Ok(dataset.shards().collect::<Result<_, CacheError>>()?)
}

/// The folder of the one teacher of a data set.
fn cache_folder(dataset: &Dataset) -> Result<PathBuf> {
    let teachers = teachers_of(dataset)?;
    assert_eq!(teachers.len(), 1, "teachers of {}", dataset.folder().display());
    Ok(teachers[0].folder().to_owned())
}

#[test]
fn every_feature_row_carries_the_id_of_its_row() -> Result {
    let folder = tempfile::tempdir()?;
    let (dataset, report) = taught(folder.path(), &two_shards()?)?;
    assert_eq!((report.computed, report.kept, report.truncated), (2, 0, 0));
    let cache = TeacherCache::open(&dataset, "clip")?;
    for shard in &shards(&dataset)? {
        for (table, owner) in [
            (features::images::NAME, tables::images::NAME),
            (features::texts::NAME, tables::texts::NAME),
            (features::tokens::NAME, tables::texts::NAME),
        ] {
            let rows = dataset.read(shard, owner, Columns::All)?;
            let features = cache.read(&dataset, shard, table)?;
            assert_eq!(take_ids(&features)?, take_ids(&rows)?, "{table} of {}", shard.name);
        }
    }
    assert!(verify(folder.path(), &Quiet, &Interrupt::default())?.damages.is_empty());
    Ok(())
}

/// Holds a stored vector, of f16, against the teacher's.
fn assert_same_vector(what: &str, stored: &[f32], computed: &[f32]) {
    assert_eq!(stored.len(), computed.len(), "{what}");
    let norm = computed.iter().map(|x| x * x).sum::<f32>().sqrt();
    let error = stored.iter().zip(computed).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
    assert!(error < 1e-3 * norm, "{what}: stored {stored:?}, computed {computed:?}");
}

/// The vectors of a column, one for each row.
fn vectors_of(batch: &RecordBatch, name: &str) -> Result<Vec<Vec<f32>>> {
    let vector = VectorType::of(batch.schema().field_with_name(name)?)?;
    let floats = vectors::decode(vector, column(batch, name)?);
    Ok(floats.chunks_exact(vector.width).map(<[f32]>::to_vec).collect())
}

#[test]
fn a_missing_image_has_zeros_and_the_others_what_they_had() -> Result {
    let rows = |second: Vec<u8>| -> Result<Vec<Rows>> {
        let images = vec![(1, stripes(1)?), (2, second), (3, stripes(3)?)];
        Ok(vec![Rows { images, texts: vec![(101, "a red circle")] }])
    };
    let [whole, lacking] = [stripes(2)?, Vec::new()].map(|second| -> Result<_> {
        let folder = tempfile::tempdir()?;
        let (dataset, _) = taught(folder.path(), &rows(second)?)?;
        let cache = TeacherCache::open(&dataset, "clip")?;
        vectors_of(&cache.read(&dataset, &shards(&dataset)?[0], features::images::NAME)?, features::EMBEDDING)
    });
    let (whole, lacking) = (whole?, lacking?);
    assert!(lacking[1].iter().all(|x| *x == 0.0), "{:?}", lacking[1]);
    assert!(whole.iter().all(|row| row.iter().any(|x| *x != 0.0)));
    assert_eq!((&lacking[0], &lacking[2]), (&whole[0], &whole[2]));
    Ok(())
}

/// Computed alone, for a shard's rows are batched by length and put back in order.
#[test]
fn what_is_stored_is_what_the_teacher_says_of_each_row_alone() -> Result {
    let folder = tempfile::tempdir()?;
    let (dataset, _) = taught(folder.path(), &two_shards()?)?;
    let (cache, teacher) = (TeacherCache::open(&dataset, "clip")?, clip()?);
    let tokenizer = &teacher.text.as_ref().ok_or("no text encoder")?.tokenizer;
    let spans_of = |text: &str| -> Result<Vec<(u32, u32)>> {
        let encoded = tokenizer.encode(text)?;
        let spans = encoded.spans.iter().zip(&encoded.special).filter(|(_, special)| !**special);
        Ok(spans.map(|(span, _)| *span).collect())
    };
    let embed = |text: &str| -> Result<(Vec<f32>, Vec<f32>)> {
        let (pooled, tokens) = teacher.embed_texts(&[&tokenizer.encode(text)?], true)?;
        Ok((pooled, tokens.concat()))
    };
    for (shard, rows) in shards(&dataset)?.iter().zip(two_shards()?) {
        let images = vectors_of(&cache.read(&dataset, shard, features::images::NAME)?, features::EMBEDDING)?;
        assert_eq!(images.len(), rows.images.len());
        for ((id, png), stored) in rows.images.iter().zip(images) {
            assert_same_vector(&format!("image {id}"), &stored, &teacher.embed_images(&[decode(png)?])?);
        }

        let texts = vectors_of(&cache.read(&dataset, shard, features::texts::NAME)?, features::EMBEDDING)?;
        let tokens = cache.read(&dataset, shard, features::tokens::NAME)?;
        let vector = match tokens.schema().field_with_name(features::tokens::TOKENS)?.data_type() {
            DataType::List(item) => VectorType::of(item)?,
            other => panic!("tokens are {other}"),
        };
        let stored_tokens = column::<ListArray>(&tokens, features::tokens::TOKENS)?;
        let stored_spans = column::<ListArray>(&tokens, features::tokens::TOKEN_SPANS)?;
        assert_eq!((texts.len(), stored_tokens.len()), (rows.texts.len(), rows.texts.len()));
        for (row, ((_, text), stored)) in rows.texts.iter().zip(texts).enumerate() {
            let ((pooled, features), expected_spans) = (embed(text)?, spans_of(text)?);
            assert_same_vector(text, &stored, &pooled);
            let (stored, spans) = (stored_tokens.value(row), stored_spans.value(row));
            let stored = vectors::decode(vector, stored.as_fixed_size_binary());
            assert_eq!(stored.len(), expected_spans.len() * vector.width, "tokens of {text:?}");
            if !stored.is_empty() {
                assert_same_vector(&format!("tokens of {text:?}"), &stored, &features);
            }
            let end = |field: usize| spans.as_struct().column(field).as_primitive::<UInt32Type>().values().to_vec();
            assert_eq!(end(0).into_iter().zip(end(1)).collect::<Vec<_>>(), expected_spans, "spans of {text:?}");
        }

        let words = cache.read(&dataset, shard, features::words::NAME)?;
        let alone = vectors_of(&words, features::words::ISOLATED)?;
        let prompted = vectors_of(&words, features::words::PROMPT)?;
        let words = column::<StringArray>(&words, features::words::WORD)?.iter().flatten();
        for (word, (alone, prompted)) in words.zip(alone.iter().zip(&prompted)) {
            assert_same_vector(word, alone, &embed(word)?.0);
            assert_same_vector(&format!("{word} in its prompt"), prompted, &embed(&format!("a photo of {word}"))?.0);
        }
    }
    Ok(())
}

/// Commits a table of a shard anew with two rows exchanged, so that its checksums are those of what it holds.
fn exchange_rows(dataset: &Dataset, shard: &Shard, table: &str, first: usize, second: usize) -> Result {
    let cache = TeacherCache::open(dataset, "clip")?;
    let batch = cache.read(dataset, shard, table)?;
    let version = match table {
        features::images::NAME => features::images::VERSION,
        features::texts::NAME => features::texts::VERSION,
        _ => features::tokens::VERSION,
    };
    let metadata = HashMap::from([(SCHEMA_KEY.to_owned(), version.to_string())]);
    let schema = Arc::new(Schema::new_with_metadata(batch.schema().fields().clone(), metadata));
    let exchanged = |row: usize| match row {
        row if row == first => second,
        row if row == second => first,
        row => row,
    };
    let rows: Vec<RecordBatch> = (0..batch.num_rows()).map(|row| batch.slice(exchanged(row), 1)).collect();
    let exchanged = concat_batches(&batch.schema(), &rows)?.with_schema(schema)?;
    let manifest = cache.manifest();
    let (identity, batch) = (manifest.identity.clone(), manifest.batch);
    let mut writer = TeacherWriter::open(dataset, "clip", manifest.joint, manifest.store, identity, batch)?;
    Ok(writer.commit(&shard.name, &[(table, exchanged)])?)
}

fn assert_misaligned<T>(result: Result<T, CacheError>, table: &str, expected: u8, found: u8) {
    let error = result.err();
    assert!(
        matches!(error, Some(CacheError::Misaligned { row: 1, .. })),
        "expected misaligned {table}, found {error:?}"
    );
    let (found, expected) = (hex_id(found), hex_id(expected));
    let says = format!("row 1 of clip/{table} in shard train-00001 belongs to {found}, expected {expected}");
    assert_eq!(error.map(|error| error.to_string()), Some(says));
}

#[test]
fn exchanged_rows_are_an_error_that_names_the_row() -> Result {
    for (table, expected, found) in
        [(features::images::NAME, 7, 8), (features::texts::NAME, 101, 105), (features::tokens::NAME, 101, 105)]
    {
        let folder = tempfile::tempdir()?;
        let (dataset, _) = taught(folder.path(), &two_shards()?)?;
        let all = shards(&dataset)?;
        exchange_rows(&dataset, &all[1], table, 1, 2)?;

        assert_misaligned(TeacherCache::open(&dataset, "clip"), table, expected, found);
        // Reading notices it by itself, without the check of the whole that opening does.
        let unchecked = &teachers_of(&dataset)?[0];
        assert_misaligned(unchecked.read(&dataset, &all[1], table), table, expected, found);
        assert!(unchecked.read(&dataset, &all[0], table).is_ok(), "{table} of the other shard is as it was");
        match teach_quietly(&dataset, &clip()?) {
            Err(Error::Cache(error)) => assert_misaligned::<()>(Err(error), table, expected, found),
            other => panic!("teach went on: {other:?}"),
        }
        let damages = verify(folder.path(), &Quiet, &Interrupt::default())?.damages;
        assert_eq!(damages.len(), 1, "{damages:?}");
        assert!(damages[0].problem.contains("row 1 of clip/"), "{damages:?}");
    }
    Ok(())
}

#[test]
fn a_cache_of_another_data_set_is_refused() -> Result {
    let (here, there) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let (dataset, _) = taught(here.path(), &two_shards()?)?;
    let mut others = two_shards()?;
    others[1].images[3].0 = 99;
    let fewer = &two_shards()?[..1];
    let cases = [
        (&others[..], "shard train-00001, images, row 3"),
        (fewer, "it has a shard train-00001, the data set has none"),
    ];
    for (number, (shards, problem)) in cases.into_iter().enumerate() {
        let other = write_dataset(&there.path().join(number.to_string()), shards)?;
        copy_folder(&here.path().join(CACHE_FOLDER), &other.folder().join(CACHE_FOLDER))?;
        let opened = TeacherCache::open(&other, "clip").map(|_| ()).map_err(Error::Cache);
        let continued = teach_quietly(&other, &clip()?).map(|_| ());
        for result in [opened, continued] {
            let foreign = matches!(result, Err(Error::Cache(CacheError::ForeignCache { .. })));
            assert!(foreign, "expected a refusal, found {result:?}");
            let said = result.err().map(|error| error.to_string()).unwrap_or_default();
            assert!(said.contains("was made for another data set") && said.contains(problem), "{said}");
        }
    }
    assert!(TeacherCache::open(&dataset, "clip").is_ok());
    Ok(())
}

#[test]
fn teaching_again_has_nothing_to_do() -> Result {
    let folder = tempfile::tempdir()?;
    let (dataset, first) = taught(folder.path(), &two_shards()?)?;
    let before = tree(folder.path())?;
    let again = teach_quietly(&dataset, &clip()?)?;
    assert_eq!((first.computed, first.kept), (2, 0));
    assert_eq!((again.computed, again.kept, &again.folder), (0, 2, &first.folder));
    assert!(tree(folder.path())? == before, "a file changed");
    Ok(())
}

#[test]
fn tables_wanted_later_are_added_to_those_that_are_there() -> Result {
    let (early, late) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let (whole, _) = taught(early.path(), &two_shards()?)?;
    let dataset = write_dataset(late.path(), &two_shards()?)?;
    let teacher = clip()?;
    for (tokens, words) in [(false, false), (true, false), (true, true)] {
        let options = Options { tokens, words, ..OPTIONS };
        let report = teach_clip(&dataset, &teacher, &options)?;
        assert_eq!(report.computed, 2, "tokens {tokens}, words {words}");
    }
    assert!(tree(&cache_folder(&dataset)?)? == tree(&cache_folder(&whole)?)?, "the order of the wishes shows");
    Ok(())
}

#[test]
fn a_word_is_kept_once_where_it_first_appears() -> Result {
    let folder = tempfile::tempdir()?;
    let (dataset, _) = taught(folder.path(), &two_shards()?)?;
    let cache = TeacherCache::open(&dataset, "clip")?;
    let mut words = Vec::new();
    for shard in &shards(&dataset)? {
        let batch = cache.read(&dataset, shard, features::words::NAME)?;
        let found = column::<StringArray>(&batch, features::words::WORD)?;
        words.push(found.iter().flatten().map(str::to_owned).collect::<Vec<_>>());
    }
    assert_eq!(words, [vec!["red", "circle", "blue", "square"], vec!["green", "triangle"]]);
    Ok(())
}

/// A copy of golden clip with NaN in these elements of one of its tensors.
fn clip_with_nan(tensor: &str, elements: std::ops::Range<usize>) -> Result<(tempfile::TempDir, Teacher)> {
    let folder = tempfile::tempdir()?;
    copy_folder(&golden("clip"), folder.path())?;
    let path = folder.path().join("model.safetensors");
    let mut bytes = fs::read(&path)?;
    let (header, metadata) = SafeTensors::read_metadata(&bytes)?;
    let (start, _) = metadata.info(tensor).ok_or("no such tensor")?.data_offsets;
    for element in elements {
        let at = 8 + header + start + 4 * element;
        bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    }
    fs::write(&path, bytes)?;
    let teacher = Teacher::open(folder.path(), Device::Cpu, Dtype::F32)?;
    Ok((folder, teacher))
}

fn assert_not_finite(result: Result<Report, Error>, table: &str, shard: &str, ids: &[String]) {
    assert!(matches!(result, Err(Error::NotFinite { .. })), "expected NaN to be found: {result:?}");
    let ids = ids.join(", ");
    let says = format!("teacher clip gave NaN or infinite features for {table} {ids} of shard {shard}");
    let (said, hint) = result.err().map(|error| (error.to_string(), error.hint())).unwrap_or_default();
    assert_eq!(said, says);
    // It computed in f32, so that is no way out.
    assert!(hint.as_deref().is_some_and(|hint| hint.starts_with("f32 was wide enough")), "{hint:?}");
}

#[test]
fn features_that_are_not_finite_stop_the_shard_and_name_the_rows() -> Result {
    let folder = tempfile::tempdir()?;
    let dataset = write_dataset(&folder.path().join("images"), &two_shards()?)?;
    let (_weights, teacher) = clip_with_nan("visual_projection.weight", 0..1)?;
    let first_three = [hex_id(1), hex_id(2), hex_id(3)];
    assert_not_finite(teach_quietly(&dataset, &teacher), "images", "train-00000", &first_three);
    assert!(teachers_of(&dataset)?.is_empty(), "nothing was committed");

    // Only one text has this word: the shard before it is kept.
    let dataset = write_dataset(&folder.path().join("texts"), &two_shards()?)?;
    let text = clip()?.text.ok_or("no text encoder")?;
    let green = text.tokenizer.id_of("green</w>").ok_or("green is no token")? as usize;
    let (_weights, teacher) =
        clip_with_nan("text_model.embeddings.token_embedding.weight", green * 32..green * 32 + 1)?;
    assert_not_finite(teach_quietly(&dataset, &teacher), "texts", "train-00001", &[hex_id(104)]);
    let cache = TeacherCache::open(&dataset, "clip")?;
    let kept: Vec<String> =
        cache.shards().map(|shard| shard.map(|shard| shard.name)).collect::<retort_cache::Result<_>>()?;
    assert_eq!(kept, ["train-00000"]);
    Ok(())
}

#[test]
fn an_image_that_cannot_be_decoded_is_named() -> Result {
    let folder = tempfile::tempdir()?;
    let mut shards = two_shards()?;
    shards[1].images[3].1.truncate(60);
    let dataset = write_dataset(folder.path(), &shards)?;
    let error = teach_quietly(&dataset, &clip()?).err().ok_or("it was taught")?;
    let said = error.to_string();
    assert!(said.starts_with(&format!("image {} of shard train-00001: ", hex_id(9))), "{said}");
    assert_eq!(TeacherCache::open(&dataset, "clip")?.shard_count(), 1);
    Ok(())
}
