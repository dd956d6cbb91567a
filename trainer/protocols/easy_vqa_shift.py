#!/usr/bin/env python3
"""Makes a test part of easy-VQA with changed answer priors, in the layout of VQA v2.

    python3 trainer/protocols/easy_vqa_shift.py EASY_VQA OUT

EASY_VQA is the demo's easy-vqa/ folder (`src/demo/fetch.py`). Of each question type that asks for yes or no, the test questions
with the rarer answer stay, and of the others so many that the two shares change places: a student that has learnt how often
an answer is right, and not what is in the image, does worse than before. Other questions stay as they are. Which questions
stay depends on a hash of their ids alone.
"""
import collections, hashlib, json, pathlib, sys

folder, out = map(pathlib.Path, sys.argv[1:3])
questions = json.loads((folder / "v2_OpenEnded_easyvqa_test_questions.json").read_text(encoding="utf-8"))
annotations = json.loads((folder / "v2_easyvqa_test_annotations.json").read_text(encoding="utf-8"))
cells = collections.defaultdict(list)
for annotation in annotations["annotations"]:
    cells[annotation["question_type"], annotation["multiple_choice_answer"]].append(annotation["question_id"])
kept = set()
for (kind, answer), ids in cells.items():
    other = {"yes": "no", "no": "yes"}.get(answer)
    rarer = len(cells.get((kind, other), ids))
    count = len(ids) if len(ids) <= rarer else round(rarer * rarer / len(ids))
    ids.sort(key=lambda question: hashlib.sha256(str(question).encode()).digest())
    kept.update(ids[:count])
out.mkdir(parents=True, exist_ok=True)
for name, part in (("questions", questions), ("annotations", annotations)):
    part[name] = [row for row in part[name] if row["question_id"] in kept]
    (out / f"{name}.json").write_text(json.dumps(part), encoding="utf-8")
print(f"{len(kept)} of {sum(map(len, cells.values()))} questions stay", file=sys.stderr)
