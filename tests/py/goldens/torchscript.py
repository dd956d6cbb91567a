"""Modules of TorchScript with a teacher.toml: what people have that is of no family."""
import io, shutil, zipfile

import torch
from torch import nn
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize, ToTensor
from transformers import PreTrainedTokenizerFast

from .common import FEW_IMAGES, TINY_CLIP, fresh, open_images, randomise, write_json, write_tensors
from .open_clip import TEXTS

LONGEST = 24


class Pixels(nn.Module):
    """A convolution over patches, their mean, and dropout that evaluation must turn off: grid and embedding by name."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 12, 8, stride=8)
        self.norm = nn.LayerNorm(12)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(12, 10)

    def forward(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        grid = self.norm(self.patches(pixels).flatten(2).transpose(1, 2))
        return {"grid": grid, "embedding": self.head(self.drop(grid).mean(dim=1))}


class Words(nn.Module):
    """Embeddings with positions from a buffer of indices, attention under the mask; tokens first, the embedding behind."""

    def __init__(self, vocabulary):
        super().__init__()
        self.words = nn.Embedding(vocabulary, 8)
        self.places = nn.Embedding(LONGEST, 8)
        self.register_buffer("indices", torch.arange(LONGEST))
        self.mix = nn.Linear(8, 8)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor):
        x = self.words(ids) + self.places(self.indices[: ids.shape[1]])
        weights = mask.unsqueeze(-1).to(x.dtype)
        mean = (x * weights).sum(dim=1) / weights.sum(dim=1)
        tokens = torch.tanh(self.mix(x) + mean.unsqueeze(1))
        return tokens, mean


def save_module(module, path):
    """Without what tells where the source lies on this machine. The same bytes every time only with PYTHONHASHSEED=0, which
    `make golden` sets: torch writes the constants of a module in the order of a set."""
    saved = io.BytesIO()
    torch.jit.save(module, saved)
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(path, "w") as target:
        for entry in source.infolist():
            if not entry.filename.endswith((".debug_pkl", "serialization_id")):
                target.writestr(zipfile.ZipInfo(entry.filename), source.read(entry), entry.compress_type)


@torch.no_grad()
def make_torchscript():
    folder = fresh("torchscript")
    shutil.copyfile(TINY_CLIP / "tokenizer.json", folder / "words.json")
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "words.json"), pad_token="!")
    pixels, words = randomise(Pixels(), 161), randomise(Words(len(tokenizer)), 162)
    # Saved as in training: dropout is on until somebody says otherwise.
    save_module(torch.jit.script(pixels.train()), folder / "pixels.pt")
    pixels.eval()
    encoded = tokenizer(TEXTS, padding=True, truncation=True, max_length=LONGEST, return_tensors="pt")
    ids, mask = encoded["input_ids"], encoded["attention_mask"]
    save_module(torch.jit.trace(words, (ids[:2], mask[:2])), folder / "words.pt")
    transform = Compose([Resize(36, InterpolationMode.BILINEAR), CenterCrop((32, 24)), ToTensor(),
                         Normalize((0.5, 0.4, 0.3), (0.5, 0.6, 0.7))])
    images = torch.stack([transform(image.convert("RGB")) for image in open_images(FEW_IMAGES)])
    seen, (tokens, pooled) = pixels(images), words(ids, mask)
    write_tensors(folder / "expected.safetensors", pixel_values=images, pooled=seen["embedding"], grid=seen["grid"],
                  input_ids=ids, attention_mask=mask, pooled_texts=pooled, last_hidden_state=tokens)
    write_json(folder / "cases.json", {"texts": TEXTS, "images": FEW_IMAGES})
    (folder / "teacher.toml").write_text("""\
[image]
module = "pixels.pt"
size = 36
crop = [32, 24]
interpolation = "bilinear"
mean = [0.5, 0.4, 0.3]
std = [0.5, 0.6, 0.7]
pooled = "embedding"
grid = "grid"

[text]
module = "words.pt"
tokenizer = "words.json"
max_length = 24
pooled = 1
tokens = 0
""")
