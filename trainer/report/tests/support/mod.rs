//! Small made-up runs, and the data set that they are said to be trained on.

pub mod taught;

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, FixedSizeBinaryArray, Float32Array, Float64Array, ListArray, RecordBatch,
    StringArray, StructArray, UInt32Array, UInt64Array, new_empty_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Schema};
use image::{ImageFormat, Rgb, RgbImage};
use retort_cache::{DatasetWriter, SplitPlan, write_plain_table};
use retort_schemas::runs::{EVALUATION_VERSION, Evaluation, Joint, RUN_VERSION, RunInfo, Score, files};
use retort_schemas::{runs, tables};

const COLOURS: [(&str, [u8; 3]); 4] =
    [("red", [214, 60, 50]), ("green", [60, 160, 80]), ("blue", [60, 90, 200]), ("teal", [40, 170, 170])];
const SHAPES: [&str; 2] = ["circle", "<square>"];
pub const SAMPLES: usize = 64;
/// A question that would break a page that does not escape.
pub const HOSTILE: &str = "what is <script>alert('x')</script> & \"y\"?";

pub fn words<S: AsRef<str>>(words: &[S]) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(words))
}

pub fn numbers(numbers: impl IntoIterator<Item = u32>) -> ArrayRef {
    Arc::new(UInt32Array::from_iter_values(numbers))
}

pub fn ids(count: usize) -> ArrayRef {
    Arc::new(FixedSizeBinaryArray::try_from_iter((0..count).map(|row| [row as u8; 16])).unwrap())
}

fn lists(schema: &Schema, name: &str, lengths: &[usize], values: Option<ArrayRef>) -> ArrayRef {
    let DataType::List(item) = schema.field_with_name(name).unwrap().data_type() else { panic!("{name}") };
    let values = values.unwrap_or_else(|| new_empty_array(item.data_type()));
    Arc::new(ListArray::new(item.clone(), OffsetBuffer::from_lengths(lengths.iter().copied()), values, None))
}

pub fn question(row: usize) -> String {
    match row {
        0 => HOSTILE.to_owned(),
        _ => match row % 3 {
            0 => "what color is the shape?".to_owned(),
            1 => format!("is there a {} shape in the image?", COLOURS[row % 4].0),
            _ => "which shape is in the picture, as far as you can tell?".to_owned(),
        },
    }
}

