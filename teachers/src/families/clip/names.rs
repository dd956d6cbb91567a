//! The names that OpenAI gave CLIP's tensors, which open_clip kept, for those that transformers gave them.

use retort_nn::{Form, Stored};

/// Modules outside of the layers, and single tensors: transformers' name without or with what follows a last dot.
const MODULES: [(&str, &str); 5] = [
    ("vision_model.embeddings.patch_embedding", "visual.conv1"),
    ("vision_model.pre_layrnorm", "visual.ln_pre"), // sic
    ("vision_model.post_layernorm", "visual.ln_post"),
    ("text_model.embeddings.token_embedding", "token_embedding"),
    ("text_model.final_layer_norm", "ln_final"),
];
const TENSORS: [(&str, &str, Form); 5] = [
    ("vision_model.embeddings.class_embedding", "visual.class_embedding", Form::Whole),
    ("vision_model.embeddings.position_embedding.weight", "visual.positional_embedding", Form::Whole),
    ("text_model.embeddings.position_embedding.weight", "positional_embedding", Form::Whole),
    ("visual_projection.weight", "visual.proj", Form::Transposed),
    ("text_projection.weight", "text_projection", Form::Transposed),
];
/// Where layers are, `0.` and so on.
const LAYERS: [(&str, &str); 2] = [
    ("vision_model.encoder.layers.", "visual.transformer.resblocks."),
    ("text_model.encoder.layers.", "transformer.resblocks."),
];
/// Modules of a layer.
const PARTS: [(&str, &str); 5] = [
    ("layer_norm1", "ln_1"),
    ("layer_norm2", "ln_2"),
    ("mlp.fc1", "mlp.c_fc"),
    ("mlp.fc2", "mlp.c_proj"),
    ("self_attn.out_proj", "attn.out_proj"),
];
/// Those of which one tensor holds all three, one behind the other.
const PROJECTIONS: [(&str, i64); 3] = [("self_attn.q_proj", 0), ("self_attn.k_proj", 1), ("self_attn.v_proj", 2)];

/// Where the tensor that [`ClipVision`](super::ClipVision) and [`ClipText`](super::ClipText) ask for is stored.
pub(crate) fn stored(name: &str) -> Stored {
    if let Some((_, stored, form)) = TENSORS.iter().find(|(ours, ..)| *ours == name) {
        return Stored { name: (*stored).to_owned(), form: *form };
    }
    if let Some((layers, rest)) = LAYERS.iter().find_map(|(ours, theirs)| Some((theirs, name.strip_prefix(ours)?))) {
        return in_layer(layers, rest).unwrap_or_else(|| Stored::whole(name));
    }
    let (module, tensor) = name.rsplit_once('.').unwrap_or((name, ""));
    let module = MODULES.iter().find(|(ours, _)| *ours == module);
    Stored::whole(module.map_or_else(|| name.to_owned(), |(_, theirs)| format!("{theirs}.{tensor}")))
}

/// `0.self_attn.q_proj.weight` below the layers.
fn in_layer(layers: &str, rest: &str) -> Option<Stored> {
    let (layer, rest) = rest.split_once('.')?;
    let (module, tensor) = rest.rsplit_once('.')?;
    if let Some((_, part)) = PROJECTIONS.iter().find(|(ours, _)| *ours == module) {
        return Some(Stored { name: format!("{layers}{layer}.attn.in_proj_{tensor}"), form: Form::Third(*part) });
    }
    let (_, theirs) = PARTS.iter().find(|(ours, _)| *ours == module)?;
    Some(Stored::whole(format!("{layers}{layer}.{theirs}.{tensor}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_openai() {
        for (ours, theirs) in [
            ("vision_model.embeddings.patch_embedding.weight", "visual.conv1.weight"),
            (
                "vision_model.encoder.layers.11.self_attn.k_proj.bias",
                "visual.transformer.resblocks.11.attn.in_proj_bias (part 2 of 3)",
            ),
            ("text_model.encoder.layers.0.mlp.fc2.weight", "transformer.resblocks.0.mlp.c_proj.weight"),
            ("text_projection.weight", "text_projection (transposed)"),
            ("text_model.final_layer_norm.bias", "ln_final.bias"),
            ("another.weight", "another.weight"),
        ] {
            assert_eq!(stored(ours).to_string(), theirs);
        }
    }
}
