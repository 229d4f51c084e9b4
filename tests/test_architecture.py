"""The house rules as tests; each rule is also shown to fail on a tree that breaks it on purpose."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest
import yaml

from lvdm import encoding
from lvdm.evaluation import extraction
from lvdm.graph import STAGES
from lvdm.params import load_params
from lvdm.workspace import Workspace

ROOT = Path(__file__).parents[1]
ROOMS = ("lvdm", "assets", "pipelines")
LADDER = {
    "lvdm": {"dagster", "dvc", "assets", "pipelines"},
    "assets": {"dvc", "pipelines", "torch", "great_expectations"},
    "pipelines": {"dvc", "torch", "great_expectations"},
}
ONE_IMPORTER = {
    "decord": "lvdm/data/video.py",
    "s3fs": "lvdm/storage/bucket.py",
    "great_expectations": "lvdm/data/expectations.py",
    "vizdoom": "lvdm/data/freedoom_walk.py",
}
FORBIDDEN = {
    r"\.cuda\(": "the Trainer or the inputs decide the device",
    r"load_state_dict\(.*strict=False": "weights load strictly",
    r"weights_only=False": "checkpoints are data, not code",
    r"except( Exception)?:\s*$": "an error that nobody named is our own bug",
}
MAX_LINES = 300


def sources(root: Path, *rooms: str) -> Iterator[Path]:
    for room in rooms:
        yield from sorted((root / room).rglob("*.py"))


def imports(path: Path) -> set[str]:
    """The top-level packages of all modules that a file imports, wherever in the file."""
    return {module.split(".")[0] for module in full_imports(path)}


def full_imports(path: Path) -> set[str]:
    """The names of all modules that a file imports, wherever in the file."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module)
    return modules


def climbing_imports(root: Path) -> list[str]:
    return [
        f"{path.relative_to(root)} imports {module}"
        for room, forbidden in LADDER.items()
        for path in sources(root, room)
        for module in sorted(imports(path) & forbidden)
        if str(path.relative_to(root)) != ONE_IMPORTER.get(module)
    ]


def second_importers(root: Path) -> list[str]:
    return [
        f"{path.relative_to(root)} imports {library}; only {owner} may"
        for library, owner in ONE_IMPORTER.items()
        for path in sources(root, *ROOMS)
        if library in imports(path) and str(path.relative_to(root)) != owner
    ]


def long_files(root: Path) -> list[str]:
    return [
        f"{path.relative_to(root)} has {lines} lines"
        for path in sources(root, *ROOMS)
        if (lines := len(path.read_text().splitlines())) > MAX_LINES
    ]


def forbidden_words(root: Path) -> list[str]:
    return [
        f"{path.relative_to(root)}:{number}: {reason}"
        for path in sources(root, *ROOMS)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        for pattern, reason in FORBIDDEN.items()
        if re.search(pattern, line)
    ]


def undocumented_modules(root: Path) -> list[str]:
    return [
        str(path.relative_to(root))
        for path in sources(root, *ROOMS)
        if not ast.get_docstring(ast.parse(path.read_text()))
    ]


def absent_from_the_tree(root: Path) -> list[str]:
    """What lies in lvdm/ and is not in README's tree, and what is in the tree and lies nowhere."""
    tree = (root / "README.md").read_text().split("\n## The tree\n")[1].split("```")[1]
    named = set(re.findall(r"^  ([a-z_]+(?:\.py|/))|  ([a-z_]+(?:\.py|/)) ", tree.split("\nlvdm/ ")[1], re.MULTILINE))
    told = {first or second for first, second in named} - {"__init__.py"}
    there = {path.name for path in (root / "lvdm").glob("*.py")} - {"__init__.py"}
    there |= {f"{path.parent.name}/" for path in (root / "lvdm").glob("*/__init__.py")}
    return sorted(told ^ there)


