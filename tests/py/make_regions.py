"""Makes ingest/tests/data/regions: detections of one image of 40 x 20 pixels, written the way published extractors do.

    python tests/py/make_regions.py

Three regions, features of width 8, classes 2, 0 and 1 of the three in classes.txt.
"""

import base64
import pathlib

import numpy as np

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "ingest" / "tests" / "data" / "regions"
WIDTH, HEIGHT = 40, 20
# All of them are exact in half precision.
FEATURES = (np.arange(24, dtype=np.float32).reshape(3, 8) - 4) / 8
BOXES = np.array([[0, 0, 40, 20], [10, 5, 20, 15], [2.5, 0, 5, 10]], dtype=np.float32)
CLASSES = np.array([2, 0, 1], dtype=np.int64)
SCORES = np.array([0.75, 0.5, 0.25], dtype=np.float32)


def savez(name, **arrays):
    np.savez(FOLDER / name, **arrays)


def uniter():
    """UNITER's extraction: shares of the image with width and height behind, scores of all classes after the background."""
    shares = BOXES / [WIDTH, HEIGHT, WIDTH, HEIGHT]
    sides = shares[:, 2:] - shares[:, :2]
    soft_labels = np.full((3, 4), 1 / 16)
    soft_labels[np.arange(3), CLASSES + 1] = SCORES
    # The background's score is the best of all and no class.
    soft_labels[:, 0] = 0.875
    np.savez_compressed(
        FOLDER / "uniter.npz",
        norm_bb=np.concatenate([shares, sides], axis=1).astype(np.float16),
        features=FEATURES.astype(np.float16),
        conf=SCORES.astype(np.float16),
        soft_labels=soft_labels.astype(np.float16),
    )


def bottom_up_pytorch():
    """bottom-up-attention.pytorch: pixels, the size of the image, and classes only in a pickled dictionary."""
    info = {"objects_id": CLASSES, "objects_conf": SCORES}
    np.savez_compressed(
        FOLDER / "bottom_up.npz",
        x=FEATURES,
        bbox=BOXES,
        num_bbox=len(BOXES),
        image_h=HEIGHT,
        image_w=WIDTH,
        info=info,
    )


def openvqa():
    """OpenVQA: a vector a column, of an image twice the size, stored without compression."""
    savez("openvqa.npz", x=np.asfortranarray(FEATURES.T), bbox=BOXES * 2, image_h=2 * HEIGHT, image_w=2 * WIDTH)


def arrays():
    """Features alone, double precision in big-endian order, with the boxes beside them in Fortran order."""
    np.save(FOLDER / "plain.npy", FEATURES.astype(">f8"))
    np.save(FOLDER / "plain_bbox.npy", np.asfortranarray(BOXES.astype(np.int32)))
    np.save(FOLDER / "alone.npy", FEATURES[None].astype(">f2"))


def tables():
    """The tab-separated files of bottom-up attention and of LXMERT."""
    text = lambda array: base64.b64encode(array.tobytes()).decode()
    bottom_up = ["9", WIDTH, HEIGHT, 3, text(BOXES), text(FEATURES)]
    attributes = [text(np.zeros(3, dtype=np.int64)), text(np.zeros(3, dtype=np.float32))]
    lxmert = ["COCO_val2014_000000000009", HEIGHT, WIDTH, text(CLASSES), text(SCORES), *attributes]
    lxmert += [3, text(BOXES), text(FEATURES)]
    for name, row, end in [("bottom_up.tsv", bottom_up, "\r\n"), ("lxmert.tsv", lxmert, "\n")]:
        (FOLDER / name).write_bytes(("\t".join(map(str, row)) + end).encode())


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    uniter()
    bottom_up_pytorch()
    openvqa()
    arrays()
    tables()
    (FOLDER / "classes.txt").write_text("cat,kitten\ndog\ntraffic light\n")
