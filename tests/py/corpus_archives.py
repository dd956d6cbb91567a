"""Files of ingest/tests/corpus that hold images themselves: of WebDataset and img2dataset."""

import gzip
import io
import struct
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
from corpus_files import FOLDER, JUNK, link, write


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
    odd = ["a\n.png", "a\0b.png", "\udcff.png", ".png", "__a__/a.png", "a"]
    z("odd-names", *[(name, photo) for name in odd])
    links = [tar_header("a.png", tarfile.SYMTYPE, "/etc/passwd"), tar_header("b.png", tarfile.LNKTYPE, "a.png")]
    links += [tar_header("c.png", tarfile.FIFOTYPE), tar_header("d.png", tarfile.CHRTYPE), tar_header("e.png", b"Z")]
    z("links", (links[0], b""), text, *[(header, b"") for header in links[1:]])
    z("sparse", (tar_header("a.png", tarfile.GNUTYPE_SPARSE), b""), text)
    z("duplicates", image, image, text, ("b.txt", b"s"), ("b.png", photo), image, text)
    z("long-name", ("x" * 5000 + ".png", photo), ("x" * 5000 + ".txt", b"s"))
    texts = [image, ("a.txt", b"\xe9"), ("b.png", photo), ("b.txt", b""), ("c.png", photo), ("d.txt", b"s")]
    z("texts", *texts, ("e.png", photo), ("e.txt", b"\xef\xbb\xbfs\r\n"))
    labels = [b"1", b"-1", b"one", b"4294967296", b"", b"\xff"]
    z("labels", *[member for at, label in enumerate(labels) for member in ((f"{at}.png", photo), (f"{at}.cls", label))])
    z("images", ("a.png", b""), text, ("b.jpg", b"<html>"), ("b.txt", b"s"))
    claim = tar_header("a.png", tarfile.AREGTYPE, size=1 << 40).tobuf(tarfile.GNU_FORMAT)
    w("claims-much.tar.gz", gzip.compress(tar(text, end=0) + claim, mtime=0))
    z("no-members")


def parquet(rows):
    out = io.BytesIO()
    small = {"compression": "none", "use_dictionary": False, "write_statistics": False, "store_schema": False}
    pq.write_table(rows, out, **small)
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