def imports_of_nothing(root: Path) -> list[str]:
    """Imports of our own modules that are not there, wherever in a file; mypy lets them pass."""
    return [
        f"{path.relative_to(root)} imports {module}"
        for path in sources(root, *ROOMS, "benchmarks", "tests")
        for module in sorted(full_imports(path))
        if module.split(".")[0] in (*ROOMS, "benchmarks", "tests")
        and not any((root / module.replace(".", "/")).with_suffix(s).exists() for s in (".py", ""))
    ]


def pointers_to_nothing(root: Path) -> list[str]:
    """Modules whose docstring sends a reader to a file that is not there."""
    there = [f"/{path.relative_to(root)}" for path in sources(root, *ROOMS, "benchmarks", "tests")]
    return [
        f"{path.relative_to(root)} names {pointer}"
        for path in sources(root, *ROOMS, "benchmarks")
        for pointer in re.findall(r"[\w/]+\.py\b", ast.get_docstring(ast.parse(path.read_text())) or "")
        if not any(file.endswith(f"/{pointer}") for file in there)
    ]


RULES = [
    *(climbing_imports, second_importers, long_files, forbidden_words, undocumented_modules, imports_of_nothing),
    pointers_to_nothing,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_tree_keeps_the_rule(rule):
    assert rule(ROOT) == []


@pytest.mark.parametrize(
    ("rule", "file", "text"),
    [
        (climbing_imports, "lvdm/diffusion/new.py", '"""New."""\nimport dagster\n'),
        (climbing_imports, "assets/new.py", '"""New."""\nfrom pipelines.jobs import legs\n'),
        (second_importers, "lvdm/models/new.py", '"""New."""\ndef read():\n    from decord import VideoReader\n'),
        (second_importers, "lvdm/evaluation/new.py", '"""New."""\nimport s3fs\n'),
        (long_files, "lvdm/new.py", '"""New."""\n' + "x = 1\n" * MAX_LINES),
        (forbidden_words, "lvdm/new.py", '"""New."""\nmodel.cuda()\n'),
        (undocumented_modules, "lvdm/new.py", "x = 1\n"),
        (pointers_to_nothing, "lvdm/new.py", '"""New. Not here: what is old (old.py)."""\n'),
        (imports_of_nothing, "tests/test_new.py", '"""New."""\ndef test():\n    from lvdm.nowhere import x\n'),
    ],
)
def test_the_rule_fails_on_a_tree_that_breaks_it(rule, file, text, tmp_path):
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert len(rule(tmp_path)) == 1


def test_the_tree_of_the_readme_is_the_tree():
    assert absent_from_the_tree(ROOT) == []


def loaded_by(statement: str) -> set[str]:
    """The top-level packages that a fresh interpreter has loaded after `statement`."""
    program = f"{statement}\nimport sys\nprint(*{{m.split('.')[0] for m in sys.modules}})"
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(result.stdout.split())


def test_loading_the_definitions_imports_neither_torch_nor_great_expectations():
    assert not loaded_by("import pipelines.definitions") & {
        "torch",
        "great_expectations",
        "decord",
        "pytorch_lightning",
    }


def test_the_command_line_and_the_parameters_need_no_torch():
    assert not loaded_by("import lvdm.__main__, lvdm.params, lvdm.workspace") & {"torch", "pandas", "dagster", "dvc"}


def test_a_stage_that_measures_nothing_does_not_load_what_measuring_needs():
    """Seconds of every stage's start, and of every test that starts one."""
    rooms = "reporting, data.ingest, data.validation, caching, making, models.checkpoint, comparison.leaderboard"
    loaded = loaded_by("import " + ", ".join(f"lvdm.{room}" for room in rooms.split(", ")))
    assert not loaded & {"torchmetrics", "scipy", "matplotlib", "transformers", "pytorch_lightning"}


def test_stages_without_networks_load_no_torch():
    rooms = "reporting, data.ingest, data.validation, data.data_report, comparison.leaderboard"
    assert "torch" not in loaded_by("import " + ", ".join(f"lvdm.{room}" for room in rooms.split(", ")))


# What dvc.yaml, lvdm/graph.py and the asset graph say of the same pipeline.


def dvc_stages(root: Path) -> dict[str, dict]:
    """The stages of dvc.yaml with their templates filled in: 'train_denoiser@perturbed': {'deps': ..., 'outs': ...}."""
    params = yaml.safe_load((root / "params.yaml").read_text())
    resolved = {}
    for verb, stage in yaml.safe_load((root / "dvc.yaml").read_text())["stages"].items():
        entries = params[stage["foreach"].strip("${}")] if "foreach" in stage else {"": {}}
        for name, entry in entries.items():
            text = yaml.safe_dump(stage.get("do", stage)).replace("${key}", name)
            text = text.replace("${item.autoencoder}", entry.get("autoencoder", ""))
            text = text.replace("${ingest.source}", params["ingest"]["source"])
            resolved[f"{verb}@{name}" if name else verb] = yaml.safe_load(text)
    return resolved


def dvc_edges(root: Path) -> set[tuple[str, str]]:
    """(maker, user) pairs of stages: a dep lies in an out, or an out below a dep."""
    stages, edges = dvc_stages(root), set()
    for maker, made in stages.items():
        outs = [Path(next(iter(o)) if isinstance(o, dict) else o) for k in ("outs", "metrics") for o in made.get(k, [])]
        for user, stage in stages.items():
            for dep in map(Path, stage["deps"]):
                if any(dep == out or dep in out.parents or out in dep.parents for out in outs):
                    edges.add((maker.split("@")[0], user.split("@")[0]))
    return edges


def asset_edges() -> set[tuple[str, str]]:
    from assets.catalog import STAGE_TAG
    from pipelines.definitions import defs

    graph = defs.resolve_asset_graph()
    tags = {key: graph.get(key).tags for key in graph.get_all_asset_keys()}
    stage = {key: of[STAGE_TAG] for key, of in tags.items() if STAGE_TAG in of}  # the night and promotion are none
    return {(stage[parent], stage[key]) for key in stage for parent in graph.get(key).parent_keys}


def test_the_edges_of_dvc_are_the_edges_of_the_asset_graph():
    assert dvc_edges(ROOT) == asset_edges()


def test_a_dependency_dropped_from_dvc_yaml_is_noticed(tmp_path):
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    broken = (ROOT / "dvc.yaml").read_text().replace("- artifacts/latents/${item.autoencoder}\n", "- lvdm\n")
    (tmp_path / "dvc.yaml").write_text(broken)
    assert asset_edges() - dvc_edges(tmp_path) == {("encode_latents", "train_denoiser")}


@pytest.mark.parametrize("verb", STAGES)
def test_dvc_yaml_says_of_a_stage_what_the_library_says(verb):
    stage, params, workspace = STAGES[verb], load_params(ROOT / "params.yaml"), Workspace(ROOT)
    for name in stage.names(params):
        said = dvc_stages(ROOT)[f"{verb}@{name}" if name else verb]

        def relative(paths) -> set[str]:
            return {os.path.relpath(path, ROOT) for path in paths}

        not_made_here = {"ingest": {params.ingest.source}, "evaluate": {"weights"}, "validate": {"accepted"}}.get(
            verb, set()
        )
        inputs = relative(stage.inputs(workspace, params, name)) | not_made_here
        assert set(said["deps"]) == inputs | {f"lvdm/{part}" for part in stage.code}
        outputs = relative([*stage.outputs(workspace, params, name), workspace.report(verb, name)])
        metrics = {next(iter(metric)) for metric in said.get("metrics", [])}
        assert set(said["outs"]) | metrics == outputs
        assert said["cmd"] == f"python -m lvdm {verb} {name}".strip()
        own = {
            "train_autoencoder": {f"autoencoders.{name}"},
            "train_denoiser": {f"experiments.{name}.autoencoder", f"experiments.{name}.train_denoiser"},
            "sample": {f"experiments.{name}.sample"},
        }.get(verb, set())
        assert set(said["params"]) == set(stage.sections) | own


# What may change without changing what a stage makes: how it is run, described, written and looked at.
NEUTRAL = {
    *(
        "errors",
        "fingerprints",
        "freshness",
        "git",
        "graph",
        "machine",
        "orphan",
        "progress",
        "provenance",
        "ranks",
        "report",
        "reporting",
        "run",
        "section",
        "parallel",
        "stages",
        "equal_work",
        "transfers",
    ),
    *(
        "cost",
        "workspace",
        "params",
        "params/contract",
        "params/layouts",
        "params/sections",
        "data/bounded",
        "data/reasons",
        "data/thumbnails",
        "evaluation/metrics",
    ),
    *(
        "data/mirror",
        "storage/bucket",
        "storage/fetching",
        "storage/publishing",
    ),  # what comes is what was listed, or an error
    *("pictures", "training/callbacks"),
    *("evaluation/reconstruction", "evaluation/distances", "evaluation/extraction", "evaluation/features"),
    "models/pretrained",  # where the true networks lie, each known by its sha256
}


def modules_of(path: Path, node: ast.AST) -> set[str]:
    """The modules of lvdm that `node`, in the file `path`, imports outside `if TYPE_CHECKING`, as paths."""
    found = set()
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and getattr(child.test, "id", "") == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.ImportFrom) and (child.module or "").split(".")[0] == "lvdm":
            names = [child.module, *(f"{child.module}.{alias.name}" for alias in child.names)]
            found |= {"/".join(name.split(".")[1:]) for name in names}
        found |= modules_of(path, child)
    return {m for m in found if (ROOT / f"lvdm/{m}.py").is_file()}


