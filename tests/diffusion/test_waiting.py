"""Between two steps nothing waits for the device: neither in training nor in sampling.

The device is `meta`, on which a value cannot be read: a mode stands in for it, which counts who would have to wait.
It cannot see an index given as a list; where there is a GPU, torch itself counts.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lvdm.diffusion.noise import generator_of
from lvdm.diffusion.objective import Draws, denoising_loss
from lvdm.diffusion.sampling import DenoiserSpec, VideoRequest, group_videos, sample_videos
from lvdm.diffusion.schedule import Schedule
from lvdm.models.condition import Condition, Prompts, Vocabulary
from lvdm.models.denoiser import Denoiser
from lvdm.params import load_params, parse_params

META = torch.device("meta")
PARAMS = load_params(Path(__file__).parents[2] / "params.yaml")
SMALL = {"channels": 8, "channel_multipliers": (1,), "num_blocks": 1, "attention_levels": (0,), "head_channels": 4}


class Waits(TorchDispatchMode):
    """Counts reads of values, copies that do not say `non_blocking`, and indices that lie on the host."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, func._schema.name
        if func._can_decompose():  # inference shows what is made of other operations whole
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        devices = {leaf.device.type for leaf in tree_leaves(args) if isinstance(leaf, torch.Tensor) and leaf.dim()}
        if name == "aten::_local_scalar_dense" and args[0].is_meta:
            self.names.append(name)
            return 0
        if name == "aten::_to_copy" and args[0].device != torch.device(kwargs.get("device") or args[0].device):
            if not kwargs.get("non_blocking"):
                self.names.append(name)
            if args[0].is_meta:
                return torch.zeros(args[0].shape, dtype=args[0].dtype)
        elif name in ("aten::nonzero", "aten::copy_", "aten::index", "aten::index_put_") and len(devices) > 1:
            self.names.append(name)
        return func(*args, **kwargs)


def denoiser(device: torch.device) -> Denoiser:
    config = PARAMS.train_denoiser.network.model_copy(update=SMALL)
    return Denoiser(config, 4, Vocabulary(labels=("a", "b"))).to(device).requires_grad_(False).eval()


def make(network: Denoiser, schedule: str, prediction: str, sampler: str, steps: int, scratch: Path) -> int:
    """Makes a video of several rounds; returns how many batches of windows that took."""
    document = PARAMS.model_dump(mode="json", by_alias=True)
    document["train_denoiser"]["objective"] |= {"schedule": schedule, "prediction": prediction}
    changed = {"sampler": sampler, "eta": 0.5 if sampler == "ddim" else 0.0, "refine_strength": 0.5, "steps": steps}
    document["sample"] |= changed
    params = parse_params(document)
    spec = DenoiserSpec(params.train_denoiser, Prompts.of_labels(2), (4, 4, 4))
    list(sample_videos(network, spec, params.sample, [VideoRequest(0, 1, 17)], scratch))
    return len(list(scratch.rglob("*.safetensors")))


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: x.cpu(),
        lambda x: torch.ones(3).to(x.device),
        lambda x: x[torch.tensor([0, 2])],
        lambda x: x[torch.zeros((), dtype=torch.int64, device=META)],
    ],
)
@pytest.mark.parametrize("inference", [False, True])
def test_what_waits_is_noticed(wait, inference):
    with torch.inference_mode(inference), Waits() as waits:
        wait(torch.ones(3, 3, device=META))
    assert len(waits.names) == 1


def test_the_loss_of_training_waits_for_nothing():
    latent, ones = torch.zeros(2, 4, 5, 4, 4, device=META), torch.ones(2, dtype=torch.int64, device=META)
    generators = [generator_of(i) for i in range(2)]
    condition, network = Condition(ones, Prompts.of_labels(2).to(META)), denoiser(META)
    for schedule, prediction in (("cosine", "v"), ("scaled_linear", "eps")):
        Schedule(schedule).alpha_sigma(torch.zeros(1, device=META))  # its table is made once
        changed = {"schedule": schedule, "prediction": prediction}
        objective = PARAMS.train_denoiser.objective.model_copy(update=changed)
        with Waits() as waits:
            draws = Draws.of(objective, latent, generators).to(META)
            denoising_loss(network, latent, ones, condition, objective, draws)
        assert waits.names == []


SAMPLERS = [("cosine", "v", "ddpm"), ("scaled_linear", "eps", "ddim"), ("cosine", "v", "dpmpp2m")]


@pytest.mark.parametrize(("schedule", "prediction", "sampler"), SAMPLERS)
def test_a_batch_and_a_video_are_waited_for_once_however_many_steps_they_take(schedule, prediction, sampler, tmp_path):
    Schedule(schedule).alpha_sigma(torch.zeros(1, device=META))
    network = denoiser(META)
    for steps in (2, 5):
        with Waits() as waits:
            num_batches = make(network, schedule, prediction, sampler, steps, tmp_path / f"{steps}")
        assert num_batches >= 2 and waits.names == ["aten::_to_copy"] * (num_batches + 1)


def test_no_video_of_a_group_is_waited_for_after_the_first_is_given(tmp_path):
    """What is done with one, as decoding, would be waited for too."""
    spec = DenoiserSpec(PARAMS.train_denoiser, Prompts.of_labels(2), (4, 4, 4))
    requests = [VideoRequest(seed, 1, 2) for seed in range(3)]
    sample = PARAMS.sample.model_copy(update={"steps": 2, "batch_size": 3})
    assert len(group_videos(requests, PARAMS.train_denoiser, sample)) == 1
    with Waits() as waits:
        videos = sample_videos(denoiser(META), spec, sample, requests, tmp_path)
        next(videos)
        count = len(waits.names)
        assert len(list(videos)) == 2 and len(waits.names) == count


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize(("schedule", "prediction", "sampler"), SAMPLERS)
def test_torch_counts_no_more_waits_on_a_gpu(schedule, prediction, sampler, tmp_path):
    network = denoiser(torch.device("cuda"))
    make(network, schedule, prediction, sampler, 2, tmp_path / "warm")
    counts = []
    for steps in (3, 6):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                make(network, schedule, prediction, sampler, steps, tmp_path / f"{steps}")
            finally:
                torch.cuda.set_sync_debug_mode("default")
        counts.append(sum("synchroniz" in str(warning.message) for warning in said))
    assert counts[0] >= counts[1] > 0  # the first may wait for memory too
