//! The layouts of open_clip and of OpenAI's CLIP, against open_clip.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use retort_schemas::Dtype;
use retort_teachers::Teacher;
use retort_teachers::nn::{Checkpoint, save};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use super::{
    BATCHED, BF16, Case, F32, FROM_FILE, assert_near, assert_same_ids, embed, expected_ids, image_side, text_side,
};
use crate::support::{Result, copy_folder, golden};

const LAYOUTS: [&str; 2] = ["open-clip", "openai-clip"];
const CONFIG: &str = "open_clip_config.json";

/// A copy of the golden folder of open_clip with another value in its config, opened.
fn changed(pointer: &str, key: &str, value: Value) -> Result<Result<Teacher, retort_teachers::Error>> {
    let folder = tempfile::tempdir()?;
    copy_folder(&golden("open-clip"), folder.path())?;
    let path = folder.path().join(CONFIG);
    let mut config: Value = serde_json::from_str(&fs::read_to_string(&path)?)?;
    config.pointer_mut(pointer).ok_or("no such part")?[key] = value;
    fs::write(&path, config.to_string())?;
    Ok(Teacher::open(folder.path(), Device::Cpu, Dtype::F32))
}

#[test]
fn tokens_are_those_of_open_clip() -> Result {
    for name in LAYOUTS {
        let case = Case::open(name)?;
        let encoded = case.encoded(&case.teacher(Dtype::F32)?)?;
        let lengths: Vec<i64> = Vec::try_from(case.expected.tensor("lengths")?)?;
        let lengths = lengths.into_iter().map(usize::try_from).collect::<Result<Vec<_>, _>>()?;
        assert_same_ids(&case, &encoded, &expected_ids(&case, &lengths)?)?;
        assert_eq!(encoded.last().map(|text| (text.ids.len(), text.truncated)), Some((32, true)), "{name}");
    }
    Ok(())
}

#[test]
fn features_are_those_of_open_clip() -> Result {
    for name in LAYOUTS {
        let case = Case::open(name)?;
        let teacher = case.teacher(Dtype::F32)?;
        let encoded = case.encoded(&teacher)?;
        let (pooled, tokens) = embed(&teacher, &encoded)?;
        let (expected_texts, width) = case.rows("pooled_texts")?;
        assert_eq!((text_side(&teacher)?.width, image_side(&teacher)?.width), (width, width));
        assert_near(&format!("{name} texts"), &pooled, &expected_texts, width, F32);
        let (expected, token_width) = case.content_rows("last_hidden_state", &encoded)?;
        assert_near(&format!("{name} tokens"), &tokens, &expected, token_width, F32);
        let mut alone = Vec::new();
        for text in encoded.chunks(1) {
            alone.extend(embed(&teacher, text)?.0);
        }
        assert_near(&format!("{name} texts, alone"), &alone, &pooled, width, BATCHED);

        let (images, pixels) = (case.images()?, case.floats("pixel_values")?);
        let (expected, _) = case.rows("pooled")?;
        let (expected_grid, patch_width) = case.rows("grid")?;
        let (found, grid) = teacher.see_pixels(&pixels, images.len(), true)?;
        assert_near(&format!("{name} images"), &found, &expected, width, F32);
        assert_near(&format!("{name} patches"), &grid, &expected_grid, patch_width, F32);
        assert_near(&format!("{name} from files"), &teacher.embed_images(&images)?, &expected, width, FROM_FILE);

        let teacher = case.teacher(Dtype::Bf16)?;
        assert_near(
            &format!("{name} images in bf16"),
            &teacher.embed_pixels(&pixels, images.len())?,
            &expected,
            width,
            BF16,
        );
        assert_near(&format!("{name} texts in bf16"), &embed(&teacher, &encoded)?.0, &expected_texts, width, BF16);
    }
    Ok(())
}

#[test]
fn quick_gelu_is_used_where_the_config_says_so() -> Result {
    let case = Case::open("open-clip")?;
    let teacher = changed("/model_cfg", "quick_gelu", json!(true))??;
    let (expected, width) = case.rows("pooled_quick")?;
    let found = teacher.embed_pixels(&case.floats("pixel_values")?, case.images()?.len())?;
    assert_near("images, quick", &found, &expected, width, F32);
    let (expected, width) = case.rows("pooled_texts_quick")?;
    assert_near("texts, quick", &embed(&teacher, &case.encoded(&teacher)?)?.0, &expected, width, F32);
    // The two are near enough that only bounds as narrow as ours tell them apart.
    let (other, _) = case.rows("pooled_texts")?;
    let same = std::panic::catch_unwind(|| assert_near("not quick", &other, &expected, width, F32));
    assert!(same.is_err());
    Ok(())
}

