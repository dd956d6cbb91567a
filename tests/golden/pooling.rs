//! Sentence-transformers folders. What they do is simple sums over the last hidden state, taken here anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use retort_schemas::Dtype;
use retort_teachers::Teacher;
use retort_teachers::nn::save;
use serde_json::{Value, json};
use tch::{Device, Tensor};

use super::{Case, F32, assert_near, embed, text_side};
use crate::support::{Result, copy_folder, golden};

const WIDTH: usize = 32;

/// The golden BERT as sentence-transformers keeps it: `modules.json` with these modules after the pooling, of a mode.
fn sentences(folder: &Path, mode: &str, after: &[(&str, &str)]) -> Result {
    copy_folder(&golden("bert"), folder)?;
    let class = |name: &str| format!("sentence_transformers.models.{name}");
    let mut modules = vec![
        json!({ "idx": 0, "name": "0", "path": "", "type": class("Transformer") }),
        json!({ "idx": 1, "name": "1", "path": "1_Pooling", "type": class("Pooling") }),
    ];
    modules.extend(after.iter().map(|(name, path)| json!({ "path": path, "type": class(name) })));
    let off = ["cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken"];
    let mut pooling: serde_json::Map<String, Value> =
        off.iter().map(|mode| (format!("pooling_mode_{mode}"), json!(false))).collect();
    for mode in mode.split('+') {
        pooling.insert(format!("pooling_mode_{mode}"), json!(true));
    }
    fs::write(folder.join("modules.json"), json!(modules).to_string())?;
    fs::create_dir_all(folder.join("1_Pooling"))?;
    Ok(fs::write(folder.join("1_Pooling/config.json"), Value::Object(pooling).to_string())?)
}

/// The states of each text's tokens, padding left out.
fn states(case: &Case) -> Result<Vec<Vec<Vec<f32>>>> {
    let encoded = case.encoded(&case.teacher(Dtype::F32)?)?;
    let (states, width) = case.rows("last_hidden_state")?;
    let texts = states.chunks_exact(states.len() / encoded.len()).zip(&encoded);
    Ok(texts
        .map(|(states, text)| states.chunks_exact(width).take(text.ids.len()).map(<[f32]>::to_vec).collect())
        .collect())
}

/// A vector whose dimensions are made of a text's tokens in one dimension.
fn by_column(states: &[Vec<f32>], pool: impl Fn(Vec<f32>) -> f32) -> Vec<f32> {
    (0..WIDTH).map(|column| pool(states.iter().map(|row| row[column]).collect())).collect()
}

fn unit(row: Vec<f32>) -> Vec<f32> {
    let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt();
    row.iter().map(|x| x / norm).collect()
}

fn pooled(folder: &Path, case: &Case) -> Result<Vec<f32>> {
    let teacher = Teacher::open(folder, Device::Cpu, Dtype::F32)?;
    let encoded = case.encoded(&teacher)?;
    Ok(embed(&teacher, &encoded)?.0)
}

