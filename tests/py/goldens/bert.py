"""BERT, and MiniLM as sentence-transformers runs it."""
import json

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, BertModel, BertTokenizerFast

from .common import DEMO, GOLDEN, fresh, randomise, save_model, write_json, write_tensors

BERT_TEXTS = [
    "the red circle",
    "Is there a BLUE triangle in the image?",
    "Café déjà vu",
    "unknownish words, unaffable",
    "红色 ok 🔴",
    "",
    "what is the color of the shape in the image, and is the shape not a rectangle, or is it a circle?",
]
MINILM_TEXTS = [
    "A man is playing a guitar on stage.",
    "The cat sat on the mat, didn't it?",
    "What is the color of the triangle?",
    "Café déjà vu: naïve façade, Zürich, São Paulo.",
    "Cafe\u0301 with a combining accent",
    "I love 🍕 and 🔴 circles 👩\u200d🚀!",
    "红色的圆形 is a red circle; 日本語も 한국어도.",
    "دائرة حمراء and עיגול אדום",
    "",
    "   Many   spaces\tand\nlines   ",
    "Antidisestablishmentarianism versus pneumonoultramicroscopicsilicovolcanoconiosis, 3.14159 %.",
    "Two dogs run through the tall grass while a child in a yellow coat watches them from the gate. " * 20,
]
MINILM_TOKEN_TEXTS = [1, 5, 6]  # those whose token states are kept too


def wordpiece_tokenizer(max_length):
    letters = "abcdefghijklmnopqrstuvwxyz"
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *("##" + letter for letter in letters),
                  *"?,.!'-", "the", "is", "there", "not", "red", "blue", "green", "circle", "triangle", "rectangle",
                  "in", "image", "what", "color", "of", "shape", "and", "cafe", "deja", "un", "##known", "##ish", "##aff",
                  "##able", "word", "红", "ok"]
    tokenizer = Tokenizer(models.WordPiece({word: n for n, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return BertTokenizerFast(tokenizer_object=tokenizer, model_max_length=max_length)


@torch.no_grad()
def make_bert():
    folder = fresh("bert")
    tokenizer = wordpiece_tokenizer(max_length=24)
    config = BertConfig(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
                        intermediate_size=48, max_position_embeddings=24, num_labels=3)
    # With a classifier on top, so that the encoder's keys start with "bert.", as in most published checkpoints.
    model = randomise(BertForSequenceClassification(config), seed=303)
    save_model(model, folder)
    tokenizer.save_pretrained(folder)
    (folder / "vocab.txt").unlink(missing_ok=True)
    encoded = tokenizer(BERT_TEXTS, padding=True, truncation=True, return_tensors="pt")
    outputs = model.bert(**encoded)
    write_tensors(folder / "expected.safetensors", input_ids=encoded["input_ids"],
                  attention_mask=encoded["attention_mask"], last_hidden_state=outputs.last_hidden_state,
                  pooler_output=outputs.pooler_output)
    write_json(folder / "cases.json", {"texts": BERT_TEXTS})


@torch.no_grad()
def make_minilm():
    """What sentence-transformers does with all-MiniLM-L6-v2: cut at 256 tokens, mean over tokens, unit length."""
    model = BertModel.from_pretrained(DEMO / "minilm").eval()
    tokenizer = Tokenizer.from_file(str(DEMO / "minilm/tokenizer.json"))
    tokenizer.no_padding()  # the file asks for 128 tokens, padded; sentence_bert_config.json overrides it with 256
    tokenizer.enable_truncation(json.loads((DEMO / "minilm/sentence_bert_config.json").read_text())["max_seq_length"])
    sentences, embeddings, tensors = [], [], {}
    for number, text in enumerate(MINILM_TEXTS):
        encoding = tokenizer.encode(text)
        states = model(input_ids=torch.tensor([encoding.ids])).last_hidden_state[0]
        embeddings.append(torch.nn.functional.normalize(states.mean(dim=0), dim=0))
        sentences.append({"text": text, "input_ids": encoding.ids})
        if number in MINILM_TOKEN_TEXTS:
            kept = [n for n, special in enumerate(encoding.special_tokens_mask) if not special]
            in_bytes = lambda place: len(text[:place].encode("utf-8"))  # tokenizers counts characters in Python
            sentences[-1]["byte_offsets"] = [[in_bytes(place) for place in encoding.offsets[n]] for n in kept]
            tensors[f"tokens_{number}"] = states[kept]
    write_tensors(GOLDEN / "minilm.safetensors", embedding=torch.stack(embeddings), **tensors)
    (GOLDEN / "minilm.json").write_text(json.dumps({"sentences": sentences}, ensure_ascii=False) + "\n",
                                        encoding="utf-8")
