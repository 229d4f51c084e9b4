"""Configurations: one template at the paper's sizes with what each dataset changes in it, and the built-in set in full.

`reference` is that template with the objective and the two networks of the official code, for SkyTimelapse, the one
dataset whose official settings are published whole. `sprites` and `ablation` are in sprites.py.
Not here: the demo; that is the committed params.yaml.
"""

from __future__ import annotations

import string
from dataclasses import asdict, dataclass
from pathlib import Path

from lvdm.presets import sprites


@dataclass(frozen=True)
class Dataset:
    """What a dataset changes."""

    title: str
    note: str
    layout: str
    source: str  # where you put it, as it is distributed
    needs: str  # what must lie there, in it or below
    stride: int  # frames between the frames of a clip
    fps: float  # of what is made: that of the videos over the stride
    condition: str  # label: as the layout says
    require_labels: str
    num_videos: str = "null"  # that the layout asks for, of the whole dataset
    num_labels: str = "null"
    drop_condition: float = 0.0  # 0 without a condition
    autoencoder_learning_rate: str = "3.6e-5"  # the reference's
    num_clips: int = 2048  # made
    protocol: str = "small  # on held-out clips; lvdm, the paper's, needs as many training videos as it measures clips"
    left_open: str = "num_clips: 2048  # disjoint ones, which the test split must have"  # by the protocol


DATASETS = {
    "ucf101": Dataset(
        title="UCF-101",
        note="13,320 clips of 101 actions, 25 fps",
        layout="{kind: ucf101, split_list: 1}",
        source="data/ucf101",
        needs="class folders, and ucfTrainTestlist with its lists",
        stride=1,
        fps=25.0,
        condition="label",
        require_labels="true",
        num_videos="13320",
        num_labels="101",
        drop_condition=0.1,
        protocol="lvdm  # the paper's: 2,048 clips",
        left_open="split: train+test  # as the paper measures UCF-101",
    ),
    "sky_timelapse": Dataset(
        title="SkyTimelapse",
        note="skies, many long",
        layout="{kind: sky_timelapse, fps: 25}",
        source="data/sky_timelapse",
        needs="sky_train and sky_test",
        stride=1,
        fps=25.0,
        condition="none",
        require_labels="false",
    ),
    "faceforensics": Dataset(
        title="FaceForensics",
        note="news presenters",
        layout="{kind: faceforensics, compression: c23, videos: original}",
        source="data/faceforensics",
        needs="original_sequences, and train.json, val.json, test.json",
        stride=1,
        fps=25.0,
        condition="none",
        require_labels="false",
    ),
    "mead": Dataset(
        title="MEAD",
        note="talking faces, 8 emotions as labels, 30 fps",
        layout="{kind: mead, views: [front]}",
        source="data/mead",
        needs="files as M003/video/front/angry/level_2/001.mp4",
        stride=1,
        fps=30.0,
        condition="label",
        require_labels="true",
        num_labels="8",
        drop_condition=0.1,
    ),
    "taichi_hd": Dataset(
        title="TaiChi-HD",
        note="every 4th frame",
        layout="{kind: taichi_hd, fps: 30}",
        source="data/taichi_hd",
        needs="train and test, of clips named VIDEO#first#last",
        stride=4,
        fps=7.5,
        condition="none",
        require_labels="false",
        autoencoder_learning_rate="1.6e-5",
        num_clips=1024,
        left_open="num_clips: 1024  # its test split is small, and at stride 4 a clip spans 61 frames of it",
    ),
}
NAMES = ("sprites", "ablation", "reference", *DATASETS)


@dataclass(frozen=True)
class Objective:
    """What the denoiser, or the two of them, learn from; the defaults are ours."""

    schedule: str = "cosine"
    prediction: str = "v"
    loss: str = "l2"
    min_snr_gamma: str = "5.0"
    separate_interpolator: str = "false"
    tasks: str = "{predict: 0.35, interpolate: 0.35, independent: 0.0}"


OFFICIAL_OBJECTIVE = Objective(
    schedule="scaled_linear",
    prediction="eps",
    loss="l1",
    min_snr_gamma="null",
    separate_interpolator="true",
    tasks="{predict: 0.25, interpolate: 0.5, independent: 0.0}  # its predictor: half of the windows unconditional",
)


def render(name: str) -> str:
    """The whole params.yaml of a preset, comments included."""
    if name in ("sprites", "ablation"):
        return sprites.render(name)
    template = string.Template((Path(__file__).parent / "paper.yaml").read_text())
    dataset, objective = ("sky_timelapse", OFFICIAL_OBJECTIVE) if name == "reference" else (name, Objective())
    return template.substitute(asdict(DATASETS[dataset]) | asdict(objective), name=dataset)
