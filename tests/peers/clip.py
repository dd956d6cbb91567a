"""A CLIP of random weights, of its real size: what costs do not depend on."""

import json
import pathlib
import shutil

ROOT = pathlib.Path(__file__).resolve().parents[2]


# What `CLIPConfig()` does not have of itself.
VISION = {
    "b32": {},
    "l14": {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16, "patch_size": 14,
            "projection_dim": 768},
}


def random_clip(folder, size="b32"):
    """A CLIP ViT-B/32 or ViT-L/14 of random weights with the small CLIP's vocabulary, the text tower that of ViT-B/32."""
    import torch
    import transformers

    tiny = ROOT / "src/demo/tiny-clip"
    text = json.loads((tiny / "config.json").read_text())["text_config"]
    kept = {key: text[key] for key in ("vocab_size", "bos_token_id", "eos_token_id", "pad_token_id") if key in text}
    torch.manual_seed(1)
    vision = VISION[size]
    config = transformers.CLIPConfig(text_config=kept, vision_config=vision,
                                     projection_dim=vision.get("projection_dim", 512))
    transformers.CLIPModel(config).save_pretrained(folder)
    settings = json.loads((tiny / "preprocessor_config.json").read_text())
    settings |= {"size": {"shortest_edge": 224}, "crop_size": {"height": 224, "width": 224}}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(tiny / name, folder)
