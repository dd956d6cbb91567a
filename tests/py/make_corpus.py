"""Makes ingest/tests/corpus: files that ingest must survive, each broken (or odd) in one way.

    python tests/py/make_corpus.py

What ingest says of each is the table KNOWN in ingest/tests/corpus.rs. Inputs that a fuzzer found are in the same
folders, named fuzz-*, and are not made here.
"""

import base64
import gzip
import io
import json
import pathlib
import struct
import tarfile
import zipfile
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "ingest" / "tests" / "corpus"


def write(name, data):
    path = FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def link(name, target):
    path = FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(target)


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
    raw("broken-utf8", text.replace("Is it?", "Is \u00e9?").encode("latin-1"))
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
    packed = gzip.compress(text.encode(), mtime=0)
    write("vqa/questions-gzip.json", packed)
    write("vqa/questions-gzip-cut.json", packed[:-12])
    write("vqa/questions-gzip-bad-crc.json", packed[:-8] + b"\0\0\0\0" + packed[-4:])
    write("vqa/questions-gzip-garbage.json", packed[:12] + b"\xff" * 30)
    write("vqa/questions-gzip-two-members.json", gzip.compress(text.encode()[:9], mtime=0) + gzip.compress(text.encode()[9:], mtime=0))
    write("vqa/questions-gzip-twice.json", gzip.compress(packed, mtime=0))
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


def lines(name, *rows):
    """Rows are records or lines as they are."""
    text = lambda row: row if isinstance(row, bytes) else json.dumps(row, separators=(",", ":")).encode()
    write(name, packed(b"".join(text(row) + b"\n" for row in rows)))


def packed(data):
    """The corpus stays small: what is long is packed, which is told by the content."""
    return data if len(data) < 200 else min(data, gzip.compress(data, mtime=0), key=len)


def zipped(members, bad_crc=False):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    data = out.getvalue()
    if bad_crc:
        entry = data.index(b"PK\1\2")
        data = data[: entry + 16] + b"\0\0\0\0" + data[entry + 20 :]
    return data


# What is the same whatever it is given as: made once, for the questions of VQA.
JUNK = ["empty", "html", "nul-bytes", "utf16", "zip", "deep-unclosed", "gzip-bomb", "gzip-cut", "gzip-bad-crc", "gzip-garbage"]
DEEP = "[" * 130 + "]" * 130


def junk(kind, part, ending):
    for name in JUNK:
        link(f"{kind}/{part}-{name}.{ending}", f"../vqa/questions-{name}.json")


