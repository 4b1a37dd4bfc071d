"""Small random captioners in folders, with the files and the signature of the real ones, and rows that describe them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import (
    BartConfig,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipTextConfig,
    BlipVisionConfig,
    Florence2Config,
    Florence2ForConditionalGeneration,
)
from transformers.models.florence2.configuration_florence2 import Florence2VisionConfig

from engine import captioners

WORDS = ("red", "green", "blue", "cat", "dog", "tree", "house", "sky", "stands", "sits", "near", "under", "on", "the", "with", "two", "old")
BLIP = dataclasses.replace(captioners.row("blip-large"), side=32)
FLORENCE = dataclasses.replace(captioners.row("florence-2-base"), side=64)


def blip(folder: Path, seed: int = 0, side: int = BLIP.side) -> Path:
    """A BLIP of two layers that sees 4 x 4 patches; its captions begin with [DEC], which the tokenizer lacks, as the real one's do."""
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "picture", "of", ",", ".", "##s", *WORDS]
    tokenizer = Tokenizer(models.WordPiece({token: at for at, token in enumerate(tokens)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in tokens[:5]])
    sizes = {"hidden_size": 32, "intermediate_size": 37, "num_hidden_layers": 2, "num_attention_heads": 4}
    text = BlipTextConfig(
        **sizes, vocab_size=len(tokens) + 2, bos_token_id=len(tokens), pad_token_id=0, eos_token_id=2, sep_token_id=3,
        encoder_hidden_size=32, max_position_embeddings=128, initializer_range=0.3,
    )  # fmt: skip
    vision = BlipVisionConfig(**sizes, image_size=side, patch_size=side // 4, initializer_range=0.3)
    torch.manual_seed(seed)
    return _write(BlipForConditionalGeneration(BlipConfig(text_config=text, vision_config=vision)), tokenizer, folder)


def florence(folder: Path, seed: int = 0) -> Path:
    """A Florence-2 whose tower shrinks by 32, as the real one's does."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *alphabet, *(f"Ġ{word}" for word in WORDS)]
    tokenizer = Tokenizer(models.BPE({token: at for at, token in enumerate(tokens)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in (*tokens[:4], "<image>")])
    text = BartConfig(
        vocab_size=len(tokens) + 4, d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=4, decoder_attention_heads=4,
        encoder_ffn_dim=37, decoder_ffn_dim=37, max_position_embeddings=256, init_std=0.3,
    )  # fmt: skip
    vision = Florence2VisionConfig(
        depths=(1, 1, 1, 1), embed_dim=(8, 8, 16, 16), num_heads=(2, 2, 2, 2), num_groups=(2, 2, 2, 2), window_size=4, projection_dim=32,
        max_temporal_embeddings=4, max_position_embeddings=8,
    )  # fmt: skip
    config = Florence2Config(text_config=text, vision_config=vision, image_token_id=len(tokens))
    torch.manual_seed(seed)
    return _write(Florence2ForConditionalGeneration(config), tokenizer, folder)


def pickle_weights(folder: Path) -> None:
    """The same weights as torch writes them."""
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def _write(model: torch.nn.Module, tokenizer: Tokenizer, folder: Path) -> Path:
    model.save_pretrained(str(folder))
    (folder / "generation_config.json").unlink(missing_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder
