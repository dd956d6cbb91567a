//! Every family beside CLIP and BERT: the same questions to each.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use retort_schemas::Dtype;
use retort_teachers::Teacher;
use retort_teachers::nn::{Checkpoint, save};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use super::{
    BATCHED, BF16, Bounds, Case, F32, FROM_FILE, assert_near, assert_same_ids, embed, expected_ids, image_side,
    text_side,
};
use crate::support::{Result, copy_folder, golden};

/// Those that read texts, with the answer that is pooled.
const TEXTS: [(&str, &str); 8] = [
    ("clip-text", "pooled"),
    ("distilbert", "pooled"),
    ("mpnet", "pooled"),
    ("roberta", "pooled"),
    ("siglip", "text_pooled"),
    ("siglip2", "text_pooled"),
    ("siglip2-naflex", "text_pooled"),
    ("xlm-roberta", "pooled"),
];
/// Those that see images, with the rows and columns of their patches; none where each image has a grid of another shape.
const IMAGES: [(&str, [usize; 2]); 8] = [
    ("clip-vision", [4, 4]),
    ("dinov2", [5, 5]),
    ("dinov2-giant", [4, 4]),
    ("dinov2-registers", [3, 5]),
    ("siglip", [4, 4]),
    ("siglip2", [4, 4]),
    ("siglip2-naflex", [0, 0]),
    ("vit", [4, 4]),
];

/// Tokens of each text, padding left out.
fn lengths(case: &Case) -> Result<Vec<usize>> {
    let lengths = if case.expected.has("lengths") {
        case.expected.tensor("lengths")?
    } else {
        case.expected.tensor("attention_mask")?.f_sum_dim_intlist([1_i64].as_slice(), false, Kind::Int64)?
    };
    let lengths: Vec<i64> = Vec::try_from(lengths)?;
    Ok(lengths.into_iter().map(usize::try_from).collect::<Result<_, _>>()?)
}

#[test]
fn tokens_are_those_of_transformers() -> Result {
    for (name, _) in TEXTS {
        let case = Case::open(name)?;
        let teacher = case.teacher(Dtype::F32)?;
        let encoded = case.encoded(&teacher)?;
        let lengths = lengths(&case)?;
        assert_same_ids(&case, &encoded, &expected_ids(&case, &lengths)?)?;
        let longest = text_side(&teacher)?.tokenizer.longest();
        for (at, (text, length)) in encoded.iter().zip(&lengths).enumerate() {
            assert!(!text.truncated || *length == longest, "{name}: text {at} was cut to {length} of {longest}");
        }
        assert_eq!(encoded.last().map(|text| text.truncated), Some(true), "{name}: the last text is very long");
        // Padding is what transformers pads with.
        let ids: Vec<i64> = Vec::try_from(case.expected.tensor("input_ids")?.f_flatten(0, -1)?)?;
        let row = ids.len() / lengths.len();
        let padded =
            lengths.iter().enumerate().filter(|(_, length)| **length < row).map(|(text, _)| ids[(text + 1) * row - 1]);
        if name != "clip-text" {
            let padding = text_side(&teacher)?.padding;
            assert!(padded.into_iter().all(|id| id == padding.id), "{name}: padded with {}", padding.id);
        }
    }
    Ok(())
}

