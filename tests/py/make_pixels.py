#!/usr/bin/env python3
"""Makes the golden files of the crate retort-pixels: small images of every kind, and what Pillow sees in them.

    pip install -r tests/py/requirements.txt
    python3 tests/py/make_pixels.py                   cache/pixels/tests/golden/: images, expected.safetensors
    python3 tests/py/make_pixels.py --photos DATA     cache/pixels/tests/photos.json: checksums of the pixels of the
                                                      photos of the folders tiny_coco, coco_vqa and flickr8k_snlive

Made with Python 3.11, pillow 13.0.0, numpy 2.4.6 and safetensors 0.8.0; other versions of Pillow and numpy are refused,
because the files are the word of these. The images are drawn here, none is a photo.

expected.safetensors holds uint8 tensors [height, width, 3]:

    decode/FILE            exif_transpose(open(FILE)).convert("RGB")
    truncated/FILE         the same with LOAD_TRUNCATED_IMAGES, of a file that is cut short
    draft/FILE/WxH         the JPEG decoded at a fraction of its size, as draft("RGB", ...) does it
    resize/FILE/WxH        resize((W, H), BICUBIC) of decode/FILE
    reduced/FILE/WxH       the same of the part of draft/FILE that is the image
"""
import json, pathlib, struct, sys, zlib

import numpy as np
import PIL
from PIL import Image, ImageFile, ImageFilter, ImageOps
from safetensors.numpy import save_file

CRATE = pathlib.Path(__file__).resolve().parents[2] / "cache/pixels"
GOLDEN = CRATE / "tests/golden"
PHOTOS = {"tiny_coco/train2017": 50, "tiny_coco/val2017": 50, "coco_vqa/train2014": 50, "flickr8k_snlive/images": 150}

random = np.random.default_rng(11)


def drawn(width, height):
    """Blurred blocks with grain: edges, slopes and noise in every channel."""
    blocks = random.integers(0, 256, (height // 6 + 2, width // 6 + 2, 3))
    pixels = np.kron(blocks, np.ones((6, 6, 1)))[:height, :width].astype(np.uint8)
    pixels = np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(1))).astype(int)
    return Image.fromarray((pixels + random.integers(-9, 10, pixels.shape)).clip(0, 255).astype(np.uint8))


def png(path, samples, bits, colour, palette=b"", transparency=b"", interlaced=False):
    """A PNG of any kind; samples is [height, width, channels]."""
    height, width, channels = samples.shape

    def rows(part):
        lines = []
        for row in part.reshape(part.shape[0], -1):
            if bits == 16:
                data = row.astype(">u2").tobytes()
            elif bits == 8:
                data = row.astype(np.uint8).tobytes()
            else:
                data = np.packbits(np.unpackbits(row.astype(np.uint8)[:, None], axis=1)[:, 8 - bits:].ravel()).tobytes()
            lines.append(b"\0" + data)
        return b"".join(lines)

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    parts = [samples[y::dy, x::dx] for x, y, dx, dy in passes] if interlaced else [samples]
    data = b"".join(rows(part) for part in parts if part.size)
    file = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced))
    file += (chunk(b"PLTE", palette) if palette else b"") + (chunk(b"tRNS", transparency) if transparency else b"")
    path.write_bytes(file + chunk(b"IDAT", zlib.compress(data, 9)) + chunk(b"IEND", b""))


def patch(path, source, old, new):
    """A copy in which the one place of some bytes has other bytes."""
    data = (GOLDEN / source).read_bytes()
    assert data.count(old) == 1, (source, data.count(old))
    path.write_bytes(data.replace(old, new))


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def make_jpegs():
    photo = drawn(29, 19)
    for name, sampling in [("444", 0), ("422", 1), ("420", 2)]:
        photo.save(GOLDEN / f"{name}.jpg", quality=85, subsampling=sampling)
        photo.save(GOLDEN / f"{name}-progressive.jpg", quality=85, subsampling=sampling, progressive=True)
    photo.save(GOLDEN / "q20.jpg", quality=20)
    photo.save(GOLDEN / "q100.jpg", quality=100, subsampling=0)
    photo.save(GOLDEN / "restarts.jpg", quality=85, restart_marker_blocks=2)
    photo.save(GOLDEN / "rgb.jpg", quality=85, keep_rgb=True)
    photo.convert("L").save(GOLDEN / "grey.jpg", quality=85)
    photo.convert("CMYK").save(GOLDEN / "cmyk.jpg", quality=85)
    patch(GOLDEN / "ycck.jpg", "cmyk.jpg", b"Adobe\0\x64\0\0\0\0\0", b"Adobe\0\x64\0\0\0\0\2")
    drawn(1, 1).save(GOLDEN / "1x1.jpg", quality=85)
    drawn(3, 50).save(GOLDEN / "3x50.jpg", quality=85)
    # As many blocks an MCU in another arrangement: other pictures, and valid ones.
    square = drawn(32, 32)
    square.save(GOLDEN / "square-422.jpg", quality=85, subsampling=1)
    square.save(GOLDEN / "square-420.jpg", quality=85, subsampling=2)
    patch(GOLDEN / "square-440.jpg", "square-422.jpg", b"\x03\x01\x21\0", b"\x03\x01\x12\0")
    patch(GOLDEN / "square-411.jpg", "square-420.jpg", b"\x03\x01\x22\0", b"\x03\x01\x41\0")
    small = drawn(21, 13)
    for orientation in range(1, 9):
        small.save(GOLDEN / f"exif-{orientation}.jpg", quality=90, exif=exif(orientation))
    packet = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="5"/></x:xmpmeta>'
    small.save(GOLDEN / "xmp-5.jpg", quality=90, xmp=packet)
    large = drawn(72, 50)
    large.save(GOLDEN / "large.jpg", quality=85)
    large.save(GOLDEN / "large-progressive.jpg", quality=85, progressive=True)
    odd = drawn(41, 37)
    odd.save(GOLDEN / "odd.jpg", quality=85)
    odd.save(GOLDEN / "odd-3.jpg", quality=85, exif=exif(3))


