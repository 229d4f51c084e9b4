"""Whether there are videos enough for what later stages ask of them, told before the first long stage begins.

Not here: refusing. The stages do that themselves; what is said here nothing has to heed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pandas as pd

from lvdm.encoding import num_latents
from lvdm.evaluation.protocol import protocol_of
from lvdm.evaluation.sets import choose_windows, fewest_real, of_split
from lvdm.params import Params

SAID = {"label": "label", "text": "caption"}  # the column of the manifest that a denoiser's condition needs


def shortcomings(params: Params, manifest: pd.DataFrame, experiments: Iterable[str]) -> Iterator[str]:
    """A line for each stage, of these experiments, that will stop for what the videos lack."""
    for name in experiments:
        for lack in _lacking_for_training(params, manifest[manifest["split"] == "train"], name):
            yield f"train_denoiser {name} will stop: {lack}"
    protocol = protocol_of(params)
    wanted = fewest_real(protocol)
    real = len(choose_windows(of_split(manifest, protocol.split)["frames"].tolist(), protocol, wanted))
    if real < wanted:
        yield (
            f"evaluate will stop: protocol {protocol.name} measures {wanted} real clips, split {protocol.split} gives "
            f"{real}; {protocol.for_fewer}"
        )


def _lacking_for_training(params: Params, train: pd.DataFrame, name: str) -> Iterator[str]:
    experiment, clips = params.experiment(name), params.clips
    asked, factor = experiment.train_denoiser, params.autoencoder(experiment.autoencoder).network.time_factor
    if num_latents(train, clips, factor).max(initial=0) < asked.span:
        frames = (asked.span * factor - 1) * clips.stride + 1
        yield (
            f"{asked.window} latents at stride {asked.strides[-1]} need a video of {frames} frames, the longest for "
            f"training has {train['frames'].max()}; add longer videos, or lower window or the largest of strides"
        )
    said = SAID.get(asked.network.condition)
    if said and train[said].isna().all():
        yield (
            f"no video for training has a {said}, which network.condition asks for; give the videos a table with a "
            f"column {said}, or change the condition (README, Your own videos)"
        )
