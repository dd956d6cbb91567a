#!/usr/bin/env python3
"""Prints the scalars of a run's TensorBoard event files, as TensorBoard itself reads them.

    python3 tests/py/check_tensorboard.py RUN_DIR

One line per value, `tag step value`, tags in alphabetical order and steps as they were written. Exit code 1 when the
folder holds no event file or no scalar. Made with tensorboard 2.21.0 (tests/py/requirements.txt).
"""
import pathlib, sys

import tensorboard
from tensorboard.backend.event_processing.event_accumulator import SCALARS, TENSORS, EventAccumulator
from tensorboard.util import tensor_util


def scalars(accumulator, tag, kind):
    if kind == SCALARS:
        return [(event.step, event.value) for event in accumulator.Scalars(tag)]
    values = [(event.step, tensor_util.make_ndarray(event.tensor_proto)) for event in accumulator.Tensors(tag)]
    return [(step, float(value)) for step, value in values if value.ndim == 0 and value.dtype.kind in "fiu"]


def main():
    assert tensorboard.__version__ == "2.21.0", tensorboard.__version__
    if len(sys.argv) != 2:
        sys.exit(__doc__.split("\n\n")[1].strip())
    folder = pathlib.Path(sys.argv[1])
    if not list(folder.glob("*tfevents*")):
        sys.exit(f"error: no event file in {folder}")
    accumulator = EventAccumulator(str(folder), size_guidance={SCALARS: 0, TENSORS: 0})  # 0: keep every value
    accumulator.Reload()
    found = {tag: kind for kind in (TENSORS, SCALARS) for tag in accumulator.Tags()[kind]}
    if not found:
        sys.exit(f"error: the event files in {folder} hold no scalar")
    for tag, kind in sorted(found.items()):
        for step, value in scalars(accumulator, tag, kind):
            print(tag, step, f"{value:.9g}")


if __name__ == "__main__":
    main()
