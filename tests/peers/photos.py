"""Photographs for benchmarks, made from a seed: no photo may be shipped, and every machine must have the same.

The spectrum of natural images falls off as 1/frequency; on top of that come edges (overlapping discs) and sensor noise,
so that a JPEG of quality 90 has the one and a half to two bits a pixel that a camera's has.
"""

import pathlib

import numpy as np
from PIL import Image

SIZES = {"224px": (224, 224), "2mp": (1632, 1224), "12mp": (4000, 3000)}


def photo(width: int, height: int, seed: int) -> Image.Image:
    """A picture of that size, the same for the same seed."""
    random = np.random.default_rng(seed)
    pixels = np.zeros((height, width, 3), np.float32)
    cells = 2
    while cells < max(width, height):
        octave = random.standard_normal((cells * height // max(width, height) + 2, cells + 2, 3)).astype(np.float32)
        for channel in range(3):
            plane = Image.fromarray(octave[:, :, channel]).resize((width, height), Image.Resampling.BICUBIC)
            # Chroma varies less than luma.
            pixels[:, :, channel] += np.asarray(plane) * (1.0 if channel == 0 else 0.35) / cells**0.85
        cells *= 2
    luma, blue, red = (pixels[:, :, channel] for channel in range(3))
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    for _ in range(24):
        centre_x, centre_y = random.uniform(0, width), random.uniform(0, height)
        radius = random.uniform(0.02, 0.2) * max(width, height)
        inside = (x - centre_x) ** 2 + (y - centre_y) ** 2 < radius**2
        luma[inside] += random.uniform(-0.7, 0.7)
        red[inside] += random.uniform(-0.3, 0.3)
    luma = 118 + 62 * luma + random.normal(0, 4.0, luma.shape).astype(np.float32)
    picture = np.stack([luma, 128 + 60 * blue, 128 + 60 * red], axis=-1)
    return Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8), "YCbCr").convert("RGB")


def make(folder: pathlib.Path, name: str, count: int, distinct: int) -> pathlib.Path:
    """A folder of `count` JPEG files, `distinct` of them with pixels of their own; kept from one run to the next."""
    width, height = SIZES[name]
    target = folder / f"{name}-{count}"
    if (target / "ready").exists():
        return target
    target.mkdir(parents=True, exist_ok=True)
    pictures = []
    for seed in range(distinct):
        path = target / f"{seed:05}.jpg"
        photo(width, height, seed).save(path, quality=90)
        pictures.append(path.read_bytes())
    for index in range(distinct, count):
        # A comment segment makes every file distinct: equal bytes would be one image to whoever looks for duplicates.
        original = pictures[index % distinct]
        comment = f"{index:08}".encode()
        segment = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
        (target / f"{index:05}.jpg").write_bytes(original[:2] + segment + original[2:])
    (target / "ready").touch()
    return target
