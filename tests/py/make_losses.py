#!/usr/bin/env python3
"""Makes tests/data/golden/losses.json: every formula of docs/method.md on small random inputs, worked out with numpy in
double precision, element by element where that is clearer. Nothing of retort or torch is used.

    python3 tests/py/make_losses.py

Made with Python 3.11 and numpy 2.4.6; another numpy is refused, because its generator draws the inputs.
"""
import json, math, pathlib

import numpy as np

assert np.__version__ == "2.4.6", np.__version__
OUT = pathlib.Path(__file__).resolve().parents[2] / "tests/data/golden/losses.json"
draw = np.random.Generator(np.random.PCG64(20220410))


def normal(*shape):
    """Inputs have three decimals, so that the file holds them exactly as they were used."""
    return draw.normal(size=shape).round(3)


def unit(*shape):
    """Vectors of length 1, as far as eight decimals say."""
    x = draw.normal(size=shape)
    return (x / np.sqrt((x * x).sum(-1, keepdims=True))).round(8)


def softmax(x):
    e = [math.exp(v - max(x)) for v in x]
    return [v / sum(e) for v in e]


def log_softmax(x):
    top = max(x)
    return [v - top - math.log(sum(math.exp(u - top) for u in x)) for v in x]


def cos(a, b):
    return float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))


def two_way(logit, target):
    """Binary cross-entropy of sigmoid(logit) with a soft target."""
    p = 1.0 / (1.0 + math.exp(-logit))
    return -(target * math.log(p) + (1.0 - target) * math.log(1.0 - p))


SMOOTHING = 0.1


def smoothed(row):
    """Targets of one sample with a share of the truth spread evenly over all that it could be."""
    return [(1.0 - SMOOTHING) * t + SMOOTHING / len(row) for t in row]


DISTANCES = {
    "l1": lambda g, z: sum(abs(a - b) for a, b in zip(g, z)) / len(g),
    "l2": lambda g, z: sum((a - b) ** 2 for a, b in zip(g, z)) / len(g),
    "cosine": lambda g, z: 1.0 - cos(g, z),
}


def distances():
    g, z = normal(4, 5), unit(4, 5)
    expected = {name: [d(a, b) for a, b in zip(g, z)] for name, d in DISTANCES.items()}
    return {"projected": g, "target": z, **expected}


def pooled():
    """L_v and L_t: the same formula of r_img and z_v, of h_cls and z_t."""
    weight, bias, h, z = normal(5, 3), normal(5), normal(4, 3), unit(4, 5)
    g = h @ weight.T + bias
    expected = {name: [d(a, b) for a, b in zip(g, z)] for name, d in DISTANCES.items()}
    return {"weight": weight, "bias": bias, "student": h, "teacher": z, **expected}


def tokens():
    """L_TS: three texts of five tokens; two, one and no words are selected, of one to three sub-tokens."""
    weight, bias, h = normal(4, 3), normal(4), normal(3, 5, 3)
    selected = [[[1, 2], [4]], [[1, 2, 3]], []]
    most = max(len(words) for words in selected)
    target = unit(3, most, 4)
    members, present = np.zeros((3, most, 5)), np.zeros((3, most))
    expected = {name: [] for name in DISTANCES}
    for text, words in enumerate(selected):
        for at, places in enumerate(words):
            present[text, at] = 1.0
            members[text, at, places] = 1.0 / len(places)
        for name, distance in DISTANCES.items():
            each = [
                distance(weight @ np.mean([h[text, place] for place in places], axis=0) + bias, target[text, at])
                for at, places in enumerate(words)
            ]
            expected[name].append(sum(each) / len(each) if each else 0.0)
    return {"weight": weight, "bias": bias, "student": h, "members": members, "present": present, "target": target,
            **expected}


def info_nce():
    """Six rows, of which 0, 2 and 5 are one image, and 1 and 4 another."""
    weight, bias, h, tau = normal(5, 3), normal(5), normal(6, 3), 0.07
    ids = [0, 1, 0, 3, 1, 0]
    rows = unit(6, 5)
    z = np.stack([rows[i] for i in ids])  # equal images have equal features
    g = h @ weight.T + bias

    def mean_loss(negative):
        losses = []
        for i in range(6):
            scores = [cos(g[i], z[j]) / tau for j in range(6) if j == i or negative(i, j)]
            own = [j for j in range(6) if j == i or negative(i, j)].index(i)
            losses.append(-log_softmax(scores)[own])
        return sum(losses) / len(losses)

    return {"weight": weight, "bias": bias, "student": h, "teacher": z, "ids": ids, "tau": tau,
            "loss": mean_loss(lambda i, j: ids[i] != ids[j]),
            "all_others_negative": mean_loss(lambda i, j: True)}


def masked_tokens():
    logits, truth = normal(5, 7), [6, 0, 3, 3, 1]
    return {"logits": logits, "truth": truth,
            "loss": sum(-log_softmax(row)[t] for row, t in zip(logits, truth)) / len(truth)}


