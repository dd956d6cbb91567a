//! Which files of a repository a teacher needs.

use retort_nn::{INDEX, SINGLE};

use super::listing::Remote;
use super::{Error, HubId, Result};
use crate::layout::OPEN_CLIP_WEIGHTS;

/// Number of these rules: what was whole by others is looked at again.
pub(super) const RULES: u32 = 2;

/// Files beside the weights, in the root and in the folders of sentence-transformers' modules.
const CONFIGS: [&str; 19] = [
    "config.json",
    "config_sentence_transformers.json",
    OPEN_CLIP,
    PREPROCESSOR,
    "processor_config.json",
    "modules.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "bpe.codes",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "chat_template.jinja",
    "generation_config.json",
];
const PREPROCESSOR: &str = "preprocessor_config.json";
const OPEN_CLIP: &str = "open_clip_config.json";
const ENDING: &str = ".safetensors";
const PICKLE_ENDINGS: [&str; 4] = [".bin", ".pt", ".pth", ".ckpt"];

/// Of the files of a commit those that a teacher needs.
///
/// # Errors
/// [`Error::Pickle`] if only pickles have the weights, [`Error::NoWeights`] if nothing has.
pub(super) fn needed(id: &HubId, commit: &str, files: Vec<Remote>) -> Result<Vec<Remote>> {
    let has = |name: &str| files.iter().any(|file| file.path == name);
    let weights = Weights::of(&has);
    let weighty = |file: &&Remote| is_weights(&file.path, weights);
    let is_pickle = |file: &&Remote| PICKLE_ENDINGS.iter().any(|ending| file.path.ends_with(ending));
    // Beside safetensors it does not matter; nor does it in a folder of another purpose.
    let alone = |pickle: &&Remote| {
        let safe = |file: &Remote| folder_of(&file.path) == folder_of(&pickle.path);
        is_module(folder_of(&pickle.path)) && !files.iter().filter(weighty).any(safe)
    };
    let nothing = !files.iter().any(|file| is_weights(&file.path, weights));
    let in_root = |file: &&Remote| nothing && folder_of(&file.path).is_empty();
    let pickles = files.iter().filter(is_pickle).filter(|file| in_root(file) || alone(file));
    // There may also be the state of an optimizer.
    if let Some(pickle) = pickles.min_by_key(|file| !file.path.contains("pytorch_model")) {
        return Err(Error::Pickle { id: id.clone(), commit: commit.to_owned(), file: pickle.path.clone() });
    }
    if nothing {
        return Err(Error::NoWeights { id: id.clone(), commit: commit.to_owned(), found: names(&files) });
    }
    Ok(files.into_iter().filter(|file| is_config(&file.path) || is_weights(&file.path, weights)).collect())
}

/// The folder of a path: of one in the root, nothing.
fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Which files of the root are the weights: a repository may have the same in several forms.
#[derive(Clone, Copy)]
enum Weights {
    /// Of open_clip, where what has transformers' name is timm's and has the image tower alone.
    OpenClip,
    Single,
    Shards,
    Any,
}

impl Weights {
    fn of(has: &dyn Fn(&str) -> bool) -> Self {
        match () {
            // Models of CLIP that transformers opens come with what it does to images.
            () if has(OPEN_CLIP) && has(OPEN_CLIP_WEIGHTS) && !has(PREPROCESSOR) => Self::OpenClip,
            () if has(SINGLE) => Self::Single,
            () if has(INDEX) => Self::Shards,
            () => Self::Any,
        }
    }
}

fn is_weights(path: &str, root: Weights) -> bool {
    match (path.rsplit_once('/'), root) {
        (Some((folder, name)), _) => is_module(folder) && is_plain(name) && name.ends_with(ENDING),
        (None, Weights::OpenClip) => path == OPEN_CLIP_WEIGHTS,
        (None, Weights::Single) => path == SINGLE,
        (None, Weights::Shards) => path == INDEX || is_shard(path),
        (None, Weights::Any) => is_plain(path) && path.ends_with(ENDING) && !path.starts_with("adapter_"),
    }
}

fn is_config(path: &str) -> bool {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    // `sentence_bert_config.json`, and the same under older names.
    let sentence = name.starts_with("sentence_") && name.ends_with("_config.json") && is_plain(name);
    (folder.is_empty() || is_module(folder)) && (CONFIGS.contains(&name) || sentence)
}

/// `model-00001-of-00002.safetensors`.
fn is_shard(path: &str) -> bool {
    let numbers =
        path.strip_prefix("model-").and_then(|rest| rest.strip_suffix(ENDING)).and_then(|rest| rest.split_once("-of-"));
    let digits = |word: &str| !word.is_empty() && word.bytes().all(|c| c.is_ascii_digit());
    numbers.is_some_and(|(number, of)| digits(number) && digits(of))
}

/// A folder of sentence-transformers, such as `1_Pooling`.
fn is_module(folder: &str) -> bool {
    let parts = folder.split_once('_');
    parts.is_some_and(|(number, _)| !number.is_empty() && number.bytes().all(|c| c.is_ascii_digit()))
        && is_plain(folder)
}

