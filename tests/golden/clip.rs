//! CLIP with both towers.

use std::fs;

use retort_schemas::Dtype;
use retort_teachers::nn::{Checkpoint, Weights};
use retort_teachers::{ClipVision, ClipVisionConfig, ImageTower};
use serde_json::Value;
use tch::{Device, Kind};

use super::{Case, F32, FROM_FILE, assert_near, assert_same_ids, embed, expected_ids, floats, image_side, text_side};
use crate::support::Result;

#[test]
fn clip_tokens_are_those_of_transformers() -> Result {
    for name in ["clip", "clip-legacy"] {
        let case = Case::open(name)?;
        let encoded = case.encoded(&case.teacher(Dtype::F32)?)?;
        let lengths: Vec<i64> = Vec::try_from(case.expected.tensor("lengths")?)?;
        let lengths = lengths.into_iter().map(usize::try_from).collect::<Result<Vec<_>, _>>()?;
        assert_same_ids(&case, &encoded, &expected_ids(&case, &lengths)?)?;
        // The longest of the model is 32 tokens; those that came out as long as that were longer.
        let cut: Vec<bool> = encoded.iter().map(|text| text.truncated).collect();
        let full: Vec<bool> = lengths.iter().map(|length| *length == 32).collect();
        assert!(full.contains(&true));
        assert_eq!(cut, full, "which texts were cut");
    }
    Ok(())
}

#[test]
fn clip_text_features_are_those_of_transformers() -> Result {
    for name in ["clip", "clip-legacy"] {
        let case = Case::open(name)?;
        let teacher = case.teacher(Dtype::F32)?;
        let encoded = case.encoded(&teacher)?;
        let (pooled, tokens) = embed(&teacher, &encoded)?;
        let (expected, width) = case.rows("text_embeds")?;
        assert_eq!(text_side(&teacher)?.width, width);
        assert_near(&format!("{name} texts"), &pooled, &expected, width, F32);
        if name == "clip" {
            let (expected, width) = case.content_rows("text_last_hidden_state", &encoded)?;
            assert_eq!(text_side(&teacher)?.token_width, width);
            assert_near("clip tokens", &tokens, &expected, width, F32);
        }
    }
    Ok(())
}

#[test]
fn clip_image_features_are_those_of_transformers() -> Result {
    for name in ["clip", "clip-legacy"] {
        let case = Case::open(name)?;
        let teacher = case.teacher(Dtype::F32)?;
        let images = case.images()?;
        let (expected, width) = case.rows("image_embeds")?;
        assert_eq!(image_side(&teacher)?.width, width);
        let found = teacher.embed_pixels(&case.floats("pixel_values")?, images.len())?;
        assert_near(&format!("{name} images"), &found, &expected, width, F32);
        let found = teacher.embed_images(&images)?;
        assert_near(&format!("{name} images from files"), &found, &expected, width, FROM_FILE);
    }
    Ok(())
}

#[test]
fn clip_patch_features_are_those_of_transformers() -> Result {
    let case = Case::open("clip")?;
    let config: Value = serde_json::from_str(&fs::read_to_string(case.folder.join("config.json"))?)?;
    let vision: ClipVisionConfig = serde_json::from_value(config["vision_config"].clone())?;
    let projected = config["projection_dim"].as_i64().ok_or("no projection_dim")?;
    let weights = Weights::frozen(Checkpoint::open(&case.folder)?, Device::Cpu, Kind::Float);
    let tower = ClipVision::new(&weights.root(), &vision, Some(projected))?;
    let (expected, width) = case.rows("vision_last_hidden_state")?;
    let found = floats(&tower.hidden(&case.expected.tensor("pixel_values")?)?)?;
    assert_near("clip patches", &found, &expected, width, F32);
    Ok(())
}
