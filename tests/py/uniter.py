"""UNITER (Chen et al. 2020) from its formulas, in plain functions of torch: no module, no framework.

A weight is looked up by its name in the authors' checkpoints. `make_goldens.py` makes `tests/data/golden/uniter` with it.
"""
import math

import torch


def linear(weights, name, x):
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def layer_norm(weights, name, x, epsilon=1e-12):
    centred = x - x.mean(dim=-1, keepdim=True)
    variance = (centred ** 2).mean(dim=-1, keepdim=True)
    return centred / torch.sqrt(variance + epsilon) * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def gelu(x):
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def embed_text(weights, ids, types):
    name = "uniter.embeddings"
    places = torch.arange(ids.shape[1])
    x = (weights[f"{name}.word_embeddings.weight"][ids] + weights[f"{name}.position_embeddings.weight"][places]
         + weights[f"{name}.token_type_embeddings.weight"][types])
    return layer_norm(weights, f"{name}.LayerNorm", x)


def p7(boxes):
    x1, y1, x2, y2 = boxes.unbind(dim=-1)
    w, h = x2 - x1, y2 - y1
    return torch.stack([x1, y1, x2, y2, w, h, w * h], dim=-1)


def embed_regions(weights, features, boxes):
    name = "uniter.img_embeddings"
    seen = layer_norm(weights, f"{name}.img_layer_norm", linear(weights, f"{name}.img_linear", features))
    place = layer_norm(weights, f"{name}.pos_layer_norm", linear(weights, f"{name}.pos_linear", p7(boxes)))
    image_type = weights["uniter.embeddings.token_type_embeddings.weight"][1]
    return layer_norm(weights, f"{name}.LayerNorm", seen + place + image_type)


def attend(weights, name, x, mask, heads):
    rows, tokens, width = x.shape
    split = lambda y: y.reshape(rows, tokens, heads, width // heads).permute(0, 2, 1, 3)
    q, k, v = (split(linear(weights, f"{name}.self.{part}", x)) for part in ("query", "key", "value"))
    scores = torch.einsum("rhic,rhjc->rhij", q, k) / math.sqrt(width // heads)
    scores = scores.masked_fill(mask[:, None, None, :] == 0, -math.inf)
    mixed = torch.einsum("rhij,rhjc->rhic", torch.softmax(scores, dim=-1), v)
    y = linear(weights, f"{name}.output.dense", mixed.permute(0, 2, 1, 3).reshape(rows, tokens, width))
    return layer_norm(weights, f"{name}.output.LayerNorm", x + y)


def encode(weights, x, mask, layers, heads):
    for n in range(layers):
        name = f"uniter.encoder.layer.{n}"
        x = attend(weights, f"{name}.attention", x, mask, heads)
        y = linear(weights, f"{name}.output.dense", gelu(linear(weights, f"{name}.intermediate.dense", x)))
        x = layer_norm(weights, f"{name}.output.LayerNorm", x + y)
    return x


def head(weights, name, states):
    pooled = torch.tanh(linear(weights, "uniter.pooler.dense", states[:, 0]))
    return linear(weights, f"{name}.3", layer_norm(weights, f"{name}.2", gelu(linear(weights, f"{name}.0", pooled))))


def shapes(config, outputs):
    """The names of the authors' checkpoint and their shapes; `outputs` by head."""
    width, inner = config["hidden_size"], config["intermediate_size"]
    found = {}

    def add_linear(name, inputs, outputs):
        found[f"{name}.weight"], found[f"{name}.bias"] = (outputs, inputs), (outputs,)

    def add_norm(name, size=width):
        found[f"{name}.weight"], found[f"{name}.bias"] = (size,), (size,)

    for table, entries in (("word", "vocab_size"), ("position", "max_position_embeddings"),
                           ("token_type", "type_vocab_size")):
        found[f"uniter.embeddings.{table}_embeddings.weight"] = (config[entries], width)
    add_norm("uniter.embeddings.LayerNorm")
    image = "uniter.img_embeddings"
    found[f"{image}.mask_embedding.weight"] = (2, config["img_dim"])
    add_linear(f"{image}.img_linear", config["img_dim"], width)
    add_linear(f"{image}.pos_linear", 7, width)
    for name in ("img_layer_norm", "pos_layer_norm", "LayerNorm"):
        add_norm(f"{image}.{name}")
    for n in range(config["num_hidden_layers"]):
        name = f"uniter.encoder.layer.{n}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            add_linear(f"{name}.attention.{part}", width, width)
        add_norm(f"{name}.attention.output.LayerNorm")
        add_linear(f"{name}.intermediate.dense", width, inner)
        add_linear(f"{name}.output.dense", inner, width)
        add_norm(f"{name}.output.LayerNorm")
    add_linear("uniter.pooler.dense", width, width)
    for name, count in outputs.items():
        add_linear(f"{name}.0", width, 2 * width)
        add_norm(f"{name}.2", 2 * width)
        add_linear(f"{name}.3", 2 * width, count)
    return found
