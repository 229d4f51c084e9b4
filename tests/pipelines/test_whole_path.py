"""The whole path, run once through Dagster and DVC on real videos, then asked about from every side."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import av
import dagster as dg
import numpy as np
import pandas as pd
import psutil
import pytest
import yaml

from assets.catalog import PAGES
from pipelines.ui import serving

STAGES_AND_NAMES = [
    "ingest",
    "validate",
    "train_autoencoder@small",
    "encode_latents@small",
    *(f"{stage}@{name}" for name in ("perturbed", "unperturbed") for stage in ("train_denoiser", "sample", "evaluate")),
    "compare",
]


def test_after_the_run_dvc_has_nothing_to_do(copy):
    assert "up to date" in copy.run("dvc", "status")
    assert copy.ran("dvc", "repro") == []


def test_every_asset_is_materialized_with_plottable_numbers_and_versions(materialized, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", str(materialized.root))
    monkeypatch.chdir(materialized.root)
    with dg.DagsterInstance.get() as instance:
        for asset, partitions in {
            "manifest": [None],
            "validated": [None],
            "autoencoder": ["small"],
            "latents": ["small"],
            "denoiser": ["perturbed", "unperturbed"],
            "samples": ["perturbed", "unperturbed"],
            "metrics": ["perturbed", "unperturbed"],
            "leaderboard": [None],
        }.items():
            records = instance.fetch_materializations(dg.AssetKey(asset), limit=10).records
            assert {record.partition_key for record in records} == set(partitions), asset
            for record in records:
                metadata = record.asset_materialization.metadata
                assert any(isinstance(value, dg.FloatMetadataValue) for value in metadata.values()), asset
                assert record.asset_materialization.tags["dagster/data_version"]
                assert record.asset_materialization.tags["dagster/code_version"]


def test_the_expectations_are_asset_checks(materialized, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", str(materialized.root))
    monkeypatch.chdir(materialized.root)
    with dg.DagsterInstance.get() as instance:
        records = instance.event_log_storage.get_asset_check_summary_records(
            [dg.AssetCheckKey(dg.AssetKey("validated"), name) for name in ("decodable", "unique")]
        )
    assert len(records) == 2
    assert all(record.last_check_execution_record for record in records.values())


def test_a_dagster_run_after_dvc_skips(copy):
    output = copy.run("dagster", "asset", "materialize", "-m", "pipelines.definitions", "--select", "key:manifest")
    assert output.count("nothing changed, skipped") == 1
    output = copy.run(
        *("dagster", "asset", "materialize", "-m", "pipelines.definitions"),
        *("--select", "key:metrics+", "--partition", "perturbed"),
    )
    assert output.count("nothing changed, skipped") == 2
    assert "up to date" in copy.run("dvc", "status")


def test_string_selections_of_dagster_and_hydra_overrides_of_dvc_work_together(copy):
    """The antlr trap: with the naive install, one of the two dies."""
    listed = copy.run("dagster", "asset", "list", "-m", "pipelines.definitions", "--select", "*")
    assert {"manifest", "leaderboard"} <= set(listed.split())
    copy.run("dvc", "exp", "run", "-S", "+experiments.perturbed.sample.guidance=0.3", "sample@perturbed")
    assert yaml.safe_load((copy.root / "params.yaml").read_text())["experiments"]["perturbed"]["sample"] == {
        "guidance": 0.3
    }


def test_the_definitions_validate(copy):
    assert "All code locations passed validation" in copy.run("dagster", "definitions", "validate")


def test_the_long_video_has_the_frames_asked_for(materialized):
    from lvdm.data.inspection import probe

    for name in ("perturbed", "unperturbed"):
        (video,) = (materialized.root / "artifacts/samples" / name / "long").glob("*.mp4")
        assert probe(video).frames == 32


def test_the_latents_lie_on_disk_once_in_the_artefact_the_store_and_the_cache_of_dvc(materialized):
    places = [
        list((materialized.root / folder).glob(pattern))
        for folder, pattern in (("artifacts/latents", "*/*.npy"), (".lvdm/latents", "*/*/latents.npy"))
    ]
    assert places[0]
    shards, stored = ({path.stat().st_ino for path in paths} for paths in places)
    assert shards == stored <= {path.stat().st_ino for path in (materialized.root / ".dvc/cache").rglob("*")}


def walk(node: dict):
    """A node of the lineage and all below it."""
    yield node
    for child in node["inputs"]:
        yield from walk(child)


def test_the_leaderboard_follows_every_number_to_the_raw_videos(materialized):
    board = json.loads((materialized.root / "artifacts/leaderboard/leaderboard.json").read_text())
    assert {row["experiment"] for group in board["groups"] for row in group["rows"]} == {"perturbed", "unperturbed"}
    assert set(board["lineage"]) == {"perturbed", "unperturbed"}
    for tree in board["lineage"].values():
        nodes = list(walk(tree))
        assert {node["state"] for node in nodes} == {"made"}
        assert {node["path"] for node in nodes if not node["inputs"]} == {
            "artifacts/manifest.parquet",
            "artifacts/videos",
        }
    page = (materialized.root / "artifacts/leaderboard/index.html").read_text()
    assert not re.search(r"(src|href)=.https?:", page)  # the names of namespaces are no addresses
    assert "data:video/mp4;base64," in page


def test_whoever_shows_a_number_shows_the_same(copy, monkeypatch):
    """The file of metrics against dvc metrics diff, exp show and plots, the leaderboard, and Dagster's assets."""
    names, files = ("perturbed", "unperturbed"), "metrics/{}.json"
    written = {name: json.loads((copy.root / files.format(name)).read_text())["metrics"] for name in names}
    copy.run("git", "add", "-A")
    copy.run("git", "commit", "-qm", "results")
    differences = json.loads(copy.run("dvc", "metrics", "diff", "--all", "--json", "HEAD"))
    (experiment, *_) = json.loads(copy.run("dvc", "exp", "show", "--json"))
    plotted = json.loads(copy.run("dvc", "plots", "show", "--json"))["data"]
    board = json.loads((copy.root / "artifacts/leaderboard/leaderboard.json").read_text())
    rows = {row["experiment"]: row["scores"] for group in board["groups"] for row in group["rows"]}
    monkeypatch.setenv("DAGSTER_HOME", str(copy.root))
    monkeypatch.chdir(copy.root)
    with dg.DagsterInstance.get() as instance:
        of_each, of_all = (
            {record.partition_key: record.asset_materialization.metadata for record in found.records}
            for found in (instance.fetch_materializations(dg.AssetKey(a), limit=9) for a in ("metrics", "leaderboard"))
        )
    table = {record.data["experiment"]: record.data for record in of_all[None]["leaderboard"].records}
    for name in names:
        for metric, value in written[name].items():
            assert differences[files.format(name)][f"metrics.{metric}"]["new"] == value
            assert experiment["data"]["metrics"][files.format(name)]["data"]["metrics"][metric] == value
            (plot,) = plotted[f"artifacts/leaderboard/plots/{metric}.csv"]
            points = {point["experiment"]: float(point["value"]) for point in plot["content"]["data"]["values"]}
            assert points == {other: written[other][metric] for other in names}
            assert rows[name][metric]["value"] == value
            assert of_each[name][metric].value == value
            assert of_all[None][f"{name} {metric}"].value == value
            assert of_each[name][f"score of {metric}"].value == -value, "higher is better"
        for metric in ("fd_tn2", "fd_efflite0", "kd_efflite0"):
            said = table[name][f"{metric} ↓"]
            assert said == rows[name][metric]["text"]
            assert float(said.split()[0]) == pytest.approx(written[name][metric], rel=1e-3)


