"""How the videos of a source lie on disk: `ingest.layout`, a kind and what only that kind can be asked.

Not here: what each kind reads off a path; that is lvdm/data/layouts.py. This module imports no torch.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from lvdm.section import Positive, Section, distinct

FramesPerSecond = Positive  # of frames that lie as images, which do not know their own


class Folder(Section):
    """Video files, as anybody has them."""

    kind: Literal["folder"]


class FrameFolders(Section):
    """Every folder that holds images is a video; video files are videos too."""

    kind: Literal["frame_folders"]
    fps: FramesPerSecond


class Ucf101(Section):
    """UCF-101: class folders of v_Class_gNN_cNN.avi, and its three official pairs of split files."""

    kind: Literal["ucf101"]
    split_list: Literal[1, 2, 3]


class SkyTimelapse(Section):
    """SkyTimelapse: sky_train and sky_test, a folder a video of the web, in it folders of frames or clips."""

    kind: Literal["sky_timelapse"]
    fps: FramesPerSecond


class FaceForensics(Section):
    """FaceForensics++: original and manipulated sequences at three compression levels."""

    kind: Literal["faceforensics"]
    compression: Literal["raw", "c23", "c40"]
    videos: Literal["original", "manipulated", "all"]


class Mead(Section):
    """MEAD: identity/video/view/emotion/level_N/NNN.mp4."""

    kind: Literal["mead"]
    views: Annotated[
        tuple[Literal["front", "left_30", "left_60", "right_30", "right_60", "top", "down"], ...],
        Field(min_length=1),
        AfterValidator(distinct),
    ]


class TaichiHd(Section):
    """TaiChi-HD: train and test, clips named video#first#last, as mp4 or as folders of frames."""

    kind: Literal["taichi_hd"]
    fps: FramesPerSecond


Layout = Annotated[
    Folder | FrameFolders | Ucf101 | SkyTimelapse | FaceForensics | Mead | TaichiHd, Field(discriminator="kind")
]
