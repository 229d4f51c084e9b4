"""All videos of a source probed, in processes that bound what a file can do, and each only once.

What a probe found is kept in `.lvdm/probes.jsonl`, a line a video as it comes: a killed ingest goes on, and adding ten
videos probes ten. A line holds for one path, size, time of change and version of what probes.
Not here: what a probe is (inspection.py) and what becomes of its findings (ingest.py).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lvdm.data import appearance, frame_folders, inspection, video
from lvdm.data.bounded import Lost, bounded_map
from lvdm.progress import progress
from lvdm.workspace import Workspace, atomic_file, fingerprint

logger = logging.getLogger(__name__)

Findings = dict[str, Any]


def probed(paths: Sequence[str], workspace: Workspace) -> list[Findings]:
    """What `inspection.examine` says of each path (relative to the workspace), or `error` and `detail` of a lost one.

    One that is lost (a crash, a timeout) is tried again the next time.
    """
    memory = workspace.root / ".lvdm" / "probes.jsonl"
    prober = fingerprint(
        version("av"),
        version("decord"),
        files=[Path(str(m.__file__)) for m in (appearance, frame_folders, inspection, video)],
    )
    keys = {path: fingerprint(prober, _state(workspace.root / path)) for path in paths}
    known = _recalled(memory, keys)
    new = [path for path in paths if path not in known]
    if known:
        logger.info("%d videos probed before, %d to probe", len(known), len(new))
    lost: dict[str, Findings] = {}
    _write(memory, known, keys)
    with memory.open("a") as lines:
        outcomes = bounded_map(
            inspection.examine, [workspace.root / path for path in new], workspace.machine.probe_workers, _seconds
        )
        for index, outcome in progress(outcomes, len(new), "probing", "video"):
            path = new[index]
            if isinstance(outcome, Lost):
                lost[path] = {"error": outcome.reason, "detail": outcome.detail}
                continue
            known[path] = outcome
            lines.write(_line(path, keys[path], outcome))
            lines.flush()
    findings = known | lost
    return [findings[path] for path in paths]


def _recalled(memory: Path, keys: Mapping[str, str]) -> dict[str, Findings]:
    """{path: findings} of the lines that still hold; a line that a kill left half-written does not."""
    known: dict[str, Findings] = {}
    if not memory.is_file():
        return known
    for line in memory.read_text().splitlines():
        try:
            said = json.loads(line)
        except ValueError:
            continue
        if keys.get(said["path"]) == said["key"]:
            known[said["path"]] = said["found"]
    return known


def _write(memory: Path, known: Mapping[str, Findings], keys: Mapping[str, str]) -> None:
    """Writes what still holds: without the videos that are gone."""
    with atomic_file(memory) as beside:
        beside.write_text("".join(_line(path, keys[path], found) for path, found in known.items()))


def _line(path: str, key: str, found: Findings) -> str:
    return json.dumps({"path": path, "key": key, "found": found}) + "\n"


def _state(path: Path) -> list[tuple[str, int, int]]:
    """What changes when a file, or a file of a folder of frames, does."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return [(file.name, s.st_size, s.st_mtime_ns) for file in files if file.exists() for s in [file.stat()]]


def _seconds(path: Path) -> float:
    """The wall-clock limit of one video; it decodes far faster than a megabyte, or ten frames of a folder, a second."""
    files = path.rglob("*") if path.is_dir() else [path]
    return 60.0 + sum(0.1 + file.stat().st_size / 1e6 for file in files if file.is_file())