#[test]
fn text_features_are_those_of_transformers() -> Result {
    for (name, pooled_name) in TEXTS {
        let case = Case::open(name)?;
        let teacher = case.teacher(Dtype::F32)?;
        let encoded = case.encoded(&teacher)?;
        let (pooled, tokens) = embed(&teacher, &encoded)?;
        let (expected, width) = case.rows(pooled_name)?;
        assert_eq!(text_side(&teacher)?.width, width, "{name}");
        assert_near(&format!("{name} texts"), &pooled, &expected, width, F32);
        let (expected, width) = case.content_rows("last_hidden_state", &encoded)?;
        assert_eq!(text_side(&teacher)?.token_width, width, "{name}");
        assert_near(&format!("{name} tokens"), &tokens, &expected, width, F32);

        let (mut pooled_alone, mut tokens_alone) = (Vec::new(), Vec::new());
        for text in encoded.chunks(1) {
            let (pooled, tokens) = embed(&teacher, text)?;
            pooled_alone.extend(pooled);
            tokens_alone.extend(tokens);
        }
        assert_near(&format!("{name} texts, alone"), &pooled_alone, &pooled, text_side(&teacher)?.width, BATCHED);
        assert_near(&format!("{name} tokens, alone"), &tokens_alone, &tokens, width, BATCHED);

        let teacher = case.teacher(Dtype::Bf16)?;
        let (pooled, _) = embed(&teacher, &encoded)?;
        let (expected, width) = case.rows(pooled_name)?;
        assert_near(&format!("{name} texts in bf16"), &pooled, &expected, width, BF16);
    }
    Ok(())
}

#[test]
fn image_features_are_those_of_transformers() -> Result {
    for (name, [rows, columns]) in IMAGES {
        let case = Case::open(name)?;
        let teacher = case.teacher(Dtype::F32)?;
        let (images, pixels) = (case.images()?, case.floats("pixel_values")?);
        let (expected, width) = case.rows("pooled")?;
        assert_eq!(image_side(&teacher)?.width, width, "{name}");
        let with_grid = rows * columns > 0;
        let (pooled, grid) = teacher.see_pixels(&pixels, images.len(), with_grid)?;
        assert_near(&format!("{name} images"), &pooled, &expected, width, F32);
        if with_grid {
            let (expected_grid, patch_width) = case.rows("grid")?;
            assert_eq!(image_side(&teacher)?.grid_size(), [rows * columns, patch_width], "{name}");
            assert_near(&format!("{name} patches"), &grid, &expected_grid, patch_width, F32);
        } else {
            assert_eq!(image_side(&teacher)?.grid_size(), [0, 0], "{name}");
            let said = teacher.see_pixels(&pixels, images.len(), true).err().ok_or("it gave grids")?.to_string();
            assert!(said.contains("its images keep their shape"), "{name}: {said}");
        }
        let found = teacher.embed_images(&images)?;
        assert_near(&format!("{name} images from files"), &found, &expected, width, FROM_FILE);

        let mut alone = Vec::new();
        for image in pixels.chunks_exact(pixels.len() / images.len()) {
            alone.extend(teacher.embed_pixels(image, 1)?);
        }
        assert_near(&format!("{name} images, alone"), &alone, &pooled, width, BATCHED);
        let found = case.teacher(Dtype::Bf16)?.embed_pixels(&pixels, images.len())?;
        assert_near(&format!("{name} images in bf16"), &found, &expected, width, BF16);
    }
    Ok(())
}

#[test]
fn pixels_are_those_of_transformers_within_one_level() -> Result {
    for (name, _) in IMAGES {
        let case = Case::open(name)?;
        let teacher = case.teacher(Dtype::F32)?;
        let side = image_side(&teacher)?;
        let expected = case.floats("pixel_values")?;
        let images = case.images()?;
        let (mut values, mut different) = (0, 0);
        for (image, expected) in images.iter().zip(expected.chunks_exact(expected.len() / images.len())) {
            let found = side.preprocess(image)?;
            assert_eq!(found.len(), expected.len(), "{name}");
            for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
                let level = 1.0 / 255.0 / side.preprocessing.std[at * 3 / values_of(side.input_size())];
                let levels = (found - expected).abs() / level;
                assert!(levels <= 1.01, "{name}, value {at}: {levels} levels off");
                values += 1;
                different += usize::from(levels > 0.5);
            }
        }
        assert!(different * 50 < values, "{name}: {different} of {values} values are off by one");
    }
    Ok(())
}

fn values_of([height, width]: [u32; 2]) -> usize {
    3 * height as usize * width as usize
}

