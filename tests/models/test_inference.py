"""A network made ready computes what it did before, in the arithmetic of the machine, and compiling is told."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn

from benchmarks import untrained
from lvdm.machine import Machine
from lvdm.models import compilation
from lvdm.models.compilation import compile_all
from lvdm.models.inference import ready

CPU = torch.device("cpu")
PARAMS = untrained.params_of(untrained.parser("").parse_args(["--size", "tiny"]))
BFLOAT16 = Machine(accelerator="cpu", precision="bf16-mixed")


@pytest.mark.parametrize("part", ["denoiser", "encode", "decode"])
def test_weights_rounded_once_give_the_numbers_of_weights_rounded_at_every_call(part):
    """To the bit: autocast rounds the same weights in the same way."""
    outputs = []
    for prepared in (False, True):
        if part == "denoiser":
            network = untrained.denoiser(PARAMS.train_denoiser, 4).eval()
        else:
            network = untrained.autoencoder(PARAMS.train_autoencoder.network).eval()
        network = ready(network, BFLOAT16, CPU) if prepared else network
        z, *rest = untrained.inputs((4, 4, 4, 4), 2, CPU)
        with torch.inference_mode(), BFLOAT16.autocast():
            match part:
                case "denoiser":
                    outputs.append(network(z, *rest))
                case "encode":
                    outputs.append(network.encode(untrained.clips(PARAMS, 2, CPU)))
                case "decode":
                    outputs.append(network.decode(z))
    assert torch.equal(*outputs)


def test_only_weights_are_rounded_and_in_float32_nothing_is():
    network = ready(untrained.autoencoder(PARAMS.train_autoencoder.network), BFLOAT16, CPU)
    assert {p.dtype for p in network.parameters()} == {torch.bfloat16}
    assert {b.dtype for b in network.buffers()} == {torch.float32}
    whole = ready(untrained.denoiser(PARAMS.train_denoiser, 4), Machine(accelerator="cpu"), CPU)
    assert {p.dtype for p in whole.parameters()} == {torch.float32}


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # of torch, where its compiler is loaded
@pytest.mark.parametrize("compiles", [True, False])
def test_a_denoiser_is_compiled_whole_and_an_autoencoder_in_its_two_halves_where_the_machine_says_so(compiles):
    machine = Machine(accelerator="cpu", compile=compiles)
    with torch._dynamo.config.patch(recompile_limit=8):
        denoiser = ready(untrained.denoiser(PARAMS.train_denoiser, 4), machine, CPU)
        autoencoder = ready(untrained.autoencoder(PARAMS.train_autoencoder.network), machine, CPU)
    whole = [denoiser, autoencoder.encoder, autoencoder.decoder] if compiles else []
    found = [m for network in (denoiser, autoencoder) for m in network.modules() if m._compiled_call_impl is not None]
    assert found == whole
    assert not any(p.requires_grad for network in (denoiser, autoencoder) for p in network.parameters())


class Layer(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (2 * x).relu()


def test_a_person_is_told_that_a_network_is_compiled(caplog):
    layer, x = Layer(), torch.ones(2, 3)
    expected = layer(x)
    compilation._tell.cache_clear()  # said once a process, perhaps in another test
    compile_all([layer], backend="eager")
    with caplog.at_level(logging.INFO, logger="lvdm"):
        assert torch.equal(layer(x), expected)
    assert any(record.message.startswith("compiling") for record in caplog.records)
