"""Photos to written shards: retort beside what people use, on the same photos, to the same size and quality.

    python tests/peers/ingest.py --retort target/release/retort [--rounds 3] [--work FOLDER]

Each contestant reads JPEG files, brings the shorter side to the same length with antialiasing, encodes JPEG of quality
95 and writes shards of 1,024 rows. All run with as many processes or threads as there are cores, one after another, in
rounds; the medians are printed as Markdown.

    retort exact / fast   `retort ingest folder`
    retort's own work     decoding, resizing and encoding alone, nothing read ahead or written (cache/pixels/examples)
    Pillow                Image.open, convert, resize(BICUBIC), save; pyarrow
    img2dataset           its Parquet output, over file:// URLs
    TurboJPEG script      the strongest script a person would write: scaled decoding, OpenCV's area resize, pyarrow
    full decoding         TurboJPEG, whole images, nothing else: the floor of whoever decodes exactly
"""

import argparse
import importlib.metadata
import io
import multiprocessing
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import time

import photos

CORES = os.cpu_count() or 1
QUALITY = 95
SHARD = 1024
# Photos of a set, those among them with pixels of their own, and the shorter side that they are brought to.
# So many that a start, of which libtorch alone takes 0.2 s, is a small part.
SETS = {"224px": (12288, 256, 192), "2mp": (1280, 32, 256), "12mp": (256, 8, 256)}


def shorter_side(width, height, edge):
    """The size with the shorter side at `edge`, never larger than the original."""
    scale = min(1.0, edge / min(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def pillow_one(task):
    from PIL import Image

    path, edge = task
    image = Image.open(path).convert("RGB")
    image = image.resize(shorter_side(*image.size, edge), Image.Resampling.BICUBIC)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=QUALITY)
    return path, out.getvalue(), *image.size


TURBO = None


def turbo():
    global TURBO
    if TURBO is None:
        from turbojpeg import TurboJPEG

        TURBO = TurboJPEG()
    return TURBO


def turbo_one(task):
    import cv2

    path, edge = task
    with open(path, "rb") as file:
        data = file.read()
    width, height, *_ = turbo().decode_header(data)
    # The smallest scale that still has more pixels than wanted.
    scale = next(((1, n) for n in (8, 4, 2) if min(width, height) // n >= edge), None)
    pixels = turbo().decode(data, scaling_factor=scale)
    wide, high = shorter_side(width, height, edge)
    pixels = cv2.resize(pixels, (wide, high), interpolation=cv2.INTER_AREA)
    return path, turbo().encode(pixels, quality=QUALITY), wide, high


def decode_one(task):
    with open(task[0], "rb") as file:
        turbo().decode(file.read())


def write_shards(rows, out):
    import pyarrow
    import pyarrow.parquet

    def flush(batch, index):
        columns = zip(*batch, strict=True)
        table = pyarrow.table(dict(zip(("source", "bytes", "width", "height"), map(list, columns), strict=True)))
        pyarrow.parquet.write_table(table, out / f"{index:05}.parquet", compression="zstd", use_dictionary=False)

    batch, index = [], 0
    for row in rows:
        batch.append((pathlib.Path(row[0]).name, *row[1:]))
        if len(batch) == SHARD:
            flush(batch, index)
            batch, index = [], index + 1
    if batch:
        flush(batch, index)


def script(one, write):
    def run(folder, edge, out):
        tasks = [(str(path), edge) for path in sorted(folder.glob("*.jpg"))]
        with multiprocessing.Pool(CORES) as pool:
            began = time.perf_counter()  # processes are there, as they are in a long run
            results = pool.imap(one, tasks, chunksize=4)
            write_shards(results, out) if write else [None for _ in results]
            return time.perf_counter() - began

    return run


def img2dataset(folder, edge, out):
    urls = out / "urls.txt"
    urls.write_text("\n".join(f"file://{path}" for path in sorted(folder.glob("*.jpg"))))
    call = [sys.executable, "-c", f"""
import img2dataset
if __name__ == "__main__":
    img2dataset.download(url_list={str(urls)!r}, output_folder={str(out / "shards")!r}, output_format="parquet",
        input_format="txt", image_size={edge}, resize_mode="keep_ratio", resize_only_if_bigger=True,
        encode_quality={QUALITY}, processes_count={CORES}, thread_count={4 * CORES}, number_sample_per_shard={SHARD},
        disallowed_header_directives=[], compute_hash=None, enable_wandb=False)
"""]
    environment = {**os.environ, "NO_ALBUMENTATIONS_UPDATE": "1"}
    began = time.perf_counter()
    subprocess.run(call, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    secs = time.perf_counter() - began
    rows = sum(1 for _ in (out / "shards").glob("*.parquet"))
    assert rows, "img2dataset wrote nothing"
    return secs


def retort(binary, mode):
    def run(folder, edge, out):
        call = [binary, "--quiet", "ingest", "folder", str(folder), "--split", "all", "--out", str(out / "set"),
                "--image-size", str(edge), "--image-format", f"jpeg:{QUALITY}", "--image-mode", mode, "--texts", "optional",
                "--shard-images", str(SHARD)]
        began = time.perf_counter()
        subprocess.run(call, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - began

    return run


def own_work(example, mode):
    def run(folder, edge, _):
        printed = subprocess.run([example, str(folder), str(edge), str(QUALITY), mode], check=True, capture_output=True)
        return float(printed.stdout)

    return run


def processor():
    """What the kernel calls it."""
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines() if sys.platform == "linux" else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--retort", required=True, help="the release binary")
    arguments.add_argument("--work", type=pathlib.Path, default=pathlib.Path("target/bench-ingest"))
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--own-work", help="the release example `work` of cache/pixels")
    options = arguments.parse_args()

    contestants = {"retort exact": retort(options.retort, "exact"), "retort fast": retort(options.retort, "fast")}
    if options.own_work:
        contestants |= {f"retort's own work, {mode}": own_work(options.own_work, mode) for mode in ("exact", "fast")}
    contestants |= {"Pillow": script(pillow_one, True), "img2dataset": img2dataset}
    try:
        turbo()
        contestants |= {"TurboJPEG script": script(turbo_one, True), "full decoding": script(decode_one, False)}
    except Exception as error:  # PyTurboJPEG brings no library of its own
        print(f"left out: TurboJPEG ({error}); Debian has it as libturbojpeg0", file=sys.stderr)

    print(f"{processor()}, {CORES} cores; "
          + ", ".join(f"{name} {importlib.metadata.version(name)}" for name in
                      ("img2dataset", "pillow", "pyturbojpeg", "opencv-python-headless", "pyarrow")))
    results = {}
    for name, (count, distinct, edge) in SETS.items():
        folder = photos.make(options.work / "photos", name, count, distinct)
        for path in sorted(folder.glob("*.jpg")):
            path.read_bytes()  # everybody reads from memory
        for _ in range(options.rounds):
            for contestant, run in contestants.items():
                out = options.work / "out"
                shutil.rmtree(out, ignore_errors=True)
                out.mkdir(parents=True)
                secs = run(folder.resolve(), edge, out.resolve())
                results.setdefault((contestant, name), []).append(count / secs)
                print(f"{name}: {contestant}: {count / secs:.1f} images/s", file=sys.stderr)
    print("\n| images/s | " + " | ".join(SETS) + " |\n|---|" + "---:|" * len(SETS))
    for contestant in contestants:
        cells = [f"{statistics.median(results[contestant, name]):,.1f}" for name in SETS]
        print(f"| {contestant} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
