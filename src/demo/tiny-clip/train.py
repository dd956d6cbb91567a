#!/usr/bin/env python3
"""Makes tiny-clip: a small but real CLIP, trained on the 4,000 training images of easy-VQA.

    python3 src/demo/fetch.py                        fetch easy-VQA once
    python3 src/demo/tiny-clip/train.py              train, then write the model's files beside this script
    python3 src/demo/tiny-clip/train.py --data DIR --out DIR --seed N --steps N --threads N

Made with Python 3.11, torch 2.11.0, transformers 4.57.1, tokenizers 0.22.2, safetensors 0.8.0, pillow 13.0.0 and numpy
2.4.6. It runs on the CPU; the seed fixes everything drawn by chance, but another machine or thread count rounds sums
differently, so weights repeat bit for bit only on like machines. The default run took 13 minutes
on two cores that were busy with other work, too.

Every easy-VQA image shows one shape (circle, rectangle, triangle) in one of eight colours. The questions and answers of
the training images say which. Each step shows the model a batch of images, moved and mirrored at random, with three
captions each: one names colour and shape, one the colour only, one the shape only. Each of the three is a symmetric
contrastive loss in which every caption that is true of an image counts as a positive.
The test images are only looked at when the training is over, for the zero-shot accuracies printed last.
"""
import argparse, json, math, os, pathlib, random, re, time

import numpy as np
import safetensors
import tokenizers
import torch
import transformers
from PIL import Image
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizerFast

COLOURS = ["black", "blue", "brown", "gray", "green", "red", "teal", "yellow"]
SHAPES = ["circle", "rectangle", "triangle"]
START, END = "<|startoftext|>", "<|endoftext|>"
IMAGE_SIZE, PATCH_SIZE, TEXT_LENGTH, PROJECTION = 64, 8, 32, 64

PREFIXES = ["", "a ", "a photo of ", "a photo of a ", "an image of a ", "a picture of a ", "the image contains a "]
FULL = [prefix + "{colour} {shape}" for prefix in PREFIXES]
COLOUR_ONLY = [prefix + "{colour} shape" for prefix in PREFIXES] + ["{colour}", "a photo of {colour}",
                                                                    "a photo of {colour}"]
SHAPE_ONLY = [prefix + "{shape}" for prefix in PREFIXES]


def default_data():
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return pathlib.Path(home) / "retort/demo/easy-vqa"


# ---- data ------------------------------------------------------------------------------------------------------------


def read_questions(data, split):
    """(image, question, answer) triples of one split."""
    questions = json.loads((data / f"v2_OpenEnded_easyvqa_{split}_questions.json").read_text())["questions"]
    annotations = json.loads((data / f"v2_easyvqa_{split}_annotations.json").read_text())["annotations"]
    answers = {a["question_id"]: a["multiple_choice_answer"] for a in annotations}
    return [(q["image_id"], q["question"], answers[q["question_id"]]) for q in questions]


def the_one(candidates, said, denied):
    """The number of the one candidate that was said to be there, or that alone was not denied; None if unsettled."""
    left = [c for c in candidates if c in said] or [c for c in candidates if c not in denied]
    return candidates.index(left[0]) if len(left) == 1 else None


def attributes(triples):
    """image -> (colour number, shape number), for the images whose questions settle both."""
    said, denied = {}, {}
    for image, question, answer in triples:
        words = re.findall(r"[a-z]+", question)
        negated = "not" in words or "no" in words
        if answer not in ("yes", "no"):
            said.setdefault(image, set()).update(words + [answer])
        elif (answer == "yes") != negated:
            said.setdefault(image, set()).update(words)
        else:
            denied.setdefault(image, set()).update(words)
    settled = {}
    for image in sorted(said.keys() | denied.keys()):
        colour, shape = (the_one(c, said.get(image, ()), denied.get(image, ())) for c in (COLOURS, SHAPES))
        if colour is not None and shape is not None:
            settled[image] = (colour, shape)
    return settled


def read_images(data, split, numbers):
    return [Image.open(data / split / f"{number}.png").convert("RGB") for number in numbers]


def shape_boxes(pixels):
    """First and last row and column of the shape in each image: whatever differs from the plain background."""
    boxes = []
    for image in pixels:
        drawn = (image != image[:, :1, :1]).any(axis=0)
        if drawn.mean() > 0.5:  # the shape covers the first corner
            drawn = (image != image[:, -1:, -1:]).any(axis=0)
        rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
        boxes.append((rows[0], rows[-1], columns[0], columns[-1]))
    return torch.tensor(np.array(boxes))


