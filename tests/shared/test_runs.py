"""Artefacts that machines share on S3: made once, fetched whole or not at all, and never overwritten."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import yaml

from lvdm.errors import ParamsError, StorageError
from lvdm.fingerprints import sha256
from lvdm.graph import STAGES
from lvdm.kept import Run
from lvdm.machine import Machine, load_machine
from lvdm.models.pretrained import NETWORKS
from lvdm.params import parse_params
from lvdm.provenance import Work, hashes
from lvdm.report import Report
from lvdm.run import run_stage
from lvdm.shared.runs import SharedRun
from lvdm.workspace import Workspace
from tests.test_caching import params, project, write_videos

from ..data.faulty_proxy import fault_at_random

ROOT = Path(__file__).parents[2]
SECRET = "mArKeD0123456789/secret+of0this1test2only"
WORK = Work({"steps": 1}, {"artifacts/validated.parquet": "a"}, {"models/layers.py": "b"})


def machine(root: Path, place: str) -> Workspace:
    root.mkdir(exist_ok=True)
    (root / "machine.yaml").write_text(f"accelerator: cpu\nartifacts: {place}\n")
    return Workspace.at(root)


def run_of(workspace: Workspace, work: Work = WORK) -> SharedRun:
    report, curves = workspace.report("encode_latents", "one"), workspace.curve("encode_latents", "one")
    outputs = (workspace.metrics("one"), workspace.latents("one"), report, curves)
    return SharedRun(Run("encode_latents", "one", work, outputs, workspace))


def made(root: Path, place: str, content: str = "made") -> SharedRun:
    """A run whose outputs are there: a file, a folder of folders, and a report."""
    run = run_of(machine(root, place))
    metrics, latents, report, curve = run.run.paths
    for path in (metrics, latents / "a.npy", latents / "deep" / "b.npy", report / "report.json", curve):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content} {path.name}" if path.name != "b.npy" else f"{content} a.npy")
    return run


def files(workspace: Workspace) -> dict[str, bytes]:
    found = [path for room in ("artifacts", "metrics") for path in (workspace.root / room).rglob("*")]
    return {str(path.relative_to(workspace.root)): path.read_bytes() for path in found if path.is_file()}


def test_what_one_machine_encoded_another_has_to_the_byte_through_faults_and_encodes_nothing(
    tmp_path, s3, proxy, monkeypatch, caplog
):
    roots = [project(tmp_path / name, *range(3)).root for name in ("one", "two")]
    one, two = (machine(root, "s3://raw/encoded") for root in roots)
    for workspace in (one, two):
        workspace.videos.mkdir()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    proxy.fault = fault_at_random(1, ("500", "503", "cut", "reset", "lost"), 0.2)
    ours = run_stage("encode_latents", params(), one, "small")
    proxy.seen.clear()
    theirs = run_stage("encode_latents", params(), two, "small")
    assert files(two) == files(one)
    assert theirs.cost == ours.cost, "the report is of the run that made them"
    assert not two.latent_store("small").exists()
    assert not [path for method, path in proxy.seen if method in ("PUT", "POST")]
    assert not [path for path in (two.state / "arriving").rglob("*") if path.is_file()]
    there = (said["Key"] for said in s3.list_objects_v2(Bucket="raw", Prefix="encoded/")["Contents"])
    written = [s3.get_object(Bucket="raw", Key=key)["Body"].read() for key in there]
    written += [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 20 and not [content for content in written if SECRET.encode() in content]
    assert "attempt 1 of 8" in caplog.text and SECRET not in caplog.text
    write_videos(two, 0, 1, 2, 4)
    assert run_stage("encode_latents", params(), two, "small").cost != ours.cost, "of other videos, they are made"


def test_a_training_that_was_fetched_counts_as_made_here_when_the_place_is_no_longer_named(
    tmp_path, s3, monkeypatch, caplog
):
    def training(params, workspace, name):
        trained.append(workspace.root.name)
        workspace.autoencoder(name).mkdir(parents=True, exist_ok=True)
        (workspace.autoencoder(name) / "model.safetensors").write_text(f"weights {len(trained)}")
        return Report("train_autoencoder", name, metrics={})

    trained: list[str] = []
    monkeypatch.setattr("lvdm.stages.train_autoencoder", training)
    for name in ("one", "two"):
        workspace = machine(project(tmp_path / name, 0, 1).root, "s3://raw/fetched-counts")
        workspace.videos.mkdir()
        run_stage("train_autoencoder", params(), workspace, "small")
    alone = dataclasses.replace(workspace, machine=Machine(accelerator="cpu"))
    run_stage("train_autoencoder", params(), alone, "small")
    assert trained == ["one"]
    assert (alone.autoencoder("small") / "model.safetensors").read_text() == "weights 1"


@pytest.mark.parametrize("file", ["report.json", "provenance.json"])
def test_what_was_published_with_a_report_of_another_version_is_made_and_a_line_says_so(file, tmp_path, s3, caplog):
    roots = [project(tmp_path / name, 0).root for name in ("one", "two")]
    one, two = (machine(root, f"s3://raw/version-{file}") for root in roots)
    for workspace in (one, two):
        workspace.videos.mkdir()
    run_stage("encode_latents", params(), Workspace(one.root), "small")
    (one.report("encode_latents", "small") / file).write_text("{}")
    inputs = hashes(STAGES["encode_latents"].inputs(one, params(), "small"), one)
    run = SharedRun.of(Run.of("encode_latents", params(), one, "small", inputs))
    assert run is not None
    run.publish()
    report = run_stage("encode_latents", params(), two, "small")
    assert Report.read(two, "encode_latents", "small") == report
    assert "encode_latents small: made anew, as its report cannot be read" in caplog.text


@pytest.mark.parametrize("fault", ["", "500"], ids=["no such bucket", "a server that takes nothing"])
def test_a_place_where_nothing_can_be_published_is_an_error_before_anything_is_made(fault, tmp_path, s3, proxy):
    one = machine(project(tmp_path / "one", 0).root, "s3://raw/x" if fault else "s3://no-such-bucket/x")
    one.videos.mkdir()
    proxy.fault = lambda method, path: fault if method == "PUT" else ""
    with pytest.raises(StorageError, match=r"s3://(raw|no-such-bucket)/x/objects/e3b0c442"):
        run_stage("encode_latents", params(), one, "small")
    assert not one.latents("small").exists() and not one.latent_store("small").exists()


def test_who_may_only_read_is_told_before_anything_is_made_though_others_publish_there(tmp_path, s3, proxy):
    made(tmp_path / "one", "s3://raw/read-only").check()
    two = machine(project(tmp_path / "two", 0).root, "s3://raw/read-only")
    two.videos.mkdir()
    run_of(two).check()
    proxy.fault = lambda method, path: "403" if method == "PUT" else ""
    with pytest.raises(StorageError, match="no access"):
        run_stage("encode_latents", params(), two, "small")
    assert not two.latents("small").exists() and not two.latent_store("small").exists()


def test_work_that_differs_by_anything_is_not_fetched(tmp_path, s3):
    made(tmp_path / "one", "s3://raw/differing").publish()
    two = machine(tmp_path / "two", "s3://raw/differing")
    for part in ("params", "inputs", "code"):
        other = dataclasses.replace(WORK, **{part: {"x": "y"}})
        assert not run_of(two, other).fetch()
    assert run_of(two).fetch()


def evaluation(root: Path, *networks: str) -> SharedRun:
    """A run of `evaluate` that asks for metrics of two networks, where the files of these are."""
    for name in networks:
        file = NETWORKS[name].file
        if not (ROOT / "weights" / file).is_file():
            pytest.skip(f"`lvdm weights --install {name}`")
        (root / "weights").mkdir(parents=True, exist_ok=True)
        (root / "weights" / file).symlink_to(ROOT / "weights" / file)
    document = yaml.safe_load((ROOT / "params.yaml").read_text())
    document["evaluate"]["metrics"] = ["fd_tn2", "kd_efflite0", "static_gap"]
    workspace = machine(root, "s3://raw/measured")
    inputs = {"artifacts/samples/perturbed": "a"}
    run = SharedRun.of(Run.of("evaluate", parse_params(document), workspace, "perturbed", inputs))
    assert run is not None
    return run


def test_an_evaluation_is_fetched_where_the_same_networks_of_its_metrics_are_and_nowhere_else(tmp_path, s3):
    for name, networks in {"none": (), "one": ("tn2",)}.items():
        run = evaluation(tmp_path / name, *networks)
        path = run.run.workspace.metrics("perturbed")
        path.parent.mkdir()
        path.write_text(name)
        run.publish()
    more = evaluation(tmp_path / "more", "tn2", "efflite0")
    assert not more.fetch(), "it can measure what the others could not"
    (more.run.workspace.weights / NETWORKS["efflite0"].file).unlink()
    equal = evaluation(tmp_path / "more")
    assert equal.fetch()
    assert equal.run.workspace.metrics("perturbed").read_text() == "one"
    (equal.run.workspace.weights / NETWORKS["tn2"].file).unlink()
    (equal.run.workspace.weights / NETWORKS["tn2"].file).write_text("not the true one, which measures nothing")
    (equal.run.workspace.weights / NETWORKS["minilm"].file).parent.mkdir()
    (equal.run.workspace.weights / NETWORKS["minilm"].file).write_text("of no metric")
    assert evaluation(tmp_path / "more").fetch()
    assert equal.run.workspace.metrics("perturbed").read_text() == "none"


def test_the_list_comes_after_its_files_and_without_it_there_is_nothing(tmp_path, s3, proxy):
    run, two = made(tmp_path / "one", "s3://raw/ordered"), machine(tmp_path / "two", "s3://raw/ordered")
    proxy.fault = lambda method, path: "500" if method == "PUT" and "/made/" in path else ""
    with pytest.raises(StorageError, match=r"made/encode_latents/one/\w+\.json .*8 attempts failed"):
        run.publish()
    assert not run_of(two).fetch()
    proxy.fault = lambda method, path: ""
    proxy.seen.clear()
    run.publish()
    assert [path.split("/")[3] for method, path in proxy.seen if method == "PUT"] == ["made"], "files were there"
    assert run_of(two).fetch()
    assert files(two) == files(run.run.workspace)


def test_of_two_that_made_the_same_the_first_stays_and_no_mixture(tmp_path, s3, proxy):
    first, second = (made(tmp_path / name, "s3://raw/twice", name) for name in ("first", "second"))

    def overtake(method: str, path: str) -> str:
        if method == "PUT" and "/made/" in path:
            proxy.fault = lambda method, path: ""
            first.publish()
        return ""

    proxy.fault = overtake
    second.publish()
    two = machine(tmp_path / "two", "s3://raw/twice")
    assert run_of(two).fetch()
    assert files(two) == files(first.run.workspace) != files(second.run.workspace)


def test_a_fetch_that_fails_leaves_what_was_there_and_goes_on_from_what_came(tmp_path, s3, proxy):
    run = made(tmp_path / "one", "s3://raw/failing")
    run.publish()
    two = made(tmp_path / "two", "s3://raw/failing", "older").run.workspace
    before = files(two)
    wanted = json.loads(s3.get_object(Bucket="raw", Key=f"failing/{run._list}")["Body"].read())["files"]
    digest = wanted["metrics/one.json"][0]
    proxy.fault = lambda method, path: "500" if digest in path else "slow" if "/made/" in path else ""
    with pytest.raises(StorageError, match="8 attempts failed"):
        run_of(two).fetch()
    assert files(two) == before
    came = {path.name for path in (two.state / "arriving").rglob("*") if len(path.name) == 64}
    proxy.fault = lambda method, path: ""
    proxy.seen.clear()
    assert run_of(two).fetch()
    assert files(two) == files(run.run.workspace)
    assert not came & set(proxy.gets)
    assert digest in proxy.gets


def test_what_a_fetch_that_failed_left_goes_when_other_work_is_fetched(tmp_path, s3, proxy):
    run = made(tmp_path / "one", "s3://raw/left")
    run.publish()
    two = made(tmp_path / "two", "s3://raw/left").run.workspace
    proxy.fault = lambda method, path: "500" if "/objects/" in path else ""
    with pytest.raises(StorageError):
        run_of(two).fetch()
    proxy.fault = lambda method, path: ""
    left = {path.name for path in (two.state / "arriving").rglob("*") if path.is_file()}
    assert "list.json" in left
    assert not run_of(two, dataclasses.replace(WORK, params={"steps": 2})).fetch()
    assert not [path for path in (two.state / "arriving").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "said",
    [
        {"../outside": ["0" * 64, 1]},
        {"artifacts/latents/one/../../../outside": ["0" * 64, 1]},
        {"params.yaml": ["0" * 64, 1]},
        {"/tmp/outside": ["0" * 64, 1]},
        {"metrics/one.json": ["../" + "0" * 61, 1]},
        {},
        ["metrics/one.json"],
    ],
)
def test_a_list_of_other_files_than_the_outputs_is_refused(said, tmp_path, s3):
    run = run_of(machine(tmp_path / "one", "s3://raw/strange"))
    s3.put_object(Bucket="raw", Key=f"strange/{run._list}", Body=json.dumps({"files": said}).encode())
    with pytest.raises(StorageError, match="no list of the outputs of encode_latents one; remove it there"):
        run.fetch()
    assert not files(run.run.workspace)


@pytest.mark.parametrize(("lacking", "says"), [(0, "came damaged 8 times"), (1, "attempts failed")])
def test_a_file_that_is_not_what_its_name_says_is_never_taken_and_not_passed_over(lacking, says, tmp_path, s3, proxy):
    place = f"damaged{lacking}"
    run = made(tmp_path / "one", f"s3://raw/{place}")
    run.publish()
    for said in s3.list_objects_v2(Bucket="raw", Prefix=f"{place}/objects/")["Contents"]:
        s3.put_object(Bucket="raw", Key=said["Key"], Body=b"x" * (said["Size"] - lacking))
    two = machine(tmp_path / "two", f"s3://raw/{place}")
    with pytest.raises(StorageError, match=says):
        run_of(two).fetch()
    assert not files(two)
    assert s3.head_object(Bucket="raw", Key=f"{place}/{run._list}")


def test_what_is_refused_and_not_gone_stays_published(tmp_path, s3, proxy):
    run, two = made(tmp_path / "one", "s3://raw/refused"), machine(tmp_path / "two", "s3://raw/refused")
    run.publish()
    proxy.fault = lambda method, path: "412" if method == "GET" and "/objects/" in path else ""
    with pytest.raises(StorageError, match="changed meanwhile"):
        run_of(two).fetch()
    proxy.fault = lambda method, path: ""
    assert run_of(two).fetch()


def test_what_has_lost_a_file_counts_as_not_made_and_whoever_makes_it_anew_publishes_it(tmp_path, s3):
    first, second = (made(tmp_path / name, "s3://raw/lost", name) for name in ("first", "second"))
    first.publish()
    s3.delete_object(Bucket="raw", Key=f"lost/objects/{sha256(first.run.workspace.metrics('one'))}")
    before = files(second.run.workspace)
    assert not second.fetch()
    assert files(second.run.workspace) == before, "and nothing of it was taken"
    second.publish()
    third = machine(tmp_path / "third", "s3://raw/lost")
    assert run_of(third).fetch()
    assert files(third) == before


def test_who_may_remove_nothing_makes_what_has_lost_a_file_anew_and_puts_equal_files_back(tmp_path, s3, proxy):
    first, second = (made(tmp_path / name, "s3://raw/kept-there") for name in ("first", "second"))
    first.publish()
    s3.delete_object(Bucket="raw", Key=f"kept-there/objects/{sha256(first.run.workspace.metrics('one'))}")
    proxy.fault = lambda method, path: "412" if method == "DELETE" else ""
    assert not second.fetch()
    second.publish()
    third = machine(tmp_path / "third", "s3://raw/kept-there")
    assert run_of(third).fetch()
    assert files(third) == files(first.run.workspace)


def test_a_file_that_was_there_and_is_removed_before_a_list_says_that_it_is_wanted_is_published_again(
    tmp_path, s3, proxy
):
    run = made(tmp_path / "one", "s3://raw/removed")
    digest = sha256(run.run.workspace.metrics("one"))
    run.publish()
    s3.delete_object(Bucket="raw", Key=f"removed/{run._list}")

    def remove(method: str, path: str) -> str:
        if method == "PUT" and "/made/" in path:
            s3.delete_object(Bucket="raw", Key=f"removed/objects/{digest}")
        return ""

    proxy.fault = remove
    run.publish()
    assert [path.rsplit("/", 1)[1] for method, path in proxy.seen if method == "PUT"][-1] == digest
    two = machine(tmp_path / "two", "s3://raw/removed")
    assert run_of(two).fetch()
    assert files(two) == files(run.run.workspace)


@pytest.mark.parametrize("place", ["s3://", "s3:///x", f"s3://key:{SECRET}@bucket/x"])
def test_a_place_that_is_no_prefix_of_s3_is_refused_without_saying_a_secret(place, tmp_path):
    with pytest.raises(StorageError, match=r"no bucket|a user or a password") as caught:
        run_of(machine(tmp_path, place)).fetch()
    assert SECRET not in str(caught.value)


def test_a_folder_is_no_place_to_share(tmp_path):
    (tmp_path / "machine.yaml").write_text("artifacts: /mnt/shared\n")
    with pytest.raises(ParamsError, match=r"machine\.yaml: artifacts: expected s3://bucket/prefix, got '/mnt/shared'"):
        load_machine(tmp_path / "machine.yaml")
