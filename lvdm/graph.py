"""The picture as data: each stage with what it reads, writes, is set by and is made of.

dvc.yaml says the same to DVC and assets/ to Dagster; tests hold the three equal.
Not here: what a stage does; that is stages.py. This module imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lvdm.params import Params
from lvdm.workspace import Workspace

Paths = Callable[[Workspace, Params, str], tuple[Path, ...]]
READING = ("data/decoding.py", "data/frame_folders.py", "data/frames.py", "data/video.py")  # how stages read videos


@dataclass(frozen=True)
class Stage:
    """One box of the picture. `name` below is the named entry that a stage over entries works on, else ''."""

    verb: str
    over: Literal["", "autoencoders", "experiments"]
    summary: str
    sections: tuple[str, ...]  # of params.yaml; an entry's own part is added
    code: tuple[str, ...]  # below lvdm/: the rooms that decide what comes out
    inputs: Paths
    outputs: Paths
    resumes: bool = False  # a killed run leaves a state to go on from

    def names(self, params: Params) -> tuple[str, ...]:
        """The entries that the stage runs for; ('',) when it runs once."""
        return tuple(getattr(params, self.over)) if self.over else ("",)

    def settings(self, params: Params, name: str) -> dict[str, Any]:
        """Exactly the parameters that decide the outcome, with the entry's own values filled in."""
        document = params.model_dump(mode="json", by_alias=True)
        settings = {section: document[section] for section in self.sections}
        if self.over == "autoencoders" and "train_autoencoder" in settings:
            settings["train_autoencoder"] = params.autoencoder(name).model_dump(mode="json")
        if self.over == "experiments":
            experiment = params.experiment(name).model_dump(mode="json")
            settings.update({section: experiment[section] for section in self.sections if section in experiment})
        return settings


def _autoencoder_of(workspace: Workspace, params: Params, experiment: str) -> Path:
    return workspace.autoencoder(params.experiment(experiment).autoencoder)


STAGES: dict[str, Stage] = {
    stage.verb: stage
    for stage in (
        Stage(
            verb="ingest",
            over="",
            summary="find, fetch and probe the videos: one row a video",
            sections=("ingest",),
            code=(
                "data/appearance.py",
                "data/bounded.py",
                "data/captions.py",
                "data/decoding.py",
                "data/frame_folders.py",
                "data/freedoom.py",
                "data/freedoom_walk.py",
                "data/ingest.py",
                "data/inspection.py",
                "data/layouts.py",
                "data/manifest.py",
                "data/probing.py",
                "data/sources.py",
                "data/sprites.py",
                "data/straightening.py",
                "data/video.py",
            ),
            inputs=lambda w, p, n: (),  # the source itself: the manifest holds the checksum of each of its videos
            outputs=lambda w, p, n: (w.videos, w.manifest),
        ),
        Stage(
            verb="validate",
            over="",
            summary="hold the manifest against the expectations; list the rejects",
            sections=("ingest", "validate", "clips"),
            code=(
                "data/contract.py",
                "data/data_report.css",
                "data/data_report.html.jinja",
                "data/data_report.py",
                "data/difference.py",
                "data/distributions.py",
                "data/expectations.py",
                "data/histograms.py",
                "data/manifest.py",
                "data/near_duplicates.py",
                "data/validation.py",
                "data/versions.py",
            ),
            inputs=lambda w, p, n: (w.manifest, w.videos),  # and the accepted version, which need not be there
            outputs=lambda w, p, n: (w.validated, w.quarantine, w.data_report),
        ),
        Stage(
            verb="train_autoencoder",
            over="autoencoders",
            summary="learn to compress clips to latents and back",
            sections=("clips", "train_autoencoder"),
            code=(
                "data/clips.py",
                *READING,
                "data/manifest.py",
                "diffusion/noise.py",
                "evaluation/efficientnet.py",
                "evaluation/perceptual.py",
                "models",
                "training",
            ),
            inputs=lambda w, p, n: (w.validated, w.videos),  # a loss's network is that of the sha256 in pretrained.py
            outputs=lambda w, p, n: (w.autoencoder(n),),
            resumes=True,
        ),
        Stage(
            verb="encode_latents",
            over="autoencoders",
            summary="encode every video once, into a cache",
            sections=("clips", "encode_latents"),
            code=(
                "caching.py",
                "data/clips.py",
                *READING,
                "data/latent_plan.py",
                "data/latent_store.py",
                "data/latents.py",
                "data/manifest.py",
                "encoding.py",
                "models",
            ),
            inputs=lambda w, p, n: (w.validated, w.videos, w.autoencoder(n)),
            outputs=lambda w, p, n: (w.latents(n),),
        ),
        Stage(
            verb="train_denoiser",
            over="experiments",
            summary="learn to make latents: unconditionally, forwards and in between",
            sections=("train_denoiser",),
            code=(
                "data/latent_windows.py",
                "data/latents.py",
                "data/texts.py",
                "diffusion",
                "models",
                "prompting.py",
                "training",
            ),
            inputs=lambda w, p, n: (w.latents(p.experiment(n).autoencoder),),
            outputs=lambda w, p, n: (w.denoiser(n),),
            resumes=True,
        ),
        Stage(
            verb="sample",
            over="experiments",
            summary="make short clips and long videos: key frames, fill between, refine, decode",
            sections=("clips", "sample"),
            code=(
                *READING,
                "data/latents.py",
                "data/sample_writer.py",
                "data/samples.py",
                "data/texts.py",
                "diffusion",
                "making.py",
                "models",
                "prompting.py",
            ),
            inputs=lambda w, p, n: (w.denoiser(n), _autoencoder_of(w, p, n)),
            outputs=lambda w, p, n: (w.samples(n),),
            resumes=True,
        ),
        Stage(
            verb="evaluate",
            over="experiments",
            summary="measure the samples against held-out videos",
            sections=("clips", "evaluate"),
            code=(
                *READING,
                "data/manifest.py",
                "data/samples.py",
                "data/sprites.py",
                "evaluation",
            ),
            inputs=lambda w, p, n: (w.samples(n), w.validated, w.videos),  # and networks of metrics: kept.py
            outputs=lambda w, p, n: (w.metrics(n), w.curve("evaluate", n)),
        ),
        Stage(
            verb="compare",
            over="",
            summary="rank the experiments, with the lineage of every number",
            sections=(
                *("ingest", "validate", "clips", "train_autoencoder", "encode_latents", "train_denoiser"),
                *("sample", "evaluate", "autoencoders", "experiments"),
            ),
            code=("comparison", "evaluation/metrics.py", "evaluation/result.py", "evaluation/summary.py"),
            inputs=lambda w, p, n: (
                w.metrics("x").parent,
                w.samples("x").parent,
                w.curve("evaluate", "x").parent,
                *(w.reports / verb for verb in STAGES if verb != "compare"),
            ),
            outputs=lambda w, p, n: (w.leaderboard,),
        ),
    )
}
