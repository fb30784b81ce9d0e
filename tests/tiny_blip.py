"""Small random checkpoints of BLIP and BLIP-2: the real classes, and the files that the hub's have."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2QFormerConfig,
    Blip2VisionConfig,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipTextConfig,
    BlipVisionConfig,
    OPTConfig,
    PreTrainedTokenizerFast,
    T5Config,
)

from toyworld.random_weights import draw

SIDE = 32
WORDS = "a photo of photography the two man woman dog person stands sits near on wall sky floor red and with".split()  # noqa: SIM905
ENDINGS = ["##s", "##ing", "."]
STD, WORD_GAIN, END_GAIN = 0.25, 2.0, 1.5
"""As in toyworld/tiny_captioner.py: random weights that are decided, and end now and then."""


def build_tiny_blip(folder: Path, seed: int = 0) -> Path:
    """Like Salesforce/blip-image-captioning-large: the decoder's first token is no word of the tokenizer."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *ENDINGS]
    tokenizer = Tokenizer(models.WordPiece({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    roles = {f"{role}_token": f"[{role.upper()}]" for role in ("pad", "unk", "cls", "sep", "mask")}
    vision = BlipVisionConfig(**size(), num_attention_heads=2, image_size=SIDE, patch_size=16)
    text = BlipTextConfig(
        **size(), num_attention_heads=2, vocab_size=len(words) + 2, bos_token_id=len(words), sep_token_id=3,
        pad_token_id=0, max_position_embeddings=64,
    )  # fmt: skip
    model = random(BlipForConditionalGeneration(BlipConfig(vision_config=vision, text_config=text)), seed)
    bias = model.text_decoder.cls.predictions.bias
    with torch.no_grad():
        bias[:] = torch.from_numpy(np.random.default_rng(seed).normal(size=len(bias)))
        bias[[0, 1, 2, 4, len(words), len(words) + 1]] = -100
    return save(model, tokenizer, folder, "Blip", roles)


def build_tiny_blip2(folder: Path, text: str = "t5", seed: int = 2, image_token: bool = True) -> Path:
    """Like Salesforce/blip2-flan-t5-xl, or with `text` "opt" like blip2-opt-2.7b. Older ones have no image token."""
    tokenizer, roles, config = _t5() if text == "t5" else _opt()
    if image_token:
        tokenizer.add_special_tokens([AddedToken("<image>", special=True, normalized=False)])
        config.vocab_size += 1
    vision = Blip2VisionConfig(**size(), num_attention_heads=2, image_size=SIDE, patch_size=16)
    former = Blip2QFormerConfig(**size(), num_attention_heads=2, vocab_size=30, encoder_hidden_size=32)
    whole = Blip2Config(vision_config=vision, qformer_config=former, text_config=config, num_query_tokens=4)
    whole.image_token_index = tokenizer.token_to_id("<image>")
    model: Any = Blip2ForConditionalGeneration(whole)
    random(model, seed)
    generator = np.random.default_rng(seed)
    with torch.no_grad():
        draw(generator, model.query_tokens, 1.0)
        head, silent = model.language_model.lm_head.weight, [0, 1, 2, *([3] if text == "opt" else [])]
        head.mul_(WORD_GAIN)
        end = config.eos_token_id
        head[silent + ([config.vocab_size - 1] if image_token else [])] = 0
        draw(generator, head[end], STD * END_GAIN * WORD_GAIN)
    return save(model, tokenizer, folder, "Blip2", roles, num_query_tokens=4)


def _t5() -> tuple[Any, dict[str, str], T5Config]:
    pieces = ["<pad>", "</s>", "<unk>", *(f"▁{word}" for word in WORDS), "s", "ing", "."]
    tokenizer = Tokenizer(
        models.Unigram([(piece, 0.0 if index < 3 else -1.0) for index, piece in enumerate(pieces)], unk_id=2)
    )
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    config = T5Config(
        d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2, vocab_size=len(pieces), feed_forward_proj="gated-gelu",
        bos_token_id=1, eos_token_id=1, pad_token_id=0, decoder_start_token_id=0, tie_word_embeddings=False,
    )  # fmt: skip
    return tokenizer, {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}, config


def _opt() -> tuple[Any, dict[str, str], OPTConfig]:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.BpeTrainer(
        vocab_size=90,
        special_tokens=special,
        initial_alphabet=list(" abcdefghijklmnopqrstuvwxyz."),
        show_progress=False,
    )
    tokenizer.train_from_iterator([" ".join(WORDS)] * 2, trainer)
    tokenizer.add_tokens(["\n"])
    config = OPTConfig(
        hidden_size=32, ffn_dim=64, num_hidden_layers=2, num_attention_heads=2, word_embed_proj_dim=32,
        vocab_size=tokenizer.get_vocab_size(), max_position_embeddings=64, bos_token_id=2, pad_token_id=1,
        eos_token_id=tokenizer.token_to_id("\n"), tie_word_embeddings=False,
    )  # fmt: skip
    return tokenizer, {"bos_token": "</s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "</s>"}, config


def size() -> dict[str, int]:
    return {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}


@torch.no_grad()
def random(model: Any, seed: int) -> Any:
    """Every matrix drawn anew, the same on every machine."""
    generator = np.random.default_rng(seed)
    for _, parameter in sorted(model.named_parameters()):
        if parameter.dim() > 1:
            draw(generator, parameter, STD)
    return model


def save(model: Any, tokenizer: Any, folder: Path, family: str, roles: dict[str, str], **said: Any) -> Path:
    model.save_pretrained(folder)
    wrapped: Any = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **roles)
    wrapped.save_pretrained(folder)
    if family == "Blip":
        stated = json.loads((folder / "tokenizer_config.json").read_text()) | {"tokenizer_class": "BertTokenizer"}
        (folder / "tokenizer_config.json").write_text(json.dumps(stated))
    pictures = {
        "do_convert_rgb": True, "do_normalize": True, "do_rescale": True, "do_resize": True, "resample": 3,
        "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711],
        "image_processor_type": "BlipImageProcessor", "processor_class": f"{family}Processor",
        "rescale_factor": 1 / 255, "size": {"height": SIDE, "width": SIDE},
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(pictures))
    if said:
        (folder / "processor_config.json").write_text(json.dumps(said | {"processor_class": f"{family}Processor"}))
    return folder
