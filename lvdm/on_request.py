"""Videos that somebody asks for in a sentence: made by a trained denoiser, beside the pipeline.

They are nobody's input: nothing is read for them but the networks, and no artefact, report or provenance written.
Not here: the sample sets that experiments are measured by; those are made by the stage `sample`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lvdm import making
from lvdm.data.samples import VideoSample, frames_of
from lvdm.data.sources import VIDEO_SUFFIXES
from lvdm.data.video import write_video
from lvdm.errors import ParamsError
from lvdm.fingerprints import fingerprint
from lvdm.models.checkpoint import read_denoiser_record
from lvdm.models.condition import Prompt
from lvdm.params import Params
from lvdm.provenance import Work
from lvdm.storage.bucket import Prefix
from lvdm.storage.publishing import publish
from lvdm.workspace import Workspace

VERB = "videos"  # of the lock and the scratch folder, apart from those of the stages


@dataclass(frozen=True)
class Request:
    """`count` videos of `frames` frames that show `prompt`, of the seeds from `seed` on."""

    prompt: Prompt
    frames: int
    seed: int
    count: int


ANSWERS = {"--prompt": "text", "--label": "label"}  # the condition that each option asks for


def experiment_for(prompt: Prompt, params: Params) -> str:
    """The first experiment of params.yaml that answers to such a prompt; the first of all if none does.

    Raises:
        ParamsError: there is none.
    """
    wanted = {ANSWERS[option] for option in _options(prompt)}
    conditions = {name: params.experiment(name).train_denoiser.network.condition for name in params.experiments}
    answering = [name for name, condition in conditions.items() if condition in wanted]
    if not conditions:
        raise ParamsError("params.yaml: experiments", expected="an entry to sample")
    return next(iter([*answering, *conditions]))


def make_videos(request: Request, params: Params, workspace: Workspace, name: str, out: str) -> Iterator[str]:
    """Makes the videos with the denoiser of the experiment `name`; yields the place of each mp4 as it is there.

    `out` is a folder, whose files are replaced, or s3://bucket/prefix, where nothing is ever overwritten.

    Killed and run again, it goes on where it was. Sampler, guidance and fps are those of the experiment.

    Raises:
        ArtefactError: the experiment is not trained, or videos are made with it at this moment.
        ParamsError: the denoiser cannot be asked for this, or `out` is no folder and cannot become one.
        WeightsError: its text encoder is not there, or another than in training.
        StorageError: S3 does not take them, or has other videos of these names.
    """
    prompt, fps = request.prompt, params.experiment(name).sample.fps
    bucket = Prefix(out, "check --out") if out.startswith("s3://") else None
    with workspace.lock(VERB, name):
        _check(prompt, workspace, name)
        if not bucket:
            _make_folder(out)
        seeds = range(request.seed, request.seed + request.count)
        wanted = [
            VideoSample("long", number, request.frames, seed, prompt.label, prompt.caption)
            for number, seed in enumerate(seeds)
        ]
        work = Work.of("sample", params, workspace, name, {"wanted": fingerprint(list(map(str, wanted)))})
        scratch = workspace.scratch(VERB, name, work.fingerprint)
        workspace.clear_scratch(VERB, name, keep=scratch)
        for sample, chunks in making.made(wanted, params, workspace, name, scratch):
            file = f"{_stem(name, sample)}.mp4"
            path = (scratch if bucket else Path(out)) / file
            write_video(path, frames_of(sample, chunks), fps)
            yield publish(bucket, file, path) if bucket else str(path)
        workspace.clear_scratch(VERB, name)


def _check(prompt: Prompt, workspace: Workspace, name: str) -> None:
    """Compares what is asked for with what the denoiser was trained to be asked for."""
    record = read_denoiser_record(workspace.denoiser(name))
    condition, labels = record.params.network.condition, record.vocabulary.labels
    for option in _options(prompt):
        if ANSWERS[option] != condition:
            remedy = next((f"ask with {o}" for o, c in ANSWERS.items() if c == condition), "ask with --frames alone")
            what = f"{option}: the denoiser of {name} was trained with condition: {condition}"
            raise ParamsError(what, remedy=f"{remedy}, or train one with condition: {ANSWERS[option]}")
    if condition != "none" and not _options(prompt) and record.params.objective.drop_condition == 0:
        option = next(o for o, c in ANSWERS.items() if c == condition)
        what = f"nothing asked for: the denoiser of {name} was not trained for that (drop_condition: 0)"
        raise ParamsError(what, remedy=f"ask with {option}")
    if prompt.label is not None and prompt.label not in labels:
        raise ParamsError("--label", expected=f"one of {', '.join(labels)}", got=prompt.label)


def _make_folder(out: str) -> None:
    if Path(out).suffix.lower() in VIDEO_SUFFIXES and not Path(out).is_dir():
        raise ParamsError("--out", expected="a folder: each video in it is named by its prompt and seed", got=out)
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        expected = "a folder, or the name of one that can be made"
        raise ParamsError("--out", expected=expected, got=out) from error


def _options(prompt: Prompt) -> list[str]:
    said = {"--prompt": prompt.caption, "--label": prompt.label}
    return [option for option, value in said.items() if value is not None]


def _stem(name: str, sample: VideoSample) -> str:
    """A file name that tells the video, and by a hash at its end tells apart prompts of which it shows too little."""
    slug = re.sub(r"[^a-z0-9]+", "-", (sample.prompt or "").lower()).strip("-")[:80]
    asked = [slug] if slug else []
    ends = f"{sample.frames}-frames-seed-{sample.seed}-{fingerprint(sample.caption, sample.label)[:6]}"
    return "-".join([name, *asked, ends])