/// The tensors of a golden model, by name.
fn tensors(name: &str) -> Result<BTreeMap<String, Tensor>> {
    let checkpoint = Checkpoint::open(&golden(name))?;
    checkpoint.names().map(|name| Ok((name.to_owned(), checkpoint.tensor(name)?))).collect()
}

/// A golden model with other tensors, in a folder of its own.
fn write_model(name: &str, folder: &Path, tensors: &BTreeMap<String, Tensor>) -> Result {
    copy_folder(&golden(name), folder)?;
    Ok(fs::write(folder.join("model.safetensors"), save(tensors, "format", "pt")?)?)
}

/// `CLIPTextModel`, `CLIPVisionModel`, and a `ViTModel` without pooler are the same weights without those of the head.
#[test]
fn without_a_projection_the_token_itself_is_pooled() -> Result {
    for (name, head) in [("clip-text", "text_projection."), ("clip-vision", "visual_projection."), ("vit", "pooler.")] {
        let folder = tempfile::tempdir()?;
        let mut tensors = tensors(name)?;
        let before = tensors.len();
        tensors.retain(|name, _| !name.starts_with(head));
        assert!(tensors.len() < before, "{name} has no {head}");
        write_model(name, folder.path(), &tensors)?;
        let case = Case::open(name)?;
        let teacher = Teacher::open(folder.path(), Device::Cpu, Dtype::F32)?;
        let (expected, width) = case.rows("pooled_unprojected")?;
        let found = if teacher.text.is_some() {
            assert_eq!(text_side(&teacher)?.width, width);
            embed(&teacher, &case.encoded(&teacher)?)?.0
        } else {
            assert_eq!(image_side(&teacher)?.width, width);
            teacher.embed_pixels(&case.floats("pixel_values")?, case.images()?.len())?
        };
        assert_near(&format!("{name} without {head}"), &found, &expected, width, F32);
        assert_ne!(teacher.fingerprint(Dtype::F16), case.teacher(Dtype::F32)?.fingerprint(Dtype::F16));
    }
    Ok(())
}

/// All that a teacher gives for some of its golden inputs.
fn everything(teacher: &Teacher, case: &Case, texts: usize, images: usize) -> Result<Vec<f32>> {
    let mut found = Vec::new();
    if teacher.text.is_some() {
        let encoded = case.encoded(teacher)?;
        let (pooled, tokens) = embed(teacher, &encoded[..texts.min(encoded.len())])?;
        found.extend([pooled, tokens].concat());
    }
    if let Some(side) = &teacher.image {
        let pixels = case.floats("pixel_values")?;
        let (all, images) = (case.words("images")?.len(), images.min(case.words("images")?.len()));
        let (pooled, grid) =
            teacher.see_pixels(&pixels[..pixels.len() / all * images], images, side.grid_size() != [0, 0])?;
        found.extend([pooled, grid].concat());
    }
    Ok(found)
}

/// The golden answers can only tell a wrong weight from a right one where every weight shows in them.
#[test]
fn every_weight_shows_in_the_features() -> Result {
    // Heads of tasks and training, which no feature reads.
    let unread = ["logit_scale", "logit_bias", "classifier.", "pre_classifier.", "embeddings.mask_token"];
    let names = TEXTS.map(|(name, _)| name).into_iter().chain(IMAGES.map(|(name, _)| name));
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let case = Case::open(name)?;
        let right = everything(&case.teacher(Dtype::F32)?, &case, 3, 1)?;
        let mut tensors = tensors(name)?;
        let weights: Vec<String> = tensors.keys().cloned().collect();
        // One layer stands for all: they are opened by the same lines.
        for weight in weights.iter().filter(|weight| !weight.contains("layer.1.") && !weight.contains("layers.1.")) {
            let tensor = tensors[weight].shallow_clone();
            // Not the same everywhere: a softmax does not see what is added to all of its inputs.
            let noise = Tensor::f_arange(tensor.numel() as i64, (Kind::Float, Device::Cpu))?.f_sin()?;
            tensors.insert(weight.clone(), tensor.f_add(&noise.f_reshape(tensor.size())?)?);
            let folder = tempfile::tempdir()?;
            write_model(name, folder.path(), &tensors)?;
            tensors.insert(weight.clone(), tensor);
            let teacher = Teacher::open(folder.path(), Device::Cpu, Dtype::F32)?;
            let wrong = everything(&teacher, &case, 3, 1)?;
            let most = right.iter().zip(&wrong).map(|(right, wrong)| (right - wrong).abs()).fold(0.0, f32::max);
            // What is added to the keys alike for all of them is taken away again by the softmax.
            let shows = !unread.iter().any(|start| weight.trim_start_matches("dinov2.").starts_with(start));
            let is_key = ["k_proj.bias", "key.bias", "k_lin.bias", ".k.bias"].iter().any(|end| weight.ends_with(end));
            assert_eq!(most > 1e-3, shows && !is_key, "{name}: {weight} makes a difference of {most}");
        }
    }
    Ok(())
}