def reached_from(start: set[str], neutral: Collection[str] = NEUTRAL) -> set[str]:
    """All modules that those of `start` import, directly or not, neutral ones and what only they import left out."""
    reached, waiting = set(), set(start)
    while waiting:
        module = waiting.pop()
        if module in neutral or module in reached:
            continue
        reached.add(module)
        path = ROOT / f"lvdm/{module}.py"
        waiting |= modules_of(path, ast.parse(path.read_text()))
    return reached


@pytest.mark.parametrize("verb", STAGES)
def test_all_code_that_decides_what_a_stage_makes_is_in_its_fingerprint(verb):
    path = ROOT / "lvdm/stages.py"
    (function,) = (n for n in ast.parse(path.read_text()).body if isinstance(n, ast.FunctionDef) and n.name == verb)
    named = STAGES[verb].code
    missing = {
        module
        for module in reached_from(modules_of(path, function))
        if not any(f"{module}.py" == part or module.startswith(f"{part}/") for part in named)
    }
    assert missing == set()


def test_all_code_that_decides_the_latents_of_a_video_is_in_their_key_and_no_other_is():
    assert {f"{module}.py" for module in reached_from({"encoding"})} == set(encoding.CODE)


def test_all_code_that_decides_the_features_of_a_clip_is_in_their_key_and_no_other_is():
    """Of samples and a protocol the key has what they hold."""
    own = {"evaluation/extraction", "evaluation/features"}
    neutral = NEUTRAL - own | {"data/samples", "evaluation/protocol"}
    reached = reached_from({"evaluation/sets", *own}, neutral)
    assert {f"{module}.py" for module in reached} == set(extraction.CODE)


def test_every_stage_function_is_short_and_in_the_order_of_the_picture():
    tree = ast.parse((ROOT / "lvdm/stages.py").read_text())
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in STAGES]
    assert [function.name for function in functions] == list(STAGES)
    assert {f.name: f.end_lineno - f.lineno for f in functions if f.end_lineno - f.lineno >= 25} == {}
