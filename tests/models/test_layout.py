"""Channels stay last in memory from the first convolution to the last, in either arithmetic."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmarks import untrained
from lvdm.models.layers import CausalState, PointwiseConvolution
from lvdm.params import Params


@pytest.fixture(scope="module")
def params() -> Params:
    return untrained.params_of(untrained.parser("").parse_args(["--size", "tiny"]))


class Layouts:
    """Notes the convolutions of a network whose input has channels elsewhere.

    cuDNN lays the output out as the input; a convolution of few numbers on a CPU does not, so here it is made to.
    """

    def __init__(self, network: nn.Module):
        self.seen, self.wrong = 0, set()
        for name, module in network.named_modules():
            if isinstance(module, nn.Conv3d | PointwiseConvolution):
                assert getattr(module, "kernel_size", None) != (1, 1, 1)  # whose layout torch.compile cannot tell
                module.register_forward_hook(self._hook(name))

    def _hook(self, name: str):
        def note(_: nn.Module, args: tuple, output: torch.Tensor) -> torch.Tensor:
            self.seen += 1
            if not args[0].is_contiguous(memory_format=torch.channels_last_3d):
                self.wrong.add(name)
            return output.contiguous(memory_format=torch.channels_last_3d)

        return note


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_convolution_of_the_denoiser_reads_channels_last(params, dtype):
    network = untrained.denoiser(params.train_denoiser, 4)
    layouts = Layouts(network)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16), torch.no_grad():
        network(*untrained.inputs((4, 4, 8, 8), 2, "cpu"))
    assert layouts.seen > 10 and layouts.wrong == set()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_convolution_of_the_autoencoder_reads_channels_last_in_chunks_too(params, dtype):
    network, clip = untrained.autoencoder(params.train_autoencoder.network), untrained.clips(params, 2, "cpu")
    layouts, encoding, decoding = Layouts(network), CausalState(), CausalState()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16), torch.no_grad():
        for _ in range(2):
            network.decode(network.encode(clip, encoding), decoding)
    assert layouts.seen > 10 and layouts.wrong == set()
