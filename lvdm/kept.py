"""A run of a stage: what decides its outcome, and the files that it made, which are kept if the stage takes long.

DVC runs a stage of an entry again for a shared parameter that the entry overrides, and removes its outputs before; a
person runs it again by hand. Either way nothing changed that decides the outcome: the stage then takes what it made.

    .lvdm/made/STAGE/NAME/made.json   the fingerprint of the work, and the sha256 of each file
    .lvdm/made/STAGE/NAME/files/      outputs, report and curves, links to those of the workspace where it has links

Whoever removes that folder has the stage make its outputs anew. Not here: the record of a run (provenance.py).
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
from lvdm.fingerprints import digests, files_at, fingerprint
from lvdm.graph import STAGES
from lvdm.models.pretrained import NETWORKS, Network, locate
from lvdm.params import Params
from lvdm.provenance import RECORD, Provenance, Work
from lvdm.report import Report
from lvdm.workspace import Workspace, atomic_file, atomic_folder, link_or_copy, titled, write_json

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """A run of a stage for an entry: what decides its outcome, and what it writes."""

    verb: str
    name: str
    work: Work
    paths: tuple[Path, ...]  # its outputs, and its report and curves, which need not all be there
    workspace: Workspace

    @classmethod
    def of(cls, verb: str, params: Params, workspace: Workspace, name: str, inputs: Mapping[str, str]) -> Run:
        """The run of these inputs, given by their hashes; what decides the outcome and is no artefact is added."""
        work = Work.from_hashes(verb, params, name, {**inputs, **_beside(verb, params, workspace, name)})
        made = (*STAGES[verb].outputs(workspace, params, name), workspace.report(verb, name))
        return cls(verb, name, work, tuple(dict.fromkeys([*made, *workspace.curves(verb, name)])), workspace)

    def __str__(self) -> str:
        return titled(self.verb, self.name)

    def report(self) -> Report | None:
        """The report of the files that lie here; None, and a line says so, if another version of ours wrote it."""
        try:
            Provenance.read(self.workspace.report(self.verb, self.name) / RECORD)
            return Report.read(self.workspace, self.verb, self.name)
        except ArtefactError as error:
            log.warning("%s: made anew, as its report cannot be read: %s", self, error)
            return None


@dataclass(frozen=True)
class KeptRun:
    """A run, and what is kept of the last one of the same entry."""

    run: Run

    @classmethod
    def of(cls, run: Run) -> KeptRun | None:
        """None for a stage of which nothing is kept.

        Kept is what training and sampling make. Latents have a store of their own, the other stages take little, and
        ingest reads what no hash of ours covers: the source.
        """
        return cls(run) if STAGES[run.verb].resumes else None

    @property
    def folder(self) -> Path:
        return self.run.workspace.state / "made" / self.run.verb / self.run.name

    def take(self) -> Report | None:
        """The report of the run that made the same, whose files now lie where they belong; None if none is kept."""
        if (listed := self._listed()) is None:
            return None
        run, root, there = self.run, self.run.workspace.root, self.folder / "files"
        where = os.path.relpath(self.folder, root)
        if listed != _by_name(digests_below([there]), there):
            log.warning("%s: made anew, as what is kept of it in %s is damaged", run, where)
            return None
        if listed != _by_name(digests_below(run.paths), root):
            contents = {root / name: there / name for name in listed}
            for path in run.paths:
                put_in_place(path, {p: content for p, content in contents.items() if p.is_relative_to(path)})
        if (report := run.report()) is None:
            return None
        shutil.rmtree(run.workspace.scratch(run.verb, run.name, run.work.fingerprint), ignore_errors=True)
        log.info("%s: up to date, of the same parameters, inputs and code; to make it anew, remove %s", run, where)
        return report

    def keep(self) -> None:
        """Keeps what this run made, in place of what the one before made."""
        root = self.run.workspace.root
        with atomic_folder(self.folder) as beside:
            made = digests_below(self.run.paths)
            for path in made:
                place = beside / "files" / path.relative_to(root)
                place.parent.mkdir(parents=True, exist_ok=True)
                link_or_copy(path, place)
            files = _by_name(made, root)
            write_json(beside / "made.json", {"work": self.run.work.fingerprint, "files": files})

    def _listed(self) -> dict[str, str] | None:
        """The sha256 of what was kept of equal work, by name; none if the list is damaged, None if there is no list."""
        try:
            document = json.loads((self.folder / "made.json").read_text())
            return dict(document["files"]) if document["work"] == self.run.work.fingerprint else None
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            return {}


def _beside(verb: str, params: Params, workspace: Workspace, name: str) -> dict[str, str]:
    """The hashes of what decides the outcome of a stage and is no artefact: networks that a person installed."""
    text = params.experiment(name).train_denoiser.network.text if verb == "train_denoiser" else None
    if text is not None:
        from lvdm.models.text import find_text_encoder

        return {"text encoder": find_text_encoder(text, workspace).fingerprint}
    return _networks(params.evaluate.metrics, workspace) if verb == "evaluate" else {}


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


def digests_below(paths: Iterable[Path]) -> dict[Path, str]:
    """The sha256 of each file at or below these paths."""
    files = [file for path in paths for file in files_at(path)]
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
