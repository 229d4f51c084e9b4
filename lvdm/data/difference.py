"""Two versions of a dataset: which videos came, went, moved or changed, and which distributions drifted.

Not here: where a version is read from (versions.py), and how a difference is shown (data_report.py, the command line).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from lvdm.data.distributions import Categories, Distribution, Numbers

NUMBERS = ("frames", "fps", "width", "height", "duration", "brightness", "motion")
CATEGORIES = ("label", "split")
COMPARED = ("content", "split", "said", "label", "caption", "group", "frames", "fps", "width", "height", "error")
SAID = ("label", "caption", "group")  # in one hash where a version holds no more
DIGITS = 12  # of a hash in hexadecimal


@dataclass(frozen=True)
class Version:
    """What is known of a version: a row a video, by its id, with some of COMPARED, and distributions by quantity."""

    rows: pd.DataFrame
    distributions: Mapping[str, Distribution]

    @classmethod
    def of_manifest(cls, manifest: pd.DataFrame) -> Version:
        """All that a manifest says. Distributions are of what can be read."""
        readable = manifest[manifest["error"].isna()]
        numbers = {name: Numbers.of(readable[name]) for name in NUMBERS}
        categories = {name: Categories.of(readable[name]) for name in CATEGORIES}
        columns = {name: manifest[name] for name in COMPARED if name in manifest}
        content = manifest["source_checksum"].fillna(manifest["checksum"])  # of the file, however it is read
        label, caption, group = (manifest[name].fillna("") for name in SAID)
        said = (label + "\0" + caption + "\0" + group).map(_hash)
        rows = pd.DataFrame(columns | {"content": content.str[:DIGITS], "said": said})
        rows.index = pd.Index(manifest["id"].astype(str), name="id")
        return cls(rows, {name: d for name, d in (numbers | categories).items() if d.count})


@dataclass(frozen=True)
class Drift:
    """How far a quantity's distribution lies from what it was."""

    quantity: str
    measure: str
    statistic: float
    threshold: float
    before: Distribution
    now: Distribution

    @property
    def drifted(self) -> bool:
        return self.statistic > self.threshold


@dataclass(frozen=True)
class Difference:
    """From one version to another. Videos are named by their ids."""

    num_before: int
    num_now: int
    added: tuple[str, ...]
    removed: tuple[str, ...]
    moved: tuple[tuple[str, str], ...]  # from, to: equal bytes under another id
    changed: Mapping[str, tuple[str, ...]]  # id: what, each in words
    drifts: tuple[Drift, ...]

    @property
    def videos(self) -> dict[str, list[str]]:
        """A line for each video that is not as it was, by what became of it."""
        lines = {
            "added": list(self.added),
            "removed": list(self.removed),
            "moved": [f"{was} -> {new}" for was, new in self.moved],
            "changed": [f"{video}: {'; '.join(what)}" for video, what in self.changed.items()],
        }
        return {what: videos for what, videos in lines.items() if videos}

    @property
    def line(self) -> str:
        """The whole in one line."""
        counts = ", ".join(f"{len(videos):,} {what}" for what, videos in self.videos.items())
        drifted = ", ".join(drift.quantity for drift in self.drifts if drift.drifted)
        drift = f"drifted: {drifted}" if drifted else "no distribution drifted"
        return f"{self.num_before:,} -> {self.num_now:,} videos: {counts or 'the same'}; {drift}"


def difference(before: Version, now: Version, max_drift: float) -> Difference:
    """What is other in `now` than `before`.

    A distribution has drifted if it lies further from what it was than `max_drift` and than chance would bring it.
    """
    added, removed = (
        a.rows.loc[~a.rows.index.isin(b.rows.index), "content"].dropna() for a, b in ((now, before), (before, now))
    )
    gone, come = (a.rows.index[~a.rows.index.isin(b.rows.index)] for a, b in ((before, now), (now, before)))
    once_added, once_removed = (c[~c.duplicated(keep=False)] for c in (added, removed))
    to = pd.Series(once_added.index, index=once_added.to_numpy())
    moved = tuple((str(was), str(to[content])) for was, content in once_removed.items() if content in to.index)
    left, arrived = {was for was, _ in moved}, {new for _, new in moved}
    return Difference(
        num_before=len(before.rows),
        num_now=len(now.rows),
        added=tuple(video for video in come if video not in arrived),
        removed=tuple(video for video in gone if video not in left),
        moved=moved,
        changed=_changed(before.rows, now.rows),
        drifts=tuple(
            _drift(name, before.distributions[name], now.distributions[name], max_drift)
            for name in (*NUMBERS, *CATEGORIES)
            if name in before.distributions and name in now.distributions
        ),
    )


def _changed(before: pd.DataFrame, now: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    both = now.index.intersection(before.index, sort=False)
    columns = [name for name in COMPARED if name in before and name in now]
    if set(SAID) <= set(columns):
        columns.remove("said")  # said one by one
    changed: dict[str, tuple[str, ...]] = {}
    for name in columns:
        old, new = before.loc[both, name].astype("string").fillna(""), now.loc[both, name].astype("string").fillna("")
        for video in both[(old != new).to_numpy()]:
            changed[str(video)] = (*changed.get(str(video), ()), _in_words(name, old[video], new[video]))
    return changed


def _in_words(column: str, old: str, new: str) -> str:
    match column:
        case "content":
            return "other bytes"
        case "said":
            return f"another {', '.join(SAID[:-1])} or {SAID[-1]}"
        case "error":
            return f"broken: {new}" if new else f"no longer broken ({old})"
    return f"{column}: {old or 'none'} -> {new or 'none'}"


def _drift(quantity: str, before: Distribution, now: Distribution, max_drift: float) -> Drift:
    if isinstance(before, Numbers) and isinstance(now, Numbers):
        measure, distance, chance = "Kolmogorov-Smirnov", before.distance(now), before.chance(now)
    else:
        assert isinstance(before, Categories) and isinstance(now, Categories)
        measure, distance, chance = "total variation", before.distance(now), before.chance(now)
    return Drift(quantity, measure, distance, max(max_drift, chance), before, now)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]
