"""The commands about what was made: where a number is from, by what two differ, which to trust, is it still so.

Not here: the stages, and printing; those are the command line itself. Imports no torch.
"""

from __future__ import annotations

import argparse
import datetime
import os
from collections.abc import Callable, Iterator

from lvdm.comparison.difference import Side, differences
from lvdm.comparison.measured import lineages
from lvdm.nightly.night import check_none_failed, night
from lvdm.nightly.promotion import promote
from lvdm.params import load_params
from lvdm.shared.listing import listed, remove_before
from lvdm.workspace import Workspace


def add_questions(commands: argparse._SubParsersAction, run: Callable[[argparse.Namespace], None]) -> None:
    """Adds a parser for each, that `run` answers: `lines` of what was parsed gives the paragraphs."""
    lineage = add_command(commands, "lineage", "follow a number to the raw data, by dvc.lock and its history in Git")
    lineage.add_argument(
        "name",
        help="EXPERIMENT.METRIC, EXPERIMENT (all metrics) or METRIC (all experiments); @REVISION after it: of then",
    )
    lineage.set_defaults(run=run, lines=_lineage)

    diff = add_command(commands, "diff", "by what two experiments differ, or one at two Git revisions")
    for name in ("first", "second"):
        diff.add_argument(name, help="EXPERIMENT, or EXPERIMENT@REVISION")
    diff.set_defaults(run=run, lines=_diff)

    data = add_command(commands, "data", "compare two versions of the data, or accept one")
    asked = data.add_subparsers(dest="asked", required=True, metavar="command")
    data_diff = add_command(asked, "diff", "which videos came, went, moved or changed, and which distributions drifted")
    version = "`accepted`, a manifest file, or a Git revision"
    data_diff.add_argument("first", help=version)
    data_diff.add_argument("second", nargs="?", help=f"{version} (default: the manifest that is here)")
    data_diff.set_defaults(run=run, lines=_data_diff)
    accept = add_command(asked, "accept", "record what has passed `validate` as accepted, in a file for Git")
    accept.set_defaults(run=run, lines=_data_accept)
    _add_trust(commands, run)

    shared = add_command(
        commands, "shared", "list the runs that machines share on S3 (artifacts in machine.yaml), or remove old ones"
    )
    what = "remove runs published before this day, except what this workspace has too, and old files that no run names"
    shared.add_argument("--remove-before", type=_date, metavar="YYYY-MM-DD", help=what)
    shared.set_defaults(run=run, lines=_shared)


def add_command(commands: argparse._SubParsersAction, name: str, says: str) -> argparse.ArgumentParser:
    """A command whose help begins with what the list of all commands says of it."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=says, description=f"{says[0].upper()}{says[1:]}.")
    return parser


def _data_diff(args: argparse.Namespace) -> Iterator[str]:
    from lvdm.comparison.data_versions import data_differences

    max_drift = load_params(args.root / "params.yaml").validate_.max_drift
    return data_differences(args.first, args.second, max_drift, Workspace.at(args.root))


def _data_accept(args: argparse.Namespace) -> Iterator[str]:
    from lvdm.data.versions import accept

    workspace = Workspace.at(args.root)
    num, record = len(accept(workspace).rows), os.path.relpath(workspace.accepted)
    yield f"{num:,} videos recorded as accepted, those in quarantine too: commit {record}"


def _add_trust(commands: argparse._SubParsersAction, run: Callable[[argparse.Namespace], None]) -> None:
    nightly = add_command(commands, "night", "measure what is promoted or changed, held against its own history")
    today = datetime.datetime.now(tz=datetime.UTC).date()
    nightly.add_argument("--date", type=_date, default=today, help="YYYY-MM-DD (default: today)")
    nightly.set_defaults(run=run, lines=_night)

    promotion = add_command(commands, "promote", "trust an experiment that passes the gates, and say who and why")
    promotion.add_argument("name", help="an entry of `experiments:`")
    promotion.add_argument("--why", required=True, help="the reason, for those who read it later")
    promotion.add_argument("--by", default="", help="who (default: as Git knows you)")
    promotion.set_defaults(run=run, lines=_promote, date=today)


def _shared(args: argparse.Namespace) -> Iterator[str]:
    workspace = Workspace.at(args.root)
    yield remove_before(args.remove_before, workspace) if args.remove_before else "\n".join(listed(workspace))


def _date(text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a date as 2026-01-31, got {text!r}") from None


def _night(args: argparse.Namespace) -> Iterator[str]:
    outcomes = night(load_params(args.root / "params.yaml"), Workspace.at(args.root), args.date)
    yield "\n".join(outcome.line() for outcome in outcomes) or "params.yaml has no experiments: nothing to measure"
    check_none_failed(outcomes)


def _promote(args: argparse.Namespace) -> Iterator[str]:
    params, workspace = load_params(args.root / "params.yaml"), Workspace.at(args.root)
    path = promote(args.name, params, workspace, why=args.why, by=args.by, date=args.date)
    yield f"{os.path.relpath(path)}: commit it, so that others see it"


def _diff(args: argparse.Namespace) -> Iterator[str]:
    return differences(Side.of(args.first, args.root), Side.of(args.second, args.root))


def _lineage(args: argparse.Namespace) -> Iterator[str]:
    return lineages(args.name, args.root)
