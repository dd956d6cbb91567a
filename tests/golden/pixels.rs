//! What becomes of an image before a model sees it.

use retort_schemas::Dtype;
use retort_teachers::nn::pixels::{Filter, Middle, Preprocessing, Resize};

use super::{Case, image_side};
use crate::support::Result;

#[test]
fn every_pixel_is_within_one_level_of_pillow() -> Result {
    let case = Case::open("preprocess")?;
    let settings = case.inputs["settings"].as_array().ok_or("no settings")?;
    let (mut pixels, mut different) = (0, 0);
    for (name, image) in case.words("images")?.into_iter().zip(case.images()?) {
        for setting in settings {
            let number = |key: &str| setting[key].as_u64().and_then(|n| u32::try_from(n).ok()).ok_or("no number");
            let (edge, crop) = (number("shortest_edge")?, number("crop")?);
            let preprocessing = Preprocessing {
                resize: Some(Resize::ShortestEdge(edge)),
                filter: Filter::Bicubic,
                crop: Some([crop, crop]),
                middle: Middle::Down,
                rescale: 1.0,
                mean: [0.0; 3],
                std: [1.0; 3],
            };
            let name = format!("{name}/{edge}-{crop}");
            let found = preprocessing.fit(&image)?;
            assert_eq!((found.width, found.height), (crop, crop), "{name}");
            let expected: Vec<u8> = Vec::try_from(case.expected.tensor(&name)?.f_flatten(0, -1)?)?;
            assert_eq!(found.data.len(), expected.len(), "{name}");
            for (at, (found, expected)) in found.data.iter().zip(&expected).enumerate() {
                let (row, column) = (at / 3 / crop as usize, at / 3 % crop as usize);
                let place = format!("{name}, row {row}, column {column}, channel {}", at % 3);
                assert!(found.abs_diff(*expected) <= 1, "{place}: {found}, expected {expected}");
                pixels += 1;
                different += usize::from(found != expected);
            }
        }
    }
    assert!(pixels > 0 && different * 50 < pixels, "{different} of {pixels} values are off by one");
    println!("preprocess: {different} of {pixels} values are off by one level");
    Ok(())
}

#[test]
fn pixels_are_normalised_as_transformers_does() -> Result {
    for name in ["clip", "clip-legacy"] {
        let case = Case::open(name)?;
        let teacher = case.teacher(Dtype::F32)?;
        let side = image_side(&teacher)?;
        assert_eq!(side.input_size(), [32, 32]);
        let expected = case.floats("pixel_values")?;
        let (names, images) = (case.words("images")?, case.images()?);
        assert_eq!(expected.len(), images.len() * 3 * 32 * 32);
        for ((image, name), expected) in images.iter().zip(names).zip(expected.chunks_exact(3 * 32 * 32)) {
            let found = side.preprocess(image)?;
            assert_eq!(found.len(), expected.len(), "{name}");
            for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
                let channel = at / (32 * 32);
                let level = 1.0 / 255.0 / side.preprocessing.std[channel];
                let levels = (found - expected).abs() / level;
                assert!(levels <= 1.01, "{name}, channel {channel}, value {at}: {levels} levels off");
            }
        }
    }
    Ok(())
}
