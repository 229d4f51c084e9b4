"""A number is followed through dvc.lock and its history in Git, by the names that a person would give."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from lvdm.comparison.lock import LockRecords, md5
from lvdm.comparison.measured import lineages, measured
from lvdm.comparison.snapshot import Snapshot
from lvdm.errors import ArtefactError
from lvdm.workspace import atomic_file
from tests.comparison.conftest import VALUES, result

METRICS, SAMPLES, DENOISER = "metrics/perturbed.json", "artifacts/samples/perturbed", "artifacts/denoiser/perturbed"


def git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), "-c", "user.name=test", "-c", "user.email=test@example.invalid", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def commit(root: Path, message: str) -> str:
    git(root, "add", "-A")
    git(root, "commit", "-qm", message)
    return git(root, "rev-parse", "--short", "HEAD")


def write_metrics(root: Path, value: float) -> str:
    """Writes the metrics of `perturbed`; returns the md5 of the file."""
    result(VALUES["perturbed"] | {"fd_tn2": value}).write(root / METRICS)
    return md5((root / METRICS).read_text())


def write_lock(root: Path, denoiser: str, sampled: str, metrics: str) -> None:
    """A dvc.lock as DVC writes it: the denoiser that lies there, the one that was sampled from, the metrics."""

    def stage(read: dict[str, str], written: dict[str, str]) -> dict:
        deps, outs = ([{"path": p, "hash": "md5", "md5": d} for p, d in paths.items()] for paths in (read, written))
        return {"cmd": "python -m lvdm", "deps": deps, "outs": outs}

    stages = {
        "train_denoiser@perturbed": stage({"data/videos": "d0.dir", "lvdm/models": "c0.dir"}, {DENOISER: denoiser}),
        "sample@perturbed": stage({DENOISER: sampled}, {SAMPLES: f"s of {sampled}"}),
        "evaluate@perturbed": stage({SAMPLES: f"s of {sampled}", "weights": "w0"}, {METRICS: metrics}),
    }
    (root / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose denoiser was trained anew, and then sampled and measured anew, a commit each."""
    git(tmp_path, "init", "-q", "-b", "main")
    first = write_metrics(tmp_path, 2.0)
    for denoiser, sampled, metrics in (("n1", "n1", first), ("n2", "n1", first)):
        write_lock(tmp_path, denoiser, sampled, metrics)
        commit(tmp_path, denoiser)
    write_lock(tmp_path, "n2", "n2", write_metrics(tmp_path, 1.5))
    return tmp_path


def lines(name: str, root: Path) -> list[str]:
    (paragraph,) = lineages(name, root)
    return paragraph.splitlines()


def test_a_number_leads_to_what_was_given_each_step_with_its_hash_and_the_commit_that_recorded_it(
    project: Path,
) -> None:
    now = commit(project, "measured")
    said = lines("perturbed.fd_tn2", project)
    assert said[0] == "perturbed fd_tn2 = 1.5 [1.35, 1.65], of 64 samples, on tn2"
    assert f"{METRICS}  {md5((project / METRICS).read_text())[:12]}  <- evaluate perturbed, commit {now}" in said[1]
    trained = git(project, "rev-parse", "--short", "HEAD~1")
    (denoiser,) = [line for line in said if DENOISER in line]
    assert f"n2  <- train_denoiser perturbed, commit {trained}" in denoiser, "not the commit of today"
    assert next(line for line in said if "given" in line).endswith("data/videos  d0.dir  <- given")
    assert not any("lvdm/models" in line for line in said), "code is a hash, not an input"
    assert said[-1] == "every hash leads back to what was given"


def test_a_metric_is_not_looked_for_in_a_file_that_is_being_written(project: Path) -> None:
    with pytest.raises(KeyboardInterrupt), atomic_file(project / METRICS) as beside:
        beside.write_text("{")
        assert lines("fd_tn2", project)[0].startswith("perturbed fd_tn2 = 1.5 ")
        raise KeyboardInterrupt


def test_a_number_that_is_not_committed_says_so(project: Path) -> None:
    assert "commit none yet" in lines("perturbed", project)[len(VALUES["perturbed"])]


def test_a_number_of_an_earlier_revision_is_followed_from_there(project: Path) -> None:
    commit(project, "measured")
    said = lines("fd_tn2@HEAD~1", project)
    assert said[0].startswith("perturbed fd_tn2 = 2 [")
    assert any("n1  <- train_denoiser perturbed" in line for line in said), "found in history, replaced since"
    assert said[-1].startswith("every hash")


