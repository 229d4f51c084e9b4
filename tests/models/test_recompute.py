"""What is computed again in the backward pass takes less memory and gives the same gradients."""

from __future__ import annotations

import pytest
import torch

from benchmarks import untrained
from lvdm.models.layers import recompute

PARAMS = untrained.params_of(untrained.parser("").parse_args(["--size", "tiny"]))


def gradients(part: str, again: bool) -> tuple[dict[str, torch.Tensor], int]:
    """Of every parameter; and the bytes that were kept for the backward pass, parameters left out."""
    if part == "denoiser":
        network, given = untrained.denoiser(PARAMS.train_denoiser, 4), untrained.inputs((4, 4, 8, 8), 2, "cpu")
    else:
        network, given = untrained.autoencoder(PARAMS.train_autoencoder.network), (untrained.clips(PARAMS, 1, "cpu"),)
    if again:
        recompute(network)
    kept = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = network(*given) if part == "denoiser" else network.reconstruct(network.moments(*given)[0])
    own = {p.untyped_storage().data_ptr() for p in network.parameters()}
    output.square().mean().backward()
    found = {name: parameter.grad for name, parameter in network.named_parameters() if parameter.grad is not None}
    return found, sum(size for pointer, size in kept.items() if pointer not in own)


@pytest.mark.parametrize("part", ["denoiser", "autoencoder"])
def test_gradients_are_the_same_to_the_bit_and_less_is_kept(part):
    (expected, all_of_it), (found, kept) = gradients(part, again=False), gradients(part, again=True)
    assert found.keys() == expected.keys() and len(found) > 10
    assert all(torch.equal(found[name], gradient) for name, gradient in expected.items())
    assert kept < 0.6 * all_of_it
