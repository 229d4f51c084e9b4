"""The memory of `lvdm sample` against the length of the video, from noise to the mp4: a long one against a short one.

    python -m benchmarks.long_video            # 4,096 frames against 256, with the networks of ./params.yaml, untrained
    python -m benchmarks.long_video --help

Memory and time do not depend on what the weights are, so they are random, and nothing has to be trained first. Where
frames are made faster than they are written, as with so few steps, up to 256 MB of them wait, whatever the length.
Not here: how good the videos are.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from benchmarks.process import ROOT, Cost, cost_of
from lvdm.fingerprints import fingerprint
from lvdm.models.autoencoder import build_autoencoder
from lvdm.models.checkpoint import AutoencoderRecord, TrainedDenoiser, save_autoencoder, save_denoiser, trained_with
from lvdm.models.condition import Prompt, Vocabulary
from lvdm.models.denoiser import Denoiser
from lvdm.params import parse_params
from lvdm.workspace import Workspace

LABELS = ("red square", "blue circle")


def write_untrained(root: Path, document: Mapping[str, Any], name: str, machine: Mapping[str, Any]) -> None:
    """Makes a folder where `lvdm sample` can run: params.yaml, machine.yaml, two networks of random weights."""
    params, workspace = parse_params(document), Workspace(root)
    experiment = params.experiment(name)
    settings, train = params.autoencoder(experiment.autoencoder), experiment.train_denoiser
    root.mkdir(parents=True, exist_ok=True)
    (root / "params.yaml").write_text(yaml.safe_dump(dict(document)))
    (root / "machine.yaml").write_text(yaml.safe_dump(dict(machine)))
    folder = workspace.autoencoder(experiment.autoencoder)
    labels = LABELS if train.network.condition == "label" else ()
    vocabulary, prompts = Vocabulary(labels=labels), tuple(Prompt(label) for label in labels)
    folder.mkdir(parents=True)
    record = AutoencoderRecord(settings, trained_with(settings.training, workspace.machine))
    save_autoencoder(folder, randomised(build_autoencoder(settings.network)), record)

    def denoiser() -> Denoiser:
        return randomised(Denoiser(train.network, settings.network.latent_channels, vocabulary))

    interpolator = denoiser() if train.separate_interpolator else None
    workspace.denoiser(name).mkdir(parents=True)
    shape, made_for = settings.network.latent_shape(params.clips.size), fingerprint(files=[folder])
    of_it = train, shape, vocabulary, prompts, made_for, trained_with(train.training, workspace.machine)
    trained = TrainedDenoiser(*of_it, denoiser(), interpolator)
    save_denoiser(workspace.denoiser(name), trained)


@torch.no_grad()
def randomised(network: nn.Module) -> Any:
    """The network with random weights, zero-initialised layers too, so that every input reaches the output."""
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        parameter.copy_(0.02 * torch.randn(parameter.shape, generator=generator))
    return network


def measure(root: Path, name: str) -> Cost:
    """What one run of `lvdm sample` costs."""
    return cost_of([sys.executable, "-m", "lvdm", "--root", str(root), "sample", name])


def main(arguments: list[str] | None = None) -> float:
    """Measures and prints; returns the ratio of the peaks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=Path, default=ROOT / "params.yaml", help="a params.yaml (default: the demo's)")
    parser.add_argument("--frames", type=int, nargs=2, default=(256, 4096), metavar=("SHORT", "LONG"))
    parser.add_argument("--steps", type=int, default=2, help="of the sampler: time, not memory (default: 2)")
    args = parser.parse_args(arguments)
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        for frames in args.frames:
            document = yaml.safe_load(args.params.read_text())
            document["sample"] |= {"num_clips": 2, "num_long_videos": 1, "long_frames": frames, "steps": args.steps}
            document["evaluate"]["num_clips"] = 2
            name, root = next(iter(document["experiments"])), Path(folder) / str(frames)
            write_untrained(root, document, name, {"accelerator": "cpu"})
            runs.append(measure(root, name))
            print(f"{frames:>6} frames: {runs[-1].megabytes:7.1f} MB at the peak, {runs[-1].seconds:6.1f} s")
    ratio = runs[1].megabytes / runs[0].megabytes
    print(f"{args.frames[1]} frames take {ratio:.3f} times the memory of {args.frames[0]}")
    return ratio


if __name__ == "__main__":
    main()
