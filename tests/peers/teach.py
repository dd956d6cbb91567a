"""What features cost: `retort teach` from JPEG bytes and texts to features on disk, beside its own model alone, and beside
transformers' model.

    python tests/peers/teach.py --retort target/release/retort --encode target/release/examples/encode
        --flickr8k FOLDER --minilm FOLDER [--photos 512] [--sentences 10000] [--rounds 3] [--work FOLDER]
        [--device cuda --dtype bf16 --clip l14 --batch 256]

FOLDER of `--flickr8k` has Flickr8k.token.txt and images/. Photos go through the image tower of a CLIP ViT-B/32 of random weights (made
here), of its real size; captions, as many as `--sentences`, through all-MiniLM-L6-v2. All compute in f32 on the CPU, with a thread a core, on
the same version of libtorch; or on another device, in another type and with a ViT-L/14, if told so.

    retort model      tensors in memory through retort's model: no decoding, no tokenising, nothing written
    retort teach      the whole command, from its start to its end: bytes decoded and preprocessed, texts tokenised, features
                      checked, stored as f16 and committed
    transformers      images: tensors in memory through CLIPVisionModelWithProjection with sdpa, in batches of --batch
                      texts: in the order of the data set in batches of 64, tokenised, through the model with sdpa, mean-pooled and
                      normalised

A round is all of them, each alone in its process, in another order each round; the table has medians of items a second, and of
each round's ratios. Below it stands the most memory of `retort teach` with a fourth of the photos and with all.
"""

import argparse
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import time

from clip import VISION, random_clip

CORES = len(os.sched_getaffinity(0))
# Texts of a batch of transformers.
TEXTS = 64
# As torch names types.
DTYPES = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}


def run(*command):
    """Seconds, most memory in MiB, and the output of a command."""
    began = time.perf_counter()
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)
    out = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(map(str, command))} failed")
    return time.perf_counter() - began, used.ru_maxrss / 1024, out


def ingest(options, photos, out):
    """A data set of the first photos and their captions."""
    if not (out / "dataset.json").exists():
        run(options.retort, "--quiet", "ingest", "captions", "--file", options.flickr8k / "Flickr8k.token.txt", "--images",
            options.flickr8k / "images", "--ids", photos, "--split", "all", "--out", out)


def teach(options, dataset, teacher):
    shutil.rmtree(dataset / "cache", ignore_errors=True)
    return run(options.retort, "--quiet", "teach", dataset, "--teacher", teacher, "--device",
               options.device, "--dtype", options.dtype)


def synchronised(device):
    """The time, once a device has done what it was asked for."""
    import torch

    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter()


def transformers_images(model, count, batch, device, dtype):
    import torch
    import transformers

    torch.set_num_threads(CORES)
    model = transformers.CLIPVisionModelWithProjection.from_pretrained(model, attn_implementation="sdpa").eval()
    model = model.to(device, getattr(torch, dtype))
    size = model.config.image_size
    pixels = torch.randn(batch, 3, size, size)
    with torch.inference_mode():
        model(pixel_values=pixels.to(device, model.dtype))
        began = synchronised(device)
        for at in range(0, count, batch):
            model(pixel_values=pixels[:count - at].to(device, model.dtype))
    return count / (synchronised(device) - began)


def transformers_texts(model, file, device, dtype):
    import torch
    import transformers

    torch.set_num_threads(CORES)
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    encoder = transformers.AutoModel.from_pretrained(model, attn_implementation="sdpa").eval()
    encoder = encoder.to(device, getattr(torch, dtype))
    texts = file.read_text().splitlines()

    def embed(texts):
        batch = tokenizer(texts, padding=True, truncation=True, return_tensors="pt").to(device)
        hidden = encoder(**batch).last_hidden_state.float()
        mask = batch["attention_mask"].unsqueeze(-1).float()
        return torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)

    with torch.inference_mode():
        embed(texts[:TEXTS])
        began = synchronised(device)
        for at in range(0, len(texts), TEXTS):
            embed(texts[at:at + TEXTS])
    return len(texts) / (synchronised(device) - began)


