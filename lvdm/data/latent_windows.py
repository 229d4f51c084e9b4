"""Windows of the latents of a cache: the examples that a denoiser trains on.

Not here: the cache (latents.py), and what an example says of what its video shows (lvdm/prompting.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lvdm.data.latents import Entry, LatentCache
from lvdm.errors import ArtefactError


class LatentWindows(Dataset[dict[str, Tensor]]):
    """Windows of the videos of a split: any index >= 0 is a window, a pure function of (seed, index).

    Where the cache holds a video mirrored too (`encode_latents.flip`), every second window is of that, by the draw.
    """

    def __init__(
        self,
        cache: LatentCache,
        window: int,
        strides: Sequence[int],
        seed: int,
        asked: Callable[[Entry], dict[str, Tensor]],
        split: str = "train",
    ):
        """`asked` gives the tensors that tell, beside the latents, what a video shows (lvdm/prompting.py).

        Raises:
            ArtefactError: no video is long enough for a window at the largest stride.
        """
        self.cache, self.window, self.strides, self.seed, self.asked = cache, window, tuple(strides), seed, asked
        of_split = cache.split(split)
        longest = int(max(of_split.lengths, default=0))
        if longest < self._span(max(strides)):
            raise ArtefactError(
                f"{cache.folder}: no {split} video is long enough for {window} latents at stride {max(strides)}",
                expected=f"at least {self._span(max(strides))} latents",
                got=longest,
                remedy="add longer videos, or lower window or the largest of strides",
            )
        self.videos = of_split.at_least(self._span(min(strides)))

    def __len__(self) -> int:
        """The number of videos."""
        return len(self.videos)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """`latent`, "c t h w"; `stride`, drawn from those that fit into the video; and what `asked` gives."""
        random = np.random.default_rng([self.seed, index])
        video = self.videos[int(random.integers(len(self.videos)))]
        fitting = [stride for stride in self.strides if self._span(stride) <= video.length]
        stride = fitting[random.integers(len(fitting))]
        start = int(random.integers(video.length - self._span(stride) + 1))
        mirrored = video.mirrored_place is not None and bool(random.integers(2))
        latent = self.cache.read(video, start, start + self._span(stride), stride, mirrored=mirrored)
        return {
            "latent": latent.transpose(0, 1).contiguous(),
            "stride": torch.tensor(stride),
            **self.asked(video),
        }

    def _span(self, stride: int) -> int:
        """From the first latent of a window to its last, both counted."""
        return (self.window - 1) * stride + 1


def held_out_windows(
    cache: LatentCache,
    window: int,
    strides: Sequence[int],
    count: int,
    asked: Callable[[Entry], dict[str, Tensor]],
) -> list[dict[str, Tensor]]:
    """The first `count` windows of split test, at the strides that fit; none if none does: always the same."""
    longest = max(cache.split("test").lengths, default=0)
    fitting = [stride for stride in strides if (window - 1) * stride < longest]
    if not fitting:
        return []
    windows = LatentWindows(cache, window, fitting, 0, asked, split="test")
    return [windows[i] for i in range(count)]