def moved(pixels, boxes, generator):
    """Each shape moved to a random place within its image, and mirrored half of the time."""
    count, size = len(pixels), pixels.shape[-1]
    chance = torch.rand(2, count, generator=generator)
    down = -boxes[:, 0] + (chance[0] * (size - boxes[:, 1] + boxes[:, 0])).floor().long()
    right = -boxes[:, 2] + (chance[1] * (size - boxes[:, 3] + boxes[:, 2])).floor().long()
    rows = (torch.arange(size) - down[:, None]) % size
    columns = (torch.arange(size) - right[:, None]) % size
    mirror = torch.rand(count, generator=generator) < 0.5
    columns = torch.where(mirror[:, None], columns.flip(1), columns)
    return pixels[torch.arange(count)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


# ---- tokenizer -------------------------------------------------------------------------------------------------------


def make_tokenizer(corpus):
    """A byte-level BPE in CLIP's own form, with just the merges that the corpus calls for."""
    normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    split = Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
    pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(split, behavior="removed", invert=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False),
    ])
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.normalizer, learner.pre_tokenizer = normalizer, pre_tokenizer
    learner.train_from_iterator(corpus, trainers.BpeTrainer(
        vocab_size=2000, min_frequency=1, show_progress=False, end_of_word_suffix="</w>",
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    merges = [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]

    # CLIP's order: the 256 bytes, the bytes that end a word, the merges, the two special tokens.
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = letters + [letter + "</w>" for letter in letters]
    words += [word for word in dict.fromkeys(left + right for left, right in merges)] + [START, END]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token=END, continuing_subword_prefix="",
                                     end_of_word_suffix="</w>"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(
        sep=(END, vocabulary[END]), cls=(START, vocabulary[START]), trim_offsets=False, add_prefix_space=False)
    tokenizer.add_special_tokens([START, END])
    tokenizer.enable_truncation(TEXT_LENGTH)
    return CLIPTokenizerFast(tokenizer_object=tokenizer, bos_token=START, eos_token=END, unk_token=END, pad_token=END,
                             model_max_length=TEXT_LENGTH)


# ---- model and training ----------------------------------------------------------------------------------------------


def make_model(tokenizer):
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
           "pad_token_id": tokenizer.pad_token_id}
    text = {"hidden_size": 96, "intermediate_size": 192, "num_hidden_layers": 2, "num_attention_heads": 4,
            "max_position_embeddings": TEXT_LENGTH, "vocab_size": len(tokenizer), "hidden_act": "quick_gelu",
            "projection_dim": PROJECTION, **ids}
    vision = {"hidden_size": 96, "intermediate_size": 192, "num_hidden_layers": 4, "num_attention_heads": 4,
              "image_size": IMAGE_SIZE, "patch_size": PATCH_SIZE, "hidden_act": "quick_gelu",
              "projection_dim": PROJECTION}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=PROJECTION,
                                attn_implementation="eager"))  # the fastest one for so few tokens on a CPU


def tokenize(tokenizer, captions):
    return tokenizer(captions, padding=True, truncation=True, return_tensors="pt")


def contrastive_loss(similarity, positive):
    """Symmetric contrastive loss in which a row or column may have several positives, each of equal worth."""
    losses = []
    for logits, truth in ((similarity, positive), (similarity.T, positive.T)):
        losses.append(-(logits.log_softmax(dim=1) * truth / truth.sum(dim=1, keepdim=True)).sum(dim=1).mean())
    return sum(losses) / 2


def train(model, tokenizer, pixels, boxes, labels, processor, options):
    generator = torch.Generator().manual_seed(options.seed)
    draw = random.Random(options.seed)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (processor.image_mean, processor.image_std))
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}],
                                  lr=options.rate, betas=(0.9, 0.98))
    warm = max(1, options.steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(
        (step + 1) / warm, 0.5 + 0.5 * math.cos(math.pi * min(1, step / options.steps))))
    started, order = time.time(), torch.empty(0, dtype=torch.long)
    for step in range(options.steps):
        if len(order) < options.batch:
            order = torch.cat([order, torch.randperm(len(pixels), generator=generator)])
        chosen, order = order[:options.batch], order[options.batch:]
        images = (moved(pixels[chosen], boxes[chosen], generator).float() / 255 - mean) / std
        colour, shape = labels[chosen, 0], labels[chosen, 1]

        # A caption is (text, what it is true of); equal texts are one column of the similarity matrix.
        captions, kinds = [], []
        for templates, value in ((FULL, colour * len(SHAPES) + shape), (COLOUR_ONLY, colour), (SHAPE_ONLY, shape)):
            texts = {draw.choice(templates).format(colour=COLOURS[c], shape=SHAPES[s]): int(v)
                     for c, s, v in zip(colour.tolist(), shape.tolist(), value)}
            kinds.append((value, torch.tensor(list(texts.values())), len(captions)))
            captions += texts
        image_vectors = torch.nn.functional.normalize(model.get_image_features(pixel_values=images), dim=-1)
        text_vectors = torch.nn.functional.normalize(model.get_text_features(**tokenize(tokenizer, captions)), dim=-1)
        similarity = model.logit_scale.exp() * image_vectors @ text_vectors.T
        losses = [contrastive_loss(similarity[:, first:first + len(truth)], (value[:, None] == truth[None, :]).float())
                  for value, truth, first in kinds]
        optimizer.zero_grad()
        sum(losses).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        if step % 50 == 0 or step == options.steps - 1:
            right = []
            for (value, truth, first) in kinds:
                best = similarity[:, first:first + len(truth)].argmax(dim=1)
                right.append((truth[best] == value).float().mean().item())
            print(f"step {step:5d}  loss {sum(losses).item():.3f}  batch accuracy: both {right[0]:.2f} "
                  f"colour {right[1]:.2f} shape {right[2]:.2f}  {time.time() - started:.0f} s", flush=True)


