"""A group of comparable experiments in words: which is best, by how much, on which data, made by which commit.

Not here: ranking (ranking.py), and where the words are shown.
"""

from __future__ import annotations

from dataclasses import dataclass

from lvdm.comparison.intervals import difference, in_words
from lvdm.comparison.lineage import SHOWN, Node
from lvdm.comparison.measured import NONE
from lvdm.comparison.ranking import Group, Score
from lvdm.evaluation.metrics import METRICS

KNOWN_BY = {"protocol": "name", "real set": "real_set"}
MAKING = ("train_denoiser", "sample", "evaluate")  # the stages that are an experiment's own


@dataclass(frozen=True)
class Verdict:
    """Four answers, a line each; `caution` is empty where the lead can be told and all metrics agree."""

    best: str
    lead: str
    data: str
    made_by: str
    caution: str


def judge(group: Group, source: str) -> Verdict:
    """The leader by the group's first metric. `source` is where the real videos are from."""
    key = group.metrics[0]
    first, *others = group.rows
    estimate = first.scores[key].estimate
    lead, cautions = f"{key} {in_words(estimate)}", []
    if others and (score := others[0].scores.get(key)) and score.rank:
        second, other = others[0].experiment, score.estimate
        ahead = difference(estimate, other) if estimate.better == "lower" else difference(other, estimate)
        lead += f", {in_words(ahead)} {estimate.better} than {second} with {in_words(other)}"
        if not ahead.told_apart:
            cautions.append(f"{first.experiment} and {second} cannot be told apart by {key}")
        if estimate.better == "lower" and ahead.value <= abs(estimate.floor):  # else it is no distance
            cautions.append("the lead is smaller than the distance between two sets of real clips")
    if unranked := [row.experiment for row in group.rows if key not in row.scores or row.scores[key].rank is None]:
        cautions.append(f"{key} does not rank {', '.join(unranked)}")
    dissent = [other for other in group.metrics[1:] if other in first.scores and first.scores[other].beaten]
    if dissent:
        cautions.append(f"{', '.join(dissent)} put{'s' if len(dissent) == 1 else ''} another one first")
    if len({maker.code for row in group.rows for maker in row.lineage.makers() if maker.stage == "evaluate"}) > 1:
        cautions.append("not all were measured by the same code: `dvc repro` measures them again")
    if unknown := [row.experiment for row in group.rows if not row.lineage.whole]:
        cautions.append(f"the numbers of {', '.join(unknown)} cannot be followed back to the raw data")
    return Verdict(
        best=first.experiment,
        lead=f"{lead}; real against real: {estimate.floor:.4g}",
        data=_data(group, source),
        made_by=made_by(first.lineage),
        caution="; ".join(cautions),
    )


def cell(score: Score | None) -> str:
    """A score in a table: ≈ cannot be told apart from the best, † has no rank."""
    if score is None:
        return NONE
    text = in_words(score.estimate)
    return f"{text} †" if score.rank is None else f"{text} ≈" if score.as_good else text


def _data(group: Group, source: str) -> str:
    estimate, protocol = group.rows[0].scores[group.metrics[0]].estimate, group.protocol
    of_what = "long videos" if METRICS[group.metrics[0]].measure == "identity" else "clips"
    real = f"{estimate.n_real} real {of_what} of the {protocol.get('split', '')} split of {source}"
    hashes = [f"{title} {str(protocol[key])[:SHOWN]}" for title, key in KNOWN_BY.items() if key in protocol]
    return f"{estimate.n_fake} samples against {real} ({', '.join(hashes)})"


def made_by(lineage: Node) -> str:
    """The commits at which the experiment's own stages ran, each with what it ran, as far as they are on record."""
    ran: dict[str, list[str]] = {}
    for maker in lineage.makers():
        if maker.stage in MAKING and maker.stage not in ran.setdefault(maker.commit or "unknown", []):
            ran[maker.commit or "unknown"].append(maker.stage)
    said = "; ".join(f"commit {commit} ({', '.join(reversed(stages))})" for commit, stages in ran.items())
    return said or "no run on record"
