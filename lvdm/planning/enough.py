"""Whether the videos are enough for what later stages ask of them, said before the first long stage begins.

Not here: refusing. The stages do that themselves; what is said here nothing has to heed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pandas as pd

from lvdm.encoding import num_latents
from lvdm.evaluation.protocol import protocol_of
from lvdm.evaluation.sets import choose_windows, fewest_real, of_split
from lvdm.params import Params


def shortcomings(params: Params, manifest: pd.DataFrame, experiments: Iterable[str]) -> Iterator[str]:
    """A line for each stage, of these experiments, that will stop for want of videos or of their length."""
    train, clips = manifest[manifest["split"] == "train"], params.clips
    for name in experiments:
        experiment = params.experiment(name)
        asked, factor = experiment.train_denoiser, params.autoencoder(experiment.autoencoder).network.time_factor
        if num_latents(train, clips, factor).max(initial=0) < asked.span:
            frames = (asked.span * factor - 1) * clips.stride + 1
            yield (
                f"train_denoiser {name} will stop: {asked.window} latents at stride {asked.strides[-1]} need a video "
                f"of {frames} frames, the longest for training has {train['frames'].max()}; add longer videos, or "
                "lower window or the largest of strides"
            )
    protocol = protocol_of(params)
    wanted = fewest_real(protocol)
    real = len(choose_windows(of_split(manifest, protocol.split)["frames"].tolist(), protocol, wanted))
    if real < wanted:
        yield (
            f"evaluate will stop: protocol {protocol.name} measures {wanted} real clips, split {protocol.split} gives "
            f"{real}; {protocol.for_fewer}"
        )