/// Weights of a right shape in a wrong place: what the goldens are there to find.
#[test]
fn a_wrong_order_of_weights_is_found() -> Result {
    let swaps: [(&str, &str, &str); 4] = [
        ("roberta", "encoder.layer.0.attention.self.query.weight", "encoder.layer.0.attention.self.value.weight"),
        ("mpnet", "encoder.layer.0.attention.attn.k.weight", "encoder.layer.0.attention.attn.o.weight"),
        ("dinov2", "encoder.layer.0.layer_scale1.lambda1", "encoder.layer.0.layer_scale2.lambda1"),
        ("vit", "encoder.layer.0.layernorm_before.weight", "encoder.layer.0.layernorm_after.weight"),
    ];
    for (name, one, other) in swaps {
        let folder = tempfile::tempdir()?;
        let mut tensors = tensors(name)?;
        let (a, b) = (tensors[one].shallow_clone(), tensors[other].shallow_clone());
        tensors.extend([(one.to_owned(), b), (other.to_owned(), a)]);
        write_model(name, folder.path(), &tensors)?;
        let case = Case::open(name)?;
        let found = everything(&Teacher::open(folder.path(), Device::Cpu, Dtype::F32)?, &case, 99, 99)?;
        let (expected, width) = case.rows("pooled")?;
        let near = std::panic::catch_unwind(|| {
            assert_near("swapped", &found[..expected.len()], &expected, width, Bounds { cosine: 0.999, error: 0.05 });
        });
        assert!(near.is_err(), "{name}: swapping {one} and {other} is not seen");
    }
    Ok(())
}

/// A changed copy of a golden model, opened.
fn changed(name: &str, file: &str, key: &str, value: Value) -> Result<Result<Teacher, retort_teachers::Error>> {
    let folder = tempfile::tempdir()?;
    copy_folder(&golden(name), folder.path())?;
    let path = folder.path().join(file);
    let mut config: Value = if path.is_file() { serde_json::from_str(&fs::read_to_string(&path)?)? } else { json!({}) };
    config[key] = value;
    fs::write(&path, config.to_string())?;
    Ok(Teacher::open(folder.path(), Device::Cpu, Dtype::F32))
}