#[test]
fn pixels_are_those_of_torchvision_within_one_level() -> Result {
    let squashed = {
        let folder = tempfile::tempdir()?;
        copy_folder(&golden("open-clip"), folder.path())?;
        let path = folder.path().join(CONFIG);
        let mut config: Value = serde_json::from_str(&fs::read_to_string(&path)?)?;
        config["preprocess_cfg"]["resize_mode"] = json!("squash");
        config["preprocess_cfg"]["interpolation"] = json!("bilinear");
        fs::write(&path, config.to_string())?;
        Teacher::open(folder.path(), Device::Cpu, Dtype::F32)?
    };
    let case = Case::open("open-clip")?;
    for (teacher, name) in [(case.teacher(Dtype::F32)?, "pixel_values"), (squashed, "pixel_values_squashed")] {
        let side = image_side(&teacher)?;
        let expected = case.floats(name)?;
        let (mut values, mut different) = (0, 0);
        for (image, expected) in case.images()?.iter().zip(expected.chunks_exact(3 * 32 * 32)) {
            let found = side.preprocess(image)?;
            assert_eq!(found.len(), expected.len());
            for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
                let level = 1.0 / 255.0 / side.preprocessing.std[at / (32 * 32)];
                let levels = (found - expected).abs() / level;
                assert!(levels <= 1.01, "{name}, value {at}: {levels} levels off");
                values += 1;
                different += usize::from(levels > 0.5);
            }
        }
        assert!(values == 5 * 3 * 32 * 32 && different * 50 < values, "{name}: {different} of {values} are off by one");
    }
    Ok(())
}

#[test]
fn the_fingerprint_follows_the_config_of_open_clip() -> Result {
    let before = Case::open("open-clip")?.teacher(Dtype::F32)?.fingerprint(Dtype::F16);
    for (part, key, value, changes) in [
        ("/model_cfg", "quick_gelu", json!(true), true),
        ("/model_cfg", "quick_gelu", json!(false), false),
        ("/model_cfg", "init_logit_bias", json!(-10), false),
        ("/model_cfg/vision_cfg", "head_width", json!(10), true),
        ("/model_cfg/vision_cfg", "patch_dropout", json!(0.5), false),
        ("/model_cfg/vision_cfg", "image_size", json!([32, 32]), false),
        ("/model_cfg/text_cfg", "heads", json!(2), true),
        ("/model_cfg/text_cfg", "pool_type", json!("argmax"), false),
        ("/preprocess_cfg", "mean", json!(null), false),
        ("/preprocess_cfg", "mean", json!([0.5, 0.5, 0.5]), true),
        ("/preprocess_cfg", "interpolation", json!("random"), false),
        ("/preprocess_cfg", "resize_mode", json!("squash"), true),
    ] {
        let after = changed(part, key, value.clone())??.fingerprint(Dtype::F16);
        assert_eq!(after != before, changes, "{key} = {value}");
    }
    Ok(())
}