fn picture(row: usize) -> Vec<u8> {
    let (x, y) = (14 + (row * 7 % 30) as i32, 14 + (row * 11 % 30) as i32);
    let inside = |px: i32, py: i32| match row % 2 {
        0 => (px - x).pow(2) + (py - y).pow(2) < 120,
        _ => (px - x).abs() < 10 && (py - y).abs() < 10,
    };
    let image = RgbImage::from_fn(64, 64, |px, py| {
        Rgb(if inside(px as i32, py as i32) { COLOURS[row % 4].1 } else { [235, 232, 240] })
    });
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// Random bits, but for the last, which tells the two of a pair apart.
fn phash(row: usize) -> u64 {
    (row as u64 / 2 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (row as u64 % 2)
}

fn rejects() -> RecordBatch {
    let columns = vec![
        words(&["gone.png", "question 7"]),
        words(&["read", "annotation"]),
        words(&["image_missing", "no_image"]),
        words(&["the folder has no <gone.png>", HOSTILE]),
    ];
    RecordBatch::try_new(tables::rejects::schema(), columns).unwrap()
}

/// One shard `test-00000` with an image, a text and a sample a row. Images come in pairs that look alike, and two records
/// are rejected.
pub fn dataset(folder: &Path) {
    split(folder, "test", 1);
}

/// A split of one shard with the same images and texts: a sample has `choices` texts, of which the label tells the right
/// one.
pub fn split(folder: &Path, split: &str, choices: usize) {
    let rows: Vec<usize> = (0..SAMPLES).collect();
    let side = || numbers(rows.iter().map(|_| 64));
    let pictures: Vec<Vec<u8>> = rows.iter().map(|row| picture(*row)).collect();
    let images = vec![
        ids(SAMPLES),
        words(&rows.iter().map(|row| format!("{row}.png")).collect::<Vec<_>>()),
        Arc::new(BinaryArray::from_iter_values(&pictures)),
        words(&["png"; SAMPLES]),
        side(),
        side(),
        side(),
        side(),
        Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| phash(*row)))),
    ];
    let schema = tables::texts::schema();
    let parts = lists(&schema, tables::texts::PARTS, &[0; SAMPLES], None);
    let questions: Vec<String> = rows.iter().map(|row| question(*row)).collect();
    // The image stands for an object of it, where a question names it.
    let named: Vec<Option<usize>> = questions.iter().map(|question| question.find("image")).collect();
    let lengths: Vec<usize> = named.iter().map(|at| usize::from(at.is_some())).collect();
    let [from, to, which] = [|at| at, |at| at + 5, |_| 0]
        .map(|bound: fn(u32) -> u32| numbers(named.iter().flatten().map(|at| bound(*at as u32))));
    let spans = StructArray::new(tables::texts::object_fields(), vec![from, to, which], None);
    let objects = lists(&schema, tables::texts::OBJECTS, &lengths, Some(Arc::new(spans)));
    let texts = RecordBatch::try_new(schema, vec![ids(SAMPLES), words(&questions), objects, parts]).unwrap();
    let schema = tables::samples::schema();
    let texts_of = rows.iter().flat_map(|row| (0..choices).map(move |at| ((row + at) % SAMPLES) as u32));
    let samples = vec![
        words(&rows.iter().map(|row| format!("s{row}")).collect::<Vec<_>>()),
        words(&["vqa"; SAMPLES]),
        words(&[split; SAMPLES]),
        numbers(0..SAMPLES as u32),
        lists(&schema, tables::samples::TEXTS, &[choices; SAMPLES], Some(numbers(texts_of))),
        numbers(rows.iter().map(|row| (row % 4) as u32)),
        words(&rows.iter().map(|row| COLOURS[row % 4].0).collect::<Vec<_>>()),
        lists(&schema, tables::samples::ANSWERS, &[0; SAMPLES], None),
        lists(&schema, tables::samples::TARGETS, &[0; SAMPLES], None),
        words(&["what"; SAMPLES]),
        words(&["other"; SAMPLES]),
        ids(SAMPLES),
    ];
    // Each image has its shape in a box, but for every eighth, whose objects are not known.
    let schema = tables::regions::schema(None);
    let boxed: Vec<usize> = rows.iter().copied().filter(|row| row % 8 != 7).collect();
    let corner = |corner: fn(usize) -> f32| {
        Arc::new(Float32Array::from_iter_values(boxed.iter().map(|row| corner(*row)))) as ArrayRef
    };
    let corners = [|row| (4 + row * 7 % 30) as f32, |row| (4 + row * 11 % 30) as f32];
    let boxes = StructArray::new(
        tables::regions::box_fields(),
        vec![
            corner(corners[0]),
            corner(corners[1]),
            corner(|row| (24 + row * 7 % 30) as f32),
            corner(|row| (24 + row * 11 % 30) as f32),
            Arc::new(StringArray::from_iter(boxed.iter().map(|row| (row % 5 > 0).then_some(SHAPES[row % 2])))),
            Arc::new(Float32Array::from(vec![None; boxed.len()])),
        ],
        None,
    );
    let lengths: Vec<usize> = rows.iter().map(|row| usize::from(row % 8 != 7)).collect();
    let boxes = lists(&schema, tables::regions::BOXES, &lengths, Some(Arc::new(boxes)));
    let regions = RecordBatch::try_new(schema, vec![ids(SAMPLES), boxes]).unwrap();
    let schema = tables::samples::schema();
    let plan = SplitPlan { name: split.into(), source: "vqa".into(), options: serde_json::Value::Null, answers: None };
    let mut writer = DatasetWriter::begin(folder, plan).unwrap();
    let tables = [
        (tables::images::NAME, RecordBatch::try_new(tables::images::schema(), images).unwrap()),
        (tables::regions::NAME, regions),
        (tables::texts::NAME, texts),
        (tables::samples::NAME, RecordBatch::try_new(schema, samples).unwrap()),
        (tables::rejects::NAME, rejects()),
    ];
    writer.commit(&tables).unwrap();
    writer.finish().unwrap();
}