def vcr():
    """Annotations of an image a.png with the object cup, whose metadata are a.json."""
    def line(id="v-0", **other):
        choices = lambda letters: [[letter] for letter in letters]
        record = {"annot_id": id, "img_fn": "a.png", "metadata_fn": "a.json", "objects": ["cup"], "question": ["q", [0]]}
        record |= {"answer_choices": choices("abcd"), "rationale_choices": choices("efgh")}
        return record | {"answer_label": 0, "rationale_label": 1} | other

    raw = lambda **other: json.dumps(line(**other), separators=(",", ":")).encode()
    l = lambda name, *rows: lines(f"vcr/lines-{name}.jsonl", *rows)
    junk("vcr", "lines", "jsonl")
    l("bom-crlf", b"\xef\xbb\xbf" + raw() + b"\r", b"\r", raw(id="v-1") + b"\r")
    l("broken-utf8", raw().replace(b'"q"', b'"\xe9"'), line("v-1"))
    l("nul-between", raw().replace(b",", b",\0", 1), line("v-1"))
    l("lone-surrogate", raw().replace(b'"q"', b'"\\udc00"'), line("v-1"))
    l("deep", raw().replace(b'["cup"]', DEEP.encode()), line("v-1"))
    l("cut", line(), raw(id="v-1")[:-40])
    l("list", b"[" + raw() + b"," + raw(id="v-1") + b"]")
    l("duplicate-ids", line(), line(answer_label=1), line("v-1"))
    l("labels", *[line(f"v-{at}", answer_label=label) for at, label in enumerate([4, -1, 1.5, "0", None])])
    l("rationale-label", line(rationale_label=4))
    l("choices", line(answer_choices=[["a"], ["b"]]), line("v-1", rationale_choices=[]), line("v-2", answer_choices="abcd"))
    l("missing-fields", {}, {"annot_id": "v-0"}, {"annot_id": "v-0", "img_fn": "a.png"}, line("v-1"))
    l("other-types", [], 7, line(7), line(img_fn=[]), line("v-1", question="q"), line("v-2", question=[["x"]]), line("v-3", objects=[1]))
    l("objects", line(question=["q", [1]]), line("v-1", question=["q", [-1]]), line("v-2", objects=["cup", "cup"]), line("v-3"))
    l("no-words", line(question=[]), line("v-1", answer_choices=[["a"], [], ["c"], ["d"]]))
    odd = ["../a.png", "/etc/passwd", "a\0.png", "a\nb.png", ""]
    l("odd-images", *[line(f"v-{at}", img_fn=image) for at, image in enumerate(odd)])
    l("odd-metadata", line(metadata_fn="../../a.json"))
    whole = {"boxes": [[0, 0, 2, 2, 0.5]], "names": ["cup"]}
    m = lambda name, data: write(f"vcr/metadata-{name}.json", data if isinstance(data, bytes) else json.dumps(data).encode())
    m("whole", whole)
    m("cut", json.dumps(whole).encode()[:-9])
    m("empty", b"")
    m("list", [whole])
    m("deep", b'{"boxes": ' + DEEP.encode() + b"}")
    m("nan", {"boxes": [[0, 0, float("nan"), 2, 0.5]], "names": ["cup"]})
    m("huge", {"boxes": [[0, 0, 1e300, 2, 0.5]], "names": ["cup"]})
    m("other-objects", {"boxes": [[0, 0, 2, 2, 0.5]], "names": ["car"]})
    m("more-names", whole | {"names": ["cup", "cup"]})
    val = ("vcr1annots/val.jsonl", raw() + b"\n")
    a = lambda name, data: write(f"vcr/annots-{name}.zip", data)
    whole_zip = zipped([val])
    a("whole", whole_zip)
    a("cut", whole_zip[:-30])
    a("bad-crc", zipped([val], bad_crc=True))
    a("no-lines", zipped([("readme", b"")]))
    a("two-splits", zipped([("val.jsonl", b""), ("test.jsonl", b"")]))
    a("no-members", zipped([]))
    # Its directory says ten bytes, which is where reading it ends.
    bomb = zipped([("val.jsonl", bytes(100_000))])
    entry = bomb.index(b"PK\1\2")
    a("bomb", bomb[: entry + 24] + struct.pack("<I", 10) + bomb[entry + 28 :])
    photo = (FOLDER / "image/png-whole.png").read_bytes()
    metadata = ("vcr1images/a.json", json.dumps(whole))
    i = lambda name, data: write(f"vcr/images-{name}.zip", data)
    i("whole", zipped([("vcr1images/a.png", photo), metadata]))
    i("bad-crc", zipped([("a.png", photo)], bad_crc=True))
    i("outside", zipped([("../a.png", photo), ("/a.json", "")]))


