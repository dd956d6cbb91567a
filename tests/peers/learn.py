"""What students learn, with fixed seeds, on the CPU: the floors, the task alone, and each part of the method.

    python tests/peers/learn.py --retort target/release/retort [--work FOLDER] [--assets FOLDER] [--seeds 1 2 3]
                                [--arms base kd kd+ts kd+ts+cw mad base+mlm]
                                [--only full low-shot snli-ve] [--snli-ve FOLDER]

* full: a tiny ViLT on all of easy-VQA, the task alone and with z_v, its positions begun at random and as waves; seed 1.
* low-shot: the same on 5 % of the images, each arm, each seed; accuracy over all test questions, as it comes out.
* snli-ve: photos with entailment labels (`--snli-ve`: a folder with snli_ve_dev.jsonl, images/ and flickr30k_id_map.csv), split by
  photo, 7 of 10 for training. Its hypothesis-only floor is a logistic regression on the text teacher's vectors, without the
  photo, fitted on the training pairs with the penalty that cross-validation by photo likes best.

A second call goes on where the first was stopped. Every arm has the same data, steps and schedule.
"""

import argparse
import collections
import hashlib
import json
import os
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
RECIPE = ROOT / "trainer/recipes/easy-vqa-vilt-tiny.toml"
ARMS = ["base", "kd", "kd+ts", "kd+ts+cw", "mad", "base+mlm"]
FULL = ["data.shots=all", "student.layers=4", "student.patch_size=16", "distil.kd_ratio=2.0", "optim.steps=9000",
        "optim.warmup_steps=200", "optim.decay=cosine"]
# Photos are looked at closer than drawings, and there are few of them.
PHOTOS = ["student.image_size=112", "student.patch_size=16", "student.text_tokens=32", "augment.flip=false", "augment.shift_px=8",
          "data.shots=all", "optim.steps=800"]


def retort(options, *arguments):
    command = [str(options.retort), *map(str, arguments)]
    print("$ retort", *command[1:], file=sys.stderr, flush=True)
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def ingest_vqa(options, dataset):
    data = options.assets / "easy-vqa"
    for split in ("train", "test"):
        retort(options, "ingest", "vqa", "--questions", data / f"v2_OpenEnded_easyvqa_{split}_questions.json", "--annotations",
               data / f"v2_easyvqa_{split}_annotations.json", "--images", data / split, "--image-pattern", "{id}.png",
               "--split", split, "--out", dataset)


def teach(options, dataset):
    retort(options, "teach", dataset, "--teacher", f"clip={ROOT / 'src/demo/tiny-clip'}", "--teacher",
           f"text={options.assets / 'minilm'}", "--tokens", "--words", "--device", "cpu")


def train(options, dataset, name, arm, settings):
    """Accuracy on the test split of one run."""
    run = options.work / "runs" / name
    arm, stage, _ = (*arm.partition("+mlm"),)
    settings = [f"data.dataset={dataset}", f"arm={arm}", *(["adapt.mode=mlm"] if stage else []), *settings]
    if arm == "mad" or stage:
        settings.append("adapt.steps=400")
    retort(options, "train", RECIPE, "--run", run, *(word for setting in settings for word in ("--set", setting)))
    found = json.loads(retort(options, "eval", run, "--split", "test", "--format", "json"))[0]["evaluation"]
    return found


def accuracies(found):
    return 100 * found["overall"]["accuracy"]


def full(options, dataset):
    print("\n| positions | arm | accuracy, % | of it \"what shape\" |\n|---|---|---:|---:|")
    for positions in ("random", "waves"):
        for arm in ("base", "kd-v"):
            found = train(options, dataset, f"full-{positions}-{arm}", arm, [*FULL, f"student.positions={positions}"])
            shape = next(kind["accuracy"] for kind in found["by_question_type"] if kind["name"] == "what shape")
            print(f"| {positions} | {arm} | {accuracies(found):.1f} | {100 * shape:.1f} |", flush=True)
    print("\n| floor | accuracy, % |\n|---|---:|")
    print_floors(found)


def print_floors(found):
    floors = found["overall"]
    for key, name in (("majority", "majority"), ("question_only", "question only")):
        if floors.get(key) is not None:
            print(f"| {name} | {100 * floors[key]:.1f} |")


def ladder(options, dataset, name, settings):
    """Every arm with every seed."""
    print("\n| arm | " + " | ".join(f"seed {seed}" for seed in options.seeds) + " | mean | standard deviation |")
    print("|---|" + "---:|" * (len(options.seeds) + 2))
    found = {}
    for arm in options.arms:
        runs = [train(options, dataset, f"{name}-{arm}-{seed}", arm, [f"seed={seed}", *settings]) for seed in options.seeds]
        scores = [accuracies(found) for found in runs]
        spread = statistics.stdev(scores) if len(scores) > 1 else 0.0
        cells = " | ".join(f"{score:.1f}" for score in scores)
        print(f"| {arm} | {cells} | {statistics.mean(scores):.1f} | {spread:.1f} |", flush=True)
        found = runs[0]
    print_floors(found)


