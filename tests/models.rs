//! Model folders that cannot be used are refused with a reason, and the fingerprint follows what decides the numbers.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use retort_schemas::Dtype;
use retort_teachers::Teacher;
use retort_teachers::nn::{Checkpoint, save};
use serde_json::{Value, json};
use tch::Device;

use crate::support::{Result, copy_folder, golden};

/// What opening a changed copy of a golden model says, and its hint.
fn refusal(model: &str, change: impl Fn(&Path) -> Result) -> Result<(String, String)> {
    let folder = tempfile::tempdir()?;
    copy_folder(&golden(model), folder.path())?;
    change(folder.path())?;
    let error = Teacher::open(folder.path(), Device::Cpu, Dtype::F32).err().ok_or("it opened")?;
    Ok((error.to_string(), error.hint().unwrap_or_default()))
}

/// Sets a value of a JSON file, by JSON pointer.
fn set(file: &Path, pointer: &str, value: Value) -> Result {
    let mut json: Value = serde_json::from_str(&fs::read_to_string(file)?)?;
    *json.pointer_mut(pointer).ok_or_else(|| format!("{} has no {pointer}", file.display()))? = value;
    Ok(fs::write(file, json.to_string())?)
}

fn assert_says((message, hint): &(String, String), words: &[&str], hint_words: &str) {
    for word in words {
        assert!(message.contains(word), "{message:?} does not say {word:?}");
    }
    assert!(hint.contains(hint_words), "the hint {hint:?} does not say {hint_words:?}");
}

#[test]
fn a_folder_without_weights_is_refused() -> Result {
    let said = refusal("clip", |folder| Ok(fs::remove_file(folder.join("model.safetensors"))?))?;
    assert_says(&said, &["has no weights", "model.safetensors"], "Hugging Face model folder");
    Ok(())
}

#[test]
fn a_pickle_is_refused_and_never_opened() -> Result {
    for name in ["pytorch_model.bin", "model.pt", "weights.ckpt"] {
        let said = refusal("bert", |folder| Ok(fs::rename(folder.join("model.safetensors"), folder.join(name))?))?;
        assert_says(
            &said,
            &[name, "is a pickle", "can run any code", "expected safetensors"],
            "safe_serialization=True",
        );
    }
    // Beside safetensors it does not matter: nobody opens it.
    let folder = tempfile::tempdir()?;
    copy_folder(&golden("bert"), folder.path())?;
    fs::write(folder.path().join("pytorch_model.bin"), b"anything")?;
    assert!(Teacher::open(folder.path(), Device::Cpu, Dtype::F32)?.text.is_some());
    Ok(())
}

#[test]
fn weights_that_do_not_fit_the_config_are_refused() -> Result {
    let cases = [
        ("clip", "/text_config/hidden_size", json!(64), "text_model.", "[64]"),
        ("clip", "/text_config/vocab_size", json!(700), "text_model.embeddings.token_embedding.weight", "[700, 32]"),
        (
            "clip",
            "/vision_config/patch_size",
            json!(4),
            "vision_model.embeddings.patch_embedding.weight",
            "[40, 3, 4, 4]",
        ),
        ("clip", "/projection_dim", json!(48), "visual_projection.weight", "[48, 40]"),
        ("bert", "/intermediate_size", json!(96), "bert.encoder.layer.0.intermediate.dense", "[96]"),
        ("bert", "/max_position_embeddings", json!(512), "bert.embeddings.position_embeddings.weight", "[512, 32]"),
    ];
    for (model, pointer, value, tensor, shape) in cases {
        let said = refusal(model, |folder| set(&folder.join("config.json"), pointer, value.clone()))?;
        let asks = format!("the config asks for {shape}");
        assert_says(&said, &["model.safetensors", tensor, "has shape [", &asks], "come from the same model");
    }
    Ok(())
}

#[test]
fn a_missing_tensor_is_named() -> Result {
    for (model, name, shape) in [
        ("clip", "vision_model.encoder.layers.1.mlp.fc2.bias", "[40]"),
        ("clip", "text_projection.weight", "[24, 32]"),
        ("bert", "bert.encoder.layer.0.attention.self.query.weight", "[32, 32]"),
    ] {
        let said = refusal(model, |folder| {
            let checkpoint = Checkpoint::open(folder)?;
            let kept = checkpoint.names().filter(|kept| *kept != name);
            let tensors = kept.map(|kept| Ok((kept.to_owned(), checkpoint.tensor(kept)?)));
            let tensors = tensors.collect::<Result<BTreeMap<_, _>>>()?;
            Ok(fs::write(folder.join("model.safetensors"), save(&tensors, "format", "pt")?)?)
        })?;
        let missing = format!("has no tensor {name}, expected shape {shape}");
        assert_says(&said, &["model.safetensors", &missing], "come from the same model");
    }
    Ok(())
}

