"""All videos of a source probed, in processes that bound what a file can do, and each only once.

What a probe found is kept in `.lvdm/probes.jsonl`, a line a video as it comes: a killed ingest goes on, and adding ten
videos probes ten. A line holds for one path, size, time of change and version of what probes.
Not here: what a probe is (inspection.py) and what becomes of its findings (ingest.py).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lvdm.data import appearance, decoding, frame_folders, inspection, straightening, video
from lvdm.data.bounded import Lost, bounded_map
from lvdm.data.mirror import local_batches, state
from lvdm.fingerprints import fingerprint
from lvdm.machine import Machine
from lvdm.params import Transcode
from lvdm.progress import progress
from lvdm.workspace import Workspace, atomic_file, link_or_copy

logger = logging.getLogger(__name__)

Findings = dict[str, Any]
PROBERS = (appearance, decoding, frame_folders, inspection, straightening, video)


def probed(paths: Sequence[str], workspace: Workspace, transcode: Transcode | None = None) -> list[Findings]:
    """What `inspection.examine` says of each path (relative to the workspace), or `error` and `detail` of a lost one.

    A video that was straightened lies in `workspace.videos` as well, and its finding has the `path` to read it from.
    One that is lost (a crash, a timeout) is tried again the next time.
    """
    memory, store = workspace.local / "probes.jsonl", workspace.local / "straightened"
    libraries = [version(library) for library in ("av", "decord", "numpy", "pillow")]
    settings = transcode.model_dump() if transcode else None
    prober = fingerprint(libraries, settings, files=[Path(str(m.__file__)) for m in PROBERS])
    keys = {path: fingerprint(prober, state(workspace.root / path)) for path in paths}
    known = {
        path: found
        for path, found in _recalled(memory, keys).items()
        if _is_there(found, _stored(store, path, keys[path]))
    }
    new = [path for path in paths if path not in known]
    if known:
        logger.info("%d videos probed before, %d to probe", len(known), len(new))
    requests = {p: inspection.Request(workspace.root / p, _stored(store, p, keys[p]), transcode) for p in new}
    lost: dict[str, Findings] = {}
    _write(memory, known, keys)
    with memory.open("a") as lines:
        for path, outcome in progress(_outcomes(requests, workspace.machine), len(new), "probing", "video"):
            if isinstance(outcome, Lost):
                lost[path] = {"error": outcome.reason, "detail": outcome.detail}
                continue
            known[path] = outcome
            lines.write(_line(path, keys[path], outcome))
            lines.flush()
    findings = known | lost
    straightened = {
        path: _stored(store, path, keys[path]) for path, found in findings.items() if found.get("straightened")
    }
    _forget_others(store, set(straightened.values()))
    for path, file in straightened.items():
        findings[path] = findings[path] | {"path": _placed(file, findings[path]["checksum"], workspace)}
    return [findings[path] for path in paths]


def _stored(store: Path, path: str, key: str) -> Path:
    return store / f"{fingerprint(path, key)}.mp4"


def _is_there(found: Findings, stored: Path) -> bool:
    return not found.get("straightened") or stored.is_file()


def _forget_others(store: Path, wanted: set[Path]) -> None:
    for file in set(store.glob("*")) | set(store.glob(".*")):
        if file not in wanted:
            file.unlink()


def _placed(file: Path, checksum: str, workspace: Workspace) -> str:
    """Where the artefact lies, named by its content."""
    path = workspace.videos / "straightened" / f"{checksum}.mp4"
    if not path.exists():
        with atomic_file(path) as beside:
            link_or_copy(file, beside)
    return path.relative_to(workspace.root).as_posix()


def _outcomes(requests: Mapping[str, inspection.Request], machine: Machine) -> Iterator[tuple[str, Findings | Lost]]:
    """What comes of each request, by its path, of files that lie on this machine meanwhile."""
    max_bytes, paths = int(machine.probe_gigabytes * 1e9), list(requests)
    for span, files in local_batches([request.path for request in requests.values()]):
        batch = [replace(requests[path], path=file) for path, file in zip(paths[span], files, strict=True)]
        for index, outcome in bounded_map(inspection.examine, batch, machine.probe_workers, _seconds, max_bytes):
            yield paths[span][index], outcome


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


def _seconds(request: inspection.Request) -> float:
    """How long a video may be silent: its bytes are read, and seeked in, far faster than a megabyte a second."""
    path = request.path
    files = path.rglob("*") if path.is_dir() else [path]
    return 60.0 + sum(file.stat().st_size / 1e6 for file in files if file.is_file())
