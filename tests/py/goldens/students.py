"""The students: ViLT, VisualBERT and UNITER."""
import torch
from transformers import (BertTokenizerFast, ViltConfig, ViltForMaskedLM, ViltForQuestionAnswering, VisualBertConfig,
                          VisualBertForMultipleChoice, VisualBertForQuestionAnswering, VisualBertForVisualReasoning)

import uniter

from .bert import BERT_TEXTS, wordpiece_tokenizer
from .common import fresh, randomise, save_model, write_json, write_tensors


@torch.no_grad()
def make_vilt():
    folder = fresh("vilt")
    answers = ["yes", "no", "red", "circle", "2"]
    config = ViltConfig(vocab_size=60, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
                        image_size=32, patch_size=8, max_position_embeddings=20, hidden_act="gelu",
                        id2label=dict(enumerate(answers)), label2id={answer: n for n, answer in enumerate(answers)})
    model = randomise(ViltForQuestionAnswering(config), seed=404)
    save_model(model, folder)

    generator = torch.Generator().manual_seed(405)
    input_ids = torch.randint(4, 60, (2, 9), generator=generator)
    attention_mask = torch.ones_like(input_ids)
    input_ids[1, 6:], attention_mask[1, 6:] = 0, 0
    inputs = {"input_ids": input_ids, "attention_mask": attention_mask,
              "pixel_values": torch.randn(2, 3, 32, 32, generator=generator)}

    expected = vilt_states(model.vilt, inputs)
    expected["logits"] = model.classifier(expected["pooler_output"])
    assert torch.allclose(model(**inputs).logits, expected["logits"], atol=1e-5)
    # An image of 6 x 6 patches, where the config says 4 x 4: the positions of the patches are interpolated.
    large = {**inputs, "pixel_values": torch.randn(2, 3, 48, 48, generator=generator)}
    large_states = vilt_states(model.vilt, large)
    write_tensors(folder / "expected.safetensors", **inputs, **expected, large_pixel_values=large["pixel_values"],
                  large_logits=model.classifier(large_states["pooler_output"]),
                  large_text_last_hidden_state=large_states["text_last_hidden_state"])


def vilt_states(model, inputs):
    """ViLT shuffles the patches; only what does not depend on their order is kept."""
    def states(seed):
        torch.manual_seed(seed)
        encoded = model(**inputs)
        return {"pooler_output": encoded.pooler_output,
                "text_last_hidden_state": encoded.last_hidden_state[:, :inputs["input_ids"].shape[1]]}

    expected = states(1)
    for name, other in states(2).items():
        assert torch.allclose(expected[name], other, atol=1e-5), name
    return expected


@torch.no_grad()
def make_vilt_mlm():
    """A pretrained ViLT as it is published: no classifier, its tokenizer as a vocab.txt; in two files of weights."""
    folder = fresh("vilt-mlm")
    entries = wordpiece_tokenizer(max_length=20).get_vocab()
    config = ViltConfig(vocab_size=len(entries), hidden_size=24, num_hidden_layers=2, num_attention_heads=2,
                        intermediate_size=36, image_size=24, patch_size=8, max_position_embeddings=20)
    model = randomise(ViltForMaskedLM(config), seed=414)
    model.save_pretrained(folder, max_shard_size="40KB")
    for file in folder.glob("*.safetensors"):
        file.chmod(0o644)
    assert (folder / "model.safetensors.index.json").is_file()
    (folder / "vocab.txt").write_text("".join(f"{entry}\n" for entry in sorted(entries, key=entries.get)),
                                      encoding="utf-8")
    tokenizer = BertTokenizerFast(vocab_file=str(folder / "vocab.txt"), model_max_length=20)
    encoded = tokenizer(BERT_TEXTS, padding=True, truncation=True, return_tensors="pt")
    inputs = {"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"],
              "pixel_values": torch.randn(len(BERT_TEXTS), 3, 24, 24, generator=torch.Generator().manual_seed(415))}
    write_tensors(folder / "expected.safetensors", **inputs, **vilt_states(model.vilt, inputs))
    write_json(folder / "cases.json", {"texts": BERT_TEXTS})


