"""What is compiled of a denoiser that trains, that torch keeps it all, and that it trains as what is not compiled."""

from __future__ import annotations

import pytest
import torch
from sharded_run import Windows, sharded_params

from lvdm.machine import Machine
from lvdm.models.compilation import compile_all
from lvdm.models.condition import Condition, Prompts, Vocabulary
from lvdm.models.denoiser import Denoiser
from lvdm.prompting import LabelPrompts
from lvdm.training.denoiser import train_denoiser


def test_the_levels_are_all_levels_once_and_in_the_order_of_the_pass():
    network, passed = Denoiser(sharded_params(1, 2).network, 2, Vocabulary()), []
    for level in network.levels:
        level.register_forward_pre_hook(lambda module, _: passed.append(module))
    z, ones = torch.randn(1, 2, 5, 4, 4), torch.ones(1, dtype=torch.int64)
    network(z, torch.full((1, 5), 0.5), ones, Condition(0 * ones, Prompts.of_labels(0)))
    assert passed == network.levels
    assert set(passed) == {*network.before, network.middle, *network.after}


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # of torch, where its compiler is loaded
@pytest.mark.parametrize("modules", [1, 9])
def test_torch_keeps_what_is_compiled_of_many_modules_of_one_class(modules):
    with torch._dynamo.config.patch(recompile_limit=8):
        compile_all([torch.nn.Linear(1, 1) for _ in range(modules)])
        assert torch._dynamo.config.recompile_limit >= 4 * modules


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.filterwarnings("default")  # of torch and its compiler
@pytest.mark.parametrize("accumulate", [1, 2])
def test_passes_as_cuda_graphs_train_to_the_weights_of_passes_kernel_by_kernel(tmp_path, accumulate):
    params, skipped = sharded_params(6, 4), torch._dynamo.utils.counters["inductor"]
    training = params.training.model_copy(update={"accumulate": accumulate})
    params, prompts = params.model_copy(update={"training": training}), LabelPrompts(Vocabulary(labels=("a", "b")))
    held_out, runs = [Windows()[1000 + i] for i in range(6)], []
    for compiled in (False, True):
        machine = Machine(accelerator="gpu", devices=1, compile=compiled, precision="32-true", data_workers=0)
        runs.append(train_denoiser(Windows(), params, 2, prompts, machine, tmp_path / f"{compiled}", held_out))
    assert skipped["cudagraph_skips"] == 0
    for name, tensor in runs[0][0].state_dict().items():
        torch.testing.assert_close(runs[1][0].state_dict()[name], tensor, atol=1e-4, rtol=1e-3)
    assert [row["step"] for row in runs[0][1]] == [row["step"] for row in runs[1][1]]