#[test]
fn the_fingerprint_follows_what_each_family_reads() -> Result {
    let (config, images, tokens) = ("config.json", "preprocessor_config.json", "tokenizer_config.json");
    let square = json!({ "height": 36, "width": 36 });
    for (name, file, key, value, changes) in [
        ("roberta", config, "layer_norm_eps", json!(1e-6), true),
        ("roberta", config, "pad_token_id", json!(0), true),
        ("roberta", config, "torch_dtype", json!("float16"), false),
        ("roberta", tokens, "model_max_length", json!(20), true),
        ("roberta", "sentence_bert_config.json", "max_seq_length", json!(20), true),
        ("roberta", "sentence_bert_config.json", "do_lower_case", json!(true), true),
        ("distilbert", config, "activation", json!("relu"), true),
        ("distilbert", config, "dropout", json!(0.3), false),
        ("mpnet", config, "hidden_act", json!("relu"), true),
        ("siglip", tokens, "model_input_names", json!(["input_ids", "attention_mask"]), true),
        ("siglip", tokens, "pad_token", json!("<unk>"), true),
        ("siglip", images, "resample", json!(2), true),
        ("siglip2-naflex", images, "max_num_patches", json!(48), true),
        ("siglip2-naflex", images, "max_num_patches", json!(64), false),
        ("siglip2-naflex", images, "resample", json!(3), true),
        ("dinov2", images, "crop_size", square.clone(), true),
        ("dinov2", images, "crop_size", json!({ "height": 40, "width": 40 }), false),
        ("dinov2", config, "layer_norm_eps", json!(1e-5), true),
        ("dinov2", config, "num_register_tokens", json!(2), false),
        ("vit", images, "image_mean", json!([0.4, 0.5, 0.5]), true),
        ("vit", images, "do_convert_rgb", json!(true), false),
        ("clip-vision", images, "resample", json!(3), true),
        ("clip-text", config, "hidden_act", json!("gelu"), true),
    ] {
        let before = Teacher::open(&golden(name), Device::Cpu, Dtype::F32)?.fingerprint(Dtype::F16);
        let after = changed(name, file, key, value)?.map_err(|error| format!("{name}, {key}: {error}"))?;
        assert_eq!(after.fingerprint(Dtype::F16) != before, changes, "{name}: {key} of {file}");
    }
    Ok(())
}

#[test]
fn what_a_family_does_not_know_is_refused() -> Result {
    let (config, images) = ("config.json", "preprocessor_config.json");
    for (name, file, key, value, words) in [
        (
            "siglip",
            images,
            "image_processor_type",
            json!("Siglip2ImageProcessor"),
            "expected one of CLIPImageProcessor",
        ),
        ("vit", images, "resample", json!(1), "resample is 1, expected 2 (bilinear) or 3 (bicubic)"),
        ("vit", images, "size", json!(40), "images come out as [40, 40], the model takes 32 x 32"),
        ("vit", config, "pooler_act", json!("relu"), "its pooler_act is \"relu\", expected \"tanh\""),
        ("dinov2", images, "crop_size", json!({ "height": 4, "width": 40 }), "its patch_size is 8, its image_size 4"),
        ("mpnet", config, "relative_attention_num_buckets", json!(16), "expected 32"),
        ("roberta", config, "position_embedding_type", json!("relative_key"), "expected \"absolute\""),
        ("distilbert", config, "n_heads", json!(5), "5 attention heads do not divide its hidden_size 32"),
        ("siglip", config, "model_type", json!("siglip3"), "expected one of bert, clip, clip_text_model, "),
        (
            "siglip",
            config,
            "model_type",
            json!("siglip2"),
            "its image_processor_type is SiglipImageProcessor, expected",
        ),
        ("siglip2-naflex", images, "patch_size", json!(16), "its patch_size is 16, the model's is 8"),
        ("siglip2-naflex", images, "max_num_patches", json!(0), "its max_num_patches is 0, expected 1 or more"),
        ("siglip2-naflex", images, "do_resize", json!(false), "its do_resize is false, expected true"),
    ] {
        let said = changed(name, file, key, value)?.err().ok_or_else(|| format!("{name} opened: {key}"))?.to_string();
        assert!(said.contains(words) && said.contains(".json"), "{name}, {key}: {said}");
    }
    // A folder of DINOv2 must say how large images are.
    let folder = tempfile::tempdir()?;
    copy_folder(&golden("dinov2"), folder.path())?;
    fs::remove_file(folder.path().join("preprocessor_config.json"))?;
    let said = Teacher::open(folder.path(), Device::Cpu, Dtype::F32).err().ok_or("it opened")?.to_string();
    assert!(said.contains("has no preprocessor_config.json"), "{said}");
    Ok(())
}
