"""The commands that ask about what was made: where a number comes from, by what two experiments differ.

Not here: the commands that make something, and printing; those are the command line itself. Imports no torch.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

from lvdm.comparison.difference import Side, differences
from lvdm.comparison.measured import lineages


def add_questions(commands: argparse._SubParsersAction, run: Callable[[argparse.Namespace], None]) -> None:
    """Adds a parser for each, that `run` answers: `lines` of what was parsed gives the paragraphs."""
    lineage = commands.add_parser("lineage", help="follow a number to the raw data, by dvc.lock and its history in Git")
    lineage.add_argument("name", help="METRIC, EXPERIMENT or EXPERIMENT.METRIC; @REVISION after it looks there")
    lineage.set_defaults(run=run, lines=_lineage)

    diff = commands.add_parser("diff", help="by what two experiments differ, or one at two Git revisions")
    for name in ("first", "second"):
        diff.add_argument(name, help="EXPERIMENT, or EXPERIMENT@REVISION")
    diff.set_defaults(run=run, lines=_diff)


def _diff(args: argparse.Namespace) -> Iterator[str]:
    return differences(Side.of(args.first, args.root), Side.of(args.second, args.root))


def _lineage(args: argparse.Namespace) -> Iterator[str]:
    return lineages(args.name, args.root)
