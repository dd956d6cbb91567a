#!/usr/bin/env python3
"""Holds an exported ViLT against transformers: does it load, and does it say the same?

    python3 tests/py/check_vilt.py FOLDER

FOLDER is the export (config.json, model.safetensors) with, beside it, `said.safetensors`: the inputs `input_ids`,
`attention_mask`, `pixel_values`, square and of the config's image_size, and the `logits` that retort gave. transformers
puts the patches in random order: it is asked under two seeds. Prints the largest difference; exit code 1 when it is 1e-5
or more, or when transformers finds a tensor missing, unknown or of another shape. Made with transformers 4.57.1
(tests/py/requirements.txt).
"""
import pathlib, sys

import torch
import transformers
from safetensors.torch import load_file


def main():
    assert transformers.__version__ == "4.57.1", transformers.__version__
    if len(sys.argv) != 2:
        sys.exit(__doc__.split("\n\n")[1].strip())
    folder = pathlib.Path(sys.argv[1])
    model, info = transformers.ViltForQuestionAnswering.from_pretrained(folder, output_loading_info=True)
    wrong = {kind: list(names) for kind, names in info.items() if names}
    if wrong:
        sys.exit(f"error: ViltForQuestionAnswering does not load {folder}: {wrong}")
    said = load_file(folder / "said.safetensors")
    logits, worst = said.pop("logits"), 0.0
    for seed in (1, 2):
        torch.manual_seed(seed)
        with torch.no_grad():
            worst = max(worst, (model.eval()(**said).logits - logits).abs().max().item())
    print(f"ViltForQuestionAnswering differs by {worst:.3g}")
    if not worst < 1e-5:
        sys.exit(f"error: ViltForQuestionAnswering differs by {worst:.3g}, expected less than 1e-5")


if __name__ == "__main__":
    main()
