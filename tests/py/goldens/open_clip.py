"""The layouts of open_clip and of OpenAI's own CLIP: the same towers under other names.

The reference of images is open_clip's transform, which is torchvision on Pillow images; of texts open_clip's own
tokenizer, made of the merges of the small tokenizer that the folders carry."""
import gzip, json, shutil, tempfile

import open_clip
import torch
from open_clip.model import build_model_from_openai_state_dict
from open_clip.push_to_hf_hub import save_config_for_hf
from open_clip.tokenizer import SimpleTokenizer
from open_clip.transform import PreprocessCfg, image_transform_v2

from .clip import CLIP_TEXTS
from .common import FEW_IMAGES, TINY_CLIP, fresh, open_images, randomise, write_json, write_tensors

# Special tokens spelled out are some only for tokenizer.json: open_clip's tokenizer spells them otherwise.
TEXTS = [text for text in CLIP_TEXTS if "<|" not in text]
LONGEST = 32


def small_tokenizer(folder):
    """The files that such repositories carry, and open_clip's tokenizer of the same merges."""
    for file in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copyfile(TINY_CLIP / file, folder / file)
    merges = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["merges"]
    with tempfile.NamedTemporaryFile(suffix=".txt.gz") as file:
        with gzip.open(file.name, "wt", encoding="utf-8") as lines:
            lines.write("#version: 0.2\n" + "\n".join(" ".join(merge) for merge in merges))
        return SimpleTokenizer(bpe_path=file.name, context_length=LONGEST)


def pixels(**options):
    transform = image_transform_v2(PreprocessCfg(size=32, **options), is_train=False)
    # RGB first, as retort decodes: open_clip resizes palettes and alpha as such.
    return torch.stack([transform(image.convert("RGB")) for image in open_images(FEW_IMAGES)])


def grid(model, images):
    """The patches through ln_post."""
    visual = model.visual
    states = visual.transformer(visual._embeds(images))
    return visual.ln_post(states[:, 1:])


def token_states(model, ids):
    x = model.token_embedding(ids) + model.positional_embedding
    return model.ln_final(model.transformer(x, attn_mask=model.attn_mask))


def write_answers(folder, model, tokenizer, **more):
    ids, images = tokenizer(TEXTS), pixels()
    tensors = {
        "input_ids": ids,
        # Padding is 0, and so is the exclamation mark: a text ends with the highest id.
        "lengths": ids.argmax(dim=1) + 1,
        "pooled_texts": model.encode_text(ids),
        "last_hidden_state": token_states(model, ids),
        "pixel_values": images,
        "pooled": model.encode_image(images),
        "grid": grid(model, images),
        **more,
    }
    write_tensors(folder / "expected.safetensors", **tensors)
    write_json(folder / "cases.json", {"texts": TEXTS, "images": FEW_IMAGES})


@torch.no_grad()
def make_open_clip():
    """Heads of another width than 64, another inner width than four times the outer, and no quick_gelu."""
    folder = fresh("open-clip")
    tokenizer = small_tokenizer(folder)
    config = {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 40, "head_width": 20, "patch_size": 8, "mlp_ratio": 1.41},
        "text_cfg": {"context_length": LONGEST, "vocab_size": tokenizer.vocab_size, "width": 32, "heads": 4, "layers": 2,
                     "mlp_ratio": 1.5},
    }
    model = randomise(open_clip.CLIP(**config), seed=151)
    model.visual.image_mean, model.visual.image_std = PreprocessCfg().mean, PreprocessCfg().std
    model.visual.preprocess_cfg = {"interpolation": "bicubic", "resize_mode": "shortest"}
    save_config_for_hf(model, folder / "open_clip_config.json", config)
    write_tensors(folder / "open_clip_model.safetensors", **model.state_dict())
    squashed = pixels(resize_mode="squash", interpolation="bilinear")
    quick = open_clip.CLIP(**config, quick_gelu=True).eval()
    quick.load_state_dict(model.state_dict())
    write_answers(folder, model, tokenizer, pixel_values_squashed=squashed, pooled_quick=quick.encode_image(pixels()),
                  pooled_texts_quick=quick.encode_text(tokenizer(TEXTS)))


@torch.no_grad()
def make_openai_clip():
    """OpenAI's state dict: most of it in f16, with the three numbers that its modules keep beside; heads are 64 wide."""
    folder = fresh("openai-clip")
    tokenizer = small_tokenizer(folder)
    config = {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 128, "patch_size": 8},
        "text_cfg": {"context_length": LONGEST, "vocab_size": tokenizer.vocab_size, "width": 64, "heads": 1, "layers": 1},
        "quick_gelu": True,
    }
    model = randomise(open_clip.CLIP(**config), seed=152)
    state = {name: tensor.half() for name, tensor in model.state_dict().items()}
    numbers = {"input_resolution": 32, "context_length": LONGEST, "vocab_size": tokenizer.vocab_size}
    state |= {name: torch.tensor(number) for name, number in numbers.items()}
    write_tensors(folder / "model.safetensors", **state)
    model = build_model_from_openai_state_dict(state).float()
    write_answers(folder, model, tokenizer)
