"""CLIP: both towers, and each of them alone."""
import shutil

import torch
from transformers import (CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTextConfig, CLIPTextModelWithProjection,
                          CLIPTokenizerFast, CLIPVisionConfig, CLIPVisionModelWithProjection)

from .common import (FEW_IMAGES, HARD_TEXTS, ROOT, fresh, image_files, open_images, randomise, save_model, write_json,
                     write_tensors)
from .images import clip_image_processor

TINY_CLIP = ROOT / "src/demo/tiny-clip"
CLIP_TEXTS = [
    "a photo of a red circle",
    "A PHOTO OF A RED CIRCLE",
    "what is the color of the triangle?",
    "Café déjà vu, naïve façade",
    "Cafe\u0301 de\u0301ja\u0300 vu",  # the same letters with combining accents
    "İstanbul, Straße, ΣΊΣΥΦΟΣ",
    "a red circle 🔴 and an astronaut 👩\u200d🚀",
    "红色的圆形は丸い 빨간 원",
    "دائرة حمراء, עיגול אדום",
    "",
    "   many    spaces\t\tand\ntabs\u00a0here   ",
    "it's 3.14159, don't you'll we've; C++ & #42 :-)",
    "a<|endoftext|> inside <|startoftext|>the text",
    "x" * 200,
    "a very long text about a red circle and a blue triangle and a green rectangle " * 6,
]


def small_clip(hidden_act, tokenizer, text_options, seed):
    text = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
            "max_position_embeddings": 32, "vocab_size": len(tokenizer), "hidden_act": hidden_act,
            "projection_dim": 24, "bos_token_id": tokenizer.bos_token_id, "pad_token_id": tokenizer.pad_token_id,
            **text_options}
    vision = {"hidden_size": 40, "intermediate_size": 56, "num_hidden_layers": 2, "num_attention_heads": 2,
              "image_size": 32, "patch_size": 8, "hidden_act": hidden_act, "projection_dim": 24}
    return randomise(CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)), seed)


@torch.no_grad()
def make_clip(name, hidden_act, text_options, seed):
    folder = fresh(name)
    tokenizer = CLIPTokenizerFast.from_pretrained(TINY_CLIP)
    processor = clip_image_processor(32, 32)
    model = small_clip(hidden_act, tokenizer, text_options(tokenizer), seed)
    save_model(model, folder)
    processor.save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copyfile(TINY_CLIP / file, folder / file)

    encoded = tokenizer(CLIP_TEXTS, padding=True, truncation=True, return_tensors="pt")
    pixels = processor(open_images(), input_data_format="channels_last", return_tensors="pt")["pixel_values"]
    expected = {
        "input_ids": encoded["input_ids"],
        "lengths": encoded["attention_mask"].sum(dim=1),
        "text_embeds": model.get_text_features(**encoded),
        "pixel_values": pixels,
        "image_embeds": model.get_image_features(pixel_values=pixels),
    }
    if name == "clip":
        expected["text_last_hidden_state"] = model.text_model(**encoded).last_hidden_state
        expected["vision_last_hidden_state"] = model.vision_model(pixel_values=pixels).last_hidden_state
    # A text on its own must give what it gives in a padded batch.
    alone = torch.cat([model.get_text_features(**tokenizer(text, truncation=True, return_tensors="pt"))
                       for text in CLIP_TEXTS])
    assert torch.allclose(alone, expected["text_embeds"], atol=1e-5)
    write_tensors(folder / "expected.safetensors", **expected)
    write_json(folder / "cases.json", {"texts": CLIP_TEXTS, "images": image_files()})


def small_tokenizer(folder):
    for file in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copyfile(TINY_CLIP / file, folder / file)
    return CLIPTokenizerFast.from_pretrained(folder)


@torch.no_grad()
def make_clip_text():
    """`CLIPTextModelWithProjection`; without the projection's weights it is a `CLIPTextModel`, whose pooled feature is
    kept too."""
    folder = fresh("clip-text")
    tokenizer = small_tokenizer(folder)
    config = CLIPTextConfig(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
                            max_position_embeddings=32, vocab_size=len(tokenizer), projection_dim=20,
                            bos_token_id=tokenizer.bos_token_id, pad_token_id=tokenizer.pad_token_id,
                            eos_token_id=tokenizer.eos_token_id)
    model = randomise(CLIPTextModelWithProjection(config), seed=111)
    save_model(model, folder)
    encoded = tokenizer(HARD_TEXTS, padding=True, truncation=True, return_tensors="pt")
    states = model.text_model(**encoded)
    write_tensors(folder / "expected.safetensors", input_ids=encoded["input_ids"],
                  attention_mask=encoded["attention_mask"], last_hidden_state=states.last_hidden_state,
                  pooled=model(**encoded).text_embeds, pooled_unprojected=states.pooler_output)
    write_json(folder / "cases.json", {"texts": HARD_TEXTS})


@torch.no_grad()
def make_clip_vision():
    """`CLIPVisionModelWithProjection`, and what is left of it without the projection's weights. Its images are squeezed
    into the square instead of cut out of it, and bilinear."""
    folder = fresh("clip-vision")
    config = CLIPVisionConfig(hidden_size=40, intermediate_size=56, num_hidden_layers=2, num_attention_heads=2,
                              image_size=32, patch_size=8, projection_dim=24)
    model = randomise(CLIPVisionModelWithProjection(config), seed=112)
    save_model(model, folder)
    processor = CLIPImageProcessor(size={"height": 32, "width": 32}, do_center_crop=False, resample=2)
    processor.save_pretrained(folder)
    pixels = processor(open_images(FEW_IMAGES), input_data_format="channels_last", return_tensors="pt")["pixel_values"]
    states = model.vision_model(pixel_values=pixels)
    # The grid is ours: the patches through the norm that transformers gives the class token alone.
    write_tensors(folder / "expected.safetensors", pixel_values=pixels, pooled=model(pixel_values=pixels).image_embeds,
                  pooled_unprojected=states.pooler_output,
                  grid=model.vision_model.post_layernorm(states.last_hidden_state[:, 1:]))
    write_json(folder / "cases.json", {"images": FEW_IMAGES})