def snli_ve():
    """Pairs about an image a.jpg."""
    def pair(id="a.jpg#0r1e", **other):
        return {"Flickr30K_ID": "a", "pairID": id, "sentence2": "s", "gold_label": "neutral"} | other

    raw = lambda **other: json.dumps(pair(**other), separators=(",", ":")).encode()
    p = lambda name, *rows: lines(f"snli_ve/pairs-{name}.jsonl", *rows)
    junk("snli_ve", "pairs", "jsonl")
    p("bom-crlf", b"\xef\xbb\xbf" + raw() + b"\r", raw(id="b") + b"\r")
    p("broken-utf8", raw().replace(b'"s"', b'"\xe9"'), pair("b"))
    p("duplicate-ids", pair(), pair(gold_label="entailment"), pair("b"))
    p("labels", *[pair(str(at), gold_label=label) for at, label in enumerate(["-", "maybe", 1, [], "Neutral", "", None])])
    p("missing-fields", {}, {"pairID": "b"}, {"Flickr30K_ID": "a"}, {"Flickr30K_ID": "a", "sentence2": "s"})
    p("other-types", pair("b"), [], 7, pair(1.5), pair("c", Flickr30K_ID={}), pair("d", sentence2=7))
    p("visual-genome", pair("vg_len1r1e"), pair("b"))
    odd = ["../../a", "/etc/passwd", "a\0", "a\nb", "x/../../a"]
    p("odd-images", *[pair(str(at), Flickr30K_ID=image) for at, image in enumerate(odd)])
    t = lambda name, data: write(f"snli_ve/pairs-{name}", data)
    header = b"Flickr30kID,pairID,hypothesis,gold_label\n"
    t("bom-crlf.csv", b"\xef\xbb\xbf" + header.replace(b"\n", b"\r\n") + b'a,1,"s, s",neutral\r\n\r\na,2,s,neutral\r\n')
    t("columns.csv", header + b"a,1,s\na,2,s,neutral,more\n\na,3,s,neutral\n")
    t("unclosed-quote.csv", header + b'a,1,s,neutral\na,2,"s,neutral\na,3,s,neutral\n')
    t("broken-utf8.csv", header + b"a,1,\xe9,neutral\na,2,s,neutral\n")
    t("nul.csv", header + b"a,1,s\0,neutral\na,2\0,s,neutral\n")
    t("carriage-returns.csv", (header + b"a,1,s,neutral\na,2,s,neutral\n").replace(b"\n", b"\r"))
    t("other-columns.csv", b"image,caption\na.jpg,s\n")
    t("header-alone.csv", header)
    t("unclosed-quote.tsv", (header + b'a,1,"s,neutral\na,2,s,neutral\n').replace(b",", b"\t"))
    l = lambda name, data: write(f"snli_ve/list-{name}.lst", data)
    l("whole", b"a.jpg\n")
    l("bom-crlf", b"\xef\xbb\xbfa.jpg\r\n")
    l("others", b"b.jpg\n")
    l("empty", b"")
    l("broken-utf8", b"\xe9.jpg\na.jpg\n")


