//! BERT, MiniLM, and what is the same for BERT and CLIP.

use std::fs;

use retort_schemas::Dtype;
use retort_teachers::Teacher;
use retort_teachers::nn::{Checkpoint, Encoded};
use serde_json::Value;
use tch::{Device, Kind};

use super::{BATCHED, BF16, Case, F32, assert_near, assert_same_ids, embed, expected_ids, floats, text_side};
use crate::support::{Result, demo, golden};

#[test]
fn bert_tokens_and_features_are_those_of_transformers() -> Result {
    let case = Case::open("bert")?;
    let teacher = case.teacher(Dtype::F32)?;
    let encoded = case.encoded(&teacher)?;
    let mask = case.expected.tensor("attention_mask")?;
    let lengths: Vec<i64> = Vec::try_from(mask.f_sum_dim_intlist([1_i64].as_slice(), false, Kind::Int64)?)?;
    let lengths = lengths.into_iter().map(usize::try_from).collect::<Result<Vec<_>, _>>()?;
    assert_same_ids(&case, &encoded, &expected_ids(&case, &lengths)?)?;
    let cut: Vec<bool> = encoded.iter().map(|text| text.truncated).collect();
    assert_eq!(cut, [false, false, false, false, false, false, true], "only the last text is longer than 24 tokens");

    let (pooled, tokens) = embed(&teacher, &encoded)?;
    let (expected, width) = case.rows("pooler_output")?;
    assert_near("bert texts", &pooled, &expected, width, F32);
    let (expected, width) = case.content_rows("last_hidden_state", &encoded)?;
    assert_near("bert tokens", &tokens, &expected, width, F32);
    Ok(())
}

#[test]
fn a_text_gives_the_same_alone_and_in_a_batch() -> Result {
    for name in ["clip", "clip-legacy", "bert"] {
        let case = Case::open(name)?;
        let teacher = case.teacher(Dtype::F32)?;
        let side = text_side(&teacher)?;
        let encoded = case.encoded(&teacher)?;
        let (pooled, tokens) = embed(&teacher, &encoded)?;
        let (mut pooled_alone, mut tokens_alone) = (Vec::new(), Vec::new());
        for text in encoded.chunks(1) {
            let (pooled, tokens) = embed(&teacher, text)?;
            pooled_alone.extend(pooled);
            tokens_alone.extend(tokens);
        }
        assert_near(&format!("{name} texts, alone"), &pooled_alone, &pooled, side.width, BATCHED);
        assert_near(&format!("{name} tokens, alone"), &tokens_alone, &tokens, side.token_width, BATCHED);
    }
    Ok(())
}

#[test]
fn features_computed_in_bf16_stay_near() -> Result {
    for name in ["clip", "clip-legacy", "bert"] {
        let case = Case::open(name)?;
        let teacher = case.teacher(Dtype::Bf16)?;
        let (pooled, _) = embed(&teacher, &case.encoded(&teacher)?)?;
        let expected = if name == "bert" { "pooler_output" } else { "text_embeds" };
        let (expected, width) = case.rows(expected)?;
        assert_near(&format!("{name} texts in bf16"), &pooled, &expected, width, BF16);
        if teacher.image.is_some() {
            let (expected, width) = case.rows("image_embeds")?;
            let found = teacher.embed_pixels(&case.floats("pixel_values")?, expected.len() / width)?;
            assert_near(&format!("{name} images in bf16"), &found, &expected, width, BF16);
        }
    }
    Ok(())
}

#[test]
fn minilm_answers_as_sentence_transformers_runs_it() -> Result {
    let folder = match demo("minilm") {
        Ok(folder) => folder,
        Err(absent) => {
            eprintln!("{absent}");
            return Ok(());
        }
    };
    let inputs: Value = serde_json::from_str(&fs::read_to_string(golden("minilm.json"))?)?;
    let sentences = inputs["sentences"].as_array().ok_or("no sentences")?;
    let expected = Checkpoint::open_file(&golden("minilm.safetensors"))?;
    let embeddings = floats(&expected.tensor("embedding")?)?;
    let width = 384;

    let teacher = Teacher::open(&folder, Device::Cpu, Dtype::F32)?;
    let tokenizer = &text_side(&teacher)?.tokenizer;
    assert_eq!((tokenizer.longest(), text_side(&teacher)?.width), (256, width));
    let mut encoded = Vec::new();
    for sentence in sentences {
        let text = sentence["text"].as_str().ok_or("no text")?;
        let ids: Vec<u32> = serde_json::from_value(sentence["input_ids"].clone())?;
        let found = tokenizer.encode(text)?;
        assert_eq!(found.ids, ids, "tokens of {text:?}");
        assert_eq!(found.truncated, ids.len() == 256, "{text:?}");
        if let Some(offsets) = sentence.get("byte_offsets") {
            let offsets: Vec<(u32, u32)> = serde_json::from_value(offsets.clone())?;
            let spans = found.spans.iter().zip(&found.special).filter(|(_, special)| !**special);
            assert_eq!(spans.map(|(span, _)| *span).collect::<Vec<_>>(), offsets, "spans of {text:?}");
        }
        encoded.push(found);
    }

    let batch: Vec<&Encoded> = encoded.iter().collect();
    let (pooled, tokens) = teacher.embed_texts(&batch, true)?;
    assert_near("minilm", &pooled, &embeddings, width, F32);
    let mut with_tokens = 0;
    for (sentence, tokens) in tokens.iter().enumerate() {
        let name = format!("tokens_{sentence}");
        assert_eq!(expected.has(&name), sentences[sentence].get("byte_offsets").is_some(), "{name}");
        if expected.has(&name) {
            assert_near(&format!("minilm {name}"), tokens, &floats(&expected.tensor(&name)?)?, width, F32);
            with_tokens += 1;
        }
    }
    assert_eq!(with_tokens, 3);

    let teacher = Teacher::open(&folder, Device::Cpu, Dtype::Bf16)?;
    let (pooled, _) = teacher.embed_texts(&batch, false)?;
    assert_near("minilm in bf16", &pooled, &embeddings, width, BF16);
    Ok(())
}