pub fn write_run(folder: &Path, arm: &str, dataset: &Path, complete: bool) -> PathBuf {
    std::fs::create_dir_all(folder).unwrap();
    let info = RunInfo {
        schema: RUN_VERSION.to_string(),
        arm: arm.to_owned(),
        student: "vilt tiny".to_owned(),
        seed: 1,
        dataset: dataset.display().to_string(),
        split: "train".to_owned(),
        images: 400,
        samples: 3857,
        steps: 1500,
        adapt: "none".to_owned(),
        adapt_steps: 0,
        control: "none".to_owned(),
        batch: 64,
        parameters: 5_123_456,
        complete,
        validation: None,
    };
    std::fs::write(folder.join(files::RUN), serde_json::to_string_pretty(&info).unwrap()).unwrap();
    folder.to_owned()
}

pub fn write_plain(folder: &Path, name: &str, schema: arrow::datatypes::SchemaRef, columns: Vec<ArrayRef>) {
    write_plain_table(&folder.join(name), &RecordBatch::try_new(schema, columns).unwrap()).unwrap();
}

pub fn write_metrics(folder: &Path, tags: &[(&str, f64)], speed: f64) {
    let (mut steps, mut names, mut values) = (Vec::new(), Vec::new(), Vec::new());
    let mut noise = 12_345_u32;
    for step in (5..=1500_u64).step_by(5) {
        for (tag, scale) in tags {
            if *tag == "val/accuracy" && step % 150 != 0 {
                continue;
            }
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let noise = 1.0 + 0.25 * (f64::from(noise >> 8) / f64::from(1 << 24) - 0.5);
            let fall = 0.15 + (-speed * step as f64).exp();
            steps.push(step);
            names.push(*tag);
            values.push(match *tag {
                "val/accuracy" => 0.95 - 0.6 * (-speed * step as f64).exp(),
                "lr" => 5e-4 * (1.0 - step as f64 / 1600.0),
                "samples_per_sec" => 800.0 * noise,
                _ => scale * fall * noise,
            });
        }
    }
    let seconds: Vec<f64> = steps.iter().map(|step| 1.7e9 + *step as f64).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(UInt64Array::from(steps)),
        words(&names),
        Arc::new(Float64Array::from(values)),
        Arc::new(Float64Array::from(seconds)),
    ];
    write_plain(folder, "metrics.parquet", runs::metrics::schema(), columns);
}

