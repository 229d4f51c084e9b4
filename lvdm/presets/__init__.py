"""Configurations: one template at the paper's sizes with what each dataset changes in it, and `sprites`.

`reference` is that template with the objective of the official code, for SkyTimelapse, the one dataset whose official
settings are published whole. `sprites` is the built-in set in full, for one GPU and minutes.
Not here: the demo; that is the committed params.yaml.
"""

from __future__ import annotations

import string
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Dataset:
    """What a dataset changes; `source` is where you put its videos."""

    title: str
    source: str
    stride: int  # frames between the frames of a clip
    fps: float  # of what is made: that of the videos over the stride
    condition: str  # label: the class folders' names, through the captions table
    require_labels: str
    autoencoder_learning_rate: str  # the reference's
    note: str


DATASETS = {
    "ucf101": Dataset(
        "UCF-101", "data/ucf101", 1, 25.0, "label", "true", "3.6e-5", "13,320 clips of 101 actions, 25 fps"
    ),
    "sky_timelapse": Dataset(
        "SkyTimelapse", "data/sky_timelapse", 1, 25.0, "none", "false", "3.6e-5", "skies, many long"
    ),
    "faceforensics": Dataset(
        "FaceForensics", "data/faceforensics", 1, 25.0, "none", "false", "3.6e-5", "news presenters"
    ),
    "mead": Dataset(
        "MEAD", "data/mead", 1, 30.0, "label", "true", "3.6e-5", "talking faces, 8 emotions as labels, 30 fps"
    ),
    "taichi_hd": Dataset("TaiChi-HD", "data/taichi_hd", 4, 7.5, "none", "false", "1.6e-5", "every 4th frame"),
}
NAMES = ("sprites", "reference", *DATASETS)


@dataclass(frozen=True)
class Objective:
    """What the denoiser learns from; the defaults are ours."""

    schedule: str = "cosine"
    prediction: str = "v"
    loss: str = "l2"
    min_snr_gamma: str = "5.0"


OFFICIAL_OBJECTIVE = Objective(schedule="scaled_linear", prediction="eps", loss="l1", min_snr_gamma="null")


def render(name: str) -> str:
    """The whole params.yaml of a preset, comments included."""
    if name == "sprites":
        return (Path(__file__).parent / "sprites.yaml").read_text()
    template = string.Template((Path(__file__).parent / "paper.yaml").read_text())
    dataset, objective = ("sky_timelapse", OFFICIAL_OBJECTIVE) if name == "reference" else (name, Objective())
    return template.substitute(asdict(DATASETS[dataset]) | asdict(objective), name=dataset)
