"""From the labels and captions of a data set to what a denoiser is asked for, in training and in sampling.

Not here: the encoder of texts (lvdm/models/text.py) and how a denoiser is told (lvdm/models/condition.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from lvdm.data.latents import Entry, LatentCache
from lvdm.data.texts import EncodedTexts, encode_texts
from lvdm.diffusion.noise import generator_of
from lvdm.errors import ArtefactError, WeightsError
from lvdm.models.checkpoint import DenoiserRecord
from lvdm.models.condition import Condition, Prompt, Prompts, Vocabulary, padded
from lvdm.models.text import find_text_encoder
from lvdm.params import DenoiserNetwork
from lvdm.workspace import Workspace

NULL_TEXT = ""
MOST_PROMPTS = 10_000  # that are kept with a denoiser: as many as any protocol has clips


@runtime_checkable
class TrainingPrompts(Protocol):
    """What the videos of a training set are asked for: examples of it for the loader, and the condition of a batch."""

    @property
    def vocabulary(self) -> Vocabulary: ...

    def example(self, video: Entry) -> dict[str, Tensor]:
        """The part of a training example that says what its video shows, the null prompt if nobody said it."""

    def condition(self, batch: dict[str, Tensor]) -> Condition:
        """What the denoiser is told of a batch of examples."""


@dataclass(frozen=True)
class LabelPrompts:
    """The number of a label; without condition there are no labels, hence always the null prompt."""

    vocabulary: Vocabulary

    def example(self, video: Entry) -> dict[str, Tensor]:
        labels = self.vocabulary.labels
        return {"label": torch.tensor(labels.index(video.label) if video.label in labels else len(labels))}

    def condition(self, batch: dict[str, Tensor]) -> Condition:
        number = batch["label"]
        return Condition(number, Prompts.of_labels(len(self.vocabulary.labels)).to(number.device))


@dataclass(frozen=True)
class TextPrompts:
    """The tokens of captions and of the `null` text; training never runs the encoder."""

    vocabulary: Vocabulary
    encoded: EncodedTexts
    null: Prompts

    def example(self, video: Entry) -> dict[str, Tensor]:
        tokens, mask = padded(self.encoded.tokens(NULL_TEXT if video.caption is None else video.caption))
        return {"tokens": tokens, "mask": mask}

    def condition(self, batch: dict[str, Tensor]) -> Condition:
        rows, device = len(batch["mask"]), batch["mask"].device
        null = self.null.to(device)
        prompts = Prompts(torch.cat([batch["tokens"], null.tokens]), torch.cat([batch["mask"], null.mask]))
        return Condition(torch.arange(rows, device=device), prompts)


def training_prompts(network: DenoiserNetwork, cache: LatentCache, workspace: Workspace) -> TrainingPrompts:
    """What the videos of the cache are asked for, captions encoded; those held out too, which validation asks for.

    Raises:
        ArtefactError: no training video has the label or the caption that the network is conditioned on.
        WeightsError: the text encoder is not there.
    """
    if network.text is None:
        labels = cache.labels if network.condition == "label" else ()
        if network.condition == "label" and not labels:
            raise _unsaid(cache, "label")
        return LabelPrompts(Vocabulary(labels=labels))
    if not cache.split("train").captions:
        raise _unsaid(cache, "caption")
    texts = {NULL_TEXT, *cache.videos.captions}
    encoder = find_text_encoder(network.text, workspace)
    encoded = encode_texts(encoder, texts, workspace.cache)
    null = Prompts.of_texts([], encoded.tokens(NULL_TEXT))
    return TextPrompts(Vocabulary((), encoder.fingerprint, null.tokens.shape[2]), encoded, null)


def prompts_in_turn(network: DenoiserNetwork, cache: LatentCache) -> tuple[Prompt, ...]:
    """What samples are asked for, in turn: what the videos are asked for, as often as these are.

    They are the labels of training, or the captions of held-out videos, which training never saw; where no held-out
    video has a caption, those of training.
    """
    match network.condition:
        case "none":
            return ()
        case "label":
            return _spread([Prompt(video.label) for video in cache.split("train") if video.label is not None])
        case "text":
            held_out, of_training = (
                [Prompt(video.label, video.caption) for video in cache.split(split) if video.caption is not None]
                for split in ("test", "train")
            )
            return _spread(held_out or of_training)


def _spread(prompts: Sequence[Prompt]) -> tuple[Prompt, ...]:
    """In an order whose every part has each prompt about as often as the whole: some samples are asked for as all are.

    Of a prompt that is there n times, the k-th comes at (k + u) / n of the order, u drawn uniformly for each prompt
    (systematic sampling).
    """
    counts = Counter(prompts)
    starts = torch.rand(len(counts), generator=generator_of("prompts"), dtype=torch.float64).tolist()
    places = [
        ((k + start) / count, number)
        for number, (start, count) in enumerate(zip(starts, counts.values(), strict=True))
        for k in range(count)
    ]
    each = list(counts)
    return tuple(each[number] for _, number in sorted(places)[:MOST_PROMPTS])


def understood(record: DenoiserRecord, texts: Sequence[str], workspace: Workspace) -> tuple[tuple[str, ...], Prompts]:
    """What each prompt is called, and the prompts as the denoiser is told them: its labels, or `texts`, each once.

    Raises:
        WeightsError: the text encoder is not there, or not the one that the denoiser was trained with.
    """
    config, vocabulary = record.params.network.text, record.vocabulary
    if config is None:
        return vocabulary.labels, Prompts.of_labels(len(vocabulary.labels))
    encoder = find_text_encoder(config, workspace)
    if encoder.fingerprint != vocabulary.text_encoder:
        raise WeightsError(
            f"{encoder.folder}: not the text encoder that the denoiser was trained with",
            expected=vocabulary.text_encoder,
            got=encoder.fingerprint,
            remedy="put that one there, or run `lvdm train_denoiser` again",
        )
    names = tuple(dict.fromkeys(texts))
    encoded = encode_texts(encoder, [NULL_TEXT, *names], workspace.cache)
    return names, Prompts.of_texts([encoded.tokens(name) for name in names], encoded.tokens(NULL_TEXT))


def _unsaid(cache: LatentCache, what: str) -> ArtefactError:
    return ArtefactError(
        f"{cache.folder}: no video of split train has a {what}, which network.condition asks for",
        remedy=f"give the videos a table with a column {what} (README, Your own videos), or change the condition",
    )