pub fn write_scores(folder: &Path, accuracy: f64) {
    let score = |name: &str, samples, gain: f64, majority, question_only| Score {
        name: name.to_owned(),
        samples,
        accuracy: (accuracy + gain).min(0.99),
        majority,
        question_only,
        text_only: None,
    };
    let evaluation = Evaluation {
        schema: EVALUATION_VERSION.to_string(),
        split: "test".to_owned(),
        metric: "vqa accuracy".to_owned(),
        overall: score("all", 9673, 0.0, 0.312, 0.648),
        by_question_type: vec![
            score("what color", 2500, -0.2, 0.02, 0.14),
            score("is there", 6100, 0.1, 0.5, 0.52),
            score("which <shape>", 1073, -0.1, 0.05, 0.35),
        ],
        by_answer_type: vec![score("yes/no", 6100, 0.1, 0.5, 0.52), score("other", 3573, -0.17, 0.03, 0.2)],
        joint: Some(Joint { questions: 4_800, alone: 0, answer: accuracy, rationale: 0.5, both: accuracy / 2.0 }),
    };
    let text = serde_json::to_string(&evaluation).unwrap();
    std::fs::write(folder.join(files::evaluation("test")), text).unwrap();
    let rows: Vec<usize> = (0..SAMPLES).collect();
    let right = |row: &usize| (row * 37 % 100) as f64 / 100.0 < accuracy;
    let columns: Vec<ArrayRef> = vec![
        words(&rows.iter().map(|row| format!("s{row}")).collect::<Vec<_>>()),
        words(&["test-00000"; SAMPLES]),
        numbers(0..SAMPLES as u32),
        words(&rows.iter().map(|row| question(*row)).collect::<Vec<_>>()),
        words(&["what"; SAMPLES]),
        words(&rows.iter().map(|row| COLOURS[(row + usize::from(!right(row))) % 4].0).collect::<Vec<_>>()),
        words(&rows.iter().map(|row| COLOURS[row % 4].0).collect::<Vec<_>>()),
        Arc::new(Float32Array::from_iter_values(rows.iter().map(|row| f32::from(u8::from(right(row)))))),
        Arc::new(Float32Array::from_iter_values(rows.iter().map(|row| 0.4 + (row % 60) as f32 / 100.0))),
    ];
    // As version 1.0 had it, without the columns since.
    let schema = runs::predictions::schema().project(&(0..columns.len()).collect::<Vec<_>>()).unwrap();
    write_plain(folder, "predictions-test.parquet", Arc::new(schema), columns);
}

pub fn write_selection(folder: &Path) {
    let (mut rows, mut texts, mut starts, mut ends) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for row in 0..12 {
        let text = question(row);
        let mut at = 0;
        for word in text.split(' ') {
            let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
            if bare.len() > 3 && row != 0 {
                let start = at + word.find(bare).unwrap();
                rows.push(row as u32);
                texts.push(text.clone());
                starts.push(start as u32);
                ends.push((start + bare.len()) as u32);
            }
            at += word.len() + 1;
        }
    }
    let count = rows.len();
    let probability = |at: usize| [0.12, 0.48, 0.31, 0.09][at % 4];
    let columns: Vec<ArrayRef> = vec![
        words(&rows.iter().map(|row| format!("s{row}")).collect::<Vec<_>>()),
        words(&vec!["test-00000"; count]),
        numbers(rows),
        words(&texts),
        numbers(starts),
        numbers(ends),
        Arc::new(Float32Array::from_iter((0..count).map(|at| (at % 5 != 0).then_some(0.2 + probability(at) / 4.0)))),
        Arc::new(Float32Array::from_iter_values((0..count).map(|at| 0.5 - probability(at) / 3.0))),
        Arc::new(Float32Array::from_iter_values((0..count).map(probability))),
        Arc::new(BooleanArray::from_iter((0..count).map(|at| Some(probability(at) > 0.2)))),
    ];
    write_plain(folder, "selection.parquet", runs::selection::schema(), columns);
}

pub fn write_confidence(folder: &Path) {
    let rows = 0..200_u32;
    let sure = |row: u32| (f64::from(row) / 199.0).sqrt() as f32;
    let columns: Vec<ArrayRef> = vec![
        words(&rows.clone().map(|row| format!("s{row}")).collect::<Vec<_>>()),
        numbers(rows.clone().map(|row| row % 5)),
        Arc::new(Float32Array::from_iter_values(rows.clone().map(sure))),
        Arc::new(BooleanArray::from_iter(rows.map(|row| Some(sure(row) > 0.5)))),
    ];
    write_plain(folder, "confidence.parquet", runs::confidence::schema(), columns);
}

pub fn page(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}
