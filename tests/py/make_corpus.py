"""Makes ingest/tests/corpus: files that ingest must survive, each broken (or odd) in one way.

    python tests/py/make_corpus.py

What ingest says of each is the table KNOWN in ingest/tests/corpus.rs. Inputs that a fuzzer found are in the same
folders, named fuzz-*, and are not made here.
"""

import base64
import gzip
import io
import json
import struct
import zipfile
import zlib

import numpy as np
from corpus_annotations import captions, jsonl, snli_ve, vcr
from corpus_archives import img2dataset, webdataset
from corpus_files import link, packed, write
from PIL import Image


def encoded(format, image=None, **options):
    out = io.BytesIO()
    (image or picture()).save(out, format, **options)
    return out.getvalue()


def picture(seed=0, size=(24, 16)):
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def png_chunk(kind, data, crc=None):
    crc = zlib.crc32(kind + data) if crc is None else crc
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def png(*chunks):
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def png_header(width, height, bits=8, colour=0):
    return png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))


def jpegs():
    whole = encoded("JPEG", quality=80)
    scan = whole.index(b"\xff\xda")
    frame = whole.index(b"\xff\xc0")
    write("image/jpeg-whole.jpg", whole)
    write("image/jpeg-progressive.jpg", encoded("JPEG", progressive=True))
    write("image/jpeg-cmyk.jpg", encoded("JPEG", picture().convert("CMYK")))
    write("image/jpeg-appendix.jpg", whole + b"a camera's appendix")
    write("image/jpeg-cut-in-header.jpg", whole[: frame + 6])
    write("image/jpeg-cut-before-scan.jpg", whole[:scan])
    write("image/jpeg-cut-in-scan.jpg", whole[: scan + (len(whole) - scan) // 2])
    write("image/jpeg-cut-in-scan-and-ended.jpg", whole[: scan + (len(whole) - scan) // 2] + b"\xff\xd9")
    write("image/jpeg-no-end.jpg", whole[:-2])
    write("image/jpeg-magic-only.jpg", whole[:3])
    size = struct.pack(">HH", 65535, 65535)
    write("image/jpeg-claims-65535.jpg", whole[: frame + 5] + size + whole[frame + 9 :])
    write("image/jpeg-zero-height.jpg", whole[: frame + 5] + b"\0\0" + whole[frame + 7 :])


def pngs():
    row = zlib.compress(b"\0\x10\x20\x30" * 3)
    data, end = png_chunk(b"IDAT", row), png_chunk(b"IEND", b"")
    header = png_header(3, 3)
    write("image/png-whole.png", png(header, data, end))
    write("image/png-bad-header-crc.png", png(png_chunk(b"IHDR", header[8:-4], crc=1), data, end))
    write("image/png-bad-data-crc.png", png(header, png_chunk(b"IDAT", row, crc=1), end))
    write("image/png-huge-header.png", png(png_header(2**31 - 1, 2**31 - 1), data, end))
    write("image/png-20001-wide.png", png(png_header(20001, 1), data, end))
    write("image/png-zero-width.png", png(png_header(0, 3), data, end))
    write("image/png-zero-height.png", png(png_header(3, 0), data, end))
    write("image/png-no-palette.png", png(png_header(3, 3, colour=3), data, end))
    write("image/png-palette-too-short.png", png(png_header(3, 3, colour=3), png_chunk(b"PLTE", b"\0\0\0"), data, end))
    write("image/png-no-data.png", png(header, end))
    write("image/png-no-end.png", png(header, data))
    write("image/png-cut-in-data.png", png(header, data)[:-10])
    write("image/png-too-few-rows.png", png(png_header(3, 300), data, end))
    write("image/png-magic-only.png", png())
    bomb = zlib.compress(bytes(10_000_000), 9)
    write("image/png-bomb.png", png(header, png_chunk(b"IDAT", bomb), end))
    comment = png_chunk(b"zTXt", b"bomb\0\0" + zlib.compress(bytes(10_000_000), 9))
    write("image/png-comment-bomb.png", png(header, comment, data, end))


def other_images():
    frames = [picture(seed, (8, 8)).quantize(16) for seed in range(3)]
    animated = encoded("GIF", frames[0], save_all=True, append_images=frames[1:])
    write("image/gif-animated.gif", animated)
    write("image/gif-no-frames.gif", b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0x80, 0, 0) + bytes(6) + b"\x3b")
    write("image/gif-cut.gif", animated[: len(animated) // 6])
    write("image/gif-zero-size.gif", b"GIF89a" + struct.pack("<HHBBB", 0, 0, 0, 0, 0) + b"\x3b")
    webp = encoded("WEBP", lossless=False)
    write("image/webp-whole.webp", webp)
    write("image/webp-cut.webp", webp[: len(webp) // 2])
    lossless = encoded("WEBP", lossless=True)
    write("image/webp-lossless-cut.webp", lossless[: len(lossless) // 2])
    bmp = encoded("BMP", picture(size=(4, 4)))
    write("image/bmp-huge.bmp", bmp[:18] + struct.pack("<ii", 19_999, 19_999) + bmp[26:])
    write("image/bmp-20001-wide.bmp", bmp[:18] + struct.pack("<i", 20_001) + bmp[22:])
    write("image/bmp-cut.bmp", bmp[:-20])
    tiff = encoded("TIFF", picture(size=(4, 4)))
    write("image/tiff-whole.tiff", tiff)
    write("image/tiff-cut.tiff", tiff[: len(tiff) // 2])
    # The directory's offset leads back to the header.
    write("image/tiff-directory-nowhere.tiff", b"II*\0" + struct.pack("<I", 0xFFFFFFF0))
    write("image/html.jpg", b"<!DOCTYPE html>\n<html><body>404 Not Found</body></html>\n")
    write("image/text.jpg", b"This image is no longer available.\n")
    write("image/empty.jpg", b"")
    write("image/pdf.jpg", b"%PDF-1.4\n%%EOF\n")
    write("image/svg.jpg", b'<svg xmlns="http://www.w3.org/2000/svg"/>')
    write("image/lfs-pointer.jpg", b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 9\n")
    write("image/png-named.jpg", encoded("PNG", picture(size=(4, 4))))
    # A folder with the name of an image.
    write("image/folder.jpg/readme", b"")
    link("image/link-to-itself.jpg", "link-to-itself.jpg")
    link("image/link-to-nothing.jpg", "nothing.jpg")


def question(id, image="a.png", text="Is it?"):
    return {"question_id": id, "image_id": image, "question": text}


def annotation(id, answer="yes"):
    answers = [{"answer": answer, "answer_id": at, "answer_confidence": "yes"} for at in range(1, 11)]
    return {"question_id": id, "multiple_choice_answer": answer, "answers": answers, "answer_type": "other"}


def dump(name, key, rows):
    write(name, json.dumps({key: rows}).encode())


def questions():
    q = lambda name, rows: dump(f"vqa/questions-{name}.json", "questions", rows)
    text = json.dumps({"questions": [question(1), question(2)]})
    raw = lambda name, data: write(f"vqa/questions-{name}.json", data)
    raw("bom", b"\xef\xbb\xbf" + text.encode())
    raw("crlf", json.dumps(json.loads(text), indent=1).replace("\n", "\r\n").encode())
    raw("utf16", text.encode("utf-16"))
    raw("broken-utf8", text.replace("Is it?", "Is \u00e9?", 1).encode("latin-1"))
    raw("nul-bytes", b"\0" * 64)
    raw("nul-between", text.encode().replace(b", ", b",\0"))
    raw("cut", text.encode()[:-20])
    raw("trailing-comma", text.encode()[:-2] + b",]}")
    raw("twice", text.encode() * 2)
    raw("empty", b"")
    raw("null", b"null")
    raw("html", b"<html>404</html>")
    raw("csv", b"question_id,image_id,question\n1,a.png,Is it?\n")
    raw("zip", b"PK\x03\x04" + bytes(26))
    raw("python", text.replace('"', "'").encode())
    raw("lines", b"\n".join(json.dumps(question(id)).encode() for id in (1, 2)))
    raw("object-for-list", b'{"questions": {"1": {}}}')
    raw("other-key", b'{"annotations": []}')
    raw("no-records", b'{"questions": []}')
    nested = "[" * 10_000 + "]" * 10_000
    raw("deep-file", nested.encode())
    raw("deep-ignored", text.replace("{", '{"info": ' + nested + ", ", 1).encode())
    raw("deep-unclosed", b"[" * 10_000)
    deep = json.dumps(question(1)).replace('"Is it?"', nested)
    raw("deep-field", ('{"questions": [' + deep + ", " + json.dumps(question(2)) + "]}").encode())
    q("duplicate-ids", [question(1), question(2), question(1), question("1")])
    raw("same-key-twice", b'{"questions": [{"question_id": 1, "question_id": 2, "image_id": "a.png", "question": "?"}]}')
    q("missing-fields", [{}, {"question_id": 1}, {"question_id": 1, "image_id": "a.png"}, question(2)])
    q("other-types", [question([1]), question(1, {}), question(1, text=7), question(None), question(True), question(2)])
    q("no-objects", [1, "text", None, [], question(2)])
    q("numbers", [question(-1), question(1.5), question(1e300), question(2**64), question(2**64 - 1)])
    q("ids-as-text", [question("1"), question("2")])
    q("empty-ids", [question(""), question(1, ""), question(2)])
    # What leads out of the folder, and what is no name of a file on any system.
    odd = ["../a.png", "/etc/passwd", "a\0.png", "a\nb.png", "x/../../a.png", "./a.png", "x" * 5000, "a.png/", " a.png"]
    q("odd-images", [question(at, image) for at, image in enumerate(odd)])
    raw("lone-surrogate", b'{"questions": [' + json.dumps(question(1)).encode().replace(b"Is it?", b"Is \\ud800?")
        + b", " + json.dumps(question(2)).encode() + b"]}")
    q("odd-text", [question(1, text=""), question(2, text="a\0b\u2028c\U0001f600" + "\u0301" * 50)])
    whole = gzip.compress(text.encode(), mtime=0)
    write("vqa/questions-gzip.json", whole)
    write("vqa/questions-gzip-cut.json", whole[:-12])
    write("vqa/questions-gzip-bad-crc.json", whole[:-8] + b"\0\0\0\0" + whole[-4:])
    write("vqa/questions-gzip-garbage.json", whole[:12] + b"\xff" * 30)
    write("vqa/questions-gzip-two-members.json", gzip.compress(text.encode()[:9], mtime=0) + gzip.compress(text.encode()[9:], mtime=0))
    write("vqa/questions-gzip-twice.json", gzip.compress(whole, mtime=0))
    write("vqa/questions-gzip-bomb.json", gzip.compress(b'{"questions": [' + b" " * (17 << 20) + b"]}", 9, mtime=0))


def annotations():
    a = lambda name, rows: dump(f"vqa/annotations-{name}.json", "annotations", rows)
    a("whole", [annotation(1), annotation(2, "no")])
    a("duplicate-ids", [annotation(1), annotation(1, "no"), annotation(2)])
    a("one-missing", [annotation(1)])
    a("one-more", [annotation(1), annotation(2), annotation(3)])
    bad = [annotation(1) | {"answers": answers} for answers in (None, "yes", ["yes"], [{}], [{"answer": 2}], {"answer": "yes"})]
    a("other-answers", [*bad, annotation(1), annotation(2)])
    bad = [annotation(1) | {"multiple_choice_answer": truth} for truth in (None, 2, ["yes"])]
    a("other-truth", [*bad, annotation(1), annotation(2)])
    a("other-type", [annotation(1) | {"answer_type": 5}, annotation(1) | {"answer_type": None}, annotation(2)])
    a("no-answers", [annotation(1) | {"answers": []}, annotation(2)])
    a("for-others", [annotation(8), annotation(9)])
    a("empty", [])
    broken = json.dumps({"annotations": [annotation(1), annotation(2, "no")]}).encode()
    write("vqa/annotations-broken-utf8.json", packed(broken.replace(b'"yes"', b'"\xe9"', 1)))
    write("vqa/annotations-object.json", b'{"annotations": {"1": {}}}')


def answers():
    raw = lambda name, data: write(f"vqa/answers-{name}.json", data)
    raw("list", b'["yes", "no"]')
    raw("object", b'{"yes": 1, "no": 0}')
    raw("deep", b"[" * 10_000 + b"]" * 10_000)
    raw("twice", b'["yes", "no", "yes"]')
    raw("class-too-large", b'{"yes": 18446744073709551615, "no": 0}')
    raw("class-negative", b'{"yes": -1, "no": 0}')
    raw("empty", b"[]")
    raw("numbers", b"[1, 2]")
    raw("not-json", b"yes\nno\n")


def npy(array):
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def npz(**arrays):
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def regions():
    """Detections of an image of 3 x 3 pixels, width 2."""
    features = np.array([[1, 2], [3, 4]], dtype=np.float32)
    boxes = np.array([[0, 0, 1, 1], [1, 1, 3, 3]], dtype=np.float32)
    whole = npz(features=features, bbox=boxes, conf=np.array([0.5, 0.25]))
    write("regions/whole.npz", whole)
    write("regions/cut.npz", whole[: len(whole) // 2])
    write("regions/cut-directory.npz", whole[:-10])
    write("regions/empty.npz", b"")
    write("regions/no-features.npz", npz(bbox=boxes))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("features.npy"), npy(features) + bytes(10_000_000), zipfile.ZIP_DEFLATED)
    write("regions/bomb.npz", out.getvalue())
    write("regions/nan.npz", npz(features=features * np.nan, bbox=boxes))
    write("regions/width.npz", npz(features=np.zeros((2, 3)), bbox=boxes))
    write("regions/more-boxes.npz", npz(features=features[:1], bbox=boxes))
    write("regions/outside.npz", npz(features=features, bbox=boxes * 100))
    write("regions/object.npz", npz(features=np.array([None, {}], dtype=object)))
    plain = npy(features)
    write("regions/whole.npy", plain)
    write("regions/cut.npy", plain[:-3])
    write("regions/pickle.npy", b"\x80\x04\x95.")
    write("regions/huge-shape.npy", plain.replace(b"(2, 2), }", b"(99999999999999999999, 2)}"))
    write("regions/overflow-shape.npy", plain.replace(b"(2, 2), }             ", b"(4294967296,4294967296)}"))
    text = lambda array: base64.b64encode(array.tobytes()).decode()
    line = lambda *columns: ("\t".join(map(str, columns)) + "\n").encode()
    write("regions/whole.tsv", line("a", 3, 3, 2, text(boxes), text(features)))
    write("regions/cut.tsv", line("a", 3, 3, 2, text(boxes), text(features))[:-9])
    write("regions/no-base64.tsv", line("a", 3, 3, 2, text(boxes), "!" * 22))
    write("regions/count.tsv", line("a", 3, 3, 10**30, text(boxes), text(features)))
    write("regions/other.tsv", line("b", 3, 3, 2, text(boxes), text(features)))
    write("regions/caption.tsv", line("a.png", "a caption"))
    write("regions/nul.tsv", b"\0" * 100)


if __name__ == "__main__":
    jpegs()
    pngs()
    other_images()
    questions()
    annotations()
    answers()
    regions()
    vcr()
    snli_ve()
    captions()
    jsonl()
    webdataset()
    img2dataset()
