#!/usr/bin/env python3
"""Holds an exported VisualBERT against transformers: does it load, and does it say the same?

    python3 tests/py/check_visualbert.py FOLDER

FOLDER is the export (config.json, model.safetensors) with, beside it, `said.safetensors`: the inputs `input_ids`,
`attention_mask`, `token_type_ids`, `visual_embeds`, `visual_attention_mask`, and the `logits` that retort gave. The class
is the one that config.json names. Prints the largest difference; exit code 1 when it is 1e-5 or more, or when
transformers finds a tensor missing, unknown or of another shape. Made with transformers 4.57.1
(tests/py/requirements.txt).
"""
import json, pathlib, sys

import torch
import transformers
from safetensors.torch import load_file


def main():
    assert transformers.__version__ == "4.57.1", transformers.__version__
    if len(sys.argv) != 2:
        sys.exit(__doc__.split("\n\n")[1].strip())
    folder = pathlib.Path(sys.argv[1])
    name = json.loads((folder / "config.json").read_text())["architectures"][0]
    model, info = getattr(transformers, name).from_pretrained(folder, output_loading_info=True)
    wrong = {kind: list(names) for kind, names in info.items() if names}
    if wrong:
        sys.exit(f"error: {name} does not load {folder}: {wrong}")
    said = load_file(folder / "said.safetensors")
    logits = said.pop("logits")
    if name == "VisualBertForMultipleChoice":
        said = {key: value[None] for key, value in said.items()}  # all texts are candidates of one image
        logits = logits.T
    with torch.no_grad():
        worst = (model.eval()(**said).logits - logits).abs().max().item()
    print(f"{name} differs by {worst:.3g}")
    if not worst < 1e-5:
        sys.exit(f"error: {name} differs by {worst:.3g}, expected less than 1e-5")


if __name__ == "__main__":
    main()
