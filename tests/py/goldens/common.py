"""What the makers of golden files share: where files go, weights that show, texts and images that are hard."""
import json, os, pathlib, shutil

import torch
from PIL import Image
from safetensors.torch import save_file

ROOT = pathlib.Path(__file__).resolve().parents[3]
GOLDEN = ROOT / "tests/data/golden"
IMAGES = GOLDEN / "images"
TINY_CLIP = ROOT / "src/demo/tiny-clip"
DEMO = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "retort/demo"

# Emoji, accents, scripts of all kinds, white space, special tokens spelled out, nothing at all, and more than any model takes.
HARD_TEXTS = [
    "a photo of a red circle",
    "Is there a BLUE triangle in the image?",
    "Café déjà vu, naïve façade",
    "Cafe\u0301 de\u0301ja\u0300 vu",  # the same letters with combining accents
    "İstanbul, Straße, ΣΊΣΥΦΟΣ",
    "a red circle 🔴 and an astronaut 👩\u200d🚀",
    "红色的圆形は丸い 빨간 원",
    "دائرة حمراء, עיגול אדום",
    "",
    "   many    spaces\t\tand\ntabs\u00a0here   ",
    "it's 3.14159, don't you'll we've; C++ & #42 :-)",
    "a <pad> inside </s> the <s> text [PAD] or [SEP] not",
    "x" * 60,
    "a very long text about a red circle and a blue triangle and a green rectangle " * 6,
]
WORDS = ["the", "a", "red", "blue", "green", "circle", "triangle", "rectangle", "photo", "of", "in", "image", "is", "there",
         "and", "very", "long", "text", "about", "many", "spaces", "tabs", "here", "not", "it", "you", "don", "café", "cafe",
         "vu", "an", "astronaut", "inside"]
# A few images that stand for all, in the order of their names. Not the tall one: Pillow 13 resizes columns before rows where
# the height shrinks by more than twice the pixels of the width; retort goes rows first, as Pillow did before.
FEW_IMAGES = ["easyvqa-1-large.png", "grey.png", "rgba.png", "tiny.png", "wide.png"]


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
        # open_clip calls its norms ln_1, ln_final, ...
        if ("norm" in name.lower() or ".ln_" in f".{name}") and name.endswith("weight"):
            parameter.add_(1.0)
    return model.eval()


def image_files():
    return sorted(path.name for path in IMAGES.glob("*.png"))


def open_images(names=None):
    return [Image.open(IMAGES / name) for name in names or image_files()]