def test_a_number_changed_by_hand_is_a_broken_chain(project: Path) -> None:
    write_metrics(project, 0.1)
    said = lines("perturbed.fd_tn2", project)
    assert "BROKEN: evaluate perturbed has made other bytes here since" in said[1]
    assert said[-1] == "the chain is BROKEN where it says so"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nobody", "no experiment and no metric nobody: expected one of perturbed, "),
        ("perturbed.fvd", "perturbed has no fvd: expected one of "),
        ("perturbed@gone", "revision gone: expected one that Git knows here"),
    ],
)
def test_what_is_not_there_is_answered_with_what_is(project: Path, name: str, said: str) -> None:
    with pytest.raises(ArtefactError, match=said):
        list(lineages(name, project))


def test_an_experiment_without_numbers_is_answered_with_those_that_have_some(project: Path, tmp_path: Path) -> None:
    for root, known in ((project, "perturbed"), (tmp_path / "empty", "nothing measured yet")):
        with pytest.raises(ArtefactError, match=f"no metrics of nobody: expected one of {known}; `lvdm evaluate`"):
            measured("nobody", Snapshot(root))


def test_where_nothing_is_measured_the_remedy_is_to_measure(tmp_path: Path) -> None:
    said = "no experiment and no metric fd_tn2: expected something measured; `lvdm evaluate` does that"
    with pytest.raises(ArtefactError, match=said):
        list(lineages("fd_tn2", tmp_path))


def test_without_dvc_lock_and_without_a_readable_one_a_line_says_so(tmp_path: Path) -> None:
    write_metrics(tmp_path, 1.0)
    with pytest.raises(ArtefactError, match=r"dvc.lock: not there; `dvc repro` writes it"):
        list(lineages("perturbed", tmp_path))
    (tmp_path / "dvc.lock").write_text("stages: [")
    with pytest.raises(ArtefactError, match=r"dvc.lock is no lock file of DVC; restore"):
        list(lineages("perturbed", tmp_path))


def test_a_shallow_clone_does_not_name_a_commit_that_may_only_have_inherited_the_number(
    project: Path, tmp_path: Path
) -> None:
    commit(project, "measured")
    (project / "notes").write_text("later")
    now, clone = commit(project, "notes"), tmp_path / "clone"
    git(tmp_path, "clone", "-q", "--depth", "1", project.as_uri(), str(clone))
    assert re.search(rf"evaluate perturbed, commit {now} \S+ or before", lines("perturbed.fd_tn2", clone)[1])
    write_metrics(clone, 0.1)
    assert lines("perturbed", clone)[-1].endswith("`git fetch --unshallow` may mend it")


def test_a_project_that_was_moved_keeps_its_history(project: Path) -> None:
    measured = commit(project, "measured")
    lab = project / "größe"
    lab.mkdir()
    git(project, "mv", "dvc.lock", "metrics", lab.name)
    commit(project, "moved")
    said = lines("perturbed.fd_tn2", lab)
    assert f"evaluate perturbed, commit {measured}" in said[1]
    trained = git(project, "rev-parse", "--short", "HEAD~2")
    assert any(f"n2  <- train_denoiser perturbed, commit {trained}" in line for line in said)
    assert said[-1] == "every hash leads back to what was given"


def test_a_number_that_a_merge_wrote_is_that_of_the_merge(project: Path) -> None:
    git(project, "stash")
    git(project, "switch", "-qc", "other")
    write_lock(project, "n3", "n3", write_metrics(project, 1.8))
    commit(project, "other")
    git(project, "switch", "-q", "main")
    git(project, "stash", "pop")
    commit(project, "ours")
    git(project, "merge", "-q", "-s", "ours", "other")
    write_lock(project, "n4", "n4", write_metrics(project, 1.2))
    git(project, "commit", "-qa", "--amend", "--no-edit")
    merge = git(project, "rev-parse", "--short", "HEAD")
    assert f"evaluate perturbed, commit {merge}" in lines("perturbed.fd_tn2", project)[1]


def test_a_lock_that_was_committed_with_the_marks_of_a_merge_hides_nothing_else(project: Path) -> None:
    whole = (project / "dvc.lock").read_text()
    (project / "dvc.lock").write_text(f"<<<<<<< HEAD\n{whole}=======\n{whole}>>>>>>> other\n")
    commit(project, "merge")
    (project / "dvc.lock").write_text(whole)
    mended = commit(project, "mend")
    assert f"evaluate perturbed, commit {mended}" in lines("perturbed.fd_tn2", project)[1]


def test_history_is_of_the_project_even_in_a_folder_of_a_larger_repository(project: Path) -> None:
    outer = project.parent / "outer"
    outer.mkdir()
    git(outer, "init", "-q", "-b", "main")
    (outer / "inner").mkdir()
    for file in ("dvc.lock", METRICS):
        (outer / "inner" / file).parent.mkdir(exist_ok=True)
        (outer / "inner" / file).write_bytes((project / file).read_bytes())
    commit(outer, "all")
    snapshot = Snapshot.at(outer / "inner", "HEAD")
    assert len(LockRecords.of(snapshot).texts) == 2
    assert snapshot.names("metrics") == ["perturbed.json"]