#[test]
fn towers_that_are_not_known_are_refused_by_key() -> Result {
    let [vision, text] = ["/model_cfg/vision_cfg", "/model_cfg/text_cfg"];
    for (part, key, value, says) in [
        (vision, "layers", json!([3, 4, 6, 3]), "vision_cfg.layers is [3,4,6,3]"),
        (vision, "timm_model_name", json!("vit_base"), "vision_cfg.timm_model_name is \"vit_base\""),
        (vision, "attentional_pool", json!(true), "vision_cfg.attentional_pool is true"),
        (vision, "pool_type", json!("avg"), "vision_cfg.pool_type is \"avg\""),
        (vision, "no_ln_pre", json!(true), "vision_cfg.no_ln_pre is true"),
        (vision, "ls_init_value", json!(0.1), "vision_cfg.ls_init_value is 0.1"),
        (text, "hf_model_name", json!("roberta-base"), "text_cfg.hf_model_name is \"roberta-base\""),
        (text, "no_causal_mask", json!(true), "text_cfg.no_causal_mask is true"),
        (text, "pool_type", json!("last"), "text_cfg.pool_type is \"last\""),
        (text, "tokenizer_kwargs", json!({"clean": "canonicalize"}), "text_cfg.tokenizer_kwargs is {"),
        ("/model_cfg", "multimodal_cfg", json!({"width": 512}), "model_cfg.multimodal_cfg is {"),
        ("/model_cfg", "custom_text", json!(true), "model_cfg.custom_text is true"),
    ] {
        let error = changed(part, key, value)?.err().ok_or_else(|| format!("it opened: {key}"))?;
        let said = error.to_string();
        assert!(said.contains(CONFIG) && said.contains(says), "{said}");
        assert!(error.hint().is_some_and(|hint| hint.contains("TorchScript")), "{said}");
    }
    for (part, key, value, says) in [
        ("/preprocess_cfg", "resize_mode", json!("longest"), "resize_mode is \"longest\", expected shortest or squash"),
        ("/preprocess_cfg", "interpolation", json!("lanczos"), "\"lanczos\", expected bicubic or bilinear"),
        (vision, "width", json!("wide"), "its vision_cfg.width cannot be read"),
        (vision, "head_width", json!(12), "its 3 attention heads do not divide"),
        (vision, "patch_size", json!(64), "its patch_size is 64, its image_size 32"),
        (text, "layers", json!(3), "has no tensor transformer.resblocks.2.attn.in_proj_"),
        (text, "width", json!(64), "the config asks for [64"),
        (vision, "mlp_ratio", json!(4), "tensor visual.transformer.resblocks.0.mlp.c_fc."),
        ("/model_cfg", "embed_dim", json!(32), "tensor visual.proj (transposed)"),
    ] {
        let said = changed(part, key, value)?.err().ok_or_else(|| format!("it opened: {key}"))?.to_string();
        assert!(said.contains(says), "{said}");
    }
    Ok(())
}

/// What opening a changed copy of a golden folder says, and its hint.
fn refusal(name: &str, change: impl Fn(&Path) -> Result) -> Result<(String, String)> {
    let folder = tempfile::tempdir()?;
    copy_folder(&golden(name), folder.path())?;
    change(folder.path())?;
    let error = Teacher::open(folder.path(), Device::Cpu, Dtype::F32).err().ok_or("it opened")?;
    Ok((error.to_string(), error.hint().unwrap_or_default()))
}

#[test]
fn pickles_of_both_layouts_are_refused_with_the_way_to_convert_them() -> Result {
    let (weights, pickle) = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin");
    let (said, hint) = refusal("open-clip", |folder| Ok(fs::rename(folder.join(weights), folder.join(pickle))?))?;
    assert!(said.contains(pickle) && said.contains("is a pickle"), "{said}");
    assert!(hint.contains("torch.load(") && hint.contains(&format!("{weights}')")), "{hint}");
    let (said, hint) = refusal("openai-clip", |folder| {
        fs::remove_file(folder.join("expected.safetensors"))?;
        Ok(fs::rename(folder.join("model.safetensors"), folder.join("ViT-B-32.pt"))?)
    })?;
    assert!(said.contains("ViT-B-32.pt is a pickle"), "{said}");
    assert!(hint.contains("torch.jit.load(") && hint.contains("ViT-B-32.safetensors')"), "{hint}");
    let (said, hint) = refusal("open-clip", |folder| Ok(fs::remove_file(folder.join(weights))?))?;
    assert!(said.contains(&format!("has no {weights}")) && hint.contains(CONFIG), "{said} {hint}");
    Ok(())
}