def snli_ve(options):
    source = options.snli_ve
    dataset = options.work / "snli-ve"
    rows = [json.loads(line) for line in (source / "snli_ve_dev.jsonl").open()]
    image = next(key for key in ("Flikr30kID", "Flickr30K_ID", "Flickr30kID", "image") if key in rows[0])
    photos = sorted({str(row[image]).removesuffix(".jpg") for row in rows})
    tested = {photo for photo in photos if int(hashlib.sha256(photo.encode()).hexdigest(), 16) % 10 < 3}
    for split, chosen in (("train", [p for p in photos if p not in tested]), ("test", sorted(tested))):
        ids = options.work / f"{split}.lst"
        ids.write_text("".join(f"{photo}\n" for photo in chosen))
        retort(options, "ingest", "snli-ve", "--pairs", source / "snli_ve_dev.jsonl", "--images", source / "images", "--id-map",
               source / "flickr30k_id_map.csv", "--ids", ids, "--split", split, "--out", dataset)
    teach(options, dataset)
    floors(dataset)
    ladder(options, dataset, "snli-ve", PHOTOS)


def floors(dataset):
    """Majority and hypothesis-only accuracy, from the cache alone."""
    import numpy

    z, labels, groups = read_texts(dataset, "train")
    z_test, truth, _ = read_texts(dataset, "test")
    commonest = collections.Counter(labels.tolist()).most_common(1)[0][0]
    mean, deviation = z.mean(0), z.std(0) + 1e-6
    z, z_test = (z - mean) / deviation, (z_test - mean) / deviation
    folds = numpy.unique(groups, return_inverse=True)[1] % 5
    best = max((numpy.mean([numpy.mean(fit(z[folds != f], labels[folds != f], penalty)(z[folds == f]) == labels[folds == f])
                            for f in range(5)]), penalty) for penalty in (1e-3, 1e-2, 1e-1, 1.0))
    print(f"\n{len(labels)} training pairs on {len(set(groups))} photos, {len(truth)} test pairs; penalty {best[1]:g}")
    print("\n| floor | accuracy, % |\n|---|---:|")
    print(f"| majority | {100 * numpy.mean(truth == commonest):.1f} |")
    print(f"| hypothesis only | {100 * numpy.mean(fit(z, labels, best[1])(z_test) == truth):.1f} |", flush=True)


def fit(x, y, penalty, steps=300):
    """Softmax regression by gradient descent with momentum; its predictions."""
    import numpy

    classes = int(y.max()) + 1
    weights, bias, speed = numpy.zeros((x.shape[1], classes)), numpy.zeros(classes), 0
    truth = numpy.eye(classes)[y]
    for _ in range(steps):
        scores = x @ weights + bias
        p = numpy.exp(scores - scores.max(1, keepdims=True))
        wrong = (p / p.sum(1, keepdims=True) - truth) / len(x)
        speed = 0.9 * speed + x.T @ wrong + penalty * weights
        weights, bias = weights - 0.1 * speed, bias - 0.5 * wrong.sum(0)
    return lambda z: (z @ weights + bias).argmax(1)


def read_texts(dataset, split):
    """The text teacher's vector, the label and the image of each sample of a split."""
    import numpy
    import pyarrow.parquet

    vectors, labels, groups = [], [], []
    for path in sorted((dataset / "samples").glob(f"{split}-*.parquet")):
        samples = pyarrow.parquet.read_table(path)
        features = pyarrow.parquet.read_table(next(dataset.glob(f"cache/text@*/texts/{path.name}")))
        stored = b"".join(features["embedding"].to_pylist())
        z = numpy.frombuffer(stored, "<f2").reshape(features.num_rows, -1).astype(float)
        vectors.append(z[[texts[0] for texts in samples["texts"].to_pylist()]])
        labels.extend(samples["label"].to_pylist())
        groups.extend(samples["group"].to_pylist())
    return numpy.concatenate(vectors), numpy.array(labels), numpy.array(groups)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--retort", type=pathlib.Path, required=True)
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("bench-learn"))
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    parser.add_argument("--assets", type=pathlib.Path, default=pathlib.Path(cache) / "retort/demo")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS)
    parser.add_argument("--snli-ve", type=pathlib.Path)
    parser.add_argument("--only", nargs="+", choices=["full", "low-shot", "snli-ve"], default=["full", "low-shot", "snli-ve"])
    options = parser.parse_args()
    options.retort, options.work = options.retort.resolve(), options.work.resolve()
    options.work.mkdir(parents=True, exist_ok=True)
    dataset = options.work / "easy-vqa"
    if "full" in options.only or "low-shot" in options.only:
        ingest_vqa(options, dataset)
        teach(options, dataset)
    if "full" in options.only:
        full(options, dataset)
    if "low-shot" in options.only:
        ladder(options, dataset, "low-shot", [])
    if "snli-ve" in options.only and options.snli_ve:
        snli_ve(options)


main()
