"""Artefacts on S3 that machines share: what one of them made, the others fetch instead of making it again.

    objects/SHA256                     a file, by its content
    made/STAGE/NAME/FINGERPRINT.json   the files of one run, by all that decides its outcome: parameters, inputs, code

A list goes there after its files, and nothing there is ever overwritten: so a list that is there is whole, and of two
who made the same at once it is that of the first.
Not here: what decides an outcome (lvdm/kept.py), and the removal of what is old (listing.py). Versions of data and
artefacts in Git's terms are DVC's.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from lvdm.errors import ParamsError, StorageError
from lvdm.fingerprints import sha256
from lvdm.graph import STAGES
from lvdm.kept import Run, digests_below, put_in_place
from lvdm.progress import progress
from lvdm.storage.bucket import PARALLEL, Content, GoneError, Object, Pool, Prefix
from lvdm.storage.fetching import fetch, fetch_all
from lvdm.storage.publishing import TakenError, publish, publish_all
from lvdm.workspace import Workspace, write_json

log = logging.getLogger(__name__)

OBJECTS = "objects"


def place_of(workspace: Workspace) -> Prefix:
    """Where the machine shares.

    Raises:
        ParamsError: machine.yaml names no place.
        StorageError: the place is none, or holds credentials.
    """
    if workspace.machine.artifacts is None:
        raise ParamsError("machine.yaml: artifacts", expected="s3://bucket/prefix, the place that machines share")
    return Prefix(workspace.machine.artifacts, "check artifacts in machine.yaml")


@dataclass(frozen=True)
class SharedRun:
    """A run of a stage over entries, at the place that machine.yaml names as `artifacts`."""

    run: Run

    @classmethod
    def of(cls, run: Run) -> SharedRun | None:
        """None if its artefacts are not shared.

        A stage that runs once is not: ingest reads what no hash of ours covers, validate and compare take seconds.
        """
        return cls(run) if run.workspace.machine.artifacts is not None and STAGES[run.verb].over else None

    @property
    def _prefix(self) -> Prefix:
        return place_of(self.run.workspace)

    @property
    def _list(self) -> str:
        return f"made/{self.run.verb}/{self.run.name}/{self.run.work.fingerprint}.json"

    @property
    def _arriving(self) -> Path:
        """Where files of the run arrive; a killed fetch goes on from there."""
        return self.run.workspace.state / "arriving" / self.run.verb / self.run.name / self.run.work.fingerprint

    def fetch(self) -> bool:
        """Whether somebody made this: then its outputs and its report are here.

        What a killed fetch of other work left here is removed. So is a list whose files are not all there any more,
        where we may: nobody else could use it, nor publish another.

        Raises:
            StorageError: the server does not answer, or what it has is damaged or no list of these outputs.
        """
        prefix = self._prefix
        key = prefix.key(self._list)
        for left in self._arriving.parent.glob("*/"):
            if left != self._arriving:
                shutil.rmtree(left)
        if (said := prefix.find(key)) is None:
            return False
        self._arriving.mkdir(parents=True, exist_ok=True)
        try:
            files = self._arrived(prefix, Object(key, said["ETag"], said["ContentLength"]))
        except GoneError as error:
            log.warning("%s: made anew, as what was published of it is not whole: %s", self.run, error)
            try:
                prefix.ask("delete_object", key)
            except StorageError as refused:
                log.warning("%s: its list stays there: %s", self.run, refused)
            shutil.rmtree(self._arriving)
            return False
        for output in self.run.paths:
            put_in_place(output, {p: self._arriving / d for p, d in files.items() if p.is_relative_to(output)})
        shutil.rmtree(self._arriving)
        log.info("%s: fetched, made of the same parameters, inputs and code: s3://%s", self.run, key)
        return True

    def check(self) -> None:
        """Publishes the empty file, so that it is known before hours are spent whether anything can be published.

        Raises:
            StorageError: the server does not take it.
        """
        empty = self._arriving.with_name(f"{self._arriving.name}.empty")
        empty.parent.mkdir(parents=True, exist_ok=True)
        empty.touch()
        publish(self._prefix, f"{OBJECTS}/{sha256(empty)}", empty, trial=True)
        empty.unlink()

    def publish(self) -> None:
        """Lets others fetch the outputs and the report of this run, which are here.

        Raises:
            StorageError: the server does not take them.
        """
        prefix, files, objects = self._prefix, {}, {}
        for path, digest in digests_below(self.run.paths).items():
            files[str(path.relative_to(self.run.workspace.root))] = [digest, path.stat().st_size]
            objects[f"{OBJECTS}/{digest}"] = path
        publish_all(prefix, objects)
        document = self._arriving.with_name(f"{self._arriving.name}.json")
        write_json(document, {"files": files, "work": asdict(self.run.work)})
        try:
            where = publish(prefix, self._list, document)
        except TakenError:
            log.info("%s: somebody published the same work meanwhile; that is kept there", self.run)
        else:
            publish_all(prefix, _missing(prefix, objects))
            log.info("%s: published as %s", self.run, where)
        document.unlink()

    def _arrived(self, prefix: Prefix, said: Object) -> dict[Path, str]:
        """Has the list and all of its files arrive; returns the sha256 of each, by its path here."""
        listed = fetch(prefix, said, self._arriving / "list.json")
        files = self._read(listed, prefix.where_is(said.key))
        missing: dict[Path, Content] = {}
        for digest, size in files.values():
            if not (self._arriving / digest).exists():
                missing[self._arriving / f"{digest}.part"] = Content(prefix.key(f"{OBJECTS}/{digest}"), "", size)
        arriving = fetch_all(prefix, ((entry, part) for part, entry in missing.items()))
        for part in progress(arriving, len(missing), "fetching", "file"):
            part.rename(part.with_name(missing[part].sha256))
        return {path: digest for path, (digest, _) in files.items()}

    def _read(self, listed: Path, where: str) -> dict[Path, tuple[str, int]]:
        """The sha256 and the size of each file of the list, by its path here."""
        try:
            said = json.loads(listed.read_text())["files"]
            files = {self.run.workspace.root / path: (str(digest), int(size)) for path, (digest, size) in said.items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            files = {}
        outputs = self.run.paths
        strange = [p for p in files if ".." in p.parts or not any(p.is_relative_to(output) for output in outputs)]
        if strange or not files or not all(len(d) == 64 and d.isalnum() for d, _ in files.values()):
            shutil.rmtree(self._arriving)
            raise StorageError(f"{where}: no list of the outputs of {self.run}", remedy="remove it there")
        return files


def _missing(prefix: Prefix, files: Mapping[str, Path]) -> dict[str, Path]:
    """Those of these objects that are not there: removed before a list said that they are wanted."""
    with Pool(PARALLEL) as pool:
        there = pool.map(lambda name: prefix.find(prefix.key(name)), files)
        return {name: path for (name, path), said in zip(files.items(), there, strict=True) if said is None}
