"""What each stage says of its run: numbers to plot, pictures to look at, files to open.

Not here: the work (the rooms), and how a report is written (report.py) or shown (assets/, comparison/).
This module imports no torch: stages without networks load none.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import UInt8

from lvdm import pictures
from lvdm.data.video import read_frames, write_gif
from lvdm.evaluation.gate import gate_drift
from lvdm.evaluation.summary import summarise
from lvdm.report import Report
from lvdm.workspace import Workspace, atomic_file

if TYPE_CHECKING:
    from torch import nn

    from lvdm.comparison.ranking import Leaderboard
    from lvdm.data.latents import LatentCache
    from lvdm.data.samples import SampleSet
    from lvdm.data.validation import Validation
    from lvdm.evaluation.drift import Drift
    from lvdm.evaluation.reconstruction import Reconstruction
    from lvdm.evaluation.result import Result
    from lvdm.training.callbacks import History
    from lvdm.training.denoiser import TrainedNetworks

REJECTS_LISTED = 20
SHOWN = 8  # videos, clips or samples in a picture
COLUMNS = 8  # frames of each


def of_ingest(manifest: pd.DataFrame, workspace: Workspace) -> Report:
    readable = manifest[manifest["error"].isna()]
    numbers = {
        "videos": float(len(manifest)),
        "unreadable": float(len(manifest) - len(readable)),
        "frames": float(readable["frames"].sum()),
        "hours": float(readable["duration"].sum()) / 3600,
        "labels": float(readable["label"].nunique()),
    }
    picture = workspace.drafts("ingest", "") / "videos.png"
    step = max(1, len(readable) // SHOWN)
    rows = readable.iloc[::step].head(SHOWN).iterrows()
    videos = [_along(workspace.root / row["path"], row["frames"]) for _, row in rows]
    shown = {"videos shown": picture} if videos else {}
    if videos:
        pictures.draw_strips(picture, videos)
    return Report("ingest", "", numbers, shown, {"manifest": workspace.manifest})


def of_validate(validation: Validation, workspace: Workspace) -> Report:
    numbers = {
        "accepted": float(len(validation.accepted)),
        "rejected": float(len(validation.rejected)),
        "flagged": float(validation.flagged["id"].nunique()),
    }
    links = {"data report": workspace.data_report / "index.html", "quarantine": workspace.quarantine}
    lines = [f"- {check.severity}: {check.line}" for check in validation.checks if not check.passed]
    if validation.difference:
        lines.append(f"- since the accepted version: {validation.difference.line}")
        numbers["drifted"] = float(sum(drift.drifted for drift in validation.difference.drifts))
    lines += [f"- {row['id']}: {row['reason']}" for _, row in validation.rejected.head(REJECTS_LISTED).iterrows()]
    more = len(validation.rejected) - REJECTS_LISTED
    summary = "\n".join([*lines, *([f"- and {more} more in quarantine.csv"] if more > 0 else [])])
    return Report("validate", "", numbers, links=links, checks=validation.checks, summary=summary)


def of_train_autoencoder(
    name: str, autoencoder: nn.Module, history: History, quality: Reconstruction, workspace: Workspace
) -> Report:
    numbers = {
        **quality.numbers,
        "reconstructed clips": float(len(quality.clips)),
        "parameters": _parameters(autoencoder),
    } | _last(history)
    shown = _curve("train_autoencoder", name, history, workspace)
    if quality.clips:
        picture = workspace.drafts("train_autoencoder", name) / "reconstructions.png"
        before, after = (
            np.stack([clip[len(clip) // 2].cpu().numpy() for clip in clips[:SHOWN]])
            for clips in (quality.clips, quality.reconstructions)
        )
        pictures.draw_reconstructions(picture, before, after)
        shown = {"input, reconstruction, error": picture, **shown}
    return Report("train_autoencoder", name, numbers, shown, {"weights": workspace.autoencoder(name)})


def of_encode_latents(name: str, cache: LatentCache) -> Report:
    lengths = cache.videos.lengths
    numbers = {"videos": float(len(lengths)), "latents": float(lengths.sum()), "shards": float(len(cache.shards))}
    return Report("encode_latents", name, numbers, links={"latent cache": cache.folder})


def of_train_denoiser(name: str, trained: TrainedNetworks, workspace: Workspace) -> Report:
    networks = [network for network in (trained.network, trained.interpolator) if network is not None]
    numbers = {"parameters": sum(map(_parameters, networks))} | _last(trained.history)
    shown = _curve("train_denoiser", name, trained.history, workspace)
    return Report("train_denoiser", name, numbers, shown, {"weights": workspace.denoiser(name)})


def of_sample(name: str, samples: SampleSet, fps: float, workspace: Workspace) -> Report:
    drafts, clips, long = workspace.drafts("sample", name), samples.clips(), samples.samples("long")
    row = np.concatenate([clip.numpy() for clip in clips[:SHOWN]], axis=2)  # side by side
    write_gif(drafts / "clips.gif", row, fps)
    pictures.draw_strips(drafts / "long.png", [_along(samples.folder / s.file, s.frames) for s in long[:SHOWN]])
    numbers = {"clips": float(len(clips)), "long videos": float(len(long)), "long frames": float(long[0].frames)}
    links = {"long video": samples.folder / long[0].file, "samples": samples.folder}
    shown = {"clips shown": drafts / "clips.gif", "long videos shown": drafts / "long.png"}
    return Report("sample", name, numbers, shown, links)


def of_evaluate(name: str, result: Result, drift: Drift, max_drift: float, workspace: Workspace) -> Report:
    drift.write_csv(workspace.curve("evaluate", name))
    picture = workspace.drafts("evaluate", name) / "drift.png"
    shown = {"drift": picture} if drift.curves else {}
    if shown:
        pictures.draw_drift(picture, drift, title=f"{name}: along a long video")
    numbers = result.metrics | {f"floor of {key}": value for key, value in result.floor.items()}
    links = {"metrics": workspace.metrics(name), "drift as a table": workspace.curve("evaluate", name)}
    checks = (gate_drift(result, max_drift),)
    return Report("evaluate", name, numbers, shown, links, checks, summarise(result))


def of_compare(board: Leaderboard, summary: str, workspace: Workspace) -> Report:
    numbers = {
        f"{row.experiment} {key}": score.estimate.value
        for group in board.groups
        for row in group.rows
        for key, score in row.scores.items()
    }
    links = {"report": workspace.leaderboard / "index.html", "table": workspace.leaderboard / "leaderboard.md"}
    return Report("compare", "", numbers, links=links, summary=summary)


def _curve(stage: str, name: str, history: History, workspace: Workspace) -> dict[str, Path]:
    """Writes training and validation as tables for `dvc plots`, and both as a picture."""
    table = pd.DataFrame(history, columns=None if history else ["step", "loss"]).set_index("step")
    held_out = table.filter(like="validation_").dropna(how="all")
    parts = table.drop(columns=held_out.columns), held_out
    for curve, part in zip(workspace.curves(stage, name), parts, strict=True):
        with atomic_file(curve) as beside:
            part.to_csv(beside)
    if table.empty:
        return {}
    columns = {column: table[column].dropna() for column in table}
    curves = {str(column): (values.index.tolist(), values.tolist()) for column, values in columns.items()}
    picture = workspace.drafts(stage, name) / "loss.png"
    pictures.draw_curves(picture, curves, title=name, x_label="step", y_label="loss", log_scale=True)
    return {"loss curve": picture}


def _last(history: History) -> dict[str, float]:
    return {key: value for key, value in history[-1].items() if key != "step"} if history else {}


def _along(path: Path, frames: int) -> UInt8[np.ndarray, "_ h w 3"]:
    """Frames of a video from its first to its last, evenly spaced."""
    return read_frames(path, np.linspace(0, frames - 1, num=min(COLUMNS, frames)).round().astype(int).tolist())


def _parameters(network: nn.Module) -> float:
    return float(sum(parameter.numel() for parameter in network.parameters()))
