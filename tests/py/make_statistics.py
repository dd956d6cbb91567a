#!/usr/bin/env python3
"""Makes tests/data/golden/statistics.json: the statistics of docs/protocol.md on small random inputs, worked out with
numpy. Nothing of retort is used.

    python3 tests/py/make_statistics.py

Made with Python 3.11 and numpy 2.4.6; another numpy is refused, because its generator draws the inputs.
"""
import json, pathlib

import numpy as np

assert np.__version__ == "2.4.6", np.__version__
OUT = pathlib.Path(__file__).resolve().parents[2] / "tests/data/golden/statistics.json"
WORD = 1 << 64


def split_mix(seed):
    """SplitMix64 with unbounded integers, reduced where the definition says so."""
    state = seed
    while True:
        state = (state + 0x9E3779B97F4A7C15) % WORD
        z = ((state ^ state >> 30) * 0xBF58476D1CE4E5B9) % WORD
        z = ((z ^ z >> 27) * 0x94D049BB133111EB) % WORD
        yield z ^ z >> 31


draw = np.random.Generator(np.random.PCG64(20220410))
scores = draw.uniform(size=7).round(3)
# What two runs of each of two arms scored on 45 samples: the differences of their means over runs.
answers = draw.integers(0, 2, size=(2, 2, 45)).astype(float)
answers[1, :, :15] = 1.0
differences = answers[1].mean(0) - answers[0].mean(0)
resamples, seed = 2000, 7
bits = split_mix(seed)
places = np.array([[next(bits) * len(differences) // WORD for _ in differences] for _ in range(resamples)])
of_numpy = draw.integers(0, len(differences), size=(200_000, len(differences)))
shares = [0.0, 0.025, 0.3, 0.5, 0.975, 1.0]
ends = [2.5, 97.5]
OUT.write_text(json.dumps({
    "scores": scores.tolist(), "mean": scores.mean(), "deviation": scores.std(ddof=1),
    "shares": shares, "quantiles": np.quantile(scores, shares).tolist(),
    "differences": differences.tolist(), "resamples": resamples, "seed": seed,
    "interval": np.percentile(differences[places].mean(1), ends).tolist(),
    "interval_of_numpy": np.percentile(differences[of_numpy].mean(1), ends).tolist(),
}) + "\n", encoding="utf-8")