def make_pngs():
    photo = drawn(23, 17)
    grey, pixels = photo.convert("L"), np.asarray(photo)
    alpha = (np.arange(23 * 17).reshape(17, 23) % 256).astype(np.uint8)
    photo.save(GOLDEN / "rgb.png")
    grey.save(GOLDEN / "grey.png")
    photo.convert("1").save(GOLDEN / "bilevel.png")
    Image.fromarray(np.dstack([pixels, alpha])).save(GOLDEN / "rgba.png")
    Image.fromarray(np.dstack([np.asarray(grey), alpha]), "LA").save(GOLDEN / "grey-alpha.png")
    palette = photo.quantize(30)
    palette.save(GOLDEN / "palette.png")
    palette.save(GOLDEN / "palette-transparent.png", transparency=bytes(range(0, 240, 8)))
    photo.quantize(4).save(GOLDEN / "palette-2bit.png", bits=2)
    photo.save(GOLDEN / "exif-6.png", exif=exif(6))
    wide = random.integers(0, 65536, (17, 23, 4))
    png(GOLDEN / "grey-2bit.png", wide[:, :, :1] % 4, 2, 0)
    png(GOLDEN / "grey-4bit.png", wide[:, :, :1] % 16, 4, 0)
    png(GOLDEN / "grey-16bit.png", wide[:, :, :1] % 600, 16, 0)
    png(GOLDEN / "grey-alpha-16bit.png", wide[:, :, :2], 16, 4)
    png(GOLDEN / "rgb-16bit.png", wide[:, :, :3], 16, 2)
    png(GOLDEN / "rgba-16bit.png", wide, 16, 6)
    png(GOLDEN / "rgb-transparent.png", pixels, 8, 2, transparency=struct.pack(">HHH", *pixels[0, 0]))
    png(GOLDEN / "interlaced.png", pixels, 8, 2, interlaced=True)
    png(GOLDEN / "interlaced-palette.png", wide[:, :, :1] % 4, 2, 3, palette=bytes(range(0, 240, 20)), interlaced=True)


def make_others():
    photo = drawn(31, 22)
    grey, pixels = photo.convert("L"), np.asarray(photo)
    alpha = Image.fromarray(np.dstack([pixels, (np.arange(31 * 22).reshape(22, 31) % 256).astype(np.uint8)]))
    photo.save(GOLDEN / "lossy.webp", quality=80)
    photo.save(GOLDEN / "lossless.webp", lossless=True)
    photo.save(GOLDEN / "exif-8.webp", quality=80, exif=exif(8))
    alpha.save(GOLDEN / "alpha.webp", quality=70)
    alpha.save(GOLDEN / "alpha-lossless.webp", lossless=True, exact=True)
    photo.save(GOLDEN / "animated.webp", quality=80, save_all=True, append_images=[photo.rotate(180)], duration=100)
    palette = photo.quantize(40)
    palette.save(GOLDEN / "interlaced.gif", interlace=1)
    palette.save(GOLDEN / "plain.gif", interlace=0)
    palette.save(GOLDEN / "transparent.gif", transparency=3)
    palette.save(GOLDEN / "animated.gif", save_all=True, append_images=[photo.rotate(180).quantize(40)], duration=100)
    # The screen is larger than the frame, and the frame lies 5 to the right and 4 down.
    for source, name in [("plain.gif", "beside.gif"), ("transparent.gif", "beside-transparent.gif")]:
        data = bytearray((GOLDEN / source).read_bytes())
        frame = data.index(b"\x2c\0\0\0\0" + struct.pack("<HH", 31, 22))
        data[6:10] = struct.pack("<HH", 40, 30)
        data[frame + 1:frame + 5] = struct.pack("<HH", 5, 4)
        (GOLDEN / name).write_bytes(data)
    photo.save(GOLDEN / "rgb.bmp")
    alpha.save(GOLDEN / "rgba.bmp")
    grey.save(GOLDEN / "grey.bmp")
    palette.save(GOLDEN / "palette.bmp")
    photo.convert("1").save(GOLDEN / "bilevel.bmp")
    photo.save(GOLDEN / "rgb.tif")
    photo.save(GOLDEN / "lzw.tif", compression="tiff_lzw")
    photo.save(GOLDEN / "deflate.tif", compression="tiff_adobe_deflate")
    photo.save(GOLDEN / "packbits.tif", compression="packbits")
    alpha.save(GOLDEN / "rgba.tif")
    grey.save(GOLDEN / "grey.tif")
    photo.convert("1").save(GOLDEN / "bilevel.tif")
    photo.convert("CMYK").save(GOLDEN / "cmyk.tif")
    photo.save(GOLDEN / "turned-6.tif", tiffinfo={274: 6})


