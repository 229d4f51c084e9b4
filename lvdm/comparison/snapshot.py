"""The small files of a project (params, metrics, dvc.lock) as they lie there now, or as Git has them at a revision.

Not here: what is in them. Git is asked through its own command; dvc.lock is a YAML file like any other.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from lvdm.errors import ArtefactError


@dataclass(frozen=True)
class Snapshot:
    """The project in the folder `root`, at `revision`; an empty revision is the working tree."""

    root: Path
    revision: str = ""

    @classmethod
    def at(cls, root: Path, revision: str) -> Snapshot:
        """The project at a revision that Git knows, or the working tree.

        Raises:
            ArtefactError: Git knows no such revision.
        """
        snapshot = cls(root, revision)
        if revision and snapshot._git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}") is None:
            raise ArtefactError(
                f"revision {revision}", expected="one that Git knows here", remedy="`git log` lists some"
            )
        return snapshot

    def read(self, path: str) -> str | None:
        """The text of the file `path` below the root; None if there is none."""
        if self.revision:
            return self._git("show", f"{self.revision}:./{path}")
        return (self.root / path).read_text() if (self.root / path).is_file() else None

    def names(self, folder: str) -> list[str]:
        """The names in the folder `folder` below the root, sorted."""
        if self.revision:
            listed = self._git("ls-tree", "--name-only", self.revision, f"./{folder}/") or ""
            return sorted(Path(line).name for line in listed.splitlines())
        return sorted(path.name for path in (self.root / folder).glob("*"))

    def history(self, path: str) -> list[tuple[str, str]]:
        """(commit and its day, text) of the file at every commit up to this revision that changed it, oldest first."""
        listed = self._git("log", "--format=%h %cs", self.revision or "HEAD", "--", f"./{path}") or ""
        texts = ((line, self._git("show", f"{line.split()[0]}:./{path}")) for line in listed.splitlines())
        return [(commit, text) for commit, text in texts if text is not None][::-1]

    def _git(self, *arguments: str) -> str | None:
        """What Git prints; None if it refuses, or there is no Git."""
        command = ["git", "-C", str(self.root), *arguments]
        try:
            result = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            return None
        return result.stdout if result.returncode == 0 else None
