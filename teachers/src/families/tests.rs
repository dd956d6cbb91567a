//! Families whose golden answers are checked beside their code too (`tests/golden/families.rs` asks all of them more).

use std::path::{Path, PathBuf};

use retort_nn::Checkpoint;
use retort_nn::pixels::{Rgb, decode};
use retort_schemas::Dtype;
use serde_json::Value;
use tch::{Device, Kind};

use crate::{Error, Overrides, Result, Teacher};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/golden")
}

/// A golden model, what is expected of it, and its images.
struct Case {
    folder: PathBuf,
    expected: Checkpoint,
    images: Vec<Rgb>,
}

impl Case {
    fn open(name: &str) -> Result<Self> {
        let folder = golden().join(name);
        let expected = Checkpoint::open_file(&folder.join("expected.safetensors"))?;
        let cases: Value = crate::folder::read_json(&folder.join("cases.json"))?;
        let names = cases["images"].as_array().unwrap().iter().map(|name| name.as_str().unwrap());
        let images = names.map(|name| Ok(decode(&std::fs::read(golden().join("images").join(name)).unwrap())?));
        Ok(Self { images: images.collect::<Result<_>>()?, folder, expected })
    }

    fn teacher(&self, compute: Dtype) -> Result<Teacher> {
        Teacher::open(&self.folder, Device::Cpu, compute)
    }

    fn floats(&self, name: &str) -> Result<Vec<f32>> {
        Ok(Vec::try_from(self.expected.tensor(name)?.f_to_kind(Kind::Float)?.f_flatten(0, -1)?)?)
    }
}

/// The least cosine of a row, and the greatest error of an element as a share of its row's norm.
fn nearness(found: &[f32], expected: &[f32], width: usize) -> (f64, f64) {
    assert!(!found.is_empty() && found.len() == expected.len(), "{} values, expected {}", found.len(), expected.len());
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    let rows = found.chunks_exact(width).zip(expected.chunks_exact(width)).map(|(found, expected)| {
        let norm = dot(expected, expected).sqrt();
        let error = found.iter().zip(expected).map(|(x, y)| f64::from((x - y).abs())).fold(0.0, f64::max);
        (dot(found, expected) / (norm * dot(found, found).sqrt()), error / norm)
    });
    rows.fold((1.0, 0.0), |(cosine, error), (c, e)| (f64::min(cosine, c), f64::max(error, e)))
}

/// Whether rows are so near; a comparison with NaN is false.
fn assert_near(what: &str, found: &[f32], expected: &[f32], width: usize, (cosine, error): (f64, f64)) {
    let near = nearness(found, expected, width);
    println!("{what}: cosine {}, error {:e}", near.0, near.1);
    assert!(near.0 > cosine && near.1 < error, "{what}: cosine {}, error {:e}", near.0, near.1);
}

/// Pooled features and, where there are any, grids: those of transformers, alone and in a batch, in bf16, from files.
fn check_images(name: &str) -> Result<()> {
    let case = Case::open(name)?;
    let teacher = case.teacher(Dtype::F32)?;
    let side = teacher.image.as_ref().unwrap();
    let (pixels, images) = (case.floats("pixel_values")?, case.images.len());
    let expected = case.floats("pooled")?;
    let (with_grid, width) = (side.grid_size() != [0, 0], side.width);
    let (pooled, grid) = teacher.see_pixels(&pixels, images, with_grid)?;
    assert_near(&format!("{name} pooled"), &pooled, &expected, width, (0.99999, 1e-4));
    if with_grid {
        let expected = case.floats("grid")?;
        assert_near(&format!("{name} grid"), &grid, &expected, side.grid_size()[1], (0.99999, 1e-4));
    }
    let mut alone = Vec::new();
    for image in pixels.chunks_exact(pixels.len() / images) {
        alone.extend(teacher.embed_pixels(image, 1)?);
    }
    assert_near(&format!("{name} alone"), &alone, &pooled, width, (0.99999, 1e-5));
    let found = case.teacher(Dtype::Bf16)?.embed_pixels(&pixels, images)?;
    assert_near(&format!("{name} in bf16"), &found, &expected, width, (0.999, 0.05));
    assert_near(&format!("{name} from files"), &teacher.embed_images(&case.images)?, &expected, width, (0.9999, 0.01));
    Ok(())
}

