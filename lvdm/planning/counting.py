"""The memory of a training, counted without a GPU: what is kept for each parameter, and what a forward pass keeps.

Nothing is computed: the networks have shapes alone. Not here: what is measured on a GPU (plan.py, trials.py).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from lvdm.data.frames import as_clip
from lvdm.models.autoencoder import build_autoencoder
from lvdm.models.denoiser import Denoiser
from lvdm.models.layers import Blocks, recompute
from lvdm.params import Params, TrainAutoencoder, TrainDenoiser
from lvdm.planning import work
from lvdm.planning.needs import Larger, Line, Need
from lvdm.workspace import Workspace

KEPT_A_PARAMETER = 22.0  # bytes: weight, gradient, two moments and average in fp32, and the weight in bfloat16
GRADIENT = 4.0  # bytes of it
HALF = 0.5  # activations are bfloat16; those that are counted are fp32
LAUNCHES = 2.0  # a pass costs as much as so many examples more: relative, where no time is measured


def counted_autoencoder(settings: TrainAutoencoder, params: Params) -> dict[bool, Need]:
    """Of the autoencoder alone, without optional terms."""
    with torch.device("meta"):
        network, clip = build_autoencoder(settings.network), as_clip(work.clip_of(params.clips)["frames"][None])
    return _counted(network, lambda: network.reconstruct(network.moments(clip)[0]))


def counted_denoiser(train: TrainDenoiser, latent: work.LatentShape, workspace: Workspace) -> dict[bool, Need]:
    known = work.vocabulary(train.network, workspace)
    with torch.device("meta"):
        network, z = Denoiser(train.network, latent[0], known), work.windows(train, latent)["latent"][None]
        given = z, torch.zeros(1, train.window), torch.ones(1, dtype=torch.int64)
        condition = work.AnyPrompt(known).condition({"latent": z})
    return _counted(network, lambda: network(*given, condition))


def _counted(network: nn.Module, forward: Callable[[], Tensor]) -> dict[bool, Need]:
    """What is kept for the backward pass of one example, on the device meta: shapes alone.

    The peak is at the end of the forward pass, where the gradients of the step before are still there, or in the
    backward pass, where these are gone, but one block at a time is computed again.
    """
    needs, block = {}, HALF * kept_in_a_block(network, forward)
    parameters = sum(p.numel() for p in network.parameters())
    for again in (False, True):
        if again:
            recompute(network)
        slower = 4 / 3 if again else 1.0
        kept = HALF * kept_bytes(network, forward)
        forward_pass = Line(KEPT_A_PARAMETER * parameters, kept)
        backward_pass = Line((KEPT_A_PARAMETER - GRADIENT) * parameters, kept + (block if again else 0))
        passes = Larger(forward_pass, backward_pass)
        needs[again] = Need(passes, Line(LAUNCHES * slower, slower), GRADIENT * parameters)
    return needs


def kept_bytes(network: nn.Module, forward: Callable[[], Tensor]) -> int:
    """Bytes that a forward pass keeps for the backward one, each storage once, parameters left out."""
    with _keeping(network) as kept:
        forward()
    return kept()


def kept_in_a_block(network: nn.Module, forward: Callable[[], Tensor]) -> int:
    """The most of these bytes that a single block keeps."""
    begun, most = list[int](), [0]
    blocks = [block for module in network.modules() if isinstance(module, Blocks) for block in module]
    with contextlib.ExitStack() as stack:
        kept = stack.enter_context(_keeping(network))
        for block in blocks:
            stack.callback(block.register_forward_pre_hook(lambda *_: begun.append(kept())).remove)
            stack.callback(block.register_forward_hook(lambda *_: most.append(kept() - begun.pop())).remove)
        forward()
    return max(most)


@contextlib.contextmanager
def _keeping(network: nn.Module) -> Iterator[Callable[[], int]]:
    """Within the block, how many bytes are kept so far."""
    storages: dict[int, Any] = {}
    own = {p.untyped_storage()._cdata for p in network.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        storages[tensor.untyped_storage()._cdata] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield lambda: sum(storage.nbytes() for pointer, storage in storages.items() if pointer not in own)
