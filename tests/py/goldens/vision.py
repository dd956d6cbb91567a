"""Image encoders, and SigLIP with both towers."""
import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (BitImageProcessor, Dinov2Config, Dinov2ForImageClassification, Dinov2Model,
                          Dinov2WithRegistersConfig, Dinov2WithRegistersModel, PreTrainedTokenizerFast, Siglip2Config, Siglip2ImageProcessor, Siglip2Model, SiglipConfig,
                          SiglipImageProcessor, SiglipModel, ViTConfig, ViTImageProcessor, ViTModel)

from .common import FEW_IMAGES, HARD_TEXTS, WORDS, fresh, open_images, randomise, save_model, write_json, write_tensors
from .texts import merged, numbered, pieces

SIGLIP_LENGTH = 20
# Of images that keep their shape: wide, tall, square, and one that is made larger. The tall one is not made less high.
SHAPED_IMAGES = ["easyvqa-0.png", "tall.png", "tiny.png", "wide.png"]


def see(processor):
    images = [image.convert("RGB") for image in open_images(FEW_IMAGES)]  # not all processors do
    return processor(images, input_data_format="channels_last", return_tensors="pt")["pixel_values"]


def keep(name, model, processor, states):
    """The model, its processor, and what both make of images; `states` gives the pooled features and the grid."""
    folder = fresh(name)
    save_model(model, folder)
    processor.save_pretrained(folder)
    pixels = see(processor)
    write_tensors(folder / "expected.safetensors", pixel_values=pixels, **states(pixels))
    write_json(folder / "cases.json", {"images": FEW_IMAGES})


def with_class_token(states):
    return {"pooled": states.pooler_output, "grid": states.last_hidden_state[:, 1:]}


@torch.no_grad()
def make_dinov2():
    """The positions of 4 x 4 patches, as those of 5 x 5: images are cropped to 40 pixels."""
    config = Dinov2Config(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, mlp_ratio=2, image_size=32,
                          patch_size=8)
    model = randomise(Dinov2Model(config), seed=131)
    processor = BitImageProcessor(size={"shortest_edge": 48}, crop_size={"height": 40, "width": 40},
                                  image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225])
    keep("dinov2", model, processor, lambda pixels: with_class_token(model(pixel_values=pixels)))


@torch.no_grad()
def make_dinov2_giant():
    """As the giant: gated; below a classifier; query, key and value without bias; the positions as they are."""
    config = Dinov2Config(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, mlp_ratio=2, image_size=32,
                          patch_size=8, use_swiglu_ffn=True, qkv_bias=False, num_labels=3)
    model = randomise(Dinov2ForImageClassification(config), seed=132)
    processor = BitImageProcessor(size={"shortest_edge": 36}, crop_size={"height": 32, "width": 32})
    keep("dinov2-giant", model, processor, lambda pixels: with_class_token(model.dinov2(pixel_values=pixels)))


@torch.no_grad()
def make_dinov2_with_registers():
    """Three registers, which the grid leaves out; the positions of 4 x 4 patches as those of 3 x 5, smoothed."""
    config = Dinov2WithRegistersConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, mlp_ratio=2,
                                       image_size=32, patch_size=8, num_register_tokens=3)
    model = randomise(Dinov2WithRegistersModel(config), seed=134)
    processor = BitImageProcessor(size={"shortest_edge": 40}, crop_size={"height": 24, "width": 40},
                                  image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225])

    def states(pixels):
        seen = model(pixel_values=pixels)
        return {"pooled": seen.pooler_output, "grid": seen.last_hidden_state[:, 1 + config.num_register_tokens:]}

    keep("dinov2-registers", model, processor, states)


@torch.no_grad()
def make_vit():
    """With a pooler; without its weights, the class token is the embedding, which is kept too."""
    config = ViTConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, image_size=32,
                       patch_size=8, pooler_output_size=20)
    model = randomise(ViTModel(config), seed=133)

    def states(pixels):
        seen = model(pixel_values=pixels)
        return {**with_class_token(seen), "pooled_unprojected": seen.last_hidden_state[:, 0]}

    keep("vit", model, ViTImageProcessor(size={"height": 32, "width": 32}), states)