#[test]
fn a_layer_more_than_the_weights_have_is_a_missing_tensor() -> Result {
    let said = refusal("bert", |folder| set(&folder.join("config.json"), "/num_hidden_layers", json!(3)))?;
    assert_says(&said, &["has no tensor bert.encoder.layer.2."], "come from the same model");
    Ok(())
}

#[test]
fn sizes_that_do_not_divide_are_refused() -> Result {
    for heads in [0, 3, -4] {
        let says = format!("its {heads} attention heads do not divide its hidden_size");
        for (model, pointer) in [
            ("clip", "/text_config/num_attention_heads"),
            ("clip", "/vision_config/num_attention_heads"),
            ("bert", "/num_attention_heads"),
        ] {
            let said = refusal(model, |folder| set(&folder.join("config.json"), pointer, json!(heads)))?;
            assert_says(&said, &["config.json", &says], "");
        }
    }
    for patch in [0, -8, 33] {
        let pointer = "/vision_config/patch_size";
        let said = refusal("clip", |folder| set(&folder.join("config.json"), pointer, json!(patch)))?;
        assert_says(&said, &["config.json", &format!("its patch_size is {patch}, its image_size 32")], "");
    }
    Ok(())
}

#[test]
fn files_that_are_missing_are_named() -> Result {
    for file in ["config.json", "tokenizer.json"] {
        let said = refusal("clip", |folder| Ok(fs::remove_file(folder.join(file))?))?;
        assert_says(&said, &["has no ", file], "Hugging Face model folder");
    }
    Ok(())
}

#[test]
fn a_tokenizer_of_another_model_is_refused() -> Result {
    let other = golden("clip").join("tokenizer.json");
    let said = refusal("bert", |folder| Ok(fs::copy(&other, folder.join("tokenizer.json")).map(|_| ())?))?;
    assert_says(&said, &["tokenizer.json has 604 tokens", "do not belong together"], "copy tokenizer.json");
    Ok(())
}

#[test]
fn an_unknown_architecture_is_named() -> Result {
    let said = refusal("clip", |folder| set(&folder.join("config.json"), "/model_type", json!("t5")))?;
    assert_says(&said, &["config.json", "model_type \"t5\"", "expected one of bert, clip, "], "");
    Ok(())
}

#[test]
fn files_that_are_not_what_their_names_say_are_refused() -> Result {
    for file in ["config.json", "preprocessor_config.json", "tokenizer.json"] {
        let said = refusal("clip", |folder| Ok(fs::write(folder.join(file), "{ \"model_type\": ")?))?;
        assert_says(&said, &[file, "cannot be understood"], "");
    }
    for kept in [0, 4, 100, 200_000] {
        let said = refusal("clip", |folder| {
            let path = folder.join("model.safetensors");
            let bytes = fs::read(&path)?;
            Ok(fs::write(&path, &bytes[..kept])?)
        })?;
        assert_says(&said, &["model.safetensors", "cannot be understood"], "");
    }
    Ok(())
}

#[test]
fn an_index_whose_shards_are_missing_is_refused() -> Result {
    let said = refusal("clip", |folder| {
        fs::remove_file(folder.join("model.safetensors"))?;
        let index = json!({ "weight_map": { "text_projection.weight": "model-00001-of-00002.safetensors" } });
        Ok(fs::write(folder.join("model.safetensors.index.json"), index.to_string())?)
    })?;
    let words = ["model.safetensors.index.json", "names 1 files", "model-00001-of-00002.safetensors is not there"];
    assert_says(&said, &words, "all files of the model");
    Ok(())
}

