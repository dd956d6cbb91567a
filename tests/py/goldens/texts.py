"""Text encoders beside BERT, each with a tokenizer of its own kind."""
import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (DistilBertConfig, DistilBertForSequenceClassification, DistilBertTokenizerFast, MPNetConfig,
                          MPNetModel, MPNetTokenizerFast, RobertaConfig, RobertaModel, RobertaTokenizerFast,
                          XLMRobertaConfig, XLMRobertaForSequenceClassification, XLMRobertaTokenizerFast)

from .bert import wordpiece_tokenizer
from .common import HARD_TEXTS, WORDS, fresh, randomise, save_model, write_json, write_tensors


def merged(words):
    """The merges of BPE that make words of their letters, from the left, and the tokens that come of them."""
    merges, tokens = [], []
    for word in words:
        for end in range(2, len(word) + 1):
            merge = (word[:end - 1], word[end - 1])
            if merge not in merges:
                merges.append(merge)
                tokens.append(word[:end])
    return merges, tokens


def numbered(tokens):
    return {token: number for number, token in enumerate(dict.fromkeys(tokens))}


def byte_level_tokenizer():
    """As `RobertaConverter` of transformers makes it."""
    # A space before a word is part of it, as the letter that stands for that byte.
    merges, tokens = merged(["Ġ" + word for word in WORDS if word.isascii()] + ["Ã©", "ðŁ"])
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    vocabulary = numbered([*special, *sorted(pre_tokenizers.ByteLevel.alphabet()), *tokens, "<mask>"])
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, continuing_subword_prefix="",
                                     end_of_word_suffix="", fuse_unk=False))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.RobertaProcessing(sep=("</s>", 2), cls=("<s>", 0), add_prefix_space=False,
                                                            trim_offsets=True)
    return tokenizer


def pieces(special, after=()):
    """A vocabulary of SentencePiece's unigram model: words with the bar that stands for a space, and letters."""
    letters = sorted(set("".join(WORDS) + "abcdefghijklmnopqrstuvwxyzABCIPT0123456789.,?'éèïçşß红色は원דعΣ"))
    known = [(token, 0.0) for token in special]
    known += [("▁" + word, -3.0 - 0.05 * n) for n, word in enumerate(dict.fromkeys(WORDS))]
    known += [("▁", -2.5)] + [(letter, -7.0 - 0.01 * n) for n, letter in enumerate(letters)]
    return known + [(token, 0.0) for token in after]


def sentence_piece_tokenizer():
    """As `XLMRobertaConverter` of transformers makes it, with NFKC in the place of the table that SentencePiece keeps."""
    tokenizer = Tokenizer(models.Unigram(pieces(["<s>", "<pad>", "</s>", "<unk>"], ["<mask>"]), unk_id=3,
                                         byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Strip(left=False, right=True),
                                                 normalizers.Replace(Regex(" {2,}"), "▁")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    return tokenizer


def keep(folder, model, tokenizer, base, texts, pooled):
    """The model, its tokenizer, and what both make of texts. `base` is the encoder without a head."""
    save_model(model, folder)
    tokenizer.save_pretrained(folder)
    for file in ("vocab.txt", "vocab.json", "merges.txt"):
        (folder / file).unlink(missing_ok=True)
    encoded = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    inputs = {name: encoded[name] for name in ("input_ids", "attention_mask")}
    states = base(**inputs)
    write_tensors(folder / "expected.safetensors", **inputs, last_hidden_state=states.last_hidden_state,
                  pooled=pooled(states))
    write_json(folder / "cases.json", {"texts": texts})


@torch.no_grad()
def make_roberta():
    """With a pooler, and texts of up to 32 tokens in 34 entries of the position embedding."""
    tokenizer = RobertaTokenizerFast(tokenizer_object=byte_level_tokenizer(), model_max_length=32)
    config = RobertaConfig(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
                           intermediate_size=48, max_position_embeddings=34, type_vocab_size=1, layer_norm_eps=1e-5)
    model = randomise(RobertaModel(config), seed=121)
    keep(fresh("roberta"), model, tokenizer, model, HARD_TEXTS, lambda states: states.pooler_output)


@torch.no_grad()
def make_xlm_roberta():
    """Below a classifier: names begin with "roberta.", and there is no pooler."""
    tokenizer = XLMRobertaTokenizerFast(tokenizer_object=sentence_piece_tokenizer(), model_max_length=28)
    config = XLMRobertaConfig(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
                              intermediate_size=48, max_position_embeddings=30, type_vocab_size=1, layer_norm_eps=1e-5)
    model = randomise(XLMRobertaForSequenceClassification(config), seed=122)
    keep(fresh("xlm-roberta"), model, tokenizer, model.roberta, HARD_TEXTS,
         lambda states: states.last_hidden_state[:, 0])


@torch.no_grad()
def make_mpnet():
    """Texts of up to 140 tokens: the furthest bucket of distances begins at 128."""
    plain = wordpiece_tokenizer(max_length=140).backend_tokenizer
    vocabulary = ["<s>", "<pad>", "</s>", "[UNK]", "<mask>", *(token for token in sorted(
        plain.get_vocab(), key=plain.get_vocab().get) if token not in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"))]
    tokenizer = Tokenizer(models.WordPiece(numbered(vocabulary), unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = plain.normalizer, plain.pre_tokenizer
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s>:0 $A:0 </s>:0", pair="<s>:0 $A:0 </s>:0 </s>:0 $B:1 </s>:1",
        special_tokens=[("<s>", 0), ("</s>", 2)])
    tokenizer = MPNetTokenizerFast(tokenizer_object=tokenizer, model_max_length=140)
    config = MPNetConfig(vocab_size=len(tokenizer), hidden_size=24, num_hidden_layers=2, num_attention_heads=3,
                         intermediate_size=40, max_position_embeddings=142)
    model = randomise(MPNetModel(config), seed=123)
    texts = HARD_TEXTS + ["the red circle and the blue triangle are in the image of the shape " * 12]
    keep(fresh("mpnet"), model, tokenizer, model, [texts[n] for n in (1, 3, 6, 8, 11, 14)],
         lambda states: states.pooler_output)


@torch.no_grad()
def make_distilbert():
    """Below a classifier: names begin with "distilbert."."""
    tokenizer = DistilBertTokenizerFast(tokenizer_object=wordpiece_tokenizer(max_length=24).backend_tokenizer,
                                        model_max_length=24)
    config = DistilBertConfig(vocab_size=len(tokenizer), dim=32, n_layers=2, n_heads=4, hidden_dim=48,
                              max_position_embeddings=24)
    model = randomise(DistilBertForSequenceClassification(config), seed=124)
    keep(fresh("distilbert"), model, tokenizer, model.distilbert, HARD_TEXTS,
         lambda states: states.last_hidden_state[:, 0])
