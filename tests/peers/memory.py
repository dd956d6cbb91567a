"""Peak memory of `retort ingest` over a thousand and over a hundred thousand images: it must not grow.

    python tests/peers/memory.py --retort target/release/retort [--work FOLDER]

The same photos as a folder, a WebDataset, captions in a TSV, and VQA files.
"""

import argparse
import io
import json
import pathlib
import shutil
import subprocess
import sys
import tarfile

import photos

COUNTS = (1_000, 100_000)
DISTINCT = 200


# A child's account begins with the size of its parent: this one is small.
MEASURE = """
import os, sys
call = sys.argv[1:]
process = os.posix_spawn(call[0], call, os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)])
_, status, usage = os.wait4(process, 0)
assert os.waitstatus_to_exitcode(status) == 0, call
print(usage.ru_maxrss * 1024)
"""


def peak_bytes(call):
    """Largest resident set of a command, from the kernel's own account."""
    return int(subprocess.run([sys.executable, "-S", "-c", MEASURE, *call], check=True, capture_output=True).stdout)


def tar(folder, count, target):
    if not target.exists():
        partial = target.with_suffix(".partial")
        with tarfile.open(partial, "w") as archive:
            for index in range(count):
                for suffix, data in (("jpg", (folder / f"{index:05}.jpg").read_bytes()), ("txt", b"a picture")):
                    member = tarfile.TarInfo(f"{index:06}.{suffix}")
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data))
        partial.rename(target)
    return target


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--retort", required=True)
    arguments.add_argument("--work", type=pathlib.Path, default=pathlib.Path("target/bench-ingest"))
    options = arguments.parse_args()
    print("| peak MiB | " + " | ".join(f"{count:,} images" for count in COUNTS) + " |\n|---|" + "---:|" * len(COUNTS))
    rows = {}
    for count in COUNTS:
        folder = photos.make(options.work / "photos", "224px", count, DISTINCT).resolve()
        captions = options.work / f"captions-{count}.tsv"
        captions.write_text("image\tcaption\n" + "".join(f"{index:05}.jpg\ta picture of {index}\n" for index in range(count)))
        questions = options.work / f"questions-{count}.json"
        questions.write_text(json.dumps({"questions": [
            {"question_id": index, "image_id": index, "question": f"what is in picture {index}?"} for index in range(count)]}))
        sources = {
            "folder": ["folder", str(folder), "--texts", "optional"],
            "webdataset": ["webdataset", str(tar(folder, count, options.work / f"photos-{count}.tar"))],
            "captions": ["captions", "--file", str(captions), "--images", str(folder)],
            "vqa": ["vqa", "--questions", str(questions), "--images", str(folder), "--image-pattern", "{id:05}.jpg"],
        }
        for name, source in sources.items():
            out = options.work / "out"
            shutil.rmtree(out, ignore_errors=True)
            common = ["--split", "all", "--out", str(out), "--shard-images", "256"]
            peak = peak_bytes([options.retort, "--quiet", "ingest", *source, *common])
            rows.setdefault(name, []).append(f"{peak / 2**20:.0f}")
    for name, cells in rows.items():
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
