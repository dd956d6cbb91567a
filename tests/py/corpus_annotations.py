"""Files of ingest/tests/corpus that are annotations: of VCR, SNLI-VE, caption sets, and records with a mapping."""

import io
import json
import struct
import zipfile

from corpus_files import DEEP, FOLDER, junk, lines, packed, write


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
    bad = [line(7), line(img_fn=[]), line("v-1", question="q"), line("v-2", question=[["x"]]), line("v-3", objects=[1])]
    l("other-types", [], 7, *bad)
    bad = [line(question=["q", [1]]), line("v-1", question=["q", [-1]]), line("v-2", objects=["cup", "cup"])]
    l("objects", *bad, line("v-3"))
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
    # The directory does not lie: the lines are a thousand times longer than the archive.
    a("inflates", zipped([("val.jsonl", b" " * (17 << 20))]))
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
    rows += [{"caption": "s"}, {"image": 1, "caption": "s"}, [], b"{", b'{"image":"a.png","caption":"\\ud800"}']
    lines("captions/lines-bad.jsonl", *rows)
    image = {"id": 1, "file_name": "a.png"}
    caption = lambda id, **other: {"id": id, "image_id": 1, "caption": "s"} | other
    coco = lambda images, annotations: {"images": images, "annotations": annotations}
    c("coco-whole.json", coco([image], [caption(1), caption(2)]))
    bad = [caption(2, image_id=9), caption(3, image_id=[]), caption(4, caption=7), caption(5, caption=" "), {}, 7]
    images = [image, {"id": 2}, {"file_name": "b"}, [], {"id": 3, "file_name": "../b"}]
    c("coco-bad.json", coco(images, [caption(1), caption(1), *bad, caption(6, image_id=3)]))
    c("coco-no-images.json", {"annotations": [caption(1)]})
    c("coco-object.json", {"images": {}, "annotations": []})
    c("coco-cut.json", json.dumps(coco([image], [caption(1)])).encode()[:-9])
    c("coco-deep.json", json.dumps(coco([image], [caption(1), caption(2)])).replace('"s"', DEEP, 1).encode())
    broken = json.dumps(coco([image], [caption(1), caption(2)])).encode()
    c("coco-broken-utf8.json", broken.replace(b'"s"', b'"\xe9"', 1))
    c("coco-broken-image.json", broken.replace(b"a.png", b"\xe9.png"))
    sentences = [{"raw": "s", "sentid": 1}, {"raw": "s", "sentid": 1}, {"raw": 7}, {}, 7, {"raw": ""}]
    photo = {"filename": "a.png", "split": "train", "sentences": sentences}
    others = [photo | {"sentences": None}, photo | {"filename": 7}, photo | {"split": "val"}, {"sentences": []}, 7]
    c("karpathy-bad.json", {"images": [photo, *others, photo | {"filepath": "../..", "sentences": [{"raw": "s"}]}]})
    two = json.dumps({"images": [photo | {"sentences": [{"raw": "s"}]}] * 2}).encode()
    c("karpathy-broken-utf8.json", two.replace(b'"s"', b'"\xe9"', 1))
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
    write("jsonl/records-broken-utf8.json", b"[" + raw().replace(b'"s"', b'"\xe9"') + b", " + raw(id=1) + b"]")
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
