"""The commands that ask about what was made: where a number is from, by what experiments or versions of data differ.

Not here: the commands that make something, and printing; those are the command line itself. Imports no torch.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator

from lvdm.comparison.difference import Side, differences
from lvdm.comparison.measured import lineages
from lvdm.params import load_params
from lvdm.workspace import Workspace


def add_questions(commands: argparse._SubParsersAction, run: Callable[[argparse.Namespace], None]) -> None:
    """Adds a parser for each, that `run` answers: `lines` of what was parsed gives the paragraphs."""
    lineage = commands.add_parser("lineage", help="follow a number to the raw data, by dvc.lock and its history in Git")
    lineage.add_argument("name", help="METRIC, EXPERIMENT or EXPERIMENT.METRIC; @REVISION after it looks there")
    lineage.set_defaults(run=run, lines=_lineage)

    diff = commands.add_parser("diff", help="by what two experiments differ, or one at two Git revisions")
    for name in ("first", "second"):
        diff.add_argument(name, help="EXPERIMENT, or EXPERIMENT@REVISION")
    diff.set_defaults(run=run, lines=_diff)

    data = commands.add_parser("data", help="versions of the data: by what two differ, and accepting one")
    asked = data.add_subparsers(dest="asked", required=True, metavar="command")
    data_diff = asked.add_parser(
        "diff", help="which videos came, went, moved or changed, and which distributions drifted"
    )
    version = "`accepted`, a manifest file, or a Git revision"
    data_diff.add_argument("first", help=version)
    data_diff.add_argument("second", nargs="?", help=f"{version} (default: the manifest that is here)")
    data_diff.set_defaults(run=run, lines=_data_diff)
    accept = asked.add_parser("accept", help="record what has passed `validate` as accepted, in a file for Git")
    accept.set_defaults(run=run, lines=_data_accept)


def _data_diff(args: argparse.Namespace) -> Iterator[str]:
    from lvdm.comparison.data_versions import data_differences

    max_drift = load_params(args.root / "params.yaml").validate_.max_drift
    return data_differences(args.first, args.second, max_drift, Workspace.at(args.root))


def _data_accept(args: argparse.Namespace) -> Iterator[str]:
    from lvdm.data.versions import accept

    workspace = Workspace.at(args.root)
    version = accept(workspace)
    yield f"{len(version.rows):,} videos accepted: commit {os.path.relpath(workspace.accepted)}"


def _diff(args: argparse.Namespace) -> Iterator[str]:
    return differences(Side.of(args.first, args.root), Side.of(args.second, args.root))


def _lineage(args: argparse.Namespace) -> Iterator[str]:
    return lineages(args.name, args.root)