def region_inputs(seed):
    """Three texts of at most 7 tokens in two segments, and of each an image of at most 5 regions."""
    generator = torch.Generator().manual_seed(seed)
    input_ids = torch.randint(4, 40, (3, 7), generator=generator)
    attention_mask, regions_mask = torch.ones_like(input_ids), torch.ones(3, 5, dtype=torch.long)
    input_ids[1, 4:], attention_mask[1, 4:] = 0, 0
    regions_mask[2, 3:] = 0
    corners = torch.rand(3, 5, 2, 2, generator=generator).sort(dim=2).values  # first left and top, then right and bottom
    parts = torch.tensor([[0, 0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 2, 2]])
    return {"input_ids": input_ids, "attention_mask": attention_mask, "parts": parts,
            "features": torch.randn(3, 5, 12, generator=generator), "boxes": corners.flatten(2),
            "regions_mask": regions_mask}


@torch.no_grad()
def make_visualbert():
    folder = fresh("visualbert")
    answers = ["yes", "no", "red", "circle"]
    config = VisualBertConfig(vocab_size=40, hidden_size=24, num_hidden_layers=2, num_attention_heads=2,
                              intermediate_size=36, max_position_embeddings=9, visual_embedding_dim=12, pad_token_id=0,
                              id2label=dict(enumerate(answers)), label2id={answer: n for n, answer in enumerate(answers)})
    model = randomise(VisualBertForQuestionAnswering(config), seed=505)
    save_model(model, folder)
    inputs = region_inputs(506)
    segments = inputs["parts"].clamp(max=1)
    said = {"input_ids": inputs["input_ids"], "attention_mask": inputs["attention_mask"], "token_type_ids": segments,
            "visual_embeds": inputs["features"], "visual_attention_mask": inputs["regions_mask"]}
    # The same weights under the other heads; the score of a text is what the first answer's row of `cls` makes of it.
    reasoning, choice = VisualBertForVisualReasoning(config).eval(), VisualBertForMultipleChoice(config).eval()
    reasoning.load_state_dict(model.state_dict())
    choice.load_state_dict({name: weight[:1] if name.startswith("cls.") else weight
                            for name, weight in model.state_dict().items()})
    write_tensors(folder / "expected.safetensors", **inputs, answers_logits=model(**said).logits,
                  class_logits=reasoning(**said).logits,
                  choice_logits=choice(**{name: value[:, None] for name, value in said.items()}).logits,
                  last_hidden_state=model.visual_bert(**said).last_hidden_state)


@torch.no_grad()
def make_uniter():
    folder = fresh("uniter")
    config = {"architectures": ["UniterForVisualCommonsenseReasoning"], "model_type": "uniter", "vocab_size": 40,
              "hidden_size": 24, "img_dim": 12, "num_hidden_layers": 2, "num_attention_heads": 2,
              "intermediate_size": 36, "max_position_embeddings": 9, "type_vocab_size": 4, "hidden_act": "gelu",
              "id2label": {"0": "score"}, "label2id": {"score": 0}}
    write_json(folder / "config.json", config)
    generator = torch.Generator().manual_seed(606)
    weights = {name: 0.2 * torch.randn(shape, generator=generator)
               for name, shape in uniter.shapes(config, {"vqa_output": 3, "vcr_output": 2}).items()}
    for name in weights:
        if name.endswith("norm.weight") or "LayerNorm.weight" in name or "output.2.weight" in name:
            weights[name] += 1.0
    write_tensors(folder / "model.safetensors", **weights)
    inputs = region_inputs(607)
    types = torch.tensor([0, 2, 3])[inputs["parts"]]  # question, answer, rationale; 1 is the image
    x = torch.cat([uniter.embed_text(weights, inputs["input_ids"], types),
                   uniter.embed_regions(weights, inputs["features"], inputs["boxes"])], dim=1)
    mask = torch.cat([inputs["attention_mask"], inputs["regions_mask"]], dim=1)
    states = uniter.encode(weights, x, mask, config["num_hidden_layers"], config["num_attention_heads"])
    two_way = uniter.head(weights, "vcr_output", states)
    write_tensors(folder / "expected.safetensors", **inputs, class_logits=uniter.head(weights, "vqa_output", states),
                  choice_logits=two_way[:, 1:] - two_way[:, :1], last_hidden_state=states)
