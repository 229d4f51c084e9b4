"""Text encoders from a folder: tiny CLIP and T5 of random weights, and the true MiniLM where it is installed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from lvdm.errors import WeightsError
from lvdm.machine import Machine
from lvdm.models.condition import MAX_TOKENS
from lvdm.models.pretrained import NETWORKS, locate
from lvdm.models.text import TextEncoder, find_text_encoder
from lvdm.params import TextEncoder as Config
from lvdm.workspace import Workspace
from tests.data.conftest import proxy, s3, server
from tests.data.faulty_proxy import fault_at_random
from tests.models.tiny_encoders import WORDS, write_encoder, write_tokenizer

__all__ = ["proxy", "s3", "server"]
PROJECT = Path(__file__).parents[2]
TEXT = "a red square moves"


def found(encoder: str, folder: Path) -> TextEncoder:
    return find_text_encoder(Config(encoder=encoder, folder=str(folder)), Workspace(folder, Machine(accelerator="cpu")))


@pytest.mark.parametrize("encoder", ["clip", "t5"])
def test_an_encoder_of_a_folder_says_what_transformers_says(encoder, tmp_path):
    folder = write_encoder(encoder, tmp_path / "encoder")
    tokens = found(encoder, folder).encode(TEXT)
    network = {"clip": transformers.CLIPTextModel, "t5": transformers.T5EncoderModel}[encoder].from_pretrained(folder)
    with torch.no_grad():
        expected = network.eval()(torch.tensor([[1, 4, 5, 7, 8, 2]])).last_hidden_state[0]
    torch.testing.assert_close(tokens, expected)
    assert tokens.shape == (6, 8) and not tokens.requires_grad


def test_an_encoder_on_s3_is_that_of_a_folder_and_fetched_once(tmp_path, s3, proxy):
    folder = write_encoder("t5", tmp_path / "encoder")
    for path in folder.iterdir():
        s3.upload_file(str(path), "raw", f"encoders/t5/{path.name}")
    workspace = Workspace(tmp_path / "elsewhere", Machine(accelerator="cpu"))
    proxy.fault = fault_at_random(1, ("500", "cut", "reset"), 0.2)
    encoder = find_text_encoder(Config(encoder="t5", folder="s3://raw/encoders/t5"), workspace)
    assert encoder.fingerprint == found("t5", folder).fingerprint
    torch.testing.assert_close(encoder.encode(TEXT), found("t5", folder).encode(TEXT))
    proxy.seen.clear()
    find_text_encoder(Config(encoder="t5", folder="s3://raw/encoders/t5"), workspace)
    assert not proxy.gets


def test_the_text_encoder_of_a_whole_network_is_found(tmp_path):
    """CLIP with its vision part, T5 with its decoder: as they are published."""
    torch.manual_seed(0)
    text = {"vocab_size": len(WORDS), "max_position_embeddings": 12}
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = {"image_size": 8, "patch_size": 4}
    config = transformers.CLIPConfig(text_config={**sizes, **text}, vision_config={**sizes, **vision})
    t5 = transformers.T5Config(
        d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, vocab_size=len(WORDS), decoder_start_token_id=0
    )
    for encoder, network in (
        ("clip", transformers.CLIPModel(config)),
        ("t5", transformers.T5ForConditionalGeneration(t5)),
    ):
        network.save_pretrained(tmp_path / encoder)
        write_tokenizer(tmp_path / encoder)
        assert found(encoder, tmp_path / encoder).encode(TEXT).shape == (6, 8)


@pytest.mark.parametrize(("encoder", "longest"), [("clip", 12), ("t5", MAX_TOKENS)])
def test_a_text_has_at_most_the_tokens_that_the_encoder_takes_and_the_empty_text_has_some(tmp_path, encoder, longest):
    text_encoder = found(encoder, write_encoder(encoder, tmp_path / "encoder"))
    assert len(text_encoder.encode("red " * 100)) == longest
    assert len(text_encoder.encode("")) == 2


def test_the_fingerprint_is_of_the_contents_and_not_of_the_place(tmp_path):
    one, same = write_encoder("t5", tmp_path / "one"), write_encoder("t5", tmp_path / "same")
    other = write_encoder("t5", tmp_path / "other", seed=1)
    assert found("t5", one).fingerprint == found("t5", same).fingerprint != found("t5", other).fingerprint


@pytest.mark.parametrize(
    ("file", "is_read"),
    [
        *[(name, True) for name in ("config.json", "tokenizer.json", "spiece.model", "vocab.txt", "model.safetensors")],
        *[(name, False) for name in ("LICENSE.txt", "._model.safetensors", "pytorch_model.bin", "onnx/model.json")],
    ],
)
def test_the_fingerprint_is_of_the_files_that_are_read_and_of_no_other(tmp_path, file, is_read):
    folder = write_encoder("t5", tmp_path / "encoder")
    before = found("t5", folder).fingerprint
    (folder / file).parent.mkdir(exist_ok=True)
    with (folder / file).open("ab") as opened:
        opened.write(b"\n")
    assert (found("t5", folder).fingerprint != before) == is_read


def test_the_fingerprint_of_weights_in_shards_is_of_them_wherever_they_lie(tmp_path):
    folder = write_encoder("t5", tmp_path / "encoder")
    (folder / "shards").mkdir()
    (folder / "model.safetensors").rename(folder / "shards/1.safetensors")
    index = {"metadata": {}, "weight_map": {"shared.weight": "shards/1.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    before = found("t5", folder).fingerprint
    with (folder / "shards/1.safetensors").open("ab") as opened:
        opened.write(b"\n")
    assert found("t5", folder).fingerprint != before


def test_a_network_of_which_tensors_are_missing_is_refused(tmp_path):
    """transformers would draw them at random."""
    folder = write_encoder("t5", tmp_path / "encoder")
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.final_layer_norm.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"1 tensors are missing.*encoder\.final_layer_norm\.weight"):
        found("t5", folder).encode(TEXT)


def test_a_folder_that_holds_something_else_or_is_not_there_is_one_line(tmp_path):
    with pytest.raises(WeightsError, match="no such folder"):
        found("clip", tmp_path / "nothing")
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    with pytest.raises(WeightsError, match="no t5 text encoder") as caught:
        found("t5", tmp_path).encode(TEXT)
    assert "\n" not in str(caught.value)


def test_minilm_knows_which_captions_are_alike():
    """The sense check of the package: alike captions point the same way, unlike ones do not."""
    workspace = Workspace(PROJECT, Machine(accelerator="cpu"))
    try:
        locate(NETWORKS["minilm"], workspace)
    except WeightsError as error:
        pytest.skip(str(error))
    encoder = find_text_encoder(Config(encoder="minilm"), workspace)
    sky, clouds, soccer = (
        encoder.encode(text).mean(dim=0)
        for text in ("the sky full of drifting clouds", "timelapse of clouds", "a man plays soccer")
    )
    alike, unlike = (torch.cosine_similarity(sky, other, dim=0).item() for other in (clouds, soccer))
    assert alike == pytest.approx(0.64, abs=0.02) and unlike < 0.2
    assert encoder.encode("").shape == (2, 384)