#[test]
fn a_sentence_transformers_folder_says_how_to_pool() -> Result {
    let case = Case::open("bert")?;
    let states = states(&case)?;
    let mean = |column: Vec<f32>| column.iter().sum::<f32>() / column.len() as f32;
    let root = |column: Vec<f32>| column.iter().sum::<f32>() / (column.len() as f32).sqrt();
    let max = |column: Vec<f32>| column.into_iter().fold(f32::MIN, f32::max);
    let weighted = |column: Vec<f32>| {
        let places = 1..=column.len();
        let sum = column.iter().zip(places.clone()).map(|(x, place)| x * place as f32).sum::<f32>();
        sum / places.sum::<usize>() as f32
    };
    let first = |column: Vec<f32>| column[0];
    let last = |column: Vec<f32>| column[column.len() - 1];
    type Pool<'a> = &'a dyn Fn(Vec<f32>) -> f32;
    let poolings: [(&str, Pool<'_>); 6] = [
        ("mean_tokens", &mean),
        ("cls_token", &first),
        ("max_tokens", &max),
        ("mean_sqrt_len_tokens", &root),
        ("weightedmean_tokens", &weighted),
        ("lasttoken", &last),
    ];
    let mut fingerprints = Vec::new();
    for (mode, pool) in poolings {
        for normalise in [false, true] {
            let folder = tempfile::tempdir()?;
            sentences(folder.path(), mode, if normalise { &[("Normalize", "2_Normalize")] } else { &[] })?;
            let rows = states.iter().map(|text| by_column(text, pool));
            let expected: Vec<f32> = rows.flat_map(|row| if normalise { unit(row) } else { row }).collect();
            let found = pooled(folder.path(), &case)?;
            assert_near(&format!("{mode}, normalise {normalise}"), &found, &expected, WIDTH, F32);
            fingerprints.push(Teacher::open(folder.path(), Device::Cpu, Dtype::F32)?.fingerprint(Dtype::F16));
        }
    }
    fingerprints.sort();
    fingerprints.dedup();
    assert_eq!(fingerprints.len(), 12, "each has a fingerprint of its own");
    Ok(())
}

/// A dense layer of `outputs` dimensions, and what it makes of vectors.
fn write_dense(folder: &Path, place: &str, outputs: usize, activation: &str) -> Result<Vec<f32>> {
    let at = |row: usize, column: usize| ((row * 31 + column * 17) % 13) as f32 / 13.0 - 0.5;
    let weight: Vec<f32> = (0..outputs).flat_map(|row| (0..WIDTH).map(move |column| at(row, column))).collect();
    let bias: Vec<f32> = (0..outputs).map(|row| at(row, 40)).collect();
    let tensors = BTreeMap::from([
        ("linear.weight".to_owned(), Tensor::from_slice(&weight).view([outputs as i64, WIDTH as i64])),
        ("linear.bias".to_owned(), Tensor::from_slice(&bias)),
    ]);
    let config = json!({ "in_features": WIDTH, "out_features": outputs, "bias": true,
                         "activation_function": format!("torch.nn.modules.activation.{activation}") });
    fs::create_dir_all(folder.join(place))?;
    fs::write(folder.join(place).join("config.json"), config.to_string())?;
    fs::write(folder.join(place).join("model.safetensors"), save(&tensors, "format", "pt")?)?;
    Ok([weight, bias].concat())
}

#[test]
fn a_dense_layer_comes_after_the_pooling() -> Result {
    let case = Case::open("bert")?;
    let folder = tempfile::tempdir()?;
    let modules = [("Dense", "2_Dense"), ("Normalize", "3_Normalize")];
    sentences(folder.path(), "mean_tokens", &modules)?;
    let outputs = 5;
    let layer = write_dense(folder.path(), "2_Dense", outputs, "Tanh")?;
    let mut expected = Vec::new();
    for text in states(&case)? {
        let mean = by_column(&text, |column| column.iter().sum::<f32>() / column.len() as f32);
        let dense = layer[..outputs * WIDTH].chunks_exact(WIDTH).zip(&layer[outputs * WIDTH..]);
        let row = dense.map(|(row, bias)| (row.iter().zip(&mean).map(|(w, x)| w * x).sum::<f32>() + bias).tanh());
        expected.extend(unit(row.collect()));
    }
    let teacher = Teacher::open(folder.path(), Device::Cpu, Dtype::F32)?;
    assert_eq!((text_side(&teacher)?.width, text_side(&teacher)?.token_width), (outputs, WIDTH));
    assert_near("dense", &pooled(folder.path(), &case)?, &expected, outputs, F32);
    // Its weights are part of what decides the numbers.
    let before = teacher.fingerprint(Dtype::F16);
    write_dense(folder.path(), "2_Dense", outputs, "Identity")?;
    let after = Teacher::open(folder.path(), Device::Cpu, Dtype::F32)?.fingerprint(Dtype::F16);
    assert_ne!(before, after);
    Ok(())
}

#[test]
fn texts_are_read_as_sentence_transformers_reads_them() -> Result {
    let folder = tempfile::tempdir()?;
    copy_folder(&golden("roberta"), folder.path())?;
    let encode = |text: &str| -> Result<_> {
        let teacher = Teacher::open(folder.path(), Device::Cpu, Dtype::F32)?;
        Ok((text_side(&teacher)?.tokenizer.encode(text)?, teacher.fingerprint(Dtype::F16)))
    };
    let (plain, before) = encode("  A RED circle ")?;
    fs::write(
        folder.path().join("modules.json"),
        json!([{ "path": "1_Pooling", "type": "models.Pooling" }]).to_string(),
    )?;
    fs::create_dir(folder.path().join("1_Pooling"))?;
    fs::write(folder.path().join("1_Pooling/config.json"), json!({ "pooling_mode": "cls" }).to_string())?;
    let (stripped, stripped_print) = encode("  A RED circle ")?;
    assert_eq!(stripped.ids, encode("A RED circle")?.0.ids);
    assert_ne!(stripped.ids, plain.ids);
    assert_ne!(stripped_print, before);
    // An added key of the folder's, and the texts are made lower case.
    let config = json!({ "max_seq_length": 7, "do_lower_case": true });
    fs::write(folder.path().join("sentence_roberta_config.json"), config.to_string())?;
    let text = "\u{1c}A RED circle and many more words of a text";
    let (lower, lower_print) = encode(text)?;
    assert_eq!((lower.ids.len(), lower.truncated), (7, true));
    assert_ne!(lower_print, stripped_print);
    assert_eq!(lower.ids, encode(&text.to_lowercase())?.0.ids);
    let spans = lower.spans.iter().zip(&lower.special).filter(|(_, special)| !**special);
    let words: Vec<&str> = spans.map(|((start, end), _)| &text[*start as usize..*end as usize]).collect();
    assert_eq!(words.concat(), "AREDcircleandmany", "{words:?}");
    Ok(())
}

#[test]
fn what_a_folder_asks_for_and_we_cannot_do_is_refused() -> Result {
    let refusal = |change: &dyn Fn(&Path) -> Result| -> Result<String> {
        let folder = tempfile::tempdir()?;
        sentences(folder.path(), "mean_tokens", &[])?;
        change(folder.path())?;
        Ok(Teacher::open(folder.path(), Device::Cpu, Dtype::F32).err().ok_or("it opened")?.to_string())
    };
    let says = |said: String, words: &[&str]| {
        for word in words {
            assert!(said.contains(word), "{said:?} does not say {word:?}");
        }
    };
    let said = refusal(&|folder| sentences(folder, "mean_tokens+max_tokens", &[]))?;
    says(said, &["1_Pooling", "[max, mean]", "expected one of cls, max, mean"]);
    says(refusal(&|folder| sentences(folder, "none", &[]))?, &["pooling is []"]);
    let said = refusal(&|folder| sentences(folder, "cls_token", &[("LSTM", "2_LSTM")]))?;
    says(said, &["modules.json", "LSTM", "expected Transformer, Pooling, Dense"]);
    let said = refusal(&|folder| {
        sentences(folder, "cls_token", &[("Dense", "2_Dense")])?;
        write_dense(folder, "2_Dense", 4, "Softsign").map(|_| ())
    })?;
    says(said, &["2_Dense", "Softsign", "expected Identity, Tanh"]);
    let folder = tempfile::tempdir()?;
    sentences(folder.path(), "cls_token", &[("Dense", "2_Dense")])?;
    write_dense(folder.path(), "2_Dense", 4, "Tanh")?;
    let dense = folder.path().join("2_Dense");
    fs::rename(dense.join("model.safetensors"), dense.join("pytorch_model.bin"))?;
    let error = Teacher::open(folder.path(), Device::Cpu, Dtype::F32).err().ok_or("it opened")?;
    says(error.to_string(), &["2_Dense/pytorch_model.bin is a pickle"]);
    says(error.hint().ok_or("no hint")?, &["torch.load(", "2_Dense/model.safetensors')"]);
    let said = refusal(&|folder| {
        let config = json!({ "prompts": { "query": "query: " }, "default_prompt_name": "query" });
        Ok(fs::write(folder.join("config_sentence_transformers.json"), config.to_string())?)
    })?;
    says(said, &["config_sentence_transformers.json", "default_prompt_name is \"query\""]);
    let said = refusal(&|folder| Ok(fs::write(folder.join("modules.json"), "[]")?))?;
    says(said, &["modules.json", "no module Pooling"]);
    Ok(())
}

#[test]
fn the_transformer_may_have_a_folder_of_its_own() -> Result {
    let (case, folder) = (Case::open("bert")?, tempfile::tempdir()?);
    copy_folder(&golden("bert"), &folder.path().join("0_Transformer"))?;
    let modules = json!([
        { "path": "0_Transformer", "type": "sentence_transformers.models.Transformer" },
        { "path": "1_Pooling", "type": "sentence_transformers.models.Pooling" },
    ]);
    fs::write(folder.path().join("modules.json"), modules.to_string())?;
    fs::create_dir(folder.path().join("1_Pooling"))?;
    fs::write(folder.path().join("1_Pooling/config.json"), json!({ "pooling_mode": "cls" }).to_string())?;
    let expected: Vec<f32> = states(&case)?.into_iter().flat_map(|text| text[0].clone()).collect();
    assert_near("in a folder of its own", &pooled(folder.path(), &case)?, &expected, WIDTH, F32);
    Ok(())
}
