"""Text encoders of random weights in folders of transformers, for tests: a few words, eight channels, one layer."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

WORDS = ["<pad>", "<start>", "<end>", "<unk>", "a", "red", "blue", "square", "moves"]


def write_tokenizer(folder: Path) -> None:
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [("<start>", 1), ("<end>", 2)]
    tokenizer.post_processor = processors.TemplateProcessing(single="<start> $A <end>", special_tokens=ends)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>")
    fast.save_pretrained(folder)


def write_encoder(encoder: str, folder: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    network: transformers.PreTrainedModel
    if encoder == "clip":
        sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
        network = transformers.CLIPTextModel(
            transformers.CLIPTextConfig(**sizes, vocab_size=len(WORDS), max_position_embeddings=12, eos_token_id=2)
        )
    else:
        sizes = {"d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2}
        network = transformers.T5EncoderModel(transformers.T5Config(**sizes, vocab_size=len(WORDS)))
    network.save_pretrained(folder)
    write_tokenizer(folder)
    return folder
