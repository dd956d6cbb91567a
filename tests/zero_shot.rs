//! The whole way of a joint teacher, from annotation files to cached features, judged by what the features are for:
//! the texts nearest to an image say what it shows.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::Path;

use arrow::array::{Array, StringArray};
use retort_cache::{Columns, Dataset, Interrupt, Quiet, TeacherCache, column, take_ids, vectors};
use retort_ingest::{AnswerPlan, RejectLimit, Vqa, VqaFiles};
use retort_schemas::manifest::BatchPlan;
use retort_schemas::{Dtype, Store, VectorType, features, tables};
use retort_teachers::nn::Encoded;
use retort_teachers::{Job, Options, Teacher, teach};
use serde_json::Value;
use tch::Device;

use crate::support::{Result, demo, repository};

const COLOURS: [&str; 8] = ["black", "blue", "brown", "gray", "green", "red", "teal", "yellow"];
const SHAPES: [&str; 3] = ["circle", "rectangle", "triangle"];

/// Least share of the images whose nearest prompt is the true one.
const LEAST_RIGHT: f64 = 0.95;

/// Colour and shape of each image that the questions and answers settle, by its number: what was said to be there, or
/// what alone was not denied.
fn truths(easy_vqa: &Path) -> Result<BTreeMap<u64, (usize, usize)>> {
    let read = |name: &str| -> Result<Value> { Ok(serde_json::from_str(&fs::read_to_string(easy_vqa.join(name))?)?) };
    let questions = read("v2_OpenEnded_easyvqa_test_questions.json")?;
    let annotations = read("v2_easyvqa_test_annotations.json")?;
    let id = |record: &Value, key: &str| record[key].as_u64().ok_or_else(|| format!("a record without {key}"));
    let list = |file: &'_ Value, key: &str| file[key].as_array().cloned().ok_or_else(|| format!("no {key}"));
    let mut answers = HashMap::new();
    for annotation in list(&annotations, "annotations")? {
        let answer = annotation["multiple_choice_answer"].as_str().ok_or("no answer")?.to_owned();
        answers.insert(id(&annotation, "question_id")?, answer);
    }
    let (mut said, mut denied) = (BTreeMap::<u64, HashSet<String>>::new(), HashMap::<u64, HashSet<String>>::new());
    for question in list(&questions, "questions")? {
        let image = id(&question, "image_id")?;
        let answer = answers.get(&id(&question, "question_id")?).ok_or("a question without an answer")?;
        let text = question["question"].as_str().ok_or("no question")?;
        let words = text.split(|c: char| !c.is_ascii_lowercase()).filter(|word| !word.is_empty());
        let mut words: HashSet<String> = words.map(str::to_owned).collect();
        let negated = words.contains("not") || words.contains("no");
        let affirmed = match answer.as_str() {
            "yes" => !negated,
            "no" => negated,
            named => {
                words.insert(named.to_owned());
                true
            }
        };
        said.entry(image).or_default();
        let of_image = if affirmed { said.entry(image).or_default() } else { denied.entry(image).or_default() };
        of_image.extend(words);
    }
    let nothing = HashSet::new();
    let truth = |(image, said): (u64, HashSet<String>)| {
        let denied = denied.get(&image).unwrap_or(&nothing);
        Some((image, (the_one(&COLOURS, &said, denied)?, the_one(&SHAPES, &said, denied)?)))
    };
    Ok(said.into_iter().filter_map(truth).collect())
}

/// Which one of the candidates was said, or else alone was not denied.
fn the_one(candidates: &[&str], said: &HashSet<String>, denied: &HashSet<String>) -> Option<usize> {
    let those =
        |keep: &dyn Fn(&str) -> bool| (0..candidates.len()).filter(|at| keep(candidates[*at])).collect::<Vec<_>>();
    let mut left = those(&|word| said.contains(word));
    if left.is_empty() {
        left = those(&|word| !denied.contains(word));
    }
    if let [only] = left[..] { Some(only) } else { None }
}

/// Embeddings of a prompt for each word.
fn prompts(teacher: &Teacher, template: &str, words: &[&str]) -> Result<Vec<Vec<f32>>> {
    let side = teacher.text.as_ref().ok_or("the teacher has no text encoder")?;
    let prompts = words.iter().map(|word| Ok(side.tokenizer.encode(&template.replace("{}", word))?));
    let prompts = prompts.collect::<Result<Vec<_>>>()?;
    let (embedded, _) = teacher.embed_texts(&prompts.iter().collect::<Vec<&Encoded>>(), false)?;
    Ok(embedded.chunks_exact(side.width).map(<[f32]>::to_vec).collect())
}

