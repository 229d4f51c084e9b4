"""Which clips of the real videos stand for the data, and reading them.

Not here: decoding (data/video.py), resizing and cropping (data/clips.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from lvdm.data.clips import to_clip, to_frames
from lvdm.data.video import read_frames
from lvdm.params import Clips

RULE = "disjoint windows, one of every video before a second of any, in seeded order"


@dataclass(frozen=True)
class Window:
    """Frames of a video: start, start + stride, ..., as many as a clip has."""

    video: int
    start: int


def choose_windows(num_frames: Sequence[int], clips: Clips, seed: int) -> list[Window]:
    """All windows that `RULE` gives of videos with `num_frames` frames each; take as many from the front as are needed.

    A video's windows lie end to end from a random offset. Videos shorter than a clip give none.
    """
    generator = torch.Generator().manual_seed(seed)
    span = (clips.frames - 1) * clips.stride + 1
    rounds: list[list[Window]] = []
    for video in torch.randperm(len(num_frames), generator=generator).tolist():
        windows = num_frames[video] // span
        offset = int(torch.randint(num_frames[video] - windows * span + 1, (1,), generator=generator))
        order = torch.randperm(windows, generator=generator).tolist()
        rounds += [[] for _ in range(windows - len(rounds))]
        for place, window in enumerate(order):
            rounds[place].append(Window(video, offset + window * span))
    return [window for windows in rounds for window in windows]


class RealClips:
    """Windows of video files as clips, decoded when asked for."""

    def __init__(self, videos: Sequence[Path], windows: Sequence[Window], clips: Clips):
        self.videos, self.windows, self.clips = videos, windows, clips

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> UInt8[Tensor, "t s s 3"]:
        """
        Raises:
            VideoError: the video cannot be read.
        """
        window, clips = self.windows[index], self.clips
        wanted = range(window.start, window.start + clips.frames * clips.stride, clips.stride)
        return torch.from_numpy(to_frames(to_clip(read_frames(self.videos[window.video], wanted), clips.size)))