def captions():
    """Captions of an image a.png."""
    c = lambda name, data: write(f"captions/{name}", packed(data if isinstance(data, bytes) else json.dumps(data).encode()))
    junk("captions", "table", "csv")
    c("table-bom-crlf.csv", b"\xef\xbb\xbfimage,caption\r\na.png,\"s, \"\"s\"\"\r\ns\"\r\n\r\na.png,s\r\n")
    c("table-columns.csv", b"image,caption\na.png\na.png,s,s\na.png,s\n")
    c("table-unclosed-quote.csv", b'image,caption\na.png,s\na.png,"s\na.png,s\n')
    c("table-broken-utf8.csv", b"image,caption\na.png,\xe9\n\xe9.png,s\na.png,s\n")
    c("table-empty-cells.csv", b"image,caption\n,s\na.png,\na.png, \n")
    c("table-odd-images.csv", b'image,caption\n../a.png,s\n/etc/passwd,s\na\0.png,s\n"a\nb.png",s\n')
    c("table-other-columns.csv", b"a,b\na.png,s\n")
    c("table-same-column-twice.csv", b"image,caption,caption\na.png,s,r\n")
    c("token-whole.token", b"a.png#0\ts\r\na.png#1\ts\r\n")
    c("token-bad.token", b"a.png#0\ts\na.png\ts\na.png#1\na.png#2\ts\tr\na.png#3\t\xe9\na.png#x\ts\n#4\ts\n../a.png#0\ts\n")
    c("token-duplicate-ids.token", b"a.png#0\ts\na.png#0\tr\n")
    c("token-empty.token", b"a.png#0\t\na.png#1\t \n")
    rows = [{"image": "a.png", "caption": text} for text in ("s", ["s", "r"], [], [1], 7, None, "", ["s", ""])]
    lines("captions/lines-bad.jsonl", *rows, {"caption": "s"}, {"image": 1, "caption": "s"}, [], b"{", b'{"image":"a.png","caption":"\\ud800"}')
    image = {"id": 1, "file_name": "a.png"}
    caption = lambda id, **other: {"id": id, "image_id": 1, "caption": "s"} | other
    coco = lambda images, annotations: {"images": images, "annotations": annotations}
    c("coco-whole.json", coco([image], [caption(1), caption(2)]))
    bad = [caption(1), caption(1), caption(2, image_id=9), caption(3, image_id=[]), caption(4, caption=7), caption(5, caption=" "), {}, 7]
    c("coco-bad.json", coco([image, {"id": 2}, {"file_name": "b"}, [], {"id": 3, "file_name": "../b"}], [*bad, caption(6, image_id=3)]))
    c("coco-no-images.json", {"annotations": [caption(1)]})
    c("coco-object.json", {"images": {}, "annotations": []})
    c("coco-cut.json", json.dumps(coco([image], [caption(1)])).encode()[:-9])
    c("coco-deep.json", json.dumps(coco([image], [caption(1), caption(2)])).replace('"s"', DEEP, 1).encode())
    sentences = [{"raw": "s", "sentid": 1}, {"raw": "s", "sentid": 1}, {"raw": 7}, {}, 7, {"raw": ""}]
    photo = {"filename": "a.png", "split": "train", "sentences": sentences}
    others = [photo | {"sentences": None}, photo | {"filename": 7}, photo | {"split": "val"}, {"sentences": []}, 7]
    c("karpathy-bad.json", {"images": [photo, *others, photo | {"filepath": "../..", "sentences": [{"raw": "s"}]}]})
    c("karpathy-other-parts.json", {"images": [photo | {"split": "val"}]})
    object = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 2, 2]}
    boxes = [None, [], [0, 0, 2], [0, 0, -1, 2], [0, 0, 1e300, 2], ["0", 0, 2, 2], {}]
    bad = [object | {"bbox": box} for box in boxes] + [object | {"image_id": 9}, object | {"category_id": 9}, {}, 7]
    c("instances-bad.json", coco([image], [object, *bad]) | {"categories": [{"id": 1, "name": "cup"}, {"id": 2}, 7]})
    c("instances-no-categories.json", coco([image], [object]))


def jsonl():
    """Records of an image a.png with a text and one of the classes no and yes, by a mapping."""
    def record(id=0, **other):
        return {"id": id, "image": "a.png", "text": "s", "label": "yes"} | other

    raw = lambda **other: json.dumps(record(**other), separators=(",", ":")).encode()
    r = lambda name, *rows: lines(f"jsonl/records-{name}.jsonl", *rows)
    junk("jsonl", "records", "jsonl")
    r("bom-crlf", b"\xef\xbb\xbf" + raw() + b"\r", b" \r", raw(id=1) + b"\r")
    r("broken-utf8", raw().replace(b'"s"', b'"\xe9"'), record(1))
    r("nul-between", raw().replace(b",", b",\0", 1), record(1))
    r("lone-surrogate", raw().replace(b'"s"', b'"\\udc00"'), record(1))
    r("deep", raw().replace(b'"s"', DEEP.encode()), record(1))
    r("cut", record(), raw(id=1)[:-9])
    r("duplicate-ids", record(), record("0"), record(1))
    r("labels", *[record(at, label=label) for at, label in enumerate([2, -1, 1.5, "maybe", [], True, 1, None])])
    r("missing-fields", {}, {"id": 1}, {"id": 1, "text": "s"}, record(1))
    r("other-types", record(), [], 7, record([]), record(1, image={}), record(2, text=["s"]), record(3, text=" "))
    odd = ["../a.png", "/etc/passwd", "a\0.png", "a\nb.png", "."]
    r("odd-images", *[record(at, image=image) for at, image in enumerate(odd)])
    write("jsonl/records-unclosed-quote.csv", b'id,image,text,label\n0,a.png,s,yes\n1,a.png,"s,yes\n2,a.png,s,yes\n')
    write("jsonl/records-columns.csv", b"id,image,text,label\n0,a.png,s\n1,a.png,s,yes,no\n2,a.png,s,yes\n")
    write("jsonl/records-list.json", b"[" + raw() + b", 7, {}]")
    write("jsonl/records-document.json", b'{"images": []}')
    m = lambda name, text: write(f"jsonl/mapping-{name}.toml", text if isinstance(text, bytes) else text.encode())
    keys = 'id = "id"\nimage = "image"\ntext = "text"\n'
    m("whole", '\ufefftask = "caption"\r\n' + keys.replace("\n", "\r\n"))
    m("empty", "")
    m("json", '{"task": "caption"}')
    m("broken-utf8", b'task = "\xe9"')
    m("nul", 'task = "caption"\n' + keys + "\0")
    m("deep", 'task = "caption"\n' + keys.replace('"text"', DEEP))
    m("same-key-twice", 'task = "caption"\ntask = "caption"\n' + keys)
    m("near-key", 'task = "caption"\n' + keys.replace("image", "imgae", 1))
    m("other-task", 'task = "captions"\n' + keys)
    m("other-types", 'task = "caption"\n' + keys.replace('"text"', "7"))
    m("open-brace", 'task = "caption"\n' + keys.replace('"image"', '"{image"'))
    m("wide", 'task = "caption"\n' + keys.replace('"image"', '"{image:0999999999}"'))
    m("no-image", 'task = "caption"\ntext = "text"\n')
    m("outside", 'task = "caption"\n' + keys.replace('"image"', '"../{image}"'))


