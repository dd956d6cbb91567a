#!/usr/bin/env python3
"""Makes the golden files under tests/data/golden: small models with random weights, and what the reference
implementations (transformers, tokenizers, Pillow) answer for fixed texts and images.

    pip install -r tests/py/requirements.txt
    python3 src/demo/fetch.py                         once: the easy-VQA images and the MiniLM model
    python3 tests/py/make_goldens.py                  make all of them
    python3 tests/py/make_goldens.py clip bert        only these (images, clip, clip-legacy, bert, minilm, preprocess,
                                                      vilt, vilt-mlm, visualbert, uniter)

Made with Python 3.11, torch 2.11.0, transformers 4.57.1, tokenizers 0.22.2, safetensors 0.8.0, pillow 13.0.0 and numpy
2.4.6; anything else is refused, because the files are the word of these versions. tests/data/golden/README.md says what
each file is the witness of.
"""
import json, os, pathlib, shutil, sys

import numpy as np
import PIL
import safetensors
import tokenizers
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (BertConfig, BertForSequenceClassification, BertModel, BertTokenizerFast, CLIPConfig,
                          CLIPImageProcessor, CLIPModel, CLIPTokenizerFast, ViltConfig, ViltForMaskedLM,
                          ViltForQuestionAnswering,                          VisualBertConfig, VisualBertForMultipleChoice, VisualBertForQuestionAnswering,
                          VisualBertForVisualReasoning)

import uniter

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests/data/golden"
IMAGES = GOLDEN / "images"
TINY_CLIP = ROOT / "src/demo/tiny-clip"
DEMO = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "retort/demo"

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
BERT_TEXTS = [
    "the red circle",
    "Is there a BLUE triangle in the image?",
    "Café déjà vu",
    "unknownish words, unaffable",
    "红色 ok 🔴",
    "",
    "what is the color of the shape in the image, and is the shape not a rectangle, or is it a circle?",
]
MINILM_TEXTS = [
    "A man is playing a guitar on stage.",
    "The cat sat on the mat, didn't it?",
    "What is the color of the triangle?",
    "Café déjà vu: naïve façade, Zürich, São Paulo.",
    "Cafe\u0301 with a combining accent",
    "I love 🍕 and 🔴 circles 👩\u200d🚀!",
    "红色的圆形 is a red circle; 日本語も 한국어도.",
    "دائرة حمراء and עיגול אדום",
    "",
    "   Many   spaces\tand\nlines   ",
    "Antidisestablishmentarianism versus pneumonoultramicroscopicsilicovolcanoconiosis, 3.14159 %.",
    "Two dogs run through the tall grass while a child in a yellow coat watches them from the gate. " * 20,
]
MINILM_TOKEN_TEXTS = [1, 5, 6]  # those whose token states are kept too


def assert_versions():
    assert torch.__version__.split("+")[0] == "2.11.0", torch.__version__
    assert transformers.__version__ == "4.57.1", transformers.__version__
    assert tokenizers.__version__ == "0.22.2", tokenizers.__version__
    assert safetensors.__version__ == "0.8.0", safetensors.__version__
    assert PIL.__version__ == "13.0.0", PIL.__version__
    assert np.__version__ == "2.4.6", np.__version__


def fresh(name):
    folder = GOLDEN / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def write_json(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def write_tensors(path, **tensors):
    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, path)
    path.chmod(0o644)


def save_model(model, folder):
    model.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)


