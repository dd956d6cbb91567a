//! Modules of TorchScript, against what torch gives for them.

use std::fs;
use std::path::Path;

use retort_schemas::Dtype;
use retort_teachers::{Overrides, Teacher};
use serde_json::json;
use tch::Device;

use super::{
    BATCHED, BF16, Case, F32, FROM_FILE, assert_near, assert_same_ids, embed, expected_ids, image_side, text_side,
};
use crate::support::command::{VqaFiles, command, text};
use crate::support::{Result, copy_folder, golden};

#[test]
fn features_are_those_of_the_modules() -> Result {
    let case = Case::open("torchscript")?;
    let teacher = case.teacher(Dtype::F32)?;
    let encoded = case.encoded(&teacher)?;
    let lengths: Vec<i64> = Vec::try_from(case.expected.tensor("attention_mask")?.f_sum_dim_intlist(
        [1_i64].as_slice(),
        false,
        tch::Kind::Int64,
    )?)?;
    let lengths = lengths.into_iter().map(usize::try_from).collect::<Result<Vec<_>, _>>()?;
    assert_same_ids(&case, &encoded, &expected_ids(&case, &lengths)?)?;
    let (expected, width) = case.rows("pooled_texts")?;
    let (expected_tokens, token_width) = case.content_rows("last_hidden_state", &encoded)?;
    let side = text_side(&teacher)?;
    assert_eq!((side.width, side.token_width, side.tokenizer.longest()), (width, token_width, 24));
    let (pooled, tokens) = embed(&teacher, &encoded)?;
    assert_near("texts", &pooled, &expected, width, F32);
    assert_near("tokens", &tokens, &expected_tokens, token_width, F32);
    let mut alone = Vec::new();
    for text in encoded.chunks(1) {
        alone.extend(embed(&teacher, text)?.0);
    }
    assert_near("texts, alone", &alone, &pooled, width, BATCHED);
    let in_bf16 = case.teacher(Dtype::Bf16)?;
    assert_near("texts in bf16", &embed(&in_bf16, &encoded)?.0, &expected, width, BF16);

    let (images, pixels) = (case.images()?, case.floats("pixel_values")?);
    let (expected, width) = case.rows("pooled")?;
    let (expected_grid, patch_width) = case.rows("grid")?;
    let side = image_side(&teacher)?;
    assert_eq!((side.width, side.grid_size(), side.input_size()), (width, [12, patch_width], [32, 24]));
    for (pixel, expected) in images.iter().zip(pixels.chunks_exact(3 * 32 * 24)) {
        let found = side.preprocess(pixel)?;
        let off = found.iter().zip(expected).map(|(found, expected)| (found - expected).abs()).fold(0.0, f32::max);
        assert!(off * 0.5 * 255.0 <= 1.01, "{off}");
    }
    let (found, grid) = teacher.see_pixels(&pixels, images.len(), true)?;
    assert_near("images", &found, &expected, width, F32);
    assert_near("patches", &grid, &expected_grid, patch_width, F32);
    assert_near("images from files", &teacher.embed_images(&images)?, &expected, width, FROM_FILE);
    assert_near("images in bf16", &in_bf16.embed_pixels(&pixels, images.len())?, &expected, width, BF16);
    // The description may be named itself.
    let named = Teacher::open(&golden("torchscript").join("teacher.toml"), Device::Cpu, Dtype::F32)?;
    assert_eq!(named.identity, teacher.identity);
    Ok(())
}

/// A copy of the golden folder, of whose description words are replaced.
fn changed(from: &str, to: &str) -> Result<Result<Teacher, retort_teachers::Error>> {
    let folder = tempfile::tempdir()?;
    copy_folder(&golden("torchscript"), folder.path())?;
    replace(folder.path(), from, to)?;
    Ok(Teacher::open(folder.path(), Device::Cpu, Dtype::F32))
}

fn replace(folder: &Path, from: &str, to: &str) -> Result {
    let path = folder.join("teacher.toml");
    let description = fs::read_to_string(&path)?;
    assert!(description.contains(from), "{description} has no {from:?}");
    Ok(fs::write(&path, description.replacen(from, to, 1))?)
}