#[test]
fn weights_in_several_files_give_the_same_features() -> Result {
    let folder = tempfile::tempdir()?;
    copy_folder(&golden("bert"), folder.path())?;
    let checkpoint = Checkpoint::open(folder.path())?;
    fs::remove_file(folder.path().join("model.safetensors"))?;
    let mut map = serde_json::Map::new();
    let mut parts = [BTreeMap::new(), BTreeMap::new()];
    for (at, name) in checkpoint.names().enumerate() {
        map.insert(name.to_owned(), json!(format!("model-{}.safetensors", at % 2)));
        parts[at % 2].insert(name.to_owned(), checkpoint.tensor(name)?);
    }
    for (at, part) in parts.iter().enumerate() {
        fs::write(folder.path().join(format!("model-{at}.safetensors")), save(part, "format", "pt")?)?;
    }
    fs::write(folder.path().join("model.safetensors.index.json"), json!({ "weight_map": map }).to_string())?;
    let embed = |folder: &Path| -> Result<Vec<f32>> {
        let teacher = Teacher::open(folder, Device::Cpu, Dtype::F32)?;
        let text = teacher.text.as_ref().ok_or("no text encoder")?.tokenizer.encode("is the red circle there?")?;
        Ok(teacher.embed_texts(&[&text], false)?.0)
    };
    assert_eq!(embed(folder.path())?, embed(&golden("bert"))?);
    Ok(())
}

/// The fingerprint of a changed copy of golden clip, computed in f32 and stored as f16 like the original.
fn fingerprint(change: impl Fn(&Path) -> Result) -> Result<String> {
    let folder = tempfile::tempdir()?;
    copy_folder(&golden("clip"), folder.path())?;
    change(folder.path())?;
    Ok(Teacher::open(folder.path(), Device::Cpu, Dtype::F32)?.fingerprint(Dtype::F16))
}

#[test]
fn the_fingerprint_changes_with_whatever_decides_the_numbers() -> Result {
    let original = Teacher::open(&golden("clip"), Device::Cpu, Dtype::F32)?;
    let mut seen = vec![original.fingerprint(Dtype::F16)];
    let mut must_be_new = |what: &str, fingerprint: String| {
        assert!(!seen.contains(&fingerprint), "{what}: {fingerprint} again");
        seen.push(fingerprint);
    };
    must_be_new("stored as f32", original.fingerprint(Dtype::F32));
    must_be_new("stored as bf16", original.fingerprint(Dtype::Bf16));
    for compute in [Dtype::Bf16, Dtype::F16] {
        let teacher = Teacher::open(&golden("clip"), Device::Cpu, compute)?;
        must_be_new(&format!("computed in {compute}"), teacher.fingerprint(Dtype::F16));
    }
    let flipped = fingerprint(|folder| {
        let path = folder.join("model.safetensors");
        let mut bytes = fs::read(&path)?;
        *bytes.last_mut().ok_or("no weights")? ^= 1;
        Ok(fs::write(&path, bytes)?)
    })?;
    must_be_new("one bit of the weights", flipped);
    let preprocessor = "preprocessor_config.json";
    for (file, pointer, value) in [
        (preprocessor, "/image_mean/0", json!(0.5)),
        (preprocessor, "/image_std/2", json!(0.5)),
        (preprocessor, "/size/shortest_edge", json!(40)),
        (preprocessor, "/rescale_factor", json!(0.5)),
        (preprocessor, "/do_normalize", json!(false)),
        ("config.json", "/text_config/hidden_act", json!("gelu")),
        ("config.json", "/vision_config/layer_norm_eps", json!(1e-6)),
        ("config.json", "/text_config/eos_token_id", json!(2)),
        ("tokenizer.json", "/normalizer/normalizers/2/type", json!("NFKC")),
    ] {
        let changed = fingerprint(|folder| set(&folder.join(file), pointer, value.clone()))?;
        must_be_new(&format!("{file} {pointer}"), changed);
    }
    Ok(())
}

#[test]
fn the_fingerprint_does_not_depend_on_the_folder() -> Result {
    let original = Teacher::open(&golden("clip"), Device::Cpu, Dtype::F32)?.fingerprint(Dtype::F16);
    assert_eq!(original.len(), 32, "{original}");
    assert_eq!(fingerprint(|_| Ok(()))?, original, "a copy elsewhere");
    let with_readme = fingerprint(|folder| Ok(fs::write(folder.join("README.md"), "# A copy")?))?;
    assert_eq!(with_readme, original, "a copy with a README");
    let rewritten = fingerprint(|folder| set(&folder.join("config.json"), "/model_type", json!("clip")))?;
    assert_eq!(rewritten, original, "a config written out anew");
    Ok(())
}
