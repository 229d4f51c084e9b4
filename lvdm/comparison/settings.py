"""With which parameters numbers were made, by what these differ among experiments, and whether they are still those.

Not here: the numbers (ranking.py), and parameters at Git revisions (difference.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lvdm.comparison.lineage import Node, title
from lvdm.comparison.measured import NONE
from lvdm.evaluation.result import Result
from lvdm.graph import STAGES
from lvdm.params import Params
from lvdm.provenance import Provenance, flat

UNKNOWN = "not on record"
OF_THE_MACHINE = ("trained_with", "arithmetic")  # in made_with (lvdm/making.py)


def differing_params(lineages: Mapping[str, Node], results: Mapping[str, Result]) -> dict[str, dict[str, str]]:
    """For each experiment: of the parameters that its numbers were made with, those that are not the same in all.

    So too what machines added to them, as its result says: examples a step of training, and arithmetic.
    `lineages` are the trees of the files of metrics; keys are dotted. A parameter that an experiment does not have is
    `NONE`; what a broken tree does not tell is `UNKNOWN`, and is no difference by itself.
    """
    machines = {n: {k: v for k, v in r.made_with.items() if k in OF_THE_MACHINE} for n, r in results.items()}
    made_with = {name: {**_made_with(tree), **machines[name]} for name, tree in lineages.items()}
    flattened = {name: {k: str(v) for k, v in flat(sections)} for name, sections in made_with.items()}

    def value(name: str, key: str) -> str:
        return flattened[name].get(key, NONE if key.split(".")[0] in made_with[name] else UNKNOWN)

    keys = sorted(set().union(*flattened.values()))
    differing = [key for key in keys if len({value(name, key) for name in made_with} - {UNKNOWN}) > 1]
    return {name: {key: value(name, key) for key in differing} for name in made_with}


def stale_runs(experiment: str, lineage: Node, params: Params) -> tuple[str, ...]:
    """The runs behind an experiment's numbers that `params` sets otherwise, or does not ask for any more."""
    runs = {title(maker): maker for maker in lineage.makers()}
    return tuple(sorted(name for name, maker in runs.items() if not _is_current(maker, experiment, params)))


def _is_current(maker: Provenance, experiment: str, params: Params) -> bool:
    stage = STAGES[maker.stage]
    if stage.over == "autoencoders" and maker.name != params.experiment(experiment).autoencoder:
        return False
    return stage.settings(params, maker.name) == maker.params


def _made_with(lineage: Node) -> dict[str, Any]:
    """Sections of parameters, each as the run nearest to the numbers had it, and the autoencoder's name."""
    sections: dict[str, Any] = {}
    for maker in lineage.makers():
        sections = {**maker.params, **sections}
        if maker.stage == "train_autoencoder":
            sections["autoencoder"] = maker.name
    return sections
