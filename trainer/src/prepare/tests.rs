//! What batches carry, on the data set of `fixture.rs`.

use std::collections::BTreeMap;

use retort_cache::{Dataset, TeacherCache};
use retort_schemas::features;
use tch::{Device, Kind, Tensor};
use tempfile::tempdir;

use super::*;
use crate::controls::RandomTeacher;
use crate::fixture::{Asked, IMAGE_WIDTH, Result, TEXT_WIDTH, recipe, write};
use crate::selection::relevance;
use crate::zipped::Sources;

/// Everything that a batch is made of.
pub(super) struct Made {
    pub(super) preparer: Preparer,
    pub(super) shards: Vec<Zipped>,
}

impl Made {
    pub(super) fn of(asked: Asked, settings: &[&str], extra: fn(&TextTokenizer) -> Extra) -> Result<Self> {
        let folder = tempdir()?;
        let path = write(folder.path(), asked)?;
        let (recipe, dataset) = (recipe(&path, settings)?, Dataset::open(&path)?);
        let sources = Sources {
            image_teacher: Some(TeacherCache::open(&dataset, "clip")?),
            text_teacher: Some(TeacherCache::open(&dataset, "text")?),
            with_tokens: true,
            with_pixels: true,
            with_regions: false,
            grid_teacher: None,
            random: RandomTeacher::of(&recipe),
            dataset,
        };
        let shards = sources.dataset.split_shards("train")?;
        let shards: Vec<Zipped> = shards.map(|shard| sources.load(&shard?)).collect::<crate::Result<_>>()?;
        let texts = shards.iter().flat_map(|shard| shard.texts.iter().flatten());
        let tokenizer = crate::vocabulary::from_texts(texts, 12)?;
        let (clip, text) = (sources.image_teacher.as_ref(), sources.text_teacher.as_ref());
        let words = |teacher: Option<&TeacherCache>, column: &str| -> Result<Option<WordFeatures>> {
            Ok(teacher.map(|teacher| WordFeatures::read(&sources, teacher, column)).transpose()?)
        };
        let objective = if asked == Asked::Choice { Objective::Choice(3) } else { Objective::Class };
        let extra = extra(&tokenizer);
        let mut preparer = Preparer::new(recipe, tokenizer, objective, 2, Device::Cpu);
        preparer.visual_words = words(clip, features::words::PROMPT)?;
        preparer.semantic_words = words(text, features::words::ISOLATED)?;
        preparer.extra = extra;
        Ok(Self { preparer, shards })
    }

    /// All samples of all shards.
    pub(super) fn rows(&self) -> Vec<(&Zipped, usize)> {
        self.shards.iter().flat_map(|shard| (0..shard.samples.len()).map(move |row| (shard, row))).collect()
    }
}

/// What is predicted, by text and token.
type Places = BTreeMap<(usize, usize), i64>;

fn masks(tokenizer: &TextTokenizer) -> Extra {
    Masking::of(tokenizer).map_or(Extra::None, Extra::Masks)
}

fn integers(tensor: &Tensor) -> Vec<i64> {
    Vec::try_from(tensor.reshape([-1])).unwrap()
}

/// The rows of `[rows, width]`.
fn vectors(tensor: &Tensor) -> Vec<Vec<f32>> {
    let (_, width) = tensor.size2().unwrap();
    let all: Vec<f32> = Vec::try_from(tensor.to_kind(Kind::Float).reshape([-1])).unwrap();
    all.chunks(width as usize).map(<[f32]>::to_vec).collect()
}

