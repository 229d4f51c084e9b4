"""The metrics there are: what each measures, on which features, and which way is better. A metric is added here.

Those of identity are of long videos (identity.py), and there whenever they can be; all others are of short clips.

A metric bears the name of the literature only if it runs on the true network; stand-ins have names of their own.
Not here: their mathematics (distances.py), their features (features.py). Imports no torch, so pages and checks read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

IDENTITY_AFTER = (64, 256, 1024)  # frames


@dataclass(frozen=True)
class Metric:
    """`features` names the extractor (features.py), `measure` what is done with the features (distances.py)."""

    key: str
    title: str
    features: str
    measure: Literal["frechet", "kernel", "mean_gap", "caption", "identity"]
    lower_is_better: bool = True

    @property
    def arrow(self) -> str:
        """Which way is better."""
        return "↓" if self.lower_is_better else "↑"


METRICS: Mapping[str, Metric] = {
    metric.key: metric
    for metric in (
        Metric(
            "fd_tn2",
            "Frechet distance on TransNetV2 features (offline stand-in; NOT FVD)",
            "tn2",
            "frechet",
        ),
        Metric(
            "fd_efflite0",
            "Frechet distance on EfficientNet-Lite0 features (offline stand-in; NOT FID; blind to frame order)",
            "efflite0",
            "frechet",
        ),
        Metric(
            "kd_efflite0",
            "Kernel distance on EfficientNet-Lite0 features (offline stand-in; NOT KID; may be below 0)",
            "efflite0",
            "kernel",
        ),
        Metric("fvd", "FVD: Frechet distance on I3D logits (StyleGAN-V protocol)", "i3d", "frechet"),
        Metric("kvd", "KVD: kernel distance on I3D logits, one unbiased estimate (may be below 0)", "i3d", "kernel"),
        Metric("fid", "FID per frame: Frechet distance on Inception-v3 features", "inception", "frechet"),
        Metric("kid", "KID per frame: kernel distance on Inception-v3 features", "inception", "kernel"),
        Metric(
            "clipsim",
            "CLIPSIM: cosine of frame and caption (or label) in CLIP ViT-B/32, mean over frames, then clips",
            "clip",
            "caption",
            lower_is_better=False,
        ),
        Metric(
            "motion_gap", "Difference to real video of the mean |frame difference|, grey levels", "motion", "mean_gap"
        ),
        Metric("static_gap", "Difference to real video of the share of static frames", "static", "mean_gap"),
        *(
            Metric(
                f"identity_{frames}",
                f"Share of sprites with their first colour and shape after {frames:,} frames (built-in set alone)",
                "sprites",
                "identity",
                lower_is_better=False,
            )
            for frames in IDENTITY_AFTER
        ),
    )
}

ALWAYS = ("motion_gap", "static_gap")  # need no network, so they stand beside whatever is asked for
