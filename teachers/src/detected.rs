//! What was detected of a teacher, in words.

use retort_nn::pixels::{Filter, Preprocessing, Resize};
use retort_schemas::Store;
use serde_json::Value;

use crate::Teacher;
use crate::sides::{ImageSide, TextSide};

impl Teacher {
    /// What was detected or said, a line a part: architecture, types and fingerprint; what becomes of images; of texts; how
    /// one vector is made. All of it is in `teacher.json` too.
    pub fn detected(&self, store: impl Into<Store>) -> Vec<String> {
        let store = store.into();
        let word = |key: &str| self.identity.get(key).and_then(Value::as_str).unwrap_or("unknown");
        let (architecture, compute) = (word("architecture"), word("compute"));
        let mut lines = vec![format!(
            "{architecture}, computed in {compute}, stored as {store}, fingerprint {}",
            self.fingerprint(store)
        )];
        lines.extend(self.image.as_ref().map(of_images));
        lines.extend(self.text.as_ref().map(of_texts));
        let detail = |key: &str| self.identity.get("details").and_then(|details| details.get(key));
        let pooling = detail("pooling").and_then(Value::as_str).unwrap_or("unknown");
        let unit = detail("normalise").and_then(Value::as_bool) == Some(true);
        lines.push(format!("pooling: {pooling}, {}", if unit { "normalised to length one" } else { "not normalised" }));
        lines
    }
}

fn of_images(side: &ImageSide) -> String {
    let Preprocessing { resize, filter, mean, std, .. } = &side.preprocessing;
    let dimensions = side.width;
    let filter = match filter {
        Filter::Bicubic => "bicubic",
        Filter::Bilinear => "bilinear",
    };
    let channels = |values: &[f32; 3]| values.map(|value| value.to_string()).join(",");
    let (mean, std) = (channels(mean), channels(std));
    let size = match resize {
        Some(Resize::Patches { side, most }) => {
            let size = format!("in their own shape, at most {most} patches of {side}x{side} px, {filter}");
            return format!("images: {size}, mean {mean}, std {std}; {dimensions} dimensions, no patch grids");
        }
        Some(Resize::ShortestEdge(edge)) => format!("shorter side to {edge} px, {filter}"),
        Some(Resize::Exact([height, width])) => format!("resized to {width}x{height} px, {filter}"),
        None => "not resized".to_owned(),
    };
    let [height, width] = side.input_size();
    let [patches, patch_width] = side.grid_size();
    format!(
        "images: {size}, crop {width}x{height}, mean {mean}, std {std}; {dimensions} dimensions, {patches} patches of {patch_width}"
    )
}

fn of_texts(side: &TextSide) -> String {
    let (longest, width, token_width) = (side.tokenizer.longest(), side.width, side.token_width);
    format!("texts: at most {longest} tokens; {width} dimensions, {token_width} a token")
}