def test_the_links_of_an_asset_open_in_a_browser_and_show_nothing_but_artefacts(materialized, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", str(materialized.root))
    monkeypatch.chdir(materialized.root)
    with dg.DagsterInstance.get() as instance:
        latest = instance.get_latest_materialization_events([dg.AssetKey("leaderboard"), dg.AssetKey("samples")])
    board, samples = (latest[dg.AssetKey(name)].asset_materialization.metadata for name in ("leaderboard", "samples"))
    assert f"]({board['report'].value})" in board["answers"].value
    with serving(materialized.root / "artifacts", 0) as port:

        def read(url: str) -> bytes:
            with urllib.request.urlopen(url.replace(PAGES, f"http://127.0.0.1:{port}"), timeout=30) as answer:
                return answer.read()

        assert read(board["report"].value) == (materialized.root / "artifacts/leaderboard/index.html").read_bytes()
        assert b"ftyp" in read(samples["long video"].value)[:12]
        with pytest.raises(urllib.error.HTTPError, match="404"):
            read(f"{PAGES}/%2e%2e/params.yaml")


def test_a_number_of_the_whole_path_is_followed_by_dvc_lock_to_what_was_given(copy):
    said = copy.run("lvdm", "lineage", "perturbed.fd_tn2").splitlines()
    assert said[-1] == "every hash leads back to what was given"
    given = {line.split("  <- ")[0].split()[-2] for line in said if line.endswith("<- given")}
    assert {"builtin", "weights"} <= given <= {"accepted", "builtin", "weights"}


def test_changing_one_experiment_runs_again_only_what_depends_on_it(copy):
    copy.edit({"experiments": {"unperturbed": {"sample": {"guidance": 0.5}}}})
    assert copy.ran("dvc", "repro") == ["sample@unperturbed", "evaluate@unperturbed", "compare"]


def test_a_shared_parameter_that_an_entry_overrides_trains_it_not_again(copy):
    before = copy.root / "dvc.lock"
    locked = yaml.safe_load(before.read_text())["stages"]["train_denoiser@unperturbed"]
    copy.edit({"train_denoiser": {"objective": {"perturbation": {"max_level": 0.125}}}})
    said = copy.run("dvc", "repro", "--single-item", "train_denoiser@unperturbed")
    assert "train_denoiser unperturbed: up to date" in said and " step " not in said
    now = yaml.safe_load(before.read_text())["stages"]["train_denoiser@unperturbed"]
    assert now["outs"] == locked["outs"] and now["params"] != locked["params"]


def made(project) -> dict[str, str]:
    """The hashes of all artefacts in dvc.lock, without what only tells of them (Data Docs print the time)."""
    stages = yaml.safe_load((project.root / "dvc.lock").read_text())["stages"]
    outs = {out["path"]: out["md5"] for stage in stages.values() for out in stage["outs"]}
    tells = ("/reports/", "/data_report", "/leaderboard")
    return {path: md5 for path, md5 in outs.items() if not any(part in path for part in tells)}


def forget(project, *outputs: str) -> None:
    """Takes outputs away, and what DVC could restore them from."""
    stages = yaml.safe_load((project.root / "dvc.lock").read_text())["stages"]
    hashes = {out["path"]: out["md5"] for stage in stages.values() for out in stage["outs"]}
    for output in outputs:
        path = project.root / output
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        if output in hashes:
            cached = project.root / ".dvc/cache/files/md5" / hashes[output][:2] / hashes[output][2:]
            cached.unlink(missing_ok=True)  # a file of metrics is not kept there


@pytest.mark.parametrize(
    ("command", "outputs"),
    [
        (("ingest",), ("artifacts/videos", "artifacts/manifest.parquet")),
        (("train_denoiser", "perturbed"), ("artifacts/denoiser/perturbed", ".lvdm/made/train_denoiser/perturbed")),
        (("evaluate", "perturbed"), ("metrics/perturbed.json", ".lvdm/cache/features")),
    ],
)
def test_a_stage_killed_at_work_makes_the_same_bytes_when_run_again(copy, command, outputs):
    before = made(copy)
    forget(copy, *outputs)
    process = subprocess.Popen(
        [sys.executable, "-m", "lvdm", *command], cwd=copy.root, stderr=subprocess.PIPE, text=True
    )
    process.stderr.readline()  # the first word of its work
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    copy.run("dvc", "repro", "--no-run-cache", "--single-item", "@".join(command))
    assert made(copy) == before


def works_in(process: psutil.Process, folder: Path) -> bool:
    with contextlib.suppress(psutil.Error):
        return Path(process.cwd()) == folder
    return False


def test_everything_killed_as_a_whole_finishes_when_run_again(copy):
    """Dagster believes in a killed run for ever; its slot of the pool must not block the next one."""
    before = made(copy)
    forget(copy, "artifacts/samples/perturbed", ".lvdm/made/sample/perturbed")
    copy.edit({"sample": {"steps": 400}})
    process = subprocess.Popen(
        [sys.executable, "-m", "pipelines.everything"],
        cwd=copy.root,
        env=os.environ | {"DAGSTER_HOME": str(copy.root), "SHELL": "/bin/sh"},  # a shell that stays between
        stdout=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if "sampling: " in line:
            break
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "it ended before it sampled"
    _, alive = psutil.wait_procs([p for p in psutil.process_iter() if works_in(p, copy.root)], timeout=30)
    assert not alive, "a stage outlived the run that started it"
    copy.edit({"sample": {"steps": 2}})
    assert "everything is up to date" in copy.run(sys.executable, "-m", "pipelines.everything")
    assert made(copy) == before


def test_bad_files_are_rows_in_the_quarantine_and_the_rest_goes_through(copy):
    folder = copy.root / "mine"
    folder.mkdir()
    for number, video in enumerate(sorted((copy.root / "artifacts/videos").rglob("*.mp4"))[:12]):
        shutil.copyfile(video, folder / f"good {number}.mp4")
    (folder / "text.mp4").write_text("not a video")
    (folder / "empty.mp4").touch()
    whole = (folder / "good 0.mp4").read_bytes()
    (folder / "truncated.mp4").write_bytes(whole[: len(whole) // 2])
    with av.open(str(folder / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 44100
        container.mux(stream.encode(silence))
        container.mux(stream.encode())
    copy.edit({"ingest": {"source": "mine", "test_fraction": 0.4}, "validate": {"max_reject_fraction": 0.5}})
    copy.run("dvc", "repro", "validate")
    with (copy.root / "artifacts/quarantine.csv").open() as file:
        assert {row["id"]: row["reason"] for row in csv.DictReader(file)} == {
            "text.mp4": "not-a-video",
            "empty.mp4": "empty",
            "truncated.mp4": "truncated",
            "sound.mp4": "no-video-stream",
        }

    copy.edit({"validate": {"max_reject_fraction": 0.1}})
    blocked = copy.run("dagster", "job", "execute", "-m", "pipelines.definitions", "-j", "everything", status=1)
    assert re.search("lvdm: .*max_reject_fraction", blocked)
    assert "train_autoencoder" not in blocked.split("manifest, validated")[-1].split("Traceback")[0]


def test_push_and_pull_bring_everything_back_on_a_fresh_clone(copy, tmp_path):
    copy.run("git", "add", "-A")
    copy.run("git", "commit", "-qm", "results")
    copy.run("dvc", "remote", "add", "--local", "store", str(tmp_path / "store"))
    copy.run("dvc", "push", "-r", "store")
    copy.run("git", "clone", "-q", str(copy.root), str(tmp_path / "clone"))
    clone = type(copy)(tmp_path / "clone")
    clone.run("dvc", "remote", "add", "--local", "store", str(tmp_path / "store"))
    clone.run("dvc", "pull", "-r", "store")
    clone.link_weights()
    assert "up to date" in clone.run("dvc", "status")


@pytest.fixture
def endpoint():
    """A server that speaks S3, with a bucket `store`."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    endpoint = "http://{}:{}".format(*server.get_host_and_port())
    boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(Bucket="store")
    yield endpoint
    server.stop()


def test_push_and_pull_work_with_object_storage(copy, endpoint):
    copy.run("dvc", "remote", "add", "--local", "s3", "s3://store/dvc")
    copy.run("dvc", "remote", "modify", "--local", "s3", "endpointurl", endpoint)
    copy.run("dvc", "push", "-r", "s3", "train_denoiser@perturbed")
    shutil.rmtree(copy.root / "artifacts/denoiser/perturbed")
    shutil.rmtree(copy.root / ".dvc/cache")
    copy.run("dvc", "pull", "-r", "s3", "train_denoiser@perturbed")
    assert (copy.root / "artifacts/denoiser/perturbed/model.safetensors").exists()


def test_a_source_in_object_storage_is_watched_by_dvc(copy, endpoint):
    import boto3

    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
    videos = [(video.name, video.read_bytes()) for video in sorted((copy.root / "artifacts/videos").rglob("*.mp4"))]
    for name, content in videos[:4]:
        client.put_object(Bucket="store", Key=f"raw/{name}", Body=content)
    copy.edit({"ingest": {"source": "s3://store/raw", "test_fraction": 0.5}})
    assert copy.ran("dvc", "repro", "ingest", AWS_ENDPOINT_URL_S3=endpoint) == ["ingest"]
    assert len(pd.read_parquet(copy.root / "artifacts/manifest.parquet")) == 4
    assert copy.ran("dvc", "repro", "ingest", AWS_ENDPOINT_URL_S3=endpoint) == []

    client.put_object(Bucket="store", Key=f"raw/{videos[4][0]}", Body=videos[4][1])
    assert copy.ran("dvc", "repro", "ingest", AWS_ENDPOINT_URL_S3=endpoint) == ["ingest"]
    assert len(pd.read_parquet(copy.root / "artifacts/manifest.parquet")) == 5
