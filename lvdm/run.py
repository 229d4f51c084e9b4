"""Runs one stage for one entry: one at a time, with what it was made from written beside what it says.

Training on several devices, Lightning starts the command again for each device after the first: those processes take
part up to the end of training, without the lock, and leave artefacts and report to the first.
Not here: what a stage does (stages.py), and any orchestration (assets/, pipelines/, dvc.yaml).
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import logging
from dataclasses import replace
from pathlib import Path

from lvdm.cost import cost_since, start_counting
from lvdm.errors import WeightsError
from lvdm.graph import STAGES
from lvdm.kept import KeptRun, Run
from lvdm.params import Params
from lvdm.provenance import Provenance, hashes
from lvdm.ranks import TrainingLeft, is_first_process
from lvdm.report import Report
from lvdm.shared.runs import SharedRun
from lvdm.workspace import Workspace, need, titled

log = logging.getLogger(__name__)


def run_stage(verb: str, params: Params, workspace: Workspace, name: str = "", *, resume: bool = False) -> Report:
    """Runs the stage `verb` for the entry `name` and returns its report, which is also written.

    What another machine made of the same, if machine.yaml names a place where they share, is fetched instead.
    What a run here made of the same is taken, if the stage takes long.
    It goes on from the state of a killed run of equal work if there is one; with `resume` it does nothing else,
    which only stages that leave a state can be told.
    In a process that only helps to train, the report is empty.

    Raises:
        LvdmError: what the person has to mend.
    """
    stage = STAGES[verb]
    function = getattr(importlib.import_module("lvdm.stages"), verb)  # late: --help needs none of it
    if resume:
        function = functools.partial(function, resume=True)
    if not is_first_process():
        if "training" in stage.code:
            with contextlib.suppress(TrainingLeft):
                function(params, workspace, name)
        return Report(verb, name, metrics={})
    with workspace.lock(verb, name):
        for path in stage.inputs(workspace, params, name):
            need(path, _maker(path, params, workspace))
        inputs = hashes(stage.inputs(workspace, params, name), workspace)
        run = Run.of(verb, params, workspace, name, inputs)
        shared, kept = SharedRun.of(run), KeptRun.of(run)
        if shared and not resume and shared.fetch() and (report := run.report()):
            if kept:
                kept.keep()  # it counts as made here, also when the place is no longer named
            workspace.clear_scratch(verb, name)
            return report
        if shared:
            shared.check()
        if kept and not resume and (report := kept.take()):
            if shared:
                shared.publish()
            return report
        if "training" in stage.code:
            _foretell(verb, params, workspace, name)
        began, after_killed = start_counting(), workspace.scratches(verb, name) != []
        report = function(params, workspace, name)
        cost = cost_since(began, workspace.machine, after_killed=after_killed)
        report = replace(report, cost=cost).write(workspace)
        Provenance.of(stage, params, workspace, name, inputs).write(workspace)
        if shared:
            shared.publish()
        if kept:
            kept.keep()
        workspace.clear_scratch(verb, name)
    for metric, value in report.metrics.items():
        log.info("%s: %s = %.6g", run, metric, value)
    return report


def _foretell(verb: str, params: Params, workspace: Workspace, name: str) -> None:
    """Says which later stages will stop for want of videos or of a text encoder, not after hours of training."""
    from lvdm.data.manifest import read_manifest
    from lvdm.planning.enough import shortcomings

    later = [e for e, entry in params.experiments.items() if verb == "train_autoencoder" and entry.autoencoder == name]
    if workspace.validated.is_file():
        for line in shortcomings(params, read_manifest(workspace.validated), later):
            log.warning("%s", line)
    for experiment in later:
        text = params.experiment(experiment).train_denoiser.network.text
        if text is not None and not (text.folder or "").startswith("s3://"):
            from lvdm.models.text import find_text_encoder

            try:
                find_text_encoder(text, workspace)
            except WeightsError as error:
                log.warning("train_denoiser %s will stop: %s", experiment, error)


def _maker(path: Path, params: Params, workspace: Workspace) -> str:
    for stage in STAGES.values():
        for name in stage.names(params):
            made = (*stage.outputs(workspace, params, name), workspace.report(stage.verb, name).parent)
            if any(path == output or path in output.parents for output in made):
                return titled(stage.verb, name)
    return "ingest"
