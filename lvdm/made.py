"""What a run made, as files; those of the last finished run of a stage that takes long are kept and taken again.

DVC runs a stage of an entry again for a shared parameter that the entry overrides, and removes its outputs before; a
person runs it again by hand. Either way nothing changed that decides the outcome: the stage then takes what it made.

    .lvdm/made/STAGE/NAME/made.json   the fingerprint of the work, and the sha256 of each file
    .lvdm/made/STAGE/NAME/files/      outputs, report and curves, links to those of the workspace where it has links

Whoever removes that folder has the stage make its outputs anew. Not here: what decides an outcome (provenance.py).
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lvdm.errors import ArtefactError, WeightsError
from lvdm.evaluation.metrics import METRICS
from lvdm.fingerprints import digests, fingerprint
from lvdm.graph import STAGES
from lvdm.models.pretrained import NETWORKS, Network, locate
from lvdm.params import Params
from lvdm.provenance import Provenance, Work
from lvdm.workspace import Report, Workspace, atomic_file, atomic_folder, link_or_copy, write_json

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class KeptRun:
    """A run of a stage, and what is kept of the last one of the same entry."""

    verb: str
    name: str
    fingerprint: str  # of all that decides the outcome
    paths: tuple[Path, ...]
    workspace: Workspace

    @classmethod
    def of(
        cls, verb: str, params: Params, workspace: Workspace, name: str, inputs: Mapping[str, str]
    ) -> KeptRun | None:
        """The run of these inputs, given by their hashes; None for a stage of which nothing is kept.

        Kept is what training and sampling make. Latents have a store of their own, the other stages take little, and
        ingest reads what no hash of ours covers: the source.
        """
        if not STAGES[verb].resumes:
            return None
        work = work_of_run(verb, params, workspace, name, inputs)
        return cls(verb, name, work.fingerprint, paths_of_run(verb, params, workspace, name), workspace)

    @property
    def folder(self) -> Path:
        return self.workspace.state / "made" / self.verb / self.name

    def take(self) -> Report | None:
        """The report of the run that made the same, whose files now lie where they belong; None if none is kept."""
        if (listed := self._listed()) is None:
            return None
        run, root, there = f"{self.verb} {self.name}", self.workspace.root, self.folder / "files"
        where = os.path.relpath(self.folder, root)
        if listed != _by_name(digests_below([there]), there):
            log.warning("%s: made anew, as what is kept of it in %s is damaged", run, where)
            return None
        if listed != _by_name(digests_below(self.paths), root):
            contents = {root / name: there / name for name in listed}
            for path in self.paths:
                put_in_place(path, {p: content for p, content in contents.items() if p.is_relative_to(path)})
        if (report := report_here(self.verb, self.name, self.workspace)) is None:
            return None
        shutil.rmtree(self.workspace.scratch(self.verb, self.name, self.fingerprint), ignore_errors=True)
        log.info("%s: up to date, of the same parameters, inputs and code; to make it anew, remove %s", run, where)
        return report

    def keep(self) -> None:
        """Keeps what this run made, in place of what the one before made."""
        with atomic_folder(self.folder) as beside:
            made = digests_below(self.paths)
            for path in made:
                place = beside / "files" / path.relative_to(self.workspace.root)
                place.parent.mkdir(parents=True, exist_ok=True)
                link_or_copy(path, place)
            files = _by_name(made, self.workspace.root)
            write_json(beside / "made.json", {"work": self.fingerprint, "files": files})

    def _listed(self) -> dict[str, str] | None:
        """The sha256 of what was kept of equal work, by name; none if the list is damaged, None if there is no list."""
        try:
            document = json.loads((self.folder / "made.json").read_text())
            return dict(document["files"]) if document["work"] == self.fingerprint else None
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            return {}


def report_here(verb: str, name: str, workspace: Workspace) -> Report | None:
    """The report of a run whose files lie here; None, and a line says so, if another version of ours wrote it."""
    try:
        Provenance.read(workspace.report(verb, name) / "provenance.json")
        return Report.read(workspace, verb, name)
    except ArtefactError as error:
        log.warning("%s %s: made anew, as its report cannot be read: %s", verb, name, error)
        return None


def work_of_run(verb: str, params: Params, workspace: Workspace, name: str, inputs: Mapping[str, str]) -> Work:
    """All that decides the outcome of a run of these inputs, given by their hashes, what is no artefact included."""
    text = params.experiment(name).train_denoiser.network.text if verb == "train_denoiser" else None
    beside: dict[str, str] = {}
    if text is not None:
        from lvdm.models.text import find_text_encoder

        beside = {"text encoder": find_text_encoder(text, workspace).fingerprint}
    elif verb == "evaluate":
        beside = _networks(params.evaluate.metrics, workspace)
    return Work.from_hashes(verb, params, name, {**inputs, **beside})


def _networks(metrics: Iterable[str], workspace: Workspace) -> dict[str, str]:
    """The hash of each network that metrics ask for; empty where its metrics are left out, as it is not there."""
    asked = {METRICS[key].features for key in metrics}
    return {f"network {name}": _installed(network, workspace) for name, network in NETWORKS.items() if name in asked}


def _installed(network: Network, workspace: Workspace) -> str:
    try:
        path = locate(network, workspace)
    except WeightsError:
        return ""
    return fingerprint(files=[path, *(path.with_name(companion) for companion in network.companions)])


def paths_of_run(verb: str, params: Params, workspace: Workspace, name: str) -> tuple[Path, ...]:
    """What a run writes: its outputs, and its report and curves, which need not all be there."""
    made = (*STAGES[verb].outputs(workspace, params, name), workspace.report(verb, name))
    curves = (workspace.curve(kind, name) for kind in (verb, f"{verb}_held_out"))
    return tuple(dict.fromkeys([*made, *curves]))


def digests_below(paths: Iterable[Path]) -> dict[Path, str]:
    """The sha256 of each file at or below these paths."""
    below = [path for top in paths for path in (sorted(top.rglob("*")) if top.is_dir() else [top])]
    files = [path for path in below if path.is_file()]
    return dict(zip(files, digests(files), strict=True))


def put_in_place(output: Path, contents: Mapping[Path, Path]) -> None:
    """Makes `output`, a file or a folder, of files that lie elsewhere, each by its place; of none, nothing is left."""
    if not contents:
        shutil.rmtree(output) if output.is_dir() else output.unlink(missing_ok=True)
    elif output in contents:
        with atomic_file(output) as beside:
            link_or_copy(contents[output], beside)
    else:
        with atomic_folder(output) as beside:
            for path, content in contents.items():
                place = beside / path.relative_to(output)
                place.parent.mkdir(parents=True, exist_ok=True)
                link_or_copy(content, place)


def _by_name(files: Mapping[Path, str], root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): digest for path, digest in files.items()}
