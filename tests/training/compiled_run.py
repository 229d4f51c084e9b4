"""Small runs of either network on one GPU, compiled and not: python compiled_run.py FOLDER.

Weights go into the folder, of batches that are a step and of batches two of which are one; autoencoders decode
clips of two sizes, and both train under DDP too.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from sharded_run import Windows, sharded_params
from small_run import small_params

from lvdm.machine import Machine
from lvdm.models.condition import Vocabulary
from lvdm.prompting import LabelPrompts
from lvdm.training.autoencoder import train_autoencoder
from lvdm.training.denoiser import train_denoiser

STEPS = 8


class Clips(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Clip i is noise, a function of i alone."""

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(index)
        return {"frames": torch.randint(0, 256, (4, 32, 32, 3), generator=generator, dtype=torch.uint8)}


if __name__ == "__main__":
    torch.backends.cudnn.allow_tf32 = False
    folder = Path(sys.argv[1])
    held_out = [Windows()[1000 + i] for i in range(6)]
    clips = [Clips()[1000 + i] for i in range(3)]
    prompts = LabelPrompts(Vocabulary(labels=("a", "b")))
    for compiled in (False, True):
        machine = Machine(accelerator="gpu", devices=1, compile=compiled, precision="32-true", data_workers=0)
        shares = machine.model_copy(update={"strategy": "ddp"})
        for accumulate in (1, 2):
            denoiser = sharded_params(STEPS, 4)
            training = denoiser.training.model_copy(update={"accumulate": accumulate})
            denoiser = denoiser.model_copy(update={"training": training})
            terms = {"equivariance": {"factors": [2], "weight": 0.25}}
            autoencoder = small_params(terms, steps=STEPS, accumulate=accumulate, validate_every=3)
            scratch = folder / "scratch" / f"{compiled} {accumulate}"
            said = f"{accumulate}.{'compiled' if compiled else 'plain'}"
            networks = {}
            for kind, of in {"alone": machine, "ddp": shares}.items():
                d, a = scratch / kind / "denoiser", scratch / kind / "autoencoder"
                networks[f"denoiser.{kind}."] = train_denoiser(Windows(), denoiser, 2, prompts, of, d, held_out)[0]
                networks[f"autoencoder.{kind}."] = train_autoencoder(Clips(), autoencoder, of, a, None, clips)[0]
            for name, network in networks.items():
                weights = {key: tensor.contiguous() for key, tensor in network.state_dict().items()}
                save_file(weights, folder / f"{name}{said}")
    if torch._dynamo.utils.counters["inductor"]["cudagraph_skips"]:
        raise SystemExit("torch left passes out of graphs")
