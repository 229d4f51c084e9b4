"""The patch discriminator that the autoencoder's adversarial term is played against.

PatchGAN (arXiv 1611.07004) as in VQGAN (arXiv 2012.09841), with time as a third axis. Not here: when it plays and what
weight it has; that is lvdm/training/autoencoder.py.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lvdm.models.layers import channels_last

NUM_HALVINGS = 3
GROUPS = 8


class PatchDiscriminator(nn.Module):
    """A logit for each patch of a clip, above 0 for real; patches overlap and have 38 x 38 pixels of 31 frames.

    Normalised over groups of channels of one clip, where the originals normalise over the batch: so the logits of a
    clip depend neither on the clips beside it nor on the number of devices.
    """

    def __init__(self, channels: int):
        super().__init__()
        layers: list[nn.Module] = [_halving(3, channels), nn.LeakyReLU(0.2)]
        for _ in range(NUM_HALVINGS - 1):
            layers += [_halving(channels, 2 * channels), nn.GroupNorm(GROUPS, 2 * channels), nn.LeakyReLU(0.2)]
            channels = 2 * channels
        self.layers = nn.Sequential(*layers, nn.Conv3d(channels, 1, 3, padding=1))
        channels_last(self)

    def forward(self, clip: Float[Tensor, "b 3 t h w"]) -> Float[Tensor, "b 1 u i j"]:
        return self.layers(clip.contiguous(memory_format=torch.channels_last_3d)).float()

    def held(self, clip: Float[Tensor, "b 3 t h w"]) -> Float[Tensor, "b 1 u i j"]:
        """The same logits with the parameters held constant: gradients reach the clip alone."""
        parameters = {name: parameter.detach() for name, parameter in self.named_parameters()}
        return torch.func.functional_call(self, parameters, (clip,))


def discriminator_loss(
    real_logits: Float[Tensor, "b 1 u i j"], fake_logits: Float[Tensor, "b 1 u i j"]
) -> Float[Tensor, ""]:
    """The hinge loss (mean max(0, 1 - real) + mean max(0, 1 + fake)) / 2."""
    return 0.5 * (F.relu(1 - real_logits).mean() + F.relu(1 + fake_logits).mean())


def generator_loss(fake_logits: Float[Tensor, "b 1 u i j"]) -> Float[Tensor, ""]:
    """-mean fake: what is made should be taken for real."""
    return -fake_logits.mean()


def _halving(c_in: int, c_out: int) -> nn.Conv3d:
    """Halves frames (rounded up), height and width."""
    return nn.Conv3d(c_in, c_out, (3, 4, 4), stride=2, padding=1)