/// Whether a name is safe as one, on disk and in an address.
fn is_plain(name: &str) -> bool {
    !name.starts_with('.') && name.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'.'))
}

/// The first names, for a message.
fn names(files: &[Remote]) -> String {
    let first: Vec<&str> = files.iter().take(8).map(|file| file.path.as_str()).collect();
    match (first.len(), files.len()) {
        (0, _) => "nothing".to_owned(),
        (shown, all) if shown < all => format!("{} and {} more", first.join(", "), all - shown),
        _ => first.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(paths: &[&str]) -> Result<Vec<String>> {
        let remote = |path: &&str| Remote { path: (*path).to_owned(), bytes: None, hash: None };
        let files = needed(&"a/b".parse().unwrap(), "c0", paths.iter().map(remote).collect())?;
        Ok(files.into_iter().map(|file| file.path).collect())
    }

    #[test]
    fn configs_and_safetensors_are_needed_and_nothing_else() {
        let chosen = choose(&[
            ".gitattributes",
            "README.md",
            "config.json",
            "flax_model.msgpack",
            "model.safetensors",
            "pytorch_model.bin",
            "tf_model.h5",
            "vocab.txt",
            "tokenizer.json",
            "onnx/model.onnx",
            "onnx/config.json",
            "model.fp16.safetensors",
            "sentence_bert_config.json",
            "modules.json",
            "1_Pooling/config.json",
            "2_Dense/model.safetensors",
            "2_Dense/config.json",
            "2_Dense/pytorch_model.bin",
            "open_clip_model.safetensors",
            "model-00001-of-00002.safetensors",
        ]);
        let expected = [
            "config.json",
            "model.safetensors",
            "vocab.txt",
            "tokenizer.json",
            "sentence_bert_config.json",
            "modules.json",
            "1_Pooling/config.json",
            "2_Dense/model.safetensors",
            "2_Dense/config.json",
        ];
        assert_eq!(chosen.unwrap(), expected);
    }

    #[test]
    fn weights_are_one_file_or_shards_or_what_there_is() {
        let shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", INDEX];
        assert_eq!(choose(&shards).unwrap(), shards);
        for one in ["open_clip_model.safetensors", "0_CLIPModel/model.safetensors"] {
            assert_eq!(choose(&["README.md", one]).unwrap(), [one]);
        }
    }

    #[test]
    fn of_a_model_in_two_layouts_one_is_needed() {
        let timm = ["config.json", OPEN_CLIP, OPEN_CLIP_WEIGHTS];
        assert_eq!(choose(&[&timm[..], &[SINGLE, "open_clip_pytorch_model.bin"]].concat()).unwrap(), timm);
        let both = ["config.json", OPEN_CLIP, PREPROCESSOR, SINGLE];
        assert_eq!(choose(&[&both[..], &[OPEN_CLIP_WEIGHTS]].concat()).unwrap(), both);
        let pickled = ["config.json", OPEN_CLIP, PREPROCESSOR, OPEN_CLIP_WEIGHTS];
        assert_eq!(choose(&[&pickled[..], &["pytorch_model.bin"]].concat()).unwrap(), pickled);
    }

    #[test]
    fn pickles_alone_are_refused() {
        let refused = choose(&["config.json", "pytorch_model.bin"]).unwrap_err();
        let (said, hint) = (refused.to_string(), refused.hint().unwrap());
        assert!(
            said.contains("pytorch_model.bin of a/b at c0 is a pickle") && hint.contains("save_pretrained"),
            "{said} {hint}"
        );
        let refused = choose(&["optimizer.pt", "pytorch_model.bin"]).unwrap_err().to_string();
        assert!(refused.starts_with("pytorch_model.bin"), "{refused}");
        for (files, pickle, safe) in [
            (
                &["model.safetensors", "2_Dense/config.json", "2_Dense/pytorch_model.bin"][..],
                2,
                "b/2_Dense/model.safetensors",
            ),
            (&[OPEN_CLIP, "open_clip_pytorch_model.bin"], 1, "b/open_clip_model.safetensors"),
        ] {
            let refused = choose(files).unwrap_err();
            let (said, hint) = (refused.to_string(), refused.hint().unwrap());
            assert!(said.contains(&format!("{} of a/b at c0 is a pickle", files[pickle])), "{said}");
            assert!(hint.contains("hf download a/b --revision c0") && hint.contains(&format!("'{safe}')")), "{hint}");
        }
        let refused = choose(&["README.md", "adapter_model.safetensors"]).unwrap_err().to_string();
        assert!(refused.contains("has no weights") && refused.contains("README.md"), "{refused}");
    }

    #[test]
    fn no_path_leads_out_of_the_snapshot() {
        for path in [
            "../model.safetensors",
            "/model.safetensors",
            "..safetensors",
            "1_../../model.safetensors",
            "1_a b/config.json",
            "1_Pooling/../config.json",
            "1_Pooling/..safetensors",
            "x?y.safetensors",
        ] {
            assert_eq!(choose(&["model.safetensors", path]).unwrap(), ["model.safetensors"], "{path}");
            assert!(choose(&[path]).is_err(), "{path}");
        }
    }
}
