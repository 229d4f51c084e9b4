"""What is compiled of a denoiser that trains, that torch keeps it all, and that it trains as what is not compiled."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from sharded_run import sharded_params
from small_run import MACHINE, Noise, adversarial, small_params

from lvdm.data.frames import as_clip
from lvdm.machine import Machine
from lvdm.models.autoencoder import Autoencoder, build_autoencoder
from lvdm.models.compilation import compile_all
from lvdm.models.condition import Vocabulary
from lvdm.models.denoiser import Denoiser
from lvdm.params import AutoencoderObjective
from lvdm.training.autoencoder import compile_autoencoder
from lvdm.training.denoiser import compile_denoiser
from lvdm.training.fit import fit
from lvdm.training.task import Batch, Draw, Task


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # of torch, where its compiler is loaded
@pytest.mark.parametrize("modules", [1, 9])
def test_torch_keeps_what_is_compiled_of_many_modules_of_one_class(modules):
    with torch._dynamo.config.patch(recompile_limit=8):
        compile_all([torch.nn.Linear(1, 1) for _ in range(modules)])
        assert torch._dynamo.config.recompile_limit >= 4 * modules


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # of torch, where its compiler is loaded
def test_what_a_step_passes_through_is_compiled():
    """Whole networks; of a denoiser under DDP two parts, and beside a discriminator the decoder but its last layer."""
    machine, by_ddp = (Machine(accelerator="cpu", devices=1, strategy=strategy) for strategy in ("auto", "ddp"))
    plain, adversarial_too = small_params().objective, small_params(adversarial(0)).objective

    def autoencoder(objective: AutoencoderObjective) -> Autoencoder:
        network = build_autoencoder(small_params().network)
        compile_autoencoder(network, objective, machine)
        return network

    def compiled(network: torch.nn.Module) -> set[torch.nn.Module]:
        return {module for module in network.modules() if module._compiled_call_impl is not None}

    with torch._dynamo.config.patch(recompile_limit=8):
        alone, shared = (Denoiser(sharded_params(1, 2).network, 2, Vocabulary()) for _ in range(2))
        compile_denoiser(alone, machine)
        compile_denoiser(shared, by_ddp)
        assert compiled(alone) == {alone}
        assert compiled(shared) == {shared.stem, shared.body}
        whole, parts = autoencoder(plain), autoencoder(adversarial_too)
        assert compiled(whole) == {whole.encoder, whole.decoder}
        assert compiled(parts) == {parts.encoder, *parts.decoder.levels}


class Line(torch.nn.Module):
    """A network that torch compiles: none of its own layers by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = torch.nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.slope * x


class Mean(Task):
    """The square of what a network makes of the mean of a clip."""

    @property
    def draw(self) -> Draw:
        return lambda batch, generators: {}

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, torch.Tensor]:
        return {"loss": self.network(as_clip(batch["frames"]).mean()).square().sum()}

    def validation_means(self, batch: Batch) -> dict[str, torch.Tensor]:
        return {"loss": self.training_step(batch, 0)["loss"]}


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # of torch, where its compiler is loaded
def test_what_trains_is_compiled_and_what_is_validated_is_not(tmp_path):
    passed: list[bool] = []

    def backend(graph: torch.fx.GraphModule, _: object) -> Callable[..., object]:
        return lambda *inputs: passed.append(torch.is_grad_enabled()) or graph(*inputs)

    network, training = Line(), small_params(steps=3, validate_every=1).training
    network.compile(backend=backend)
    rows = fit(Mean(network, training, [Noise()[0]]), Noise(), MACHINE, tmp_path)
    assert passed == [True] * 3
    assert all("validation_loss" in row for row in rows)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_passes_as_cuda_graphs_train_to_the_weights_of_passes_kernel_by_kernel(tmp_path):
    script = Path(__file__).with_name("compiled_run.py")  # of its own: torch does not compile the tests' type checks
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, str(script), str(tmp_path)], env=environment, check=True)
    compared = sorted(tmp_path.glob("*.compiled"))
    assert len(compared) == 8
    for path in compared:
        files = (path, path.with_suffix(".plain"))
        weights, plain = (torch.cat([w.flatten() for w in load_file(file).values()]) for file in files)
        assert (weights - plain).norm() < 1e-3 * plain.norm()  # steps have changed them by some hundredths
