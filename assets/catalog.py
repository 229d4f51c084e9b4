"""Which named entries there are, as partitions: an experiment is a partition, joined to the autoencoder it names.

The entries are read from params.yaml when the definitions load: reload the code location after adding one.
"""

import os
from pathlib import Path

import dagster as dg

from lvdm.graph import STAGES
from lvdm.params import load_params
from lvdm.provenance import code_hash
from lvdm.workspace import Workspace

ROOT = Path(os.environ.get("LVDM_ROOT", ".")).resolve()
PARAMS = load_params(ROOT / "params.yaml")

AUTOENCODERS = dg.StaticPartitionsDefinition(list(PARAMS.autoencoders))
EXPERIMENTS = dg.StaticPartitionsDefinition(list(PARAMS.experiments))

AUTOENCODER_OF_EXPERIMENT = dg.StaticPartitionMapping(
    {
        autoencoder: {name for name, entry in PARAMS.experiments.items() if entry.autoencoder == autoencoder}
        for autoencoder in PARAMS.autoencoders
    }
)

PAGES = os.environ.get("LVDM_PAGES", "http://127.0.0.1:3001")  # where pipelines/ui.py serves the artefacts
SERVED = Workspace.at(ROOT).artefacts
STAGE_TAG = "lvdm/stage"  # on every asset: the stage that makes it


def of_autoencoder(asset: str) -> dg.AssetDep:
    """The dependency of an experiment's asset on an asset of the autoencoder that the experiment names."""
    return dg.AssetDep(asset, partition_mapping=AUTOENCODER_OF_EXPERIMENT)


def made_by(verb: str, how_to_read: str = "") -> dict:
    """What every asset says of its stage: description, version of the code, partitions and a tag."""
    stage = STAGES[verb]
    return {
        "description": f"`lvdm {verb}`: {stage.summary}. {how_to_read}".strip(),
        "code_version": code_hash(stage),
        "tags": {STAGE_TAG: verb},
        "partitions_def": {"": None, "autoencoders": AUTOENCODERS, "experiments": EXPERIMENTS}[stage.over],
    }