#[test]
fn equal_images_and_texts_are_known_across_shards_and_candidates() -> Result {
    let made = Made::of(Asked::Choice, &["arm=kd+ts"], |_| Extra::Contrast)?;
    let rows = made.rows();
    let batch = made.preparer.batch(&rows, Some(0))?;
    let equals = batch.contrast.unwrap();
    let (images, texts) = (integers(&equals.images), integers(&equals.texts));
    assert_eq!((images.len(), texts.len()), (rows.len(), 3 * rows.len()));
    let id = |at: usize| rows[at].0.image_ids.value(rows[at].0.samples[rows[at].1].image);
    let text = |at: usize| {
        let (shard, row) = rows[at / 3];
        shard.texts.value(shard.samples[row].texts[at % 3])
    };
    let (mut again, mut elsewhere) = (0, 0);
    for a in 0..rows.len() {
        for b in 0..a {
            assert_eq!(images[a] == images[b], id(a) == id(b), "samples {a} and {b}");
            again += usize::from(id(a) == id(b));
            elsewhere += usize::from(id(a) == id(b) && rows[a].0.shard != rows[b].0.shard);
        }
    }
    assert!(again > rows.len() / 2 && elsewhere > 0, "{again} {elsewhere}");
    for a in 0..texts.len() {
        assert!((0..a).all(|b| (texts[a] == texts[b]) == (text(a) == text(b))), "text {a}");
    }
    // Equal rows have equal features, and so may not be negatives.
    let (z_v, z_t) = (vectors(&batch.z_v.unwrap()), vectors(&batch.z_t.unwrap()));
    assert!((0..images.len()).all(|at| z_v[at] == z_v[images[at] as usize]));
    assert!((0..texts.len()).all(|at| z_t[at] == z_t[texts[at] as usize]));
    Ok(())
}

#[test]
fn holes_depend_on_seed_epoch_and_sample_alone() -> Result {
    let made = Made::of(Asked::Choice, &[], masks)?;
    let whole = Made::of(Asked::Choice, &[], |_| Extra::None)?;
    let rows = made.rows();
    /// Ids, and what is predicted, by text.
    fn holes(batch: &Batch) -> (Vec<Vec<i64>>, Places) {
        let (_, tokens) = batch.text.ids.size2().unwrap();
        let ids = integers(&batch.text.ids).chunks(tokens as usize).map(<[i64]>::to_vec).collect();
        let Some(masked) = &batch.masked else { return (ids, BTreeMap::new()) };
        let places = integers(&masked.places).into_iter().map(|at| ((at / tokens) as usize, (at % tokens) as usize));
        (ids, places.zip(integers(&masked.truth)).collect())
    }
    let (ids, chosen) = holes(&made.preparer.batch(&rows, Some(3))?);
    let (plain, none) = holes(&whole.preparer.batch(&whole.rows(), Some(3))?);
    assert!(none.is_empty());
    let special = [0, 2, 3]; // [PAD], [CLS], [SEP]
    for (text, (holed, plain)) in ids.iter().zip(&plain).enumerate() {
        // Six tokens that are not special: 15 % is one.
        assert_eq!(chosen.range((text, 0)..(text + 1, 0)).count(), 1, "text {text}");
        for (at, (found, stood)) in holed.iter().zip(plain).enumerate() {
            match chosen.get(&(text, at)) {
                Some(truth) => assert!(truth == stood && !special.contains(stood), "text {text}, token {at}"),
                None => assert_eq!(found, stood, "text {text}, token {at}"),
            }
        }
    }
    // The same sample in another batch has the same holes; in another epoch, or with another seed, others.
    let (alone, chosen_alone) = holes(&made.preparer.batch(&rows[7..8], Some(3))?);
    assert_eq!(alone[..], ids[21..24]);
    let shifted = chosen_alone.iter().map(|((text, at), truth)| ((text + 21, *at), *truth));
    assert!(shifted.eq(chosen.range((21, 0)..(24, 0)).map(|(place, truth)| (*place, *truth))));
    assert_ne!(holes(&made.preparer.batch(&rows, Some(4))?).1, chosen);
    let reseeded = Made::of(Asked::Choice, &["seed=2"], masks)?;
    assert_ne!(holes(&reseeded.preparer.batch(&reseeded.rows(), Some(3))?).1, chosen);
    // Without an epoch, as in evaluation, there are none.
    assert_eq!(holes(&made.preparer.batch(&rows, None)?), (plain, BTreeMap::new()));
    Ok(())
}