/// Folders that have several layouts at once, or almost one.
#[test]
fn the_layout_is_told_by_what_is_there() -> Result {
    let architecture = |change: &dyn Fn(&Path) -> Result| -> Result<String> {
        let folder = tempfile::tempdir()?;
        copy_folder(&golden("open-clip"), folder.path())?;
        change(folder.path())?;
        let teacher = Teacher::open(folder.path(), Device::Cpu, Dtype::F32)?;
        Ok(teacher.identity["architecture"].as_str().unwrap_or_default().to_owned())
    };
    let copy = |folder: &Path, file: &str| Ok(fs::copy(golden("clip").join(file), folder.join(file)).map(|_| ())?);
    assert_eq!(architecture(&|_| Ok(()))?, "open_clip");
    // Published in both layouts; fetched without transformers' weights; with timm's config of the image tower alone.
    let both = |folder: &Path| -> Result {
        copy(folder, "config.json")?;
        copy(folder, "model.safetensors")
    };
    assert_eq!(architecture(&both)?, "clip");
    assert_eq!(architecture(&|folder| copy(folder, "config.json"))?, "open_clip");
    let timm = |folder: &Path| Ok(fs::write(folder.join("config.json"), r#"{"architecture": "vit_base"}"#)?);
    assert_eq!(architecture(&timm)?, "open_clip");
    // OpenAI's weights may have any name, and no config says what is in others.
    let folder = tempfile::tempdir()?;
    copy_folder(&golden("openai-clip"), folder.path())?;
    fs::remove_file(folder.path().join("expected.safetensors"))?;
    fs::rename(folder.path().join("model.safetensors"), folder.path().join("ViT-B-32.safetensors"))?;
    let teacher = Teacher::open(folder.path(), Device::Cpu, Dtype::F32)?;
    assert_eq!(
        teacher.fingerprint(Dtype::F16),
        Case::open("openai-clip")?.teacher(Dtype::F32)?.fingerprint(Dtype::F16)
    );
    let (said, _) = refusal("clip", |folder| Ok(fs::remove_file(folder.join("config.json"))?))?;
    assert!(said.contains("has no config.json"), "{said}");
    // A ResNet of OpenAI has no projection of this name.
    let (said, hint) = refusal("openai-clip", |folder| {
        let checkpoint = Checkpoint::open(folder)?;
        let kept = checkpoint.names().filter(|name| *name != "visual.proj");
        let tensors = kept.map(|name| Ok((name.to_owned(), checkpoint.tensor(name)?))).collect::<Result<_>>()?;
        Ok(fs::write(folder.join("model.safetensors"), save(&tensors, "format", "pt")?)?)
    })?;
    assert!(said.contains("a ResNet") && hint.contains("TorchScript"), "{said} {hint}");
    Ok(())
}

/// Weights of a right shape in a wrong place, or read the other way round.
#[test]
fn every_weight_of_both_layouts_shows() -> Result {
    for name in LAYOUTS {
        let case = Case::open(name)?;
        let file = if name == "open-clip" { "open_clip_model.safetensors" } else { "model.safetensors" };
        let checkpoint = Checkpoint::open_file(&golden(name).join(file))?;
        let names: Vec<String> =
            checkpoint.names().filter(|name| !name.contains("resblocks.1.")).map(str::to_owned).collect();
        let texts = |teacher: &Teacher| -> Result<Vec<f32>> { Ok(embed(teacher, &case.encoded(teacher)?[..3])?.0) };
        let images =
            |teacher: &Teacher| teacher.embed_pixels(&case.floats("pixel_values").unwrap_or_default()[..3072], 1);
        let right = case.teacher(Dtype::F32)?;
        let right = [texts(&right)?, images(&right)?].concat();
        let tensors = checkpoint.names().map(|name| Ok((name.to_owned(), checkpoint.tensor(name)?)));
        let mut tensors: BTreeMap<String, Tensor> = tensors.collect::<Result<_>>()?;
        let folder = tempfile::tempdir()?;
        copy_folder(&golden(name), folder.path())?;
        for weight in names {
            let tensor = tensors[&weight].shallow_clone();
            let noise = Tensor::f_arange(tensor.numel() as i64, (Kind::Float, Device::Cpu))?.f_sin()?;
            tensors.insert(weight.clone(), tensor.f_add(&noise.f_reshape(tensor.size())?)?);
            fs::write(folder.path().join(file), save(&tensors, "format", "pt")?)?;
            tensors.insert(weight.clone(), tensor);
            let wrong = Teacher::open(folder.path(), Device::Cpu, Dtype::F32)?;
            let wrong = [texts(&wrong)?, images(&wrong)?].concat();
            let most = right.iter().zip(&wrong).map(|(right, wrong)| (right - wrong).abs()).fold(0.0, f32::max);
            let unread = ["logit_scale", "input_resolution", "context_length", "vocab_size"].contains(&weight.as_str());
            assert_eq!(most < 1e-3, unread, "{name}: {weight} makes a difference of {most}");
        }
    }
    Ok(())
}
