"""What a step of training costs: retort's own, plain, with the whole method from the cache and with the same teachers in
the loop, beside the plain step of the same student in PyTorch with transformers.

    python tests/peers/train.py --retort target/release/retort --steps target/release/examples/steps
                                [--shapes tiny base] [--kinds plain cached] [--rounds 4] [--work FOLDER] [--assets FOLDER]

Data are the first images of easy-VQA (`make demo-data`). `tiny` is the demo's student and its teachers (a small CLIP, MiniLM);
`base` is ViLT-B/32 on 384 pixels with a CLIP ViT-B/32 of random weights, made here, and MiniLM. All compute in f32 on the
CPU, with a thread a core. A round is retort's runs and PyTorch's, each alone in its process, one after another and each round
in another order; a run's step is the median of its steps without the first. The table has medians over the rounds: of milliseconds,
and of each round's ratios, since a machine's speed changes less within a round than from one to another.

The last two columns are the time from the call to the end of the first step, with everything that is set up before: of a new run, and
of one that was stopped a few steps before its end.

PyTorch's step is what people write: ViltForQuestionAnswering with its own loss, gradients clipped to 1, AdamW (fused or not, the
faster counts), on tensors that are in memory already: it neither decodes nor tokenises, which retort's steps do beside.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

from clip import random_clip

CORES = len(os.sched_getaffinity(0))
ROOT = pathlib.Path(__file__).resolve().parents[2]
SHAPES = {
    "tiny": {"hidden": 96, "layers": 3, "heads": 4, "image": 64, "patch": 16, "text": 24, "batch": 32, "steps": 60},
    "base": {"hidden": 768, "layers": 12, "heads": 12, "image": 384, "patch": 32, "text": 40, "batch": 4, "steps": 12},
}
KINDS = ["plain", "cached", "online", "torch", "start", "resume"]
IMAGES = 400
RECIPE = """
[data]
dataset = "{dataset}"
[teachers]
image = "clip"
text = "text"
[student]
hidden = {hidden}
layers = {layers}
heads = {heads}
image_size = {image}
patch_size = {patch}
text_tokens = {text}
[optim]
batch = {batch}
lr = 1e-4
[log]
checkpoint_every = 1000000
"""


def run(*command):
    print("$", *command, file=sys.stderr)
    subprocess.run(list(map(str, command)), check=True, stdout=sys.stderr)


def prepare(retort, work, assets, shape):
    """Data set with features of both teachers, and the recipe."""
    clip = ROOT / "src/demo/tiny-clip"
    if shape == "base":
        clip = work / "clip-b32"
        if not (clip / "tokenizer.json").exists():
            clip.mkdir(exist_ok=True)
            random_clip(clip)
    dataset = work / f"set-{shape}"
    data = assets / "easy-vqa"
    run(retort, "ingest", "vqa", "--questions", data / "v2_OpenEnded_easyvqa_train_questions.json",
        "--annotations", data / "v2_easyvqa_train_annotations.json", "--images", data / "train", "--image-pattern", "{id}.png",
        "--split", "train", "--limit", IMAGES, "--out", dataset)
    run(retort, "teach", dataset, "--teacher", f"clip={clip}", "--teacher", f"text={assets / 'minilm'}", "--tokens", "--words",
        "--device", "cpu")
    recipe = work / f"{shape}.toml"
    recipe.write_text(RECIPE.format(dataset=dataset, **SHAPES[shape]))
    return recipe, clip, dataset


def longest_texts(dataset, assets, shape):
    """Tokens of the longest text of each batch, on average, and the number of answers."""
    import pyarrow.parquet
    import tokenizers

    texts = pyarrow.parquet.read_table(next((dataset / "texts").glob("*.parquet")), columns=["text"])["text"].to_pylist()
    tokenizer = tokenizers.Tokenizer.from_file(str(assets / "minilm/tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    lengths = [len(tokenizer.encode(text).ids) for text in texts]
    batch = SHAPES[shape]["batch"]
    longest = [max(lengths[at:at + batch]) for at in range(0, len(lengths), batch)]
    answers = len(json.loads((dataset / "dataset.json").read_text())["answers"]["answers"])
    return round(statistics.mean(longest)), answers


def torch_steps(shape, tokens, answers):
    """Milliseconds of a plain step with PyTorch and transformers."""
    import torch
    import transformers

    torch.set_num_threads(CORES)
    torch.manual_seed(1)
    size = SHAPES[shape]
    config = transformers.ViltConfig(
        vocab_size=30522, hidden_size=size["hidden"], num_hidden_layers=size["layers"], num_attention_heads=size["heads"],
        intermediate_size=4 * size["hidden"], image_size=size["image"], patch_size=size["patch"],
        max_position_embeddings=size["text"], num_labels=answers, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    best = {}
    for fused in (False, True):
        model = transformers.ViltForQuestionAnswering(config).train()
        optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.98), weight_decay=0.01, fused=fused)
        times = []
        for step in range(size["steps"]):
            ids = torch.randint(5, 1000, (size["batch"], tokens))
            batch = {
                "input_ids": ids,
                "attention_mask": torch.ones_like(ids),
                "pixel_values": torch.randn(size["batch"], 3, size["image"], size["image"]),
                "pixel_mask": torch.ones(size["batch"], size["image"], size["image"], dtype=torch.long),
                "labels": torch.zeros(size["batch"], answers).index_fill_(1, torch.tensor([step % answers]), 1.0),
            }
            began = time.perf_counter()
            model(**batch).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            times.append((time.perf_counter() - began) * 1e3)
        best[fused] = statistics.median(times[6:])
    return min(best.values())


def milliseconds(command):
    return float(subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--retort", type=pathlib.Path, required=True)
    parser.add_argument("--steps", type=pathlib.Path, required=True)
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS, help="leave out what is not wanted")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("bench-train"))
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    parser.add_argument("--assets", type=pathlib.Path, default=pathlib.Path(cache) / "retort/demo")
    parser.add_argument("--torch-only", nargs=3, metavar=("SHAPE", "TOKENS", "ANSWERS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.torch_only:
        shape, tokens, answers = options.torch_only
        print(torch_steps(shape, int(tokens), int(answers)))
        return
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    print(f"{CORES} cores, {platform.processor() or platform.machine()}")
    print("| shape | plain, ms | full method from the cache, ms | ratio | teachers in the loop, ms | ratio | PyTorch plain, ms | ratio "
          "| first step of a new run, ms | of one gone on with, ms |")
    print("|---|" + "---:|" * 9)
    for shape in options.shapes:
        recipe, clip, dataset = prepare(options.retort.resolve(), work, options.assets, shape)
        tokens, answers = longest_texts(dataset, options.assets, shape)
        steps = [options.steps.resolve(), recipe, work / "runs", clip, options.assets / "minilm", SHAPES[shape]["steps"]]
        in_torch = [sys.executable, __file__, "--retort", options.retort, "--steps", options.steps,
                    "--torch-only", shape, tokens, answers]
        commands = {kind: in_torch if kind == "torch" else [*steps, kind] for kind in KINDS}
        rounds = []
        for round_ in range(options.rounds):
            order = [options.kinds[(round_ + at) % len(options.kinds)] for at in range(len(options.kinds))]
            found = {name: milliseconds(commands[name]) for name in order}
            print(json.dumps({"shape": shape, **found}), file=sys.stderr)
            rounds.append(found)
        def median(of, by=None):
            """Of milliseconds, or of their ratio to another's; a dash where one was not run."""
            if not {of, by or of} <= set(options.kinds):
                return "-"
            return f"{statistics.median(found[of] / (found[by] if by else 1) for found in rounds):.{2 if by else 1}f}"

        print(f"| {shape} | {median('plain')} | {median('cached')} | {median('cached', 'plain')} | {median('online')} "
              f"| {median('online', 'cached')} | {median('torch')} | {median('torch', 'plain')} "
              f"| {median('start')} | {median('resume')} |", flush=True)


main()
