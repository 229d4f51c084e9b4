"""metrics/<experiment>.json: the numbers of an experiment, with all that one must know to compare them.

Not here: computing them (protocol.py, drift.py). Imports no torch, and holds no clock: equal work gives equal bytes.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lvdm.errors import ArtefactError
from lvdm.workspace import need, write_json


@dataclass(frozen=True)
class Result:
    """What DVC shows as metrics.

    `floor` has for each metric its value between two disjoint sets of real clips (of a caption metric: on real clips);
    `measured` has plain quantities of the real and the fake clips; `protocol` says how, and two results are comparable
    only where it is equal; `not_available` has for each metric that could not run what to do about it.
    """

    metrics: dict[str, float]
    floor: dict[str, float]
    measured: dict[str, dict[str, float]]
    protocol: dict[str, str | int]
    not_available: dict[str, str]
    drift: dict[str, dict[str, float]] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        write_json(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> Result:
        """The result at `path`.

        Raises:
            ArtefactError: no such file, or it is no result.
        """
        try:
            return cls(**json.loads(need(path, f"evaluate {path.stem}").read_text()))
        except (TypeError, ValueError) as error:
            raise ArtefactError(
                f"{path}: not a result of `lvdm evaluate`: {error}", remedy=f"run `lvdm evaluate {path.stem}` again"
            ) from None