def prepare(options):
    """A CLIP, lists of photos, the data sets, and the captions one a line, as the data set has them."""
    import pyarrow.parquet

    work = options.work
    work.mkdir(parents=True, exist_ok=True)
    clip = work / f"clip-{options.clip}-images"
    if not (clip / "config.json").exists():
        import transformers

        whole = work / f"clip-{options.clip}"
        whole.mkdir(exist_ok=True)
        random_clip(whole, options.clip)
        transformers.CLIPVisionModelWithProjection.from_pretrained(whole).save_pretrained(clip)
        shutil.copy(whole / "preprocessor_config.json", clip)
    there = sorted(path.name for path in (options.flickr8k / "images").glob("*.jpg"))
    sets = {}
    for name, count in [("photos", options.photos), ("fourth", options.photos // 4), ("captions", options.sentences // 5)]:
        ids = work / f"{name}-{count}.txt"
        ids.write_text("\n".join(there[:count]) + "\n")
        sets[name] = work / f"set-{name}-{count}"
        ingest(options, ids, sets[name])
    texts = work / "captions.txt"
    lines = [text for file in sorted((sets["captions"] / "texts").glob("*.parquet"))
             for text in pyarrow.parquet.read_table(file, columns=["text"])["text"].to_pylist()]
    texts.write_text("\n".join(lines) + "\n")
    photos = sum(pyarrow.parquet.read_metadata(file).num_rows for file in (sets["photos"] / "images").glob("*.parquet"))
    return clip, sets, texts, photos, len(lines)


def main(options):
    clip, sets, texts, photos, sentences = prepare(options)
    on = (options.device, options.dtype)
    me = [sys.executable, __file__, "--contestant", *on]
    contestants = {
        ("images", "retort model"): lambda: float(run(options.encode, "images", clip, photos, options.batch, *on)[2]),
        ("images", "retort teach"): lambda: photos / teach(options, sets["photos"], f"clip={clip}")[0],
        ("images", "transformers"): lambda: float(run(*me, "images", clip, photos, options.batch)[2]),
        ("texts", "retort model"): lambda: float(run(options.encode, "texts", options.minilm, texts, options.tokens, *on)[2]),
        ("texts", "retort teach"): lambda: sentences / teach(options, sets["captions"], f"text={options.minilm}")[0],
        ("texts", "transformers"): lambda: float(run(*me, "texts", options.minilm, texts)[2]),
    }
    names = list(contestants)
    rates = {name: [] for name in names}
    for turn in range(options.rounds):
        for name in names[turn % len(names):] + names[:turn % len(names)]:
            rates[name].append(contestants[name]())
            print(f"round {turn + 1}: {' '.join(name)}: {rates[name][-1]:.1f}/s", file=sys.stderr)
    print(f"{photos} photos, {sentences} captions; items a second, medians of {options.rounds} rounds\n")
    for kind in ("images", "texts"):
        for name in ("retort model", "retort teach", "transformers"):
            mine, ratios = rates[kind, name], []
            for other in ("retort model", "transformers"):
                ratio = statistics.median(a / b for a, b in zip(mine, rates[kind, other], strict=True))
                ratios.append(f"{ratio:5.2f} x {other}")
            print(f"{kind:7} {name:13} {statistics.median(mine):9.1f}   {ratios[0]}   {ratios[1]}")
    memory = [teach(options, sets[name], f"clip={clip}")[1] for name in ("fourth", "photos")]
    print(f"\nmost memory of teach: {memory[0]:.0f} MiB with a fourth of the photos, {memory[1]:.0f} MiB with all")
    import torch
    import transformers
    print(f"{options.device}, {options.dtype}, CLIP {options.clip}; {platform.processor() or platform.machine()}, {CORES} cores, torch {torch.__version__}, transformers "
          f"{transformers.__version__}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--contestant"]:
        _, _, device, dtype, kind, model, what, *batch = sys.argv
        on = (device, DTYPES[dtype])
        print(transformers_images(model, int(what), int(batch[0]), *on) if kind == "images"
              else transformers_texts(model, pathlib.Path(what), *on))
        sys.exit()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--retort", "--encode", "--flickr8k", "--minilm", "--work"):
        parser.add_argument(name, type=pathlib.Path, required=True)
    parser.add_argument("--photos", type=int, default=512)
    parser.add_argument("--sentences", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=DTYPES, default="f32")
    parser.add_argument("--clip", choices=VISION, default="b32")
    # What `retort teach` takes on a CPU; on CUDA it finds what suits.
    parser.add_argument("--batch", type=int, default=32, help="images of a batch of the models alone")
    parser.add_argument("--tokens", type=int, default=2048, help="tokens of a batch of retort's model alone")
    main(parser.parse_args())