#[test]
fn a_random_teacher_takes_the_place_of_every_feature() -> Result {
    let settings = ["arm=kd+ts", "selection.words=9"];
    let plain = Made::of(Asked::Class, &settings, |_| Extra::Contrast)?;
    let random = Made::of(Asked::Class, &[&settings[..], &["control=random-teacher"]].concat(), |_| Extra::Contrast)?;
    let batch = |made: &Made, epoch| made.preparer.batch(&made.rows(), Some(epoch));
    let (taught, found, later) = (batch(&plain, 0)?, batch(&random, 0)?, batch(&random, 5)?);
    let features = |batch: &Batch| {
        let words = batch.words.as_ref().unwrap();
        let present: Vec<f32> = Vec::try_from(words.present.reshape([-1])).unwrap();
        let targets = vectors(&words.target.flatten(0, 1)).into_iter().zip(present);
        let targets: Vec<Vec<f32>> = targets.filter(|(_, present)| *present > 0.0).map(|(target, _)| target).collect();
        [vectors(batch.z_v.as_ref().unwrap()), vectors(batch.z_t.as_ref().unwrap()), targets]
    };
    let equals = found.contrast.as_ref().map(|equals| [integers(&equals.images), integers(&equals.texts)]).unwrap();
    let (taught, found, later) = (features(&taught), features(&found), features(&later));
    assert_eq!(found, later, "changes over epochs");
    for (kind, width) in [IMAGE_WIDTH, TEXT_WIDTH, TEXT_WIDTH].into_iter().enumerate() {
        assert_eq!(found[kind].len(), taught[kind].len());
        for (random, taught) in found[kind].iter().zip(&taught[kind]) {
            assert!(random.len() == width && (relevance(random, random) - 1.0).abs() < 1e-4);
            assert!(relevance(random, taught) < 0.999, "feature {kind} is the teacher's");
        }
        let distinct = |all: &[Vec<f32>]| {
            let mut bits: Vec<Vec<u32>> = all.iter().map(|row| row.iter().map(|x| x.to_bits()).collect()).collect();
            bits.sort();
            bits.dedup();
            bits.len()
        };
        match equals.get(kind) {
            Some(equals) => {
                let first: Vec<Vec<f32>> = equals.iter().map(|at| found[kind][*at as usize].clone()).collect();
                assert!(first == found[kind], "equal rows differ");
                assert_eq!(distinct(&found[kind]), distinct(&taught[kind]));
            }
            // By word: four colours and three shapes.
            None => assert_eq!(distinct(&found[kind]), 7),
        }
    }
    // Relevances are those of the random features too.
    let seen = |made: &Made| -> Vec<(f32, f32)> {
        let (shard, sample) = (&made.shards[0], &made.shards[0].samples[1]);
        let all = made.preparer.candidates(shard, sample, 0, Some(0));
        all.iter().map(|candidate| (candidate.visual.unwrap(), candidate.semantic)).collect()
    };
    let (shard, teacher) = (&random.shards[0], RandomTeacher::of(&random.preparer.recipe).unwrap());
    let (z_v, z_t) = (shard.z_v.as_ref().unwrap(), shard.z_t.as_ref().unwrap());
    for candidate in random.preparer.candidates(shard, &shard.samples[1], 0, Some(0)) {
        let word = |of, width| teacher.feature(of, &candidate.word.lower, width);
        let (visual, semantic) = (word("prompt", IMAGE_WIDTH), word("isolated", TEXT_WIDTH));
        assert_eq!(candidate.visual, Some(relevance(&visual, z_v.row(shard.samples[1].image))));
        assert_eq!(candidate.semantic, relevance(&semantic, z_t.row(shard.samples[1].texts[0])));
    }
    let (plain, random) = (seen(&plain), seen(&random));
    assert!(
        plain.len() == 2 && plain.iter().zip(&random).all(|(a, b)| a.0 != b.0 && a.1 != b.1),
        "{plain:?} {random:?}"
    );
    Ok(())
}

#[test]
fn random_words_are_as_many_and_change_only_where_the_choice_would() -> Result {
    let chosen = |settings: &[&str], epoch| -> Result<Vec<Vec<bool>>> {
        let made = Made::of(Asked::Class, &[&["arm=kd+ts", "selection.words=1"], settings].concat(), |_| Extra::None)?;
        let of = |(shard, row): (&Zipped, usize)| {
            let all = made.preparer.candidates(shard, &shard.samples[row], 0, Some(epoch));
            all.iter().map(|candidate| candidate.selected).collect()
        };
        Ok(made.rows().into_iter().map(of).collect())
    };
    let random = "control=random-words";
    let (top, at_random) = (chosen(&[], 0)?, chosen(&[random], 0)?);
    assert!(at_random.iter().all(|words| words.len() == 2 && words.iter().filter(|chosen| **chosen).count() == 1));
    assert_ne!(top, at_random);
    assert_eq!(at_random, chosen(&[random], 1)?);
    let sample = "selection.mode=sample";
    assert_ne!(chosen(&[random, sample], 0)?, chosen(&[random, sample], 1)?);
    Ok(())
}