@torch.no_grad()
def randomise(model, seed):
    """Weights large enough that every part of the model shows in its outputs, layer norms and biases included."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if name == "logit_scale":
            continue
        parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
        if "norm" in name.lower() and name.endswith("weight"):
            parameter.add_(1.0)
    return model.eval()


def image_files():
    return sorted(path.name for path in IMAGES.glob("*.png"))


def open_images():
    return [Image.open(IMAGES / name) for name in image_files()]


def clip_image_processor(edge, crop, **options):
    """The slow, Pillow-backed processor; the fast one resizes with torch and differs by a few grey levels.

    Its calls below name the input's data format: by itself it takes an image 3 pixels high for one with channels first.
    """
    return CLIPImageProcessor(size={"shortest_edge": edge}, crop_size={"height": crop, "width": crop}, **options)


# ---- images ----------------------------------------------------------------------------------------------------------


def scene(rows, columns, seed):
    """A smooth colour gradient with hard-edged blocks and a little noise, as [rows, columns, 3] bytes."""
    chance = np.random.default_rng(seed)
    y, x = np.mgrid[0:rows, 0:columns]
    base = np.stack([255 * x / columns, 255 * y / rows, 127 + 127 * np.sin((x + 2 * y) / 7)], axis=-1)
    for _ in range(4):
        top, left = chance.integers(rows), chance.integers(columns)
        base[top:top + rows // 3 + 1, left:left + columns // 3 + 1] = chance.integers(0, 256, 3)
    return np.clip(base + chance.normal(0, 6, base.shape), 0, 255).astype(np.uint8)


def make_images():
    fresh("images")
    rgb = lambda rows, columns, seed: Image.fromarray(scene(rows, columns, seed))
    made = {
        "wide": rgb(41, 97, 1),
        "tall": rgb(120, 33, 2),
        "tiny": rgb(3, 5, 3),  # 5 wide, 3 high
        "grey": rgb(50, 61, 4).convert("L"),
        "bilevel": rgb(37, 45, 5).convert("1"),
        "palette": rgb(48, 70, 6).quantize(32),
    }
    alpha = np.mgrid[0:40, 0:52][1] * 5 % 256
    made["rgba"] = Image.fromarray(np.dstack([scene(40, 52, 7), alpha.astype(np.uint8)]))
    made["grey-alpha"] = Image.merge("LA", (Image.fromarray(scene(40, 52, 8)).convert("L"), made["rgba"].split()[3]))
    # 16-bit grey, from black to 510: Pillow's convert("RGB") clips at 255 and does not scale down.
    made["grey16"] = Image.fromarray((np.asarray(rgb(36, 36, 9).convert("L")).astype(np.uint16) * 2))
    for name, image in made.items():
        image.save(IMAGES / f"{name}.png", optimize=True)
    transparent = rgb(30, 44, 10).quantize(16)
    transparent.save(IMAGES / "palette-transparent.png", optimize=True, transparency=3)
    for number in (0, 1):  # two real ones
        shutil.copyfile(DEMO / f"easy-vqa/train/{number}.png", IMAGES / f"easyvqa-{number}.png")
    with Image.open(IMAGES / "easyvqa-1.png") as real:
        real.convert("RGB").resize((150, 110), Image.Resampling.BICUBIC).save(IMAGES / "easyvqa-1-large.png",
                                                                              optimize=True)


def make_preprocess():
    folder = fresh("preprocess")
    settings, expected = [(32, 32), (24, 24), (64, 48)], {}
    for edge, crop in settings:
        processor = clip_image_processor(edge, crop, do_rescale=False, do_normalize=False)
        for name, image in zip(image_files(), open_images()):
            pixels = processor(image, return_tensors="np", input_data_format="channels_last",
                               data_format="channels_last")["pixel_values"][0]
            assert pixels.dtype == np.uint8 and pixels.shape == (crop, crop, 3), (name, pixels.dtype, pixels.shape)
            expected[f"{name}/{edge}-{crop}"] = torch.from_numpy(pixels)
    write_tensors(folder / "expected.safetensors", **expected)
    write_json(folder / "cases.json", {
        "images": image_files(),
        "settings": [{"shortest_edge": edge, "crop": crop} for edge, crop in settings],
        "name": "{image}/{shortest_edge}-{crop}",
    })


# ---- CLIP ------------------------------------------------------------------------------------------------------------


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


# ---- BERT and MiniLM -------------------------------------------------------------------------------------------------


def wordpiece_tokenizer(max_length):
    letters = "abcdefghijklmnopqrstuvwxyz"
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *("##" + letter for letter in letters),
                  *"?,.!'-", "the", "is", "there", "not", "red", "blue", "green", "circle", "triangle", "rectangle",
                  "in", "image", "what", "color", "of", "shape", "and", "cafe", "deja", "un", "##known", "##ish", "##aff",
                  "##able", "word", "红", "ok"]
    tokenizer = Tokenizer(models.WordPiece({word: n for n, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return BertTokenizerFast(tokenizer_object=tokenizer, model_max_length=max_length)


@torch.no_grad()
def make_bert():
    folder = fresh("bert")
    tokenizer = wordpiece_tokenizer(max_length=24)
    config = BertConfig(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
                        intermediate_size=48, max_position_embeddings=24, num_labels=3)
    # With a classifier on top, so that the encoder's keys start with "bert.", as in most published checkpoints.
    model = randomise(BertForSequenceClassification(config), seed=303)
    save_model(model, folder)
    tokenizer.save_pretrained(folder)
    (folder / "vocab.txt").unlink(missing_ok=True)
    encoded = tokenizer(BERT_TEXTS, padding=True, truncation=True, return_tensors="pt")
    outputs = model.bert(**encoded)
    write_tensors(folder / "expected.safetensors", input_ids=encoded["input_ids"],
                  attention_mask=encoded["attention_mask"], last_hidden_state=outputs.last_hidden_state,
                  pooler_output=outputs.pooler_output)
    write_json(folder / "cases.json", {"texts": BERT_TEXTS})


@torch.no_grad()
def make_minilm():
    """What sentence-transformers does with all-MiniLM-L6-v2: cut at 256 tokens, mean over tokens, unit length."""
    model = BertModel.from_pretrained(DEMO / "minilm").eval()
    tokenizer = Tokenizer.from_file(str(DEMO / "minilm/tokenizer.json"))
    tokenizer.no_padding()  # the file asks for 128 tokens, padded; sentence_bert_config.json overrides it with 256
    tokenizer.enable_truncation(json.loads((DEMO / "minilm/sentence_bert_config.json").read_text())["max_seq_length"])
    sentences, embeddings, tensors = [], [], {}
    for number, text in enumerate(MINILM_TEXTS):
        encoding = tokenizer.encode(text)
        states = model(input_ids=torch.tensor([encoding.ids])).last_hidden_state[0]
        embeddings.append(torch.nn.functional.normalize(states.mean(dim=0), dim=0))
        sentences.append({"text": text, "input_ids": encoding.ids})
        if number in MINILM_TOKEN_TEXTS:
            kept = [n for n, special in enumerate(encoding.special_tokens_mask) if not special]
            in_bytes = lambda place: len(text[:place].encode("utf-8"))  # tokenizers counts characters in Python
            sentences[-1]["byte_offsets"] = [[in_bytes(place) for place in encoding.offsets[n]] for n in kept]
            tensors[f"tokens_{number}"] = states[kept]
    write_tensors(GOLDEN / "minilm.safetensors", embedding=torch.stack(embeddings), **tensors)
    (GOLDEN / "minilm.json").write_text(json.dumps({"sentences": sentences}, ensure_ascii=False) + "\n",
                                        encoding="utf-8")


# ---- ViLT ------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def make_vilt():
    folder = fresh("vilt")
    answers = ["yes", "no", "red", "circle", "2"]
    config = ViltConfig(vocab_size=60, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
                        image_size=32, patch_size=8, max_position_embeddings=20, hidden_act="gelu",
                        id2label=dict(enumerate(answers)), label2id={answer: n for n, answer in enumerate(answers)})
    model = randomise(ViltForQuestionAnswering(config), seed=404)
    save_model(model, folder)

    generator = torch.Generator().manual_seed(405)
    input_ids = torch.randint(4, 60, (2, 9), generator=generator)
    attention_mask = torch.ones_like(input_ids)
    input_ids[1, 6:], attention_mask[1, 6:] = 0, 0
    inputs = {"input_ids": input_ids, "attention_mask": attention_mask,
              "pixel_values": torch.randn(2, 3, 32, 32, generator=generator)}

    expected = vilt_states(model.vilt, inputs)
    expected["logits"] = model.classifier(expected["pooler_output"])
    assert torch.allclose(model(**inputs).logits, expected["logits"], atol=1e-5)
    # An image of 6 x 6 patches, where the config says 4 x 4: the positions of the patches are interpolated.
    large = {**inputs, "pixel_values": torch.randn(2, 3, 48, 48, generator=generator)}
    large_states = vilt_states(model.vilt, large)
    write_tensors(folder / "expected.safetensors", **inputs, **expected, large_pixel_values=large["pixel_values"],
                  large_logits=model.classifier(large_states["pooler_output"]),
                  large_text_last_hidden_state=large_states["text_last_hidden_state"])


def vilt_states(model, inputs):
    """ViLT shuffles the patches; only what does not depend on their order is kept."""
    def states(seed):
        torch.manual_seed(seed)
        encoded = model(**inputs)
        return {"pooler_output": encoded.pooler_output,
                "text_last_hidden_state": encoded.last_hidden_state[:, :inputs["input_ids"].shape[1]]}

    expected = states(1)
    for name, other in states(2).items():
        assert torch.allclose(expected[name], other, atol=1e-5), name
    return expected


@torch.no_grad()
def make_vilt_mlm():
    """A pretrained ViLT as it is published: no classifier, its tokenizer as a vocab.txt; in two files of weights."""
    folder = fresh("vilt-mlm")
    entries = wordpiece_tokenizer(max_length=20).get_vocab()
    config = ViltConfig(vocab_size=len(entries), hidden_size=24, num_hidden_layers=2, num_attention_heads=2,
                        intermediate_size=36, image_size=24, patch_size=8, max_position_embeddings=20)
    model = randomise(ViltForMaskedLM(config), seed=414)
    model.save_pretrained(folder, max_shard_size="40KB")
    for file in folder.glob("*.safetensors"):
        file.chmod(0o644)
    assert (folder / "model.safetensors.index.json").is_file()
    (folder / "vocab.txt").write_text("".join(f"{entry}\n" for entry in sorted(entries, key=entries.get)),
                                      encoding="utf-8")
    tokenizer = BertTokenizerFast(vocab_file=str(folder / "vocab.txt"), model_max_length=20)
    encoded = tokenizer(BERT_TEXTS, padding=True, truncation=True, return_tensors="pt")
    inputs = {"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"],
              "pixel_values": torch.randn(len(BERT_TEXTS), 3, 24, 24, generator=torch.Generator().manual_seed(415))}
    write_tensors(folder / "expected.safetensors", **inputs, **vilt_states(model.vilt, inputs))
    write_json(folder / "cases.json", {"texts": BERT_TEXTS})


# ---- Region students -------------------------------------------------------------------------------------------------


def region_inputs(seed):
    """Three texts of at most 7 tokens in two segments, and of each an image of at most 5 regions."""
    generator = torch.Generator().manual_seed(seed)
    input_ids = torch.randint(4, 40, (3, 7), generator=generator)
    attention_mask, regions_mask = torch.ones_like(input_ids), torch.ones(3, 5, dtype=torch.long)
    input_ids[1, 4:], attention_mask[1, 4:] = 0, 0
    regions_mask[2, 3:] = 0
    corners = torch.rand(3, 5, 2, 2, generator=generator).sort(dim=2).values  # first left and top, then right and bottom
    parts = torch.tensor([[0, 0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 2, 2]])
    return {"input_ids": input_ids, "attention_mask": attention_mask, "parts": parts,
            "features": torch.randn(3, 5, 12, generator=generator), "boxes": corners.flatten(2),
            "regions_mask": regions_mask}


@torch.no_grad()
def make_visualbert():
    folder = fresh("visualbert")
    answers = ["yes", "no", "red", "circle"]
    config = VisualBertConfig(vocab_size=40, hidden_size=24, num_hidden_layers=2, num_attention_heads=2,
                              intermediate_size=36, max_position_embeddings=9, visual_embedding_dim=12, pad_token_id=0,
                              id2label=dict(enumerate(answers)), label2id={answer: n for n, answer in enumerate(answers)})
    model = randomise(VisualBertForQuestionAnswering(config), seed=505)
    save_model(model, folder)
    inputs = region_inputs(506)
    segments = inputs["parts"].clamp(max=1)
    said = {"input_ids": inputs["input_ids"], "attention_mask": inputs["attention_mask"], "token_type_ids": segments,
            "visual_embeds": inputs["features"], "visual_attention_mask": inputs["regions_mask"]}
    # The same weights under the other heads; the score of a text is what the first answer's row of `cls` makes of it.
    reasoning, choice = VisualBertForVisualReasoning(config).eval(), VisualBertForMultipleChoice(config).eval()
    reasoning.load_state_dict(model.state_dict())
    choice.load_state_dict({name: weight[:1] if name.startswith("cls.") else weight
                            for name, weight in model.state_dict().items()})
    write_tensors(folder / "expected.safetensors", **inputs, answers_logits=model(**said).logits,
                  class_logits=reasoning(**said).logits,
                  choice_logits=choice(**{name: value[:, None] for name, value in said.items()}).logits,
                  last_hidden_state=model.visual_bert(**said).last_hidden_state)


@torch.no_grad()
def make_uniter():
    folder = fresh("uniter")
    config = {"architectures": ["UniterForVisualCommonsenseReasoning"], "model_type": "uniter", "vocab_size": 40,
              "hidden_size": 24, "img_dim": 12, "num_hidden_layers": 2, "num_attention_heads": 2,
              "intermediate_size": 36, "max_position_embeddings": 9, "type_vocab_size": 4, "hidden_act": "gelu",
              "id2label": {"0": "score"}, "label2id": {"score": 0}}
    write_json(folder / "config.json", config)
    generator = torch.Generator().manual_seed(606)
    weights = {name: 0.2 * torch.randn(shape, generator=generator)
               for name, shape in uniter.shapes(config, {"vqa_output": 3, "vcr_output": 2}).items()}
    for name in weights:
        if name.endswith("norm.weight") or "LayerNorm.weight" in name or "output.2.weight" in name:
            weights[name] += 1.0
    write_tensors(folder / "model.safetensors", **weights)
    inputs = region_inputs(607)
    types = torch.tensor([0, 2, 3])[inputs["parts"]]  # question, answer, rationale; 1 is the image
    x = torch.cat([uniter.embed_text(weights, inputs["input_ids"], types),
                   uniter.embed_regions(weights, inputs["features"], inputs["boxes"])], dim=1)
    mask = torch.cat([inputs["attention_mask"], inputs["regions_mask"]], dim=1)
    states = uniter.encode(weights, x, mask, config["num_hidden_layers"], config["num_attention_heads"])
    two_way = uniter.head(weights, "vcr_output", states)
    write_tensors(folder / "expected.safetensors", **inputs, class_logits=uniter.head(weights, "vqa_output", states),
                  choice_logits=two_way[:, 1:] - two_way[:, :1], last_hidden_state=states)


MAKERS = {
    "images": make_images,
    "preprocess": make_preprocess,
    "clip": lambda: make_clip("clip", "quick_gelu", lambda t: {"eos_token_id": t.eos_token_id}, seed=101),
    "clip-legacy": lambda: make_clip("clip-legacy", "gelu", lambda t: {"eos_token_id": 2}, seed=202),
    "bert": make_bert,
    "minilm": make_minilm,
    "vilt": make_vilt,
    "vilt-mlm": make_vilt_mlm,
    "visualbert": make_visualbert,
    "uniter": make_uniter,
}


def main():
    assert_versions()
    torch.set_num_threads(1)  # one thread, so that sums are always taken in the same order
    asked = sys.argv[1:] or list(MAKERS)
    unknown = [name for name in asked if name not in MAKERS]
    if unknown:
        sys.exit(f"error: no golden is called {unknown[0]!r}; expected some of: {', '.join(MAKERS)}")
    for name, make in MAKERS.items():
        if name in asked:
            make()
            print(f"made {name}", flush=True)


if __name__ == "__main__":
    main()