def tar(*members, end=512):
    """Members are names and contents, or headers; the end mark is the shortest that is read."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, data in members:
            header = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            if header.isreg():
                header.size = len(data)
            archive.addfile(header, io.BytesIO(data))
    return out.getvalue()[: archive.offset - 1024 + end] if end else out.getvalue()[: archive.offset - 1024]


def tar_header(name, type, target="", size=0):
    header = tarfile.TarInfo(name)
    header.type, header.linkname, header.size = type, target, size
    return header


def zstd(data):
    """A frame of stored blocks, and of repeated bytes where there are many: no compressor decides what is in it."""
    blocks = []
    while data:
        repeated = len(data) - len(data.lstrip(data[:1]))
        stored = next((at for at in range(len(data)) if data[at : at + 16] == data[at : at + 1] * 16), len(data))
        size, kind, content = (repeated, 1, data[:1]) if repeated >= 16 else (stored, 0, data[:stored])
        data = data[size:]
        blocks.append(struct.pack("<I", size << 3 | kind << 1 | (not data))[:3] + content)
    return b"\x28\xb5\x2f\xfd\x00\x58" + b"".join(blocks)


def webdataset():
    photo = (FOLDER / "image/png-whole.png").read_bytes()
    image, text = ("a.png", photo), ("a.txt", b"s")
    whole = tar(text, image)
    w = lambda name, data: write(f"webdataset/{name}", data)
    # Small when packed, and the packing is told by the content.
    z = lambda name, *members: w(f"{name}.tar.gz", gzip.compress(tar(*members), mtime=0))
    for name in JUNK:
        link(f"webdataset/{name}.tar", f"../vqa/questions-{name}.json")
    w("whole.tar", whole)
    w("no-end.tar.gz", gzip.compress(tar(text, image, end=0), mtime=0))
    empty = ("a.txt", b"")
    w("cut-in-header.tar", tar(empty, image)[: 512 + 100])
    w("cut-in-member.tar", tar(image)[: 512 + 40])
    w("bad-checksum.tar", tar(empty)[:512] + b"b" + tar(image)[1:512])
    gz = gzip.compress(whole, mtime=0)
    w("gzip.tar", gz)
    w("gzip-cut-archive.tar", gz[: len(gz) // 2])
    w("gzip-bad-checksum.tar", gz[:-8] + b"\0\0\0\0" + gz[-4:])
    w("zstd.tar", zstd(whole))
    w("zstd-cut.tar", zstd(whole)[:-20])
    w("zstd-window.tar", b"\x28\xb5\x2f\xfd\x00\xff" + b"\x01\0\0")
    w("zstd-reserved-block.tar", b"\x28\xb5\x2f\xfd\x20\x00" + b"\x07\0\0")
    z("outside", ("../a.png", photo), ("../a.txt", b"s"), ("/b.png", photo), ("x/../../c.png", photo), image, text)
    z("odd-names", ("a\n.png", photo), ("a\0b.png", photo), ("\udcff.png", photo), (".png", photo), ("__a__/a.png", photo), ("a", b""))
    z("links", (tar_header("a.png", tarfile.SYMTYPE, "/etc/passwd"), b""), text, (tar_header("b.png", tarfile.LNKTYPE, "a.png"), b""),
        (tar_header("c.png", tarfile.FIFOTYPE), b""), (tar_header("d.png", tarfile.CHRTYPE), b""), (tar_header("e.png", b"Z"), b""))
    z("sparse", (tar_header("a.png", tarfile.GNUTYPE_SPARSE), b""), text)
    z("duplicates", image, image, text, ("b.txt", b"s"), ("b.png", photo), image, text)
    z("long-name", ("x" * 5000 + ".png", photo), ("x" * 5000 + ".txt", b"s"))
    z("texts", image, ("a.txt", b"\xe9"), ("b.png", photo), ("b.txt", b""), ("c.png", photo), ("d.txt", b"s"), ("e.png", photo), ("e.txt", b"\xef\xbb\xbfs\r\n"))
    labels = [b"1", b"-1", b"one", b"4294967296", b"", b"\xff"]
    z("labels", *[member for at, label in enumerate(labels) for member in ((f"{at}.png", photo), (f"{at}.cls", label))])
    z("images", ("a.png", b""), text, ("b.jpg", b"<html>"), ("b.txt", b"s"))
    claim = tar_header("a.png", tarfile.AREGTYPE, size=1 << 40).tobuf(tarfile.GNU_FORMAT)
    w("claims-much.tar.gz", gzip.compress(tar(text, end=0) + claim, mtime=0))
    z("no-members")


def parquet(rows, **options):
    out = io.BytesIO()
    pq.write_table(rows, out, compression="none", use_dictionary=False, write_statistics=False, store_schema=False, **options)
    return out.getvalue()


def img2dataset():
    """A shard 00000: its archive, its table with images, and metadata or stats beside an archive that is whole."""
    for name in ["whole", "cut-in-header", "cut-in-member", "bad-checksum", "gzip", "zstd", *JUNK]:
        link(f"img2dataset/archive-{name}.tar", f"../webdataset/{name}.tar")
    for name in JUNK:
        link(f"img2dataset/table-{name}.parquet", f"../vqa/questions-{name}.json")
        link(f"img2dataset/stats-{name}.json", f"../vqa/questions-{name}.json")
    photo = (FOLDER / "image/png-whole.png").read_bytes()
    table = lambda **columns: parquet(pa.table(columns))
    t = lambda name, data: write(f"img2dataset/table-{name}.parquet", data)
    t("whole", table(key=["a"], caption=["s"], png=[photo]))
    small = table(key=["a"], png=[b"p"])
    t("cut", small[:-20])
    t("long-footer", small[:-8] + b"\xff\xff\xff\x7f" + small[-4:])
    t("garbage-pages", small[:4] + b"\xff" * 60 + small[64:])
    t("no-key", table(png=[b"p"]))
    t("no-images", table(key=["a"]))
    t("null-key", table(key=["a", None], png=[None, b"p"]))
    t("other-types", table(key=[1], caption=[2.5], png=[b"p"]))
    t("image-as-text", table(key=["a"], png=["p"]))
    t("nulls", table(key=["a", "b"], caption=[None, "s"], png=[b"p", None], status=["success", "failed_to_download"]))
    b = lambda name, data: write(f"img2dataset/beside-{name}.parquet", data)
    b("failures", table(key=["a", "b", "c", "d"], status=["success", "failed_to_resize", "success", None]))
    link("img2dataset/beside-cut.parquet", "table-cut.parquet")
    s = lambda name, data: write(f"img2dataset/stats-{name}.json", data)
    s("whole", b'{"successes": 1}')
    s("more", b'{"successes": 2}')
    s("negative", b'{"successes": -1}')


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
