//! Where a student starts from a checkpoint: `student.from`, a folder in Hugging Face layout.

use std::path::Path;

use retort_nn::{Checkpoint, Weights};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tch::Device;

use super::{ClipGrid, Uniter, Vilt, VisualBert};
use crate::recipe::{self, Recipe, StudentKind};
use crate::{Error, Result};

/// The weights that training begins with: fresh, or those of `student.from` with a head of its own.
pub(crate) fn first_weights(recipe: &Recipe, device: Device) -> Result<Weights> {
    let Some(from) = &recipe.student.from else { return Ok(Weights::fresh(recipe.seed, device)) };
    let names = match recipe.student.kind {
        StudentKind::VisualBert => VisualBert::TASK_NAMES,
        StudentKind::Uniter | StudentKind::Villa => Uniter::TASK_NAMES,
        StudentKind::Vilt => Vilt::TASK_NAMES,
        StudentKind::ClipGrid => ClipGrid::TASK_NAMES,
    };
    // The distillation heads and the head of the stage `mlm` are no part of any student.
    let new = [names, &["distil.", "mlm."]].concat();
    Ok(Weights::started_from(Checkpoint::open(from)?, recipe.seed, &new, device))
}

/// The config of the folder that a student starts from, which has to fit the recipe (whose sizes the distillation heads
/// have too), the tokenizer and the data set; none where it starts from scratch. `visual` is the size that decides how an
/// image is read, a patch's side or a region feature's width: recipe key, name in the config, and what it has to be.
pub(super) fn config<C: DeserializeOwned>(
    size: &recipe::Student,
    vocabulary: i64,
    visual: (&'static str, &str, i64),
) -> Result<Option<C>> {
    let Some(from) = &size.from else { return Ok(None) };
    let path = from.join("config.json");
    let malformed = |error: serde_json::Error| Error::Run { path: path.clone(), problem: error.to_string() };
    let mut json: Value = serde_json::from_str(&retort_cache::read_text(&path)?).map_err(malformed)?;
    let model = match size.kind {
        StudentKind::Vilt => Some("vilt"),
        StudentKind::ClipGrid => Some("retort-clip-grid"),
        // The names of its tensors tell.
        StudentKind::VisualBert | StudentKind::Uniter | StudentKind::Villa => None,
    };
    let found = json.get("model_type").and_then(Value::as_str);
    if let (Some(model), Some(found)) = (model, found.filter(|found| Some(*found) != model)) {
        let kind = size.kind;
        let problem = format!("names a model of type {found:?} ({}), and {kind} starts from {model:?}", path.display());
        return Err(Error::Setting { key: "student.from", problem });
    }
    // UNITER's own configs leave the width of a region to their code; the weights tell whether it is the right one.
    if let Some(json) = json.as_object_mut() {
        json.entry(visual.1).or_insert(visual.2.into());
    }
    let of = |name: &str| json.get(name).and_then(Value::as_i64);
    for (key, name, expected) in [
        ("student.hidden", "hidden_size", size.hidden),
        ("student.layers", "num_hidden_layers", size.layers),
        ("student.heads", "num_attention_heads", size.heads),
        visual,
    ] {
        if of(name) != Some(expected) {
            return Err(differs(key, &path, name, &expected.to_string(), of(name)));
        }
    }
    for (key, name, least) in [
        ("student.tokenizer", "vocab_size", vocabulary),
        ("student.text_tokens", "max_position_embeddings", size.text_tokens as i64),
    ] {
        if of(name).is_none_or(|found| found < least) {
            return Err(differs(key, &path, name, &format!("at least {least}"), of(name)));
        }
    }
    serde_json::from_value(json).map(Some).map_err(malformed)
}

fn differs(key: &'static str, path: &Path, name: &str, expected: &str, found: Option<i64>) -> Error {
    let found = found.map_or("nothing".to_owned(), |found| found.to_string());
    let problem = format!("asks for {name} {expected}, and {} says {found}", path.display());
    Error::Setting { key, problem }
}
