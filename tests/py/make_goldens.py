#!/usr/bin/env python3
"""Makes the golden files under tests/data/golden: small models with random weights, and what the reference
implementations (transformers, open_clip, tokenizers, Pillow) answer for fixed texts and images.

    pip install -r tests/py/requirements.txt
    python3 src/demo/fetch.py                         once: the easy-VQA images and the MiniLM model
    python3 tests/py/make_goldens.py                  make all of them
    python3 tests/py/make_goldens.py clip bert        only these (the keys of MAKERS)

Made with Python 3.11, torch 2.11.0, transformers 4.57.1, tokenizers 0.22.2, safetensors 0.8.0, pillow 13.0.0, numpy
2.4.6, open_clip_torch 3.3.0 and torchvision 0.26.0; anything else is refused, because the files are the word of these versions. tests/data/golden/README.md says what
each file is the witness of.
"""
import sys

import numpy as np
import open_clip
import PIL
import safetensors
import tokenizers
import torch
import torchvision
import transformers

from goldens import bert, clip, images, open_clip as open_clips, students, texts, torchscript, vision

def assert_versions():
    assert torch.__version__.split("+")[0] == "2.11.0", torch.__version__
    assert transformers.__version__ == "4.57.1", transformers.__version__
    assert tokenizers.__version__ == "0.22.2", tokenizers.__version__
    assert safetensors.__version__ == "0.8.0", safetensors.__version__
    assert PIL.__version__ == "13.0.0", PIL.__version__
    assert np.__version__ == "2.4.6", np.__version__
    assert open_clip.__version__ == "3.3.0", open_clip.__version__
    assert torchvision.__version__.split("+")[0] == "0.26.0", torchvision.__version__


MAKERS = {
    "images": images.make_images,
    "preprocess": images.make_preprocess,
    "clip": lambda: clip.make_clip("clip", "quick_gelu", lambda t: {"eos_token_id": t.eos_token_id}, seed=101),
    "clip-legacy": lambda: clip.make_clip("clip-legacy", "gelu", lambda t: {"eos_token_id": 2}, seed=202),
    "clip-text": clip.make_clip_text,
    "clip-vision": clip.make_clip_vision,
    "open-clip": open_clips.make_open_clip,
    "openai-clip": open_clips.make_openai_clip,
    "bert": bert.make_bert,
    "minilm": bert.make_minilm,
    "roberta": texts.make_roberta,
    "xlm-roberta": texts.make_xlm_roberta,
    "mpnet": texts.make_mpnet,
    "distilbert": texts.make_distilbert,
    "siglip": vision.make_siglip,
    "siglip2": vision.make_siglip2,
    "siglip2-naflex": vision.make_siglip2_naflex,
    "dinov2": vision.make_dinov2,
    "dinov2-giant": vision.make_dinov2_giant,
    "dinov2-registers": vision.make_dinov2_with_registers,
    "vit": vision.make_vit,
    "torchscript": torchscript.make_torchscript,
    "vilt": students.make_vilt,
    "vilt-mlm": students.make_vilt_mlm,
    "visualbert": students.make_visualbert,
    "uniter": students.make_uniter,
}


def main():
    assert_versions()
    torch.set_num_threads(1)  # one thread, so that sums are always taken in the same order
    asked = sys.argv[1:] or list(MAKERS)
    unknown = [name for name in asked if name not in MAKERS]
    if unknown:
        sys.exit(f"error: no golden is called {unknown[0]!r}; expected some of: {', '.join(MAKERS)}")
    for name, make in MAKERS.items():
        if name in asked:
            make()
            print(f"made {name}", flush=True)


if __name__ == "__main__":
    main()