#[test]
fn what_the_description_says_wrong_is_refused() -> Result {
    for (from, to, says) in [
        ("pixels.pt", "pixel.pt", "image.module is pixel.pt, and there is no file "),
        ("pixels.pt", "words.json", "words.json cannot be read as TorchScript: "),
        ("words.json", "tokens.json", "text.tokenizer is tokens.json, and there is no file "),
        ("size = 36", "sise = 36", "[image] has an unknown key \"sise\": expected one of module, size, "),
        ("size = 36", "sise = 36", "did you mean \"size\"?"),
        ("[text]", "[texts]", "it has an unknown key \"texts\": expected one of image, text; did you mean \"text\"?"),
        ("size = 36", "", "[image]: missing field `size`"),
        ("bilinear", "nearest", "unknown variant `nearest`, expected `bicubic` or `bilinear`"),
        ("std = [0.5", "std = [0.0", "image.std is not above 0"),
        ("pooled = 1", "pooled = 2", "text.pooled is 2, and the module gives 2 outputs: expected a number below that"),
        ("pooled = 1", "pooled = \"mean\"", "text.pooled is \"mean\", and the module gives 2 outputs"),
        (
            "\"embedding\"",
            "\"embed\"",
            "image.pooled is \"embed\", and the module gives a dictionary: expected one of its",
        ),
        ("\"embedding\"", "0", "image.pooled is 0, and the module gives a dictionary"),
        ("\"embedding\"", "\"grid\"", "image.pooled has shape [2, 12, 12], expected [2, any]"),
        ("grid = \"grid\"", "grid = \"embedding\"", "image.grid has shape [2, 10], expected [2, any, any]"),
        ("tokens = 0", "tokens = 1", "text.tokens has shape [2, 8], expected [2, "),
        ("max_length = 24", "max_length = 24\ninputs = [\"ids\"]", "text.module fails on what it is given: "),
        ("max_length = 24", "max_length = 2", "it adds 2 special tokens"),
        ("crop = [32, 24]", "crop = 4", "image.module fails on what it is given: "),
    ] {
        let said = changed(from, to)?.err().ok_or_else(|| format!("it opened: {to}"))?.to_string();
        assert!(said.contains(says), "{to}: {said}");
    }
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("teacher.toml"), "")?;
    let said = Teacher::open(folder.path(), Device::Cpu, Dtype::F32).err().ok_or("it opened")?.to_string();
    assert!(said.contains("neither [image] nor [text]"), "{said}");
    Ok(())
}

#[test]
fn the_fingerprint_follows_description_and_modules() -> Result {
    let before = Case::open("torchscript")?.teacher(Dtype::F32)?;
    for (from, to, changes) in [
        ("size = 36", "size = 36\nrescale = 0.003921569", false),
        ("size = 36", "size = 40", true),
        ("pooled = 1", "pooled = 1\npad = 0", false),
        ("pooled = 1", "pooled = 1\npad = 5", true),
        ("pooled = 1", "pooled = 1\npad_to_longest = true", true),
        ("max_length = 24", "max_length = 20", true),
        ("grid = \"grid\"", "", true),
        ("max_length = 24", "max_length = 24\ninputs = [\"ids\", \"mask\"]", false),
        ("max_length = 24", "max_length = 24\ninputs = [\"mask\", \"ids\"]", true),
    ] {
        let after = changed(from, to)??.fingerprint(Dtype::F16);
        assert_eq!(after != before.fingerprint(Dtype::F16), changes, "{to}");
    }
    let folder = tempfile::tempdir()?;
    copy_folder(&golden("torchscript"), folder.path())?;
    fs::copy(folder.path().join("words.pt"), folder.path().join("pixels.pt"))?;
    replace(folder.path(), "pixels.pt", "words.pt")?;
    assert!(Teacher::open(folder.path(), Device::Cpu, Dtype::F32).is_err());
    // What is said on the command line goes before the description.
    let mut said = Overrides::default();
    for (key, value) in [("size", "40"), ("max_length", "12"), ("normalize", "true")] {
        said.set(key, value)?;
    }
    let after = Teacher::open_with(&golden("torchscript"), Device::Cpu, Dtype::F32, said)?;
    let details = &after.identity["details"];
    assert_eq!(details["preprocessing"]["resize"], json!({ "shortest_edge": 40 }));
    assert_eq!((&details["longest"], &details["normalise"]), (&json!(12), &json!(true)));
    Ok(())
}

#[test]
fn what_a_module_does_not_give_is_not_taught() -> Result {
    let folder = tempfile::tempdir()?;
    let (dataset, model) = (folder.path().join("set"), folder.path().join("model"));
    assert_eq!(VqaFiles::write(&folder.path().join("vqa"), 2)?.ingest(&dataset, "train")?.code, Some(0));
    copy_folder(&golden("torchscript"), &model)?;
    replace(&model, "grid = \"grid\"", "")?;
    replace(&model, "tokens = 0", "")?;
    let teacher = format!("mine={}", text(&model));
    let teach =
        |options: &[&str]| command(&[&["teach", text(&dataset), "--teacher", &teacher], options].concat()).output();
    for (option, says) in
        [("--patches", "gives no patch grids: its teacher.toml has no image.grid"), ("--tokens", "no text.tokens")]
    {
        let output = teach(&[option])?;
        let said = String::from_utf8(output.stderr)?;
        assert!(output.status.code() == Some(2) && said.contains(says), "{said}");
    }
    let output = teach(&[])?;
    let said = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(0), "{said}");
    let line =
        "teacher mine: pooling: output \"embedding\" of the image module / output 1 of the text module, not normalised";
    assert!(said.contains("teacher mine: torchscript, ") && said.contains(line), "{said}");
    Ok(())
}