def siglip_tokenizer():
    """As published for SigLIP: SentencePiece without punctuation and capitals, padded with its end of text; no mask."""
    tokenizer = Tokenizer(models.Unigram(pieces(["<unk>", "</s>"]), unk_id=0, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence([
        normalizers.Lowercase(), normalizers.Replace(Regex(r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]"""), ""),
        normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>",
                                                             special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>", pad_token="</s>",
                                   model_max_length=SIGLIP_LENGTH, model_input_names=["input_ids"])


def gemma_tokenizer():
    """As `GemmaConverter` of transformers makes it: BPE that falls back to bytes. It says nothing of a longest text, and
    names a mask among its outputs."""
    merges, tokens = merged(["▁" + word for word in WORDS])
    letters = sorted(set("".join(WORDS) + "ABCIPTabcdefghijklmnopqrstuvwxyz0123456789.,?'"))
    vocabulary = numbered(["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *letters,
                           *tokens])
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", fuse_unk=True,
                                     byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.post_processor = processors.TemplateProcessing(single="$A <eos>", pair="$A <eos> $B <eos>",
                                                             special_tokens=[("<eos>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<eos>", bos_token="<bos>",
                                   pad_token="<pad>", model_input_names=["input_ids", "attention_mask"])


def make_siglip_model(name, tokenizer, processor, text_options, seed):
    folder = fresh(name)
    text = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
            "max_position_embeddings": SIGLIP_LENGTH, "vocab_size": len(tokenizer), **text_options}
    vision = {"hidden_size": 32, "intermediate_size": 56, "num_hidden_layers": 2, "num_attention_heads": 2,
              "image_size": 36, "patch_size": 8}  # patches do not divide the side: a border of 4 pixels is not seen
    config = SiglipConfig(text_config=text, vision_config=vision)
    config.text_config._attn_implementation = "eager"  # so that a mask is read alike whatever the batch
    model = randomise(SiglipModel(config), seed)
    save_model(model, folder)
    processor.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    encoded = tokenizer(HARD_TEXTS, padding="max_length", max_length=SIGLIP_LENGTH, truncation=True, return_tensors="pt")
    lengths = [len(ids) for ids in tokenizer(HARD_TEXTS, max_length=SIGLIP_LENGTH, truncation=True)["input_ids"]]
    pixels = see(processor)
    seen = model.vision_model(pixel_values=pixels)
    write_tensors(folder / "expected.safetensors", input_ids=encoded["input_ids"], lengths=torch.tensor(lengths),
                  text_pooled=model.get_text_features(**encoded),
                  last_hidden_state=model.text_model(**encoded).last_hidden_state, pixel_values=pixels,
                  pooled=model.get_image_features(pixel_values=pixels), grid=seen.last_hidden_state)
    write_json(folder / "cases.json", {"texts": HARD_TEXTS, "images": FEW_IMAGES})


@torch.no_grad()
def make_siglip():
    processor = SiglipImageProcessor(size={"height": 36, "width": 36})
    make_siglip_model("siglip", siglip_tokenizer(), processor, {}, seed=141)


@torch.no_grad()
def make_siglip2():
    """SigLIP 2 of a fixed resolution is the same model: bilinear, another tokenizer, texts of the images' width."""
    processor = SiglipImageProcessor(size={"height": 36, "width": 36}, resample=2)
    make_siglip_model("siglip2", gemma_tokenizer(), processor, {"projection_size": 32, "hidden_size": 24}, seed=142)


def strip(patches, shapes, side):
    """Patches as retort hands them over, in `[3, side, (patches + 1) * side]` an image: one beside the other, and the shape, rows
    in the first channel and columns in the second, as two digits to the base 256 at the start of one patch more."""
    images, most, _ = patches.shape
    strips = torch.zeros(images, 3, side, most + 1, side)
    strips[:, :, :, :most] = patches.reshape(images, most, side, side, 3).permute(0, 4, 2, 1, 3)
    strips[:, :2, 0, most, 0], strips[:, :2, 0, most, 1] = shapes // 256, shapes % 256
    return strips.reshape(images, 3, side, (most + 1) * side)


@torch.no_grad()
def make_siglip2_naflex():
    """SigLIP 2 for images that keep their shape: at most 64 patches, which positions of 6 x 6 are stretched or squeezed to."""
    folder, tokenizer = fresh("siglip2-naflex"), gemma_tokenizer()
    text = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
            "max_position_embeddings": SIGLIP_LENGTH, "vocab_size": len(tokenizer), "projection_size": 32}
    vision = {"hidden_size": 32, "intermediate_size": 56, "num_hidden_layers": 2, "num_attention_heads": 2,
              "num_patches": 36, "patch_size": 8}
    config = Siglip2Config(text_config=text, vision_config=vision)
    config.text_config._attn_implementation = "eager"  # so that a mask is read alike whatever the batch
    model = randomise(Siglip2Model(config), seed=143)
    processor = Siglip2ImageProcessor(patch_size=8, max_num_patches=64)
    for part in (processor, tokenizer):
        part.save_pretrained(folder)
    save_model(model, folder)
    encoded = tokenizer(HARD_TEXTS, padding="max_length", max_length=SIGLIP_LENGTH, truncation=True, return_tensors="pt")
    lengths = [len(ids) for ids in tokenizer(HARD_TEXTS, max_length=SIGLIP_LENGTH, truncation=True)["input_ids"]]
    images = [image.convert("RGB") for image in open_images(SHAPED_IMAGES)]
    seen = processor(images, input_data_format="channels_last", return_tensors="pt")
    write_tensors(folder / "expected.safetensors", input_ids=encoded["input_ids"], lengths=torch.tensor(lengths),
                  text_pooled=model.get_text_features(**encoded),
                  last_hidden_state=model.text_model(**encoded).last_hidden_state,
                  pixel_values=strip(seen["pixel_values"], seen["spatial_shapes"], 8), shapes=seen["spatial_shapes"],
                  pooled=model.get_image_features(**seen))
    write_json(folder / "cases.json", {"texts": HARD_TEXTS, "images": SHAPED_IMAGES})