def rgb(image):
    return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def make_golden():
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for old in GOLDEN.iterdir():
        old.unlink()
    make_jpegs()
    make_pngs()
    make_others()
    expected = {f"decode/{path.name}": rgb(Image.open(path)) for path in sorted(GOLDEN.iterdir())}
    for name, width, height in [
        ("large.jpg", 36, 25), ("large.jpg", 13, 50), ("large.jpg", 72, 9), ("large.jpg", 90, 71), ("large.jpg", 7, 5),
        ("bilevel.png", 40, 40), ("bilevel.png", 9, 8), ("bilevel.png", 23, 40), ("rgb.png", 11, 8), ("1x1.jpg", 6, 4),
    ]:
        image = Image.fromarray(expected[f"decode/{name}"])
        expected[f"resize/{name}/{width}x{height}"] = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))
    for name in ["large.jpg", "large-progressive.jpg"]:
        for part in [2, 4, 8]:
            image = Image.open(GOLDEN / name)
            image.draft("RGB", (72 // part, 50 // part))
            expected[f"draft/{name}/{image.width}x{image.height}"] = np.asarray(image.convert("RGB"))
    for name, part, width, height in [("odd.jpg", 4, 5, 4), ("odd.jpg", 2, 9, 8), ("odd-3.jpg", 2, 8, 9)]:
        image = Image.open(GOLDEN / name)
        shown, drafted = [image.width / part, image.height / part], -(-image.width // part)
        image.draft("RGB", (image.width // part, image.height // part))
        turned = image.getexif().get(0x0112) == 3
        image = ImageOps.exif_transpose(image)
        assert image.width == drafted, "draft did nothing"
        box = (image.width - shown[0], image.height - shown[1], *image.size) if turned else (0, 0, *shown)
        image = image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC, box=box)
        expected[f"reduced/{name}/{width}x{height}"] = np.asarray(image)
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    for name in ["large.jpg", "large-progressive.jpg", "rgb.png", "rgb-16bit.png"]:
        whole = (GOLDEN / name).read_bytes()
        cut = GOLDEN / f"cut-{name}"
        cut.write_bytes(whole[:len(whole) * 3 // 5])
        expected[f"truncated/{cut.name}"] = rgb(Image.open(cut))
    save_file({name: np.ascontiguousarray(pixels) for name, pixels in expected.items()}, GOLDEN / "expected.safetensors")
    print(len(expected), "expectations,", sum(path.stat().st_size for path in GOLDEN.iterdir()), "bytes")


def make_photos(data):
    found = {}
    for folder, count in PHOTOS.items():
        for path in sorted((data / folder).glob("*.jpg"))[:count]:
            pixels = rgb(Image.open(path))
            found[f"{folder}/{path.name}"] = [pixels.shape[1], pixels.shape[0], zlib.crc32(pixels.tobytes())]
    lines = [f"  {json.dumps(name)}: {json.dumps(numbers)}" for name, numbers in found.items()]
    (CRATE / "tests/photos.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(len(found), "photos")


def main():
    assert PIL.__version__ == "13.0.0", PIL.__version__
    assert np.__version__ == "2.4.6", np.__version__
    if len(sys.argv) == 3 and sys.argv[1] == "--photos":
        make_photos(pathlib.Path(sys.argv[2]))
    elif len(sys.argv) == 1:
        make_golden()
    else:
        sys.exit(__doc__.split("\n\n")[1])


if __name__ == "__main__":
    main()