#[test]
fn dinov2_with_registers_is_that_of_transformers() -> Result<()> {
    check_images("dinov2-registers")
}

/// Images that are wide, tall, square, and made larger: alone with their padding, and beside those of other shapes.
#[test]
fn naflex_is_that_of_transformers() -> Result<()> {
    check_images("siglip2-naflex")
}

#[test]
fn pixels_of_images_that_keep_their_shape_are_within_one_level() -> Result<()> {
    let case = Case::open("siglip2-naflex")?;
    let teacher = case.teacher(Dtype::F32)?;
    let side = teacher.image.as_ref().unwrap();
    assert_eq!((side.input_size(), side.grid_size()), ([8, 65 * 8], [0, 0]));
    let expected = case.floats("pixel_values")?;
    let mut found = Vec::new();
    for image in &case.images {
        found.extend(side.preprocess(image)?);
    }
    assert_eq!(found.len(), expected.len());
    let levels = found.iter().zip(&expected).map(|(found, expected)| (found - expected).abs() * 255.0 * 0.5);
    let (most, different) = levels
        .fold((0.0, 0), |(most, different), levels| (f32::max(most, levels), different + usize::from(levels > 0.5)));
    println!("naflex pixels: {different} of {} differ, by {most} levels at most", expected.len());
    // The digits of the shape are 127 levels apart.
    assert!(most <= 1.01 && different * 50 < expected.len(), "{different} differ, by {most} levels at most");
    Ok(())
}

#[test]
fn texts_of_naflex_are_those_of_transformers() -> Result<()> {
    let case = Case::open("siglip2-naflex")?;
    let teacher = case.teacher(Dtype::F32)?;
    let side = teacher.text.as_ref().unwrap();
    let cases: Value = crate::folder::read_json(&case.folder.join("cases.json"))?;
    let texts = cases["texts"].as_array().unwrap().iter().map(|text| side.tokenizer.encode(text.as_str().unwrap()));
    let texts = texts.collect::<Result<Vec<_>, _>>()?;
    let lengths: Vec<i64> = Vec::try_from(case.expected.tensor("lengths")?)?;
    assert_eq!(texts.iter().map(|text| text.ids.len() as i64).collect::<Vec<_>>(), lengths);
    let (pooled, _) = teacher.embed_texts(&texts.iter().collect::<Vec<_>>(), false)?;
    assert_near("naflex texts", &pooled, &case.floats("text_pooled")?, side.width, (0.99999, 1e-4));
    Ok(())
}

#[test]
fn what_images_that_keep_their_shape_do_not_have_is_refused() -> Result<()> {
    let case = Case::open("siglip2-naflex")?;
    let teacher = case.teacher(Dtype::F32)?;
    assert!(teacher.check_gives(false, true).is_ok());
    let said = teacher.check_gives(true, false).unwrap_err();
    assert!(matches!(said, Error::ManyShapes { most: 64 }) && said.to_string().contains("keep their shape"), "{said}");
    let detected = teacher.detected(Dtype::F16).join("\n");
    assert!(detected.contains("in their own shape, at most 64 patches of 8x8 px, bilinear, mean 0.5"), "{detected}");
    for (key, value) in [("size", "32"), ("size", "32,40"), ("crop", "32")] {
        let mut told = Overrides::default();
        told.set(key, value)?;
        let said = Teacher::open_with(&case.folder, Device::Cpu, Dtype::F32, told).err().unwrap().to_string();
        assert!(said.starts_with(&format!("{key} is of images that come out in one size")), "{said}");
    }
    Ok(())
}
