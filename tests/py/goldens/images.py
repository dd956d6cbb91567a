"""The images that others look at, and what becomes of them before a model does."""
import shutil

import numpy as np
import torch
from PIL import Image
from transformers import CLIPImageProcessor

from .common import DEMO, IMAGES, fresh, image_files, open_images, write_json, write_tensors


def clip_image_processor(edge, crop, **options):
    """The slow, Pillow-backed processor; the fast one resizes with torch and differs by a few grey levels.

    Its calls below name the input's data format: by itself it takes an image 3 pixels high for one with channels first.
    """
    return CLIPImageProcessor(size={"shortest_edge": edge}, crop_size={"height": crop, "width": crop}, **options)


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
