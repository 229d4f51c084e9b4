"""The frozen, typed mirror of params.yaml: what is computed, never where or on what (that is machine.py).

`train_autoencoder`, `train_denoiser` and `sample` hold the values that all named entries share; an entry under
`autoencoders:` or `experiments:` names only what it changes. This module imports no torch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field, model_validator

from lvdm.errors import ParamsError
from lvdm.evaluation.protocol import protocol_of
from lvdm.params.contract import Validate
from lvdm.params.evaluate import Evaluate
from lvdm.params.sections import (
    AutoencoderNetwork,
    AutoencoderObjective,
    Clips,
    DenoiserNetwork,
    DenoiserObjective,
    EncodeLatents,
    Ingest,
    Night,
    Sample,
    Tasks,
    TextEncoder,
    TrainAutoencoder,
    TrainDenoiser,
    TrainedPerturbation,
    Training,
    Transcode,
)
from lvdm.section import Section, parse, read_yaml

NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
NAMES = "names of at most 63 small letters, digits, - and _, the first a letter or digit"

__all__ = [
    "AutoencoderNetwork",
    "AutoencoderObjective",
    "Clips",
    "DenoiserNetwork",
    "DenoiserObjective",
    "EncodeLatents",
    "Evaluate",
    "Experiment",
    "Ingest",
    "Night",
    "Params",
    "Sample",
    "Tasks",
    "TextEncoder",
    "TrainAutoencoder",
    "TrainDenoiser",
    "TrainedPerturbation",
    "Training",
    "Transcode",
    "Validate",
    "load_params",
    "merged",
    "parse_params",
]


class Experiment(Section):
    """A named entry of `experiments:` with what it shares filled in."""

    name: str
    autoencoder: str
    train_denoiser: TrainDenoiser
    sample: Sample

    @model_validator(mode="after")
    def _sampled_as_trained(self) -> Experiment:
        objective, sample = self.train_denoiser.objective, self.sample
        if sample.overlap > objective.max_given:
            most = f"{objective.max_given}, which is train_denoiser.objective.max_given"
            raise ValueError(f"sample.overlap of at most {most}, not {sample.overlap}")
        if sample.perturbation_level > objective.perturbation.max_level:
            most = f"{objective.perturbation.max_level:g}, which is train_denoiser.objective.perturbation.max_level"
            raise ValueError(f"sample.perturbation_level of at most {most}, not {sample.perturbation_level:g}")
        if sample.guidance != 0 and objective.raise_given == 0:
            trains = "train_denoiser.objective.raise_given above 0, which trains the unconditional pass"
            raise ValueError(f"{trains}, or sample.guidance of 0, not {sample.guidance:g}")
        conditional = self.train_denoiser.network.condition != "none"
        if sample.condition_guidance != 0 and not conditional:
            given = sample.condition_guidance
            raise ValueError(
                f"sample.condition_guidance of 0, not {given:g}, with train_denoiser.network.condition: none"
            )
        if conditional and (sample.guidance != 0 or sample.condition_guidance != 0) and objective.drop_condition == 0:
            trains = "train_denoiser.objective.drop_condition above 0, which trains without a condition"
            raise ValueError(f"{trains}, or sample.guidance and sample.condition_guidance of 0")
        if objective.tasks.predict == 0:
            raise ValueError("train_denoiser.objective.tasks.predict above 0, which extends videos")
        has_gaps = sample.scheme == "hierarchical" and len(self.train_denoiser.strides) > 1
        if sample.refine_strength < 1 and not has_gaps:
            raise ValueError(
                "sample.refine_strength of 1 with one of strides or scheme: autoregressive: no gaps to refine"
            )
        if has_gaps and objective.tasks.interpolate == 0:
            trains = "train_denoiser.objective.tasks.interpolate above 0, which fills gaps"
            raise ValueError(f"{trains}, or one of strides, or sample.scheme: autoregressive")
        return self


class _AutoencoderEntry(Section):
    train_autoencoder: dict[str, Any]


class _ExperimentEntry(Section):
    autoencoder: str
    train_denoiser: dict[str, Any]
    sample: dict[str, Any]


class Params(Section):
    """The whole of params.yaml."""

    ingest: Ingest
    validate_: Validate = Field(alias="validate")
    clips: Clips
    train_autoencoder: TrainAutoencoder
    encode_latents: EncodeLatents
    train_denoiser: TrainDenoiser
    sample: Sample
    evaluate: Evaluate
    night: Night = Night()
    autoencoders: dict[str, _AutoencoderEntry]
    experiments: dict[str, _ExperimentEntry]

    def autoencoder(self, name: str) -> TrainAutoencoder:
        """The parameters of the entry `name` of `autoencoders:`.

        Raises:
            ParamsError: no such entry.
        """
        entry = _entry(self.autoencoders, name, "autoencoders")
        return _overridden(self.train_autoencoder, entry.train_autoencoder, f"autoencoders.{name}.train_autoencoder")

    def experiment(self, name: str) -> Experiment:
        """The parameters of the entry `name` of `experiments:`.

        Raises:
            ParamsError: no such entry, or its autoencoder is not an entry of `autoencoders:`.
        """
        entry, at = _entry(self.experiments, name, "experiments"), f"experiments.{name}"
        _entry(self.autoencoders, entry.autoencoder, f"{at}.autoencoder")
        filled_in = {
            "name": name,
            "autoencoder": entry.autoencoder,
            "train_denoiser": _overridden(self.train_denoiser, entry.train_denoiser, f"{at}.train_denoiser"),
            "sample": _overridden(self.sample, entry.sample, f"{at}.sample"),
        }
        return parse(Experiment, filled_in, at)


def load_params(path: Path) -> Params:
    """Reads and checks params.yaml, every named entry included.

    Raises:
        ParamsError: no file, no YAML, an unknown key or a wrong value; one line names the field.
    """
    if not path.exists():
        raise ParamsError(
            f"{path}: no such file", remedy="run in the project's folder, or `lvdm preset sprites > params.yaml`"
        )
    return parse_params(read_yaml(path))


def parse_params(document: Any) -> Params:
    """Checks the content of params.yaml, every named entry included.

    Raises:
        ParamsError: an unknown key or a wrong value; one line names the field.
    """
    params = parse(Params, document)
    for kind, names in (("autoencoders", params.autoencoders), ("experiments", params.experiments)):
        _check_names(kind, names)
    for name in params.autoencoders:
        _check_clips_are_divided(params, name)
    _check_enough_is_made(params)
    return params


def _check_names(kind: str, names: Iterable[str]) -> None:
    """
    Raises:
        ParamsError: one is no name of a folder, or two are one where an identifier is made of them.
    """
    known: dict[str, str] = {}
    for name in names:
        if not NAME_PATTERN.fullmatch(name):
            raise ParamsError(f"params.yaml: {kind}", expected=NAMES, got=name)
        if (other := known.setdefault(name.replace("-", "_"), name)) != name:
            expected = "names that differ by more than - and _"
            raise ParamsError(f"params.yaml: {kind}", expected=expected, got=f"{other} and {name}", remedy="rename one")


def _check_clips_are_divided(params: Params, name: str) -> None:
    """
    Raises:
        ParamsError: the autoencoder `name` cannot divide a clip, or its objective the latent of one, without a rest.
    """
    autoencoder, clips = params.autoencoder(name), params.clips
    time, space = autoencoder.network.time_factor, autoencoder.network.space_factor
    divisors: list[tuple[str, int, str]] = [
        ("frames", time, f"time_factor {time}"),
        ("size", space, f"space_factor {space}"),
    ]
    if (term := autoencoder.objective.equivariance) is not None:
        scale = max(term.factors)  # powers of two, which the largest is a multiple of
        divisors.append(("size", space * scale, f"space_factor {space} times equivariance at {scale}"))
    for field, divisor, why in divisors:
        if (got := getattr(clips, field)) % divisor:
            expected = f"a multiple of {divisor} for autoencoder {name}: {why}"
            raise ParamsError(f"params.yaml: clips.{field}", expected=expected, got=got)


def _check_enough_is_made(params: Params) -> None:
    """
    Raises:
        ParamsError: an experiment makes fewer or shorter samples than the protocol measures.
    """
    protocol = protocol_of(params)
    if params.clips.frames != protocol.clip_frames:
        expected = f"{protocol.clip_frames}, which evaluate.protocol {protocol.name} measures"
        raise ParamsError("params.yaml: clips.frames", expected=expected, got=params.clips.frames)
    needs = {
        "num_clips": protocol.num_clips,
        "num_long_videos": protocol.long_videos,
        "long_frames": protocol.long_frames,
    }
    for name in params.experiments:
        for field, needed in needs.items():
            if (made := getattr(params.experiment(name).sample, field)) < needed:
                expected = f"at least {needed}, which evaluate.protocol {protocol.name} measures"
                raise ParamsError(f"params.yaml: sample.{field} of {name}", expected=expected, got=made)


S = TypeVar("S", bound=Section)


def _overridden(shared: S, overrides: Mapping[str, Any], at: str) -> S:
    return parse(type(shared), merged(shared.model_dump(by_alias=True), overrides), at)


def merged(base: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with what `overrides` says instead, section by section: how an entry changes what is shared."""
    result = dict(base)
    for key, value in overrides.items():
        inner = result.get(key)
        result[key] = merged(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return result


def _entry(entries: Mapping[str, Any], name: str, at: str) -> Any:
    if name not in entries:
        raise ParamsError(f"params.yaml: {at}", expected=f"one of {', '.join(entries) or 'no entries yet'}", got=name)
    return entries[name]
