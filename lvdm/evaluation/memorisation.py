"""Whether samples are copies of training clips: how near the nearest one lies, beside that of held-out clips.

Not here: features (extraction.py). It sees what its features see: a copy of a clip that was not searched, or of a part
of the picture, may not show.
"""

from __future__ import annotations

import torch
from jaxtyping import Float64
from scipy.stats import mannwhitneyu
from torch import Tensor

from lvdm.evaluation.distances import BLOCK, Features


def nearest_training_clips(fake: Features, held_out: Features, training: Features) -> dict[str, float]:
    """Euclidean distances of features to the nearest of the `searched` training clips.

    `fake` and `held_out`: their medians. `nearer`: the probability that a sample lies nearer than a held-out clip does
    (the statistic of the data-copying test of Meehan et al., arXiv 2004.05675): 0.5 without copying, 1 for copies;
    below 0.5, samples lie farther than real clips do. `copies`: the share of samples nearer than every held-out clip.
    """
    of_fake, of_held_out = (_nearest(features, training) for features in (fake, held_out))
    pairs = mannwhitneyu(of_held_out, of_fake, method="asymptotic").statistic  # in which the sample is nearer
    return {
        "fake": of_fake.quantile(0.5).item(),
        "held_out": of_held_out.quantile(0.5).item(),
        "nearer": float(pairs) / (len(of_fake) * len(of_held_out)),
        "copies": (of_fake < of_held_out.min()).double().mean().item(),
        "searched": float(len(training)),
    }


def _nearest(features: Features, among: Features) -> Float64[Tensor, "n"]:
    return torch.cat([_nearest_to(block[:, 0].double(), among) for block in features.split(BLOCK)])


def _nearest_to(rows: Float64[Tensor, "k d"], among: Features) -> Float64[Tensor, "k"]:
    exact = "donot_use_mm_for_euclid_dist"  # the other way, copies would not lie at 0
    parts = (part[:, 0].double() for part in among.split(BLOCK))
    return torch.stack([torch.cdist(rows, part, compute_mode=exact).amin(dim=1) for part in parts]).amin(dim=0)
