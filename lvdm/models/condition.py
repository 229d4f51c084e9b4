"""What a denoiser is asked to show: class labels and texts alike are prompts, and the last one is none.

Not here: how a text becomes tokens (text.py), and where the prompts of a data set come from (lvdm/prompting.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from lvdm.transfers import sent

MAX_TOKENS = 77  # of a text: CLIP's limit, and more than captions have; what is beyond is cut off


@dataclass(frozen=True)
class Prompt:
    """What a sample is asked for, in words: its caption, or where it has none its label, or nothing."""

    label: str | None = None
    caption: str | None = None


@dataclass(frozen=True)
class Vocabulary:
    """What a denoiser can be asked for: one of `labels`, any text that its encoder reads, or neither."""

    labels: tuple[str, ...] = ()
    text_encoder: str = ""  # its fingerprint
    token_channels: int = 0  # of what it makes of a text


def padded(tokens: Float[Tensor, "_ d"]) -> tuple[Float[Tensor, "n d"], Bool[Tensor, " n"]]:
    """The tokens of a text with padding up to MAX_TOKENS, and the mask that leaves the padding out.

    Always to the same length: if the longest text of a batch decided it, the last bits of what attention makes of one
    text would depend on the texts beside it.
    """
    assert len(tokens) <= MAX_TOKENS, "an encoder makes at most MAX_TOKENS"
    rows = tokens.new_zeros(MAX_TOKENS, tokens.shape[1])
    rows[: len(tokens)] = tokens
    return rows, torch.arange(MAX_TOKENS) < len(tokens)


@dataclass(frozen=True)
class Prompts:
    """Prompts in rows, the null prompt last: a text as its tokens, of which `mask` leaves out the padding.

    A label has no tokens: a denoiser knows it by the number of its row.
    """

    tokens: Float[Tensor, "p n d"]  # n is MAX_TOKENS, or 0 of labels
    mask: Bool[Tensor, "p n"]

    @classmethod
    def of_labels(cls, num: int) -> Prompts:
        """`num` labels, and none."""
        return cls(torch.empty(num + 1, 0, 0), torch.empty(num + 1, 0, dtype=torch.bool))

    @classmethod
    def of_texts(cls, texts: Sequence[Float[Tensor, "_ d"]], null: Float[Tensor, "_ d"]) -> Prompts:
        """The tokens of each text, of any number, and those of the null text."""
        rows = [padded(tokens) for tokens in [*texts, null]]
        return cls(torch.stack([tokens for tokens, _ in rows]), torch.stack([mask for _, mask in rows]))

    @property
    def null(self) -> int:
        """The number of the null prompt: how many others there are."""
        return len(self.mask) - 1

    def rows(self, numbers: Int64[Tensor, " b"]) -> Prompts:
        return Prompts(self.tokens[numbers], self.mask[numbers])

    def to(self, device: torch.device) -> Prompts:
        return Prompts(sent(self.tokens, device), sent(self.mask, device))


@dataclass(frozen=True)
class Condition:
    """What each window of a batch is asked to show: the `number` of its prompt among `prompts`."""

    number: Int64[Tensor, " b"]
    prompts: Prompts

    @property
    def texts(self) -> Prompts:
        """The prompt of each window."""
        return self.prompts.rows(self.number)

    def dropped(self, where: Bool[Tensor, " b"]) -> Condition:
        """The null prompt `where` it is dropped."""
        return replace(self, number=self.number.masked_fill(where, self.prompts.null))

    def null(self) -> Condition:
        """The null prompt everywhere: what an unconditional pass is told."""
        return replace(self, number=torch.full_like(self.number, self.prompts.null))

    @staticmethod
    def of_passes(conditions: Sequence[Condition]) -> Condition:
        """Several passes over the same prompts as one batch."""
        return replace(conditions[0], number=torch.cat([condition.number for condition in conditions]))
