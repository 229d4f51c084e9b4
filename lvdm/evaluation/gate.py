"""Whether the long videos of an experiment drift further than is allowed: what a person or a schedule stops at.

Not here: measuring it (drift.py). Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping

from lvdm.evaluation.result import Result
from lvdm.report import Check

DRIFT = "drift"


def gate_drift(result: Result, max_drift: float) -> Check:
    """Fails where a relative distance surely changes by more than `max_drift` over what it changes in real video.

    The change is from the first 15 % of the windows to the last, in spreads of real windows; surely: with the lower end
    of its interval, where there are long videos enough for one. What was not measured does not pass.
    """
    curves = {key: numbers for key, numbers in result.drift.items() if _is_relative_distance(key, numbers)}
    if not curves:
        reason = result.not_available.get("drift", "no metric that compares features was measured")
        return Check(DRIFT, False, False, f"not measured: {reason}", 0, ())
    over = {key: _excess(numbers) for key, numbers in curves.items()}
    worst = max(over, key=lambda key: over[key])
    told = "fake_change_low" in curves[worst]
    description = (
        f"{worst} changes by {curves[worst]['fake_change']:.3g} along {curves[worst]['fake_frames']:g} frames of the "
        f"samples and by {curves[worst]['real_change']:.3g} along {curves[worst]['real_frames']:g} of real video; "
        f"{over[worst]:.3g} more "
        f"{'at least' if told else '(too few long videos for an interval)'}, allowed are {max_drift:g}"
    )
    failed = tuple(key for key, excess in over.items() if not excess <= max_drift)  # what is no number fails, too
    return Check(DRIFT, not failed, True, description, len(failed), failed)


def _is_relative_distance(key: str, numbers: Mapping[str, float]) -> bool:
    return "fake_change" in numbers and key not in ("static", "motion") and not key.startswith("fd_")


def _excess(numbers: Mapping[str, float]) -> float:
    return numbers.get("fake_change_low", numbers["fake_change"]) - numbers["real_change"]
