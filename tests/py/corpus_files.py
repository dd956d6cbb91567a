"""Files of ingest/tests/corpus: where they lie, and what several kinds of them share."""

import gzip
import json
import pathlib

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


def lines(name, *rows):
    """Rows are records or lines as they are."""
    text = lambda row: row if isinstance(row, bytes) else json.dumps(row, separators=(",", ":")).encode()
    write(name, packed(b"".join(text(row) + b"\n" for row in rows)))


def packed(data):
    """The corpus stays small: what is long is packed, which is told by the content."""
    return data if len(data) < 200 else min(data, gzip.compress(data, mtime=0), key=len)


# What is the same whatever it is given as: made once, for the questions of VQA.
JUNK = ["empty", "html", "nul-bytes", "utf16", "zip", "deep-unclosed"]
JUNK += ["gzip-bomb", "gzip-cut", "gzip-bad-crc", "gzip-garbage"]
DEEP = "[" * 130 + "]" * 130


def junk(kind, part, ending):
    for name in JUNK:
        link(f"{kind}/{part}-{name}.{ending}", f"../vqa/questions-{name}.json")