@torch.no_grad()
def zero_shot(model, processor, images, texts, truth):
    """Which share of the images has its own text as the nearest one."""
    text_vectors = model.get_text_features(**tokenize(processor.tokenizer, texts))
    right = 0
    for first in range(0, len(images), 100):
        inputs = processor(images=images[first:first + 100], return_tensors="pt")
        image_vectors = model.get_image_features(**inputs)
        similarity = torch.nn.functional.normalize(image_vectors, dim=-1) @ torch.nn.functional.normalize(
            text_vectors, dim=-1).T
        right += (similarity.argmax(dim=1) == truth[first:first + 100]).sum().item()
    return right / len(images)


def main():
    assert torch.__version__.startswith("2.11.0"), torch.__version__
    assert transformers.__version__ == "4.57.1", transformers.__version__
    assert tokenizers.__version__ == "0.22.2", tokenizers.__version__
    assert safetensors.__version__ == "0.8.0", safetensors.__version__
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=pathlib.Path, default=default_data(), help="easy-VQA as fetch.py writes it")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parent)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)

    triples = read_questions(options.data, "train")
    settled = attributes(triples)
    numbers = list(settled)
    labels = torch.tensor([settled[number] for number in numbers])
    pixels = np.stack([np.asarray(image).transpose(2, 0, 1) for image in read_images(options.data, "train", numbers)])
    boxes, pixels = shape_boxes(pixels), torch.from_numpy(pixels)
    print(f"{len(numbers)} of {len({t[0] for t in triples})} training images have a known colour and shape")

    templates = [t.format(colour=c, shape=s) for t in FULL + COLOUR_ONLY + SHAPE_ONLY for c in COLOURS for s in SHAPES]
    tokenizer = make_tokenizer(templates + [text for _, question, answer in triples for text in (question, answer)])
    processor = CLIPImageProcessor(size={"shortest_edge": IMAGE_SIZE},
                                   crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE})
    model = make_model(tokenizer)
    print(f"{len(tokenizer)} tokens, {sum(p.numel() for p in model.parameters())} parameters")
    train(model, tokenizer, pixels, boxes, labels, processor, options)

    options.out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(options.out)
    (options.out / "model.safetensors").chmod(0o644)
    tokenizer.backend_tokenizer.no_padding()  # a trace of the last batch; not part of the tokenizer
    CLIPProcessor(processor, tokenizer).save_pretrained(options.out)
    for slow_tokenizer_file in ("vocab.json", "merges.txt"):  # tokenizer.json says the same
        (options.out / slow_tokenizer_file).unlink(missing_ok=True)

    # What counts is the model as it lies on disk.
    model = CLIPModel.from_pretrained(options.out)
    processor = CLIPProcessor(CLIPImageProcessor.from_pretrained(options.out),
                              CLIPTokenizerFast.from_pretrained(options.out))
    settled = attributes(read_questions(options.data, "test"))
    images = read_images(options.data, "test", settled)
    truth = torch.tensor(list(settled.values()))
    print(f"zero-shot accuracy on {len(images)} test images, seed {options.seed}")
    for template, words, column in (("a photo of a {}", SHAPES, 1), ("a photo of {}", SHAPES, 1),
                                    ("a photo of a {} shape", COLOURS, 0), ("a photo of {}", COLOURS, 0)):
        accuracy = zero_shot(model, processor, images, [template.format(w) for w in words], truth[:, column])
        print(f"  {len(words)} x {template!r:26} {100 * accuracy:.1f} %")
    both = [f"a photo of a {colour} {shape}" for colour in COLOURS for shape in SHAPES]
    accuracy = zero_shot(model, processor, images, both, truth[:, 0] * len(SHAPES) + truth[:, 1])
    print(f"  {len(both)} x 'a photo of a {{}} {{}}'     {100 * accuracy:.1f} %")


if __name__ == "__main__":
    main()
