"""Scores VQA results as the official evaluation does; written from its description, to hold ours against.

usage: score_vqa.py RESULTS.json ANNOTATIONS... (JSON, plain or gzip) > SCORES.json
       score_vqa.py --normalise TEXT... > LINES

SCORES.json has `overall`, `perAnswerType`, `perQuestionType` and `perQuestion` as shares, not rounded. Only Python's own
library is needed.
"""

import gzip
import json
import re
import sys
from collections import defaultdict

PUNCTUATION = list(";/[]\"{}()=+\\_-><@`,?!")
NUMBERS = {"none": "0", "zero": "0"}
NUMBERS.update((word, str(n)) for n, word in enumerate("one two three four five six seven eight nine ten".split(), 1))

# Misspellings that are mended, as the reference lists them; the spelling they get is the word below with the same letters.
MISSPELT = """
aint arent cant couldve couldnt couldn'tve couldnt've didnt doesnt dont hadnt hadnt've hadn'tve hasnt havent hed hed've
he'dve hes howd howll hows isnt itd itd've it'dve itll maam mightnt mightnt've mightn'tve mightve mustnt mustve neednt
notve oclock oughtnt ow's'at 'ows'at 'ow'sat shant shed've she'dve shouldve shouldnt shouldnt've shouldn'tve
somebodyd've somebody'dve somebodyll somebodys someoned someoned've someone'dve someonell someones somethingd
somethingd've something'dve somethingll thats thered thered've there'dve therere theres theyd theyd've they'dve theyll
theyre theyve twas wasnt wed've we'dve weve werent whatll whatre whats whatve whens whered wheres whereve whod whod've
who'dve wholl whos whove whyll whyre whys wont wouldve wouldnt wouldnt've wouldn'tve yall yall'll y'allll yall'd've
y'alld've y'all'dve youd youd've you'dve youll youre youve
""".split()
SPELT = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've he's
how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't not've o'clock
oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd
someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've there're there's
they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've when's where'd
where's where've who'd who'd've who'll who's who've why'll why're why's won't would've wouldn't wouldn't've y'all
y'all'll y'all'd've you'd you'd've you'll you're you've
""".split()
BY_LETTERS = {word.replace("'", ""): word for word in SPELT}
CONTRACTIONS = {word: BY_LETTERS[word.replace("'", "")] for word in MISSPELT}
CONTRACTIONS["somebody'd"] = "somebodyd"  # odd, and in the reference


def normalise(text):
    """Punctuation, then digits, articles and contractions."""
    number_with_comma = re.search(r"[0-9],[0-9]", text) is not None
    out = text
    for mark in PUNCTUATION:
        gone = number_with_comma or mark + " " in text or " " + mark in text
        out = out.replace(mark, "" if gone else " ")
    out = re.sub(r"\.(?![0-9])", "", out, count=32)
    words = [NUMBERS.get(word, word) for word in out.lower().split()]
    words = [word for word in words if word not in ("a", "an", "the")]
    return " ".join(CONTRACTIONS.get(word, word) for word in words)


def stripped(text):
    return text.replace("\n", " ").replace("\t", " ").strip()


def accuracy(prediction, answers):
    """Mean over annotators of min(1, matches among the other nine / 3)."""
    prediction, answers = stripped(prediction), [stripped(answer) for answer in answers]
    if len(set(answers)) > 1:
        prediction, answers = normalise(prediction), [normalise(answer) for answer in answers]
    scores = []
    for left_out in range(len(answers)):
        others = answers[:left_out] + answers[left_out + 1 :]
        scores.append(min(1.0, sum(other == prediction for other in others) / 3.0))
    return sum(scores) / len(scores)


def read(path):
    with open(path, "rb") as file:
        data = file.read()
    return json.loads(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)


def main(results, files):
    said = {row["question_id"]: row["answer"] for row in read(results)}
    annotations = [row for file in files for row in read(file)["annotations"]]
    if set(said) != {row["question_id"] for row in annotations} or len(said) != len(annotations):
        sys.exit("the results are not about the questions of the annotations")
    by_question, by_answer_type, by_question_type = {}, defaultdict(list), defaultdict(list)
    for row in annotations:
        question = row["question_id"]
        score = accuracy(said[question], [answer["answer"] for answer in row["answers"]])
        by_question[question] = score
        by_answer_type[row["answer_type"]].append(score)
        by_question_type[row["question_type"]].append(score)
    means = lambda groups: {name: sum(scores) / len(scores) for name, scores in groups.items()}
    scores = {
        "overall": sum(by_question.values()) / len(by_question),
        "perAnswerType": means(by_answer_type),
        "perQuestionType": means(by_question_type),
        "perQuestion": by_question,
    }
    json.dump(scores, sys.stdout)


if __name__ == "__main__":
    if sys.argv[1] == "--normalise":
        print("\n".join(normalise(text) for text in sys.argv[2:]))
    else:
        main(sys.argv[1], sys.argv[2:])