def vqa():
    logits = normal(3, 4)
    targets = np.array([[1.0, 0.3, 0.0, 0.0], [0.0, 0.0, 0.9, 0.6], [0.0, 0.0, 0.0, 0.0]])
    total = sum(two_way(x, t) for x, t in zip(logits.ravel(), targets.ravel()))
    smooth = sum(two_way(x, t) for row, soft in zip(logits, targets) for x, t in zip(row, smoothed(soft)))
    return {"logits": logits, "targets": targets, "loss": total / 3, "smoothing": SMOOTHING, "smoothed": smooth / 3}


def classes():
    logits, labels = normal(4, 3), [2, 0, -1, 1]
    losses = [-log_softmax(row)[y] for row, y in zip(logits, labels) if y >= 0]
    smooth = [-sum(t * p for t, p in zip(smoothed([float(k == y) for k in range(3)]), log_softmax(row)))
              for row, y in zip(logits, labels) if y >= 0]
    return {"logits": logits, "labels": labels, "loss": sum(losses) / len(losses), "smoothing": SMOOTHING,
            "smoothed": sum(smooth) / len(smooth)}


def binary_choice():
    scores, labels = normal(4, 4), [3, -1, 0, 1]
    losses = [sum(two_way(x, float(k == y)) for k, x in enumerate(row)) for row, y in zip(scores, labels) if y >= 0]
    smooth = [sum(two_way(x, t) for x, t in zip(row, smoothed([float(k == y) for k in range(4)])))
              for row, y in zip(scores, labels) if y >= 0]
    return {"scores": scores, "labels": labels, "loss": sum(losses) / len(losses), "smoothing": SMOOTHING,
            "smoothed": sum(smooth) / len(smooth)}


def confidence():
    """Five samples of four classes, one without a label."""
    logits, labels = normal(5, 4), [1, 3, -1, 0, 2]
    teacher, right = [0.91, 0.42, 0.5, 0.08, 0.77], [1.0, 0.0, 0.0, 0.0, 1.0]
    student = [softmax(row)[y] if y >= 0 else 0.5 for row, y in zip(logits, labels)]

    def scaled(w):
        return [x * len(w) / sum(w) for x in w]

    return {"logits": logits, "labels": labels, "teacher": teacher, "right": right, "student": student,
            "ratio": scaled([t / (t + s) for t, s in zip(teacher, student)]),
            "teacher_form": scaled(teacher), "gate": scaled(right)}


def zero_shot():
    z_v, z_t = unit(6), unit(4, 6)
    return {"z_v": z_v, "z_t": z_t, "p": softmax([cos(z, z_v) / 0.01 for z in z_t])}


def selection():
    """Five words of one text."""
    prompts, isolated, z_v, z_t, alpha, tau_a, tau_b = unit(5, 4), unit(5, 6), unit(4), unit(6), 0.3, 0.05, 0.2
    a, b = [cos(w, z_v) for w in prompts], [cos(w, z_t) for w in isolated]
    visual, semantic = softmax([x / tau_a for x in a]), softmax([x / tau_b for x in b])
    p = [alpha * x + (1.0 - alpha) * y for x, y in zip(visual, semantic)]
    return {"prompts": prompts, "isolated": isolated, "z_v": z_v, "z_t": z_t, "alpha": alpha, "tau_a": tau_a,
            "tau_b": tau_b, "a": a, "b": b, "p": p, "without_joint": semantic,
            "top_three": sorted(sorted(range(5), key=lambda w: -p[w])[:3])}


def whole():
    """mean_x w(x) [ s_v L_v + s_t (L_t + L_TS) ], and lambda over five steps of which three balance."""
    l_v, l_t, l_ts = (abs(normal(4)) for _ in range(3))
    w, s_v, s_t = np.array([0.4, 1.6, 0.9, 1.1]), 0.7, 1.2
    term = sum(w[i] * (s_v * l_v[i] + s_t * (l_t[i] + l_ts[i])) for i in range(4)) / 4
    unweighted = sum(s_v * l_v[i] + s_t * (l_t[i] + l_ts[i]) for i in range(4)) / 4
    ratio, balanced = 0.3, 3
    task, distil = abs(normal(5)) + 1.0, abs(normal(5)) + 0.1
    lambdas = [ratio * sum(task[:min(i + 1, balanced)]) / sum(distil[:min(i + 1, balanced)]) for i in range(5)]
    return {"l_v": l_v, "l_t": l_t, "l_ts": l_ts, "w": w, "s_v": s_v, "s_t": s_t, "term": term,
            "unweighted": unweighted, "kd_ratio": ratio, "balance_steps": balanced, "task": task,
            "distillation": distil, "lambda": lambdas}


def candidates():
    """Two samples of three candidate texts."""
    losses = abs(normal(6))
    return {"losses": losses, "mean": [losses[:3].mean(), losses[3:].mean()]}


def plain(value):
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


FORMULAS = [distances, pooled, tokens, info_nce, masked_tokens, vqa, classes, binary_choice, confidence, zero_shot,
            selection, whole, candidates]

if __name__ == "__main__":
    cases = {formula.__name__: plain(formula()) for formula in FORMULAS}
    lines = [f"{json.dumps(name)}: {json.dumps(case)}" for name, case in cases.items()]
    OUT.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
