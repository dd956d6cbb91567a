//! Detections of every shape into the table `regions`, and every way in which they are lost.

mod lost;
mod published;

use std::io::{Cursor, Write};
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{Array as _, AsArray, RecordBatch};
use arrow::datatypes::Float32Type;
use image::RgbImage;
use retort_cache::{Columns, Dataset, Interrupt, Quiet, vectors};
use retort_schemas::VectorType;
use retort_schemas::manifest::AnswerVocabulary;
use retort_schemas::tables::{regions, rejects, samples};
use tempfile::TempDir;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::*;
use crate::{ImageBytes, IngestReport, Item, Items, Options, Record, Region, Source, SourceImage, Vocabulary, ingest};

const IMAGE: &str = "val2014/COCO_val2014_000000000009.jpg";

/// Images of 40 x 20 pixels with a record each, some with boxes of their own.
struct Photos(Vec<(&'static str, Option<Regions>)>);

impl Source for Photos {
    fn kind(&self) -> &'static str {
        "photos"
    }

    fn reads(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    fn options(&self) -> serde_json::Value {
        json!({})
    }

    fn vocabulary(&self, _: &str, _: Option<&AnswerVocabulary>) -> Result<Option<Vocabulary>> {
        Ok(None)
    }

    fn items<'a>(&'a self, _: Option<&'a Vocabulary>) -> Result<Items<'a>> {
        let item = |(seed, (name, own)): (usize, &(&str, Option<Regions>))| {
            let image = RgbImage::from_pixel(40, 20, image::Rgb([seed as u8, 0, 0]));
            let mut bytes = Cursor::new(Vec::new());
            image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
            Ok(Item::Image(SourceImage {
                name: (*name).to_owned(),
                bytes: ImageBytes::Here(bytes.into_inner()),
                regions: own.clone(),
                records: vec![Record { id: seed.to_string().into(), task: "caption", ..Record::default() }],
            }))
        };
        let own = self.0.iter().any(|(_, own)| own.is_some());
        Ok(Items { images: None, records: None, regions: own, items: Box::new(self.0.iter().enumerate().map(item)) })
    }
}

/// A folder with detections, and a data set beside them.
struct Fixture {
    folder: TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> &Self {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
        self
    }

    fn open(&self, paths: &[&str], classes: Option<&str>, width: usize) -> Result<DetectedRegions> {
        DetectedRegions::open(&RegionFiles {
            paths: paths.iter().map(|path| self.path(path)).collect(),
            classes: classes.map(|file| self.path(file)),
            width,
        })
    }

    fn ingest(&self, photos: Vec<(&'static str, Option<Regions>)>, detected: DetectedRegions) -> Result<IngestReport> {
        let options = Options { regions: Some(Arc::new(detected)), ..Options::new("train") };
        ingest(&Photos(photos), &options, &self.path("dataset"), &Quiet, &Interrupt::default())
    }

    fn table(&self, table: &str) -> RecordBatch {
        let dataset = Dataset::open(&self.path("dataset")).unwrap();
        let shard = &dataset.shards().next().unwrap().unwrap();
        dataset.read(shard, table, Columns::All).unwrap()
    }
}

/// A row of `regions`.
#[derive(Debug, Default, PartialEq)]
struct Row {
    corners: Vec<[f32; 4]>,
    classes: Vec<Option<String>>,
    scores: Vec<Option<f32>>,
    features: Vec<f32>,
}

fn rows(table: &RecordBatch) -> Vec<Row> {
    let schema = table.schema();
    let boxes = table.column_by_name(regions::BOXES).unwrap().as_list::<i32>();
    let features = table.column_by_name(regions::FEATURES).unwrap().as_list::<i32>();
    let arrow::datatypes::DataType::List(item) = schema.field_with_name(regions::FEATURES).unwrap().data_type() else {
        panic!("features are no list")
    };
    let vector = VectorType::of(item).unwrap();
    let row = |at: usize| {
        let boxes = boxes.value(at);
        let boxes = boxes.as_struct();
        let floats = |column: usize| boxes.column(column).as_primitive::<Float32Type>().clone();
        let corner = |column: usize, at: usize| floats(column).value(at);
        Row {
            corners: (0..boxes.len()).map(|at| [0, 1, 2, 3].map(|column| corner(column, at))).collect(),
            classes: boxes.column(4).as_string::<i32>().iter().map(|class| class.map(str::to_owned)).collect(),
            scores: floats(5).iter().collect(),
            features: vectors::decode(vector, features.value(at).as_fixed_size_binary()),
        }
    };
    (0..table.num_rows()).map(row).collect()
}

/// An array of rows, little-endian.
fn npy(rows: usize, columns: usize, floats: &[f32]) -> Vec<u8> {
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}\n");
    let length = (header.len() as u16).to_le_bytes();
    let data = floats.iter().flat_map(|float| float.to_le_bytes()).collect::<Vec<_>>();
    [b"\x93NUMPY\x01\x00", length.as_slice(), header.as_bytes(), &data].concat()
}

fn npz(arrays: &[(&str, Vec<u8>)]) -> Vec<u8> {
    npz_with(arrays, SimpleFileOptions::default().compression_method(CompressionMethod::Deflated))
}

fn npz_with(arrays: &[(&str, Vec<u8>)], options: SimpleFileOptions) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in arrays {
        archive.start_file(format!("{name}.npy"), options).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// Two regions of width 2.
fn small() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("features", npy(2, 2, &[1.0, 2.0, 3.0, 4.0])),
        ("bbox", npy(2, 4, &[0.0, 0.0, 10.0, 10.0, 5.0, 5.0, 40.0, 20.0])),
    ]
}

/// [`small`] with some of its arrays replaced, or more of them.
fn with(arrays: &[(&'static str, Vec<u8>)]) -> Vec<u8> {
    let mut all = small();
    all.retain(|(name, _)| arrays.iter().all(|(other, _)| other != name));
    all.extend_from_slice(arrays);
    npz(&all)
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn base64_floats(floats: &[f32]) -> String {
    base64(&floats.iter().flat_map(|float| float.to_le_bytes()).collect::<Vec<_>>())
}

/// A line of two regions of width 2.
fn line(id: &str) -> String {
    let boxes = base64_floats(&[0.0, 0.0, 10.0, 10.0, 5.0, 5.0, 40.0, 20.0]);
    format!("{id}\t40\t20\t2\t{boxes}\t{}\n", base64_floats(&[1.0, 2.0, 3.0, 4.0]))
}

fn small_row() -> Row {
    Row {
        corners: vec![[0.0, 0.0, 10.0, 10.0], [5.0, 5.0, 40.0, 20.0]],
        classes: vec![None, None],
        scores: vec![None, None],
        features: vec![1.0, 2.0, 3.0, 4.0],
    }
}