/// The prompt of greatest cosine with an image.
fn nearest(image: &[f32], prompts: &[Vec<f32>]) -> Option<usize> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
    let cosine = |prompt: &[f32]| dot(image, prompt) / dot(prompt, prompt).sqrt();
    let cosines: Vec<f32> = prompts.iter().map(|prompt| cosine(prompt)).collect();
    (0..prompts.len()).max_by(|a, b| cosines[*a].total_cmp(&cosines[*b]))
}

/// The split `test` of easy-VQA as a data set.
fn ingest(easy_vqa: &Path, out: &Path) -> Result<Dataset> {
    let vqa = Vqa::open(&VqaFiles {
        questions: easy_vqa.join("v2_OpenEnded_easyvqa_test_questions.json"),
        annotations: Some(easy_vqa.join("v2_easyvqa_test_annotations.json")),
        images: easy_vqa.to_owned(),
        image_pattern: "{subtype}/{id}.png".to_owned(),
        answers: AnswerPlan::Build { min_count: 1 },
    })?;
    let options = retort_ingest::Options {
        shard_images: 400,
        max_rejects: RejectLimit::Count(0),
        ..retort_ingest::Options::new("test")
    };
    retort_ingest::ingest(&vqa, &options, out, &Quiet, &Interrupt::default())?;
    Ok(Dataset::open(out)?)
}

#[test]
fn cached_features_tell_colours_and_shapes_apart() -> Result {
    let easy_vqa = match demo("easy-vqa") {
        Ok(folder) => folder,
        Err(absent) => {
            eprintln!("{absent}");
            return Ok(());
        }
    };
    let truths = truths(&easy_vqa)?;
    assert_eq!(truths.len(), 888, "images whose questions settle colour and shape");
    let folder = tempfile::tempdir()?;
    let dataset = ingest(&easy_vqa, folder.path())?;
    let teacher = Teacher::open(&repository().join("src/demo/tiny-clip"), Device::Cpu, Dtype::F32)?;
    let batch = BatchPlan::of_rows(64, 256);
    let options = Options { store: Store::F16, tokens: false, words: false, patches: false, batch, find_batch: false };
    let report =
        teach(&dataset, &mut [Job::new("tiny-clip", &teacher)], &options, &Quiet, &Interrupt::default())?.remove(0);
    assert_eq!((report.computed, report.truncated), (3, 0));

    let shapes = prompts(&teacher, "a photo of a {}", &SHAPES)?;
    let colours = prompts(&teacher, "a photo of a {} shape", &COLOURS)?;
    let cache = TeacherCache::open(&dataset, "tiny-clip")?;
    let (mut right_colours, mut right_shapes, mut seen) = (0, 0, HashSet::new());
    for shard in dataset.shards() {
        let shard = &shard?;
        let rows = dataset.read(shard, tables::images::NAME, Columns::All)?;
        let stored = cache.read(&dataset, shard, features::images::NAME)?;
        assert_eq!(take_ids(&stored)?, take_ids(&rows)?, "ids of shard {}", shard.name);
        let vector = VectorType::of(stored.schema().field_with_name(features::EMBEDDING)?)?;
        assert_eq!((vector.dtype, vector.width), (Dtype::F16, 64));
        let embeddings = vectors::decode(vector, column(&stored, features::EMBEDDING)?);
        let sources = column::<StringArray>(&rows, tables::images::SOURCE)?;
        assert_eq!(sources.null_count(), 0);
        for (source, embedding) in sources.iter().flatten().zip(embeddings.chunks_exact(vector.width)) {
            let number: u64 = Path::new(source).file_stem().and_then(|stem| stem.to_str()).ok_or("no name")?.parse()?;
            if let Some((colour, shape)) = truths.get(&number) {
                assert!(seen.insert(number), "image {number} is there twice");
                right_colours += usize::from(nearest(embedding, &colours) == Some(*colour));
                right_shapes += usize::from(nearest(embedding, &shapes) == Some(*shape));
            }
        }
    }
    // A picture that is the same as another, byte by byte, is one row.
    assert!(seen.len() > 800, "{} of {} images are in the data set", seen.len(), truths.len());
    for (what, right) in [("colour", right_colours), ("shape", right_shapes)] {
        let share = right as f64 / seen.len() as f64;
        println!("{what}: {right} of {} right", seen.len());
        assert!(share >= LEAST_RIGHT, "{what}: {share} right, expected {LEAST_RIGHT} or more");
    }
    Ok(())
}
