"""What lies where machines share artefacts, run by run, and the removal of runs that are old.

The list of a run goes first, then the files that no list names. A machine at work may count on a file that it found
there: so nothing goes that is younger than DAYS, the lists are looked at again before each portion of files, and who
publishes looks for its files once more when its list is there. If one goes all the same, its run counts as not made.
Not here: publishing and fetching (runs.py).
"""

from __future__ import annotations

import datetime
import functools
import json
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lvdm.errors import ParamsError, StorageError
from lvdm.provenance import Provenance
from lvdm.shared.runs import OBJECTS, place_of
from lvdm.storage.bucket import PARALLEL, GoneError, Object, Pool, Prefix
from lvdm.workspace import Workspace

log = logging.getLogger(__name__)

LIST = re.compile(r"made/\w+/[^/]+/\w+\.json")
FILE = re.compile(rf"{OBJECTS}/([0-9a-f]{{64}})")
DAYS = 2  # what is younger may be of a run whose list is still to come
PORTION = 1000  # files that go between two looks at the lists
NONE: Mapping[str, PublishedRun] = {}


@dataclass(frozen=True)
class PublishedRun:
    """A run as its list says it."""

    stage: str
    name: str
    published: datetime.date
    files: Mapping[str, int]  # bytes by sha256
    work: Mapping[str, Any]  # see lvdm.provenance.Work
    etag: str  # of the list: one that was made anew under its name has another

    def __str__(self) -> str:
        return f"{self.stage} {self.name}: published {self.published}, {_size(self.files)}"

    def lies_in(self, workspace: Workspace) -> bool:
        """Whether what a workspace has of this stage and entry is, by its record, of the same parameters and inputs."""
        record = Provenance.of_last_run(self.stage, self.name, workspace)
        if record is None:
            return False
        return record.params == self.work["params"] and record.inputs.items() <= self.work["inputs"].items()


def listed(workspace: Workspace) -> Iterator[str]:
    """Each run in a line, oldest first, and how much it all is.

    Raises:
        ParamsError: machine.yaml names no place.
        StorageError: the server does not answer, or something there is no list of a run.
    """
    prefix = place_of(workspace)
    runs = _runs(prefix)
    for run in sorted(runs.values(), key=lambda run: run.published):
        yield f"{run}{', as lies here' if run.lies_in(workspace) else ''}"
    yield _in_all(prefix, runs)


def remove_before(date: datetime.date, workspace: Workspace) -> str:
    """Removes the runs that were published before `date`, but for what lies in the workspace, and old files of no run.

    Killed and run again, it does the rest. Returns how much is left.

    Raises:
        ParamsError: machine.yaml names no place, or of what is so young nobody knows whether it is still published.
        StorageError: the server does not answer or lets nothing be removed, or something there is no list of a run.
    """
    latest = datetime.datetime.now(tz=datetime.UTC).date() - datetime.timedelta(DAYS)
    if date > latest:
        expected = f"{latest} or earlier, as what is younger may still be on its way there"
        raise ParamsError("lvdm shared --remove-before", expected=expected, got=str(date))
    prefix = place_of(workspace)
    runs = _runs(prefix)
    for name, run in list(runs.items()):
        if run.published < date and not run.lies_in(workspace):
            prefix.ask("delete_object", prefix.key(name))
            log.info("removed: %s", run)
            del runs[name]
    old = [digest for digest, said in _files(prefix).items() if said["LastModified"].date() < date]
    for start in range(0, len(old), PORTION):
        runs = _runs(prefix, runs)
        wanted = {digest for run in runs.values() for digest in run.files}
        useless = [f"{OBJECTS}/{digest}" for digest in old[start : start + PORTION] if digest not in wanted]
        with Pool(PARALLEL) as pool:
            list(pool.map(functools.partial(prefix.ask, "delete_object"), map(prefix.key, useless)))
    return _in_all(prefix, _runs(prefix, runs))


def _runs(prefix: Prefix, known: Mapping[str, PublishedRun] = NONE) -> dict[str, PublishedRun]:
    """The runs whose lists are there, by the names of these; lists that are known and the same are not read again."""
    lists = {name: said for name, said in prefix.described("made/").items() if LIST.fullmatch(name)}

    def run_of(name: str) -> PublishedRun | None:
        run = known.get(name)
        return run if run and run.etag == lists[name]["ETag"] else _read(prefix, name, lists[name])

    with Pool(PARALLEL) as pool:
        read = pool.map(run_of, lists)
        return {name: run for name, run in zip(lists, read, strict=True) if run}


def _read(prefix: Prefix, name: str, said: Mapping[str, Any]) -> PublishedRun | None:
    """The run of a list; None if somebody has removed that meanwhile."""
    _, stage, entry, _ = name.split("/")
    try:
        content = prefix.read(Object(prefix.key(name), said["ETag"], said["Size"]), 0, said["Size"])
        document = json.loads(content)
        files = {str(digest): int(size) for digest, size in document["files"].values()}
        work = {key: dict(document["work"][key]) for key in ("params", "inputs")}
    except GoneError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise StorageError(f"{prefix.where_is(prefix.key(name))}: no list of a run", remedy="remove it there") from None
    return PublishedRun(stage, entry, said["LastModified"].date(), files, work, said["ETag"])


def _files(prefix: Prefix) -> dict[str, dict[str, Any]]:
    """What the server says of each file that is there, by its sha256."""
    described = prefix.described(f"{OBJECTS}/")
    return {match[1]: said for name, said in described.items() if (match := FILE.fullmatch(name))}


def _in_all(prefix: Prefix, runs: Mapping[str, PublishedRun]) -> str:
    files = {digest: said["Size"] for digest, said in _files(prefix).items()}
    wanted = {digest for run in runs.values() for digest in run.files}
    useless = {digest: size for digest, size in files.items() if digest not in wanted}
    of_none = f"files of no run: {len(useless)}, {_size(useless)}"
    return f"runs: {len(runs)}, {_size(files)}; {of_none}; at {prefix.where}"


def _size(files: Mapping[str, int]) -> str:
    return f"{sum(files.values()) / 1e6:,.1f} MB"
