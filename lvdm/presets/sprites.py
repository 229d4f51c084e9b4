"""The built-in set in full for one GPU: the experiments of the preset `sprites`, and those of `ablation`.

The ablation asks which of the paper's three means against drift does what: `PERTURBATIONS`, `GUIDANCE` and `SCHEMES`,
each with each. Those that differ in sampling alone share their training. Beside them stands a denoiser on pixels.
Not here: the sections that all share; these are in sprites.yaml.
"""

from __future__ import annotations

import itertools
import string
from pathlib import Path

SPRITES = """\
autoencoders:              # name: what it changes
  small:
    train_autoencoder: {}

experiments:               # name: what it changes
  perturbed:
    autoencoder: small
    train_denoiser: {}
    sample: {}
  unperturbed:
    autoencoder: small
    train_denoiser: {objective: {perturbation: {max_level: 0.0}}}
    sample: {perturbation_level: 0.0}
  prompted:                # asked for by captions: lvdm sample --prompt "a red square moves left slowly" --frames 512
    autoencoder: small
    train_denoiser: {network: {condition: text, text: {encoder: minilm}}}
    sample: {condition_guidance: 0.5}
"""

PERTURBATIONS = {  # of the given frames: the largest level in training, the level in sampling, the seed's alpha
    "none": (0.0, 0.0, 0.0),
    "paper": (0.25, 0.1, 0.0),
    "seed": (0.25, 0.1, 0.5),
}
GUIDANCE = (0.0, 0.1)  # w: without, and the paper's
SCHEMES = {
    "autoregressive": "scheme: autoregressive",
    "hierarchical": "scheme: hierarchical",
    "refine": "scheme: hierarchical, refine_strength: 0.6",
}
PIXELS = """\
  pixels:                  # paper-w01-hierarchical on pixels (VDM); as long on an H100 as the two trainings of others
    autoencoder: pixels
    train_denoiser:
      window: 17           # frames
      strides: [1, 16]
      network: {channels: 32, channel_multipliers: [1, 2, 4, 8], attention_levels: [3], head_channels: 32}
      training: {steps: 6300, batch_size: 16}
    sample: {guidance: 0.1, batch_size: 32}
"""


def render(name: str) -> str:
    """params.yaml of `sprites` or `ablation`, comments included."""
    template = string.Template((Path(__file__).parent / "sprites.yaml").read_text())
    if name == "sprites":
        title = "The built-in set in full on one GPU, in minutes"
        return template.substitute(title=title, num_clips=256, num_long_videos=64, entries=SPRITES)
    title = "Perturbation, guidance and scheme of long videos, each with each, and latents against pixels"
    return template.substitute(title=title, num_clips=64, num_long_videos=32, entries=_ablation())


def _ablation() -> str:
    identity = "{network: {kind: identity, time_factor: 1, space_factor: 1, latent_channels: 3}}"
    lines = [
        "autoencoders:              # name: what it changes",
        "  small:",
        "    train_autoencoder: {}",
        "  pixels:",
        f"    train_autoencoder: {identity}",
        "",
        "experiments:               # PERTURBATION-wGUIDANCE-SCHEME; those of one perturbation share their training",
    ]
    for (perturbation, (max_level, level, alpha)), w, (scheme, said) in itertools.product(
        PERTURBATIONS.items(), GUIDANCE, SCHEMES.items()
    ):
        trained = f"{{max_level: {max_level}, alpha: {alpha}}}"
        lines += [
            f"  {perturbation}-w{w:g}-{scheme}:".replace(".", ""),
            "    autoencoder: small",
            f"    train_denoiser: {{objective: {{perturbation: {trained}}}}}",
            f"    sample: {{perturbation_level: {level}, guidance: {w}, {said}}}",
        ]
    return "\n".join(lines) + "\n" + PIXELS
