"""The small files of a project (params, metrics, dvc.lock) as they lie there now, or as Git has them at a revision.

Not here: what is in them. Git is asked through its own command; dvc.lock is a YAML file like any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lvdm.errors import ArtefactError
from lvdm.git import git


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
        if revision and git(root, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}") is None:
            raise ArtefactError(
                f"revision {revision}", expected="one that Git knows here", remedy="`git log` lists some"
            )
        return cls(root, revision)

    def read(self, path: str) -> str | None:
        """The text of the file `path` below the root; None if there is none."""
        if self.revision:
            return git(self.root, "show", f"{self.revision}:./{path}")
        return (self.root / path).read_text(errors="replace") if (self.root / path).is_file() else None

    def names(self, folder: str) -> list[str]:
        """The names in the folder `folder` below the root, sorted."""
        if self.revision:
            listed = git(self.root, "ls-tree", "--name-only", self.revision, f"./{folder}/") or ""
            return sorted(Path(line).name for line in listed.splitlines())
        return sorted(path.name for path in (self.root / folder).glob("[!.]*"))  # hidden: half-written

    @property
    def shallow(self) -> bool:
        """Whether the clone is without its older commits."""
        return (git(self.root, "rev-parse", "--is-shallow-repository") or "").strip() == "true"

    def history(self, path: str) -> list[tuple[str, str]]:
        """(commit and its day, text) of the file at every commit up to this revision that changed it, oldest first.

        It is followed through renames, and a merge that wrote it counts. The oldest commit of a shallow clone, which
        may only have inherited it, says so.
        """
        form = ("-m", "--follow", "--name-only", "--no-show-signature", "--format=%x00%h %cs %p")
        listed = git(self.root, "log", *form, self.revision or "HEAD", "--", f"./{path}") or ""
        found: dict[str, str | None] = {}
        for entry in reversed(listed.split("\0")[1:]):  # of a merge one for each parent
            head, *_, name = entry.strip("\n").split("\n")
            commit, day, *parents = head.split()
            said = f"{commit} {day}" if parents or not self.shallow else f"{commit} {day} or before"
            if said not in found:
                found[said] = git(self.root, "show", f"{commit}:{name}")
        return [(commit, text) for commit, text in found.items() if text is not None]
