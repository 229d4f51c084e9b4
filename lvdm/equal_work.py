"""Equal work is done once: an entry whose training is that of another takes what the other's run made.

So experiments that differ in how they sample cost one training, in whatever order and by whomever they are run.
Not here: what makes work equal (provenance.py).
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace

from lvdm.graph import STAGES
from lvdm.models.checkpoint import read_denoiser_record
from lvdm.models.condition import Vocabulary
from lvdm.params import Params
from lvdm.provenance import Provenance, code_hash, hashes
from lvdm.ranks import leave_to_first_process
from lvdm.report import Report
from lvdm.workspace import Workspace, atomic_file, atomic_folder

log = logging.getLogger(__name__)


def equal_entry(verb: str, params: Params, workspace: Workspace, name: str) -> str | None:
    """Another entry that the stage has run for with equal parameters, inputs and code, and whose outputs are intact."""
    stage = STAGES[verb]
    inputs = hashes(stage.inputs(workspace, params, name), workspace)
    for other in stage.names(params):
        run = Provenance.of_last_run(verb, other, workspace)
        if other == name or run is None:
            continue
        equal = (run.params, run.inputs, run.code) == (stage.settings(params, name), inputs, code_hash(stage))
        if equal and run.outputs == hashes(stage.outputs(workspace, params, other), workspace):
            return other
    return None


def take_denoiser(params: Params, workspace: Workspace, name: str, vocabulary: Vocabulary) -> Report | None:
    """Makes the denoiser of an equal entry, asked in the same `vocabulary`, that of `name` too; its report says so.

    Returns None if there is no such entry.

    Raises:
        TrainingLeft: there is, and this is not the first process.
    """
    verb = "train_denoiser"
    other = equal_entry(verb, params, workspace, name)
    if other is None or read_denoiser_record(workspace.denoiser(other)).vocabulary != vocabulary:
        return None
    leave_to_first_process()
    log.info("%s %s: its training is that of %s, whose denoiser it takes", verb, name, other)
    with atomic_folder(workspace.denoiser(name)) as folder:
        shutil.copytree(workspace.denoiser(other), folder, dirs_exist_ok=True)
    for curve, its_curve in zip(workspace.curves(verb, name), workspace.curves(verb, other), strict=True):
        with atomic_file(curve) as beside:
            shutil.copyfile(its_curve, beside)
    report = Report.read(workspace, verb, other)
    links = {"weights": workspace.denoiser(name)}
    return replace(report, name=name, links=links, summary=f"Taken from {other}, whose training is the same.")
