"""Texts are encoded once: whatever is asked for later, and however often the encoding is killed."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field

import pytest
import torch

from lvdm.data import texts
from lvdm.data.texts import encode_texts


@dataclass
class Counting:
    """A token a letter, its code; remembers what it was asked, and dies after `die_after` texts."""

    fingerprint: str = "one"
    die_after: int = 10**9
    asked: list[str] = field(default_factory=list)

    def encode(self, text: str) -> torch.Tensor:
        if len(self.asked) == self.die_after:
            raise KeyboardInterrupt
        self.asked.append(text)
        return torch.tensor([[0.0], *([float(ord(letter))] for letter in text)])


def test_every_text_is_encoded_once_and_read_back(tmp_path):
    encoder = Counting()
    encode_texts(encoder, ["red", "blue", "red", ""], tmp_path)
    encoded = encode_texts(encoder, ["red", "green"], tmp_path)
    assert sorted(encoder.asked) == ["", "blue", "green", "red"]
    for text in encoder.asked:
        assert torch.equal(encoded.tokens(text), Counting().encode(text))


def test_what_is_there_does_not_run_the_encoder(tmp_path):
    encode_texts(Counting(), ["red", "blue"], tmp_path)
    assert len(encode_texts(Counting(die_after=0), ["blue", "red"], tmp_path).tokens("red")) == 4


def test_another_encoder_is_asked_again(tmp_path):
    encode_texts(Counting(), ["red"], tmp_path)
    other = Counting("other")
    encode_texts(other, ["red"], tmp_path)
    assert other.asked == ["red"]


def test_a_killed_run_goes_on_after_its_last_shard(tmp_path, monkeypatch):
    monkeypatch.setattr(texts, "SHARD_TEXTS", 3)
    wanted = [f"text {i}" for i in range(10)]
    with pytest.raises(KeyboardInterrupt):
        encode_texts(Counting(die_after=8), wanted, tmp_path)
    again = Counting()
    encoded = encode_texts(again, wanted, tmp_path)
    assert len(again.asked) == 4
    assert all(torch.equal(encoded.tokens(text), Counting().encode(text)) for text in wanted)


def test_a_shard_that_another_process_is_writing_is_not_read(tmp_path):
    encode_texts(Counting(), ["red"], tmp_path)
    (shard,) = tmp_path.rglob("*.safetensors")
    (shard.parent / f".other.{shard.name}.1.tmp.safetensors").write_bytes(shard.read_bytes()[:-1])
    assert "red" in encode_texts(Counting(die_after=0), ["red"], tmp_path)


def test_open_shards_can_be_pickled(tmp_path):
    encoded = encode_texts(Counting(), ["red"], tmp_path)
    encoded.tokens("red")
    assert torch.equal(pickle.loads(pickle.dumps(encoded)).tokens("red"), encoded.tokens("red"))
