"""Raw data and artefacts through DVC's remotes, a folder and S3: a fresh clone has the very bytes."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from ..data.faulty_proxy import fault_at_random, faulty_proxy

ROOT = Path(__file__).parents[2]
SECRET = "mArKeD0123456789secret0of1this2test3only"
STAGE = """
stages:
  encode:
    cmd: mkdir -p artifacts/latents/small && cp data/raw/a/*.mp4 artifacts/latents/small/ && date > artifacts/made
    deps: [data/raw]
    outs: [artifacts/latents/small, artifacts/made]
"""


def run(folder: Path, *command: str) -> str:
    """Runs a command of the environment; returns what it printed."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def files(folder: Path) -> dict[str, bytes]:
    """What lies in data/ and artifacts/, without what DVC and Git put beside it."""
    found = (path for room in ("data", "artifacts") for path in (folder / room).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found if path.name != ".gitignore"}


def named(path: str) -> str:
    """The hash that an object of a remote is named by."""
    return "".join(path.split("/")[-2:])


@pytest.fixture
def proxy(monkeypatch):
    """The proxy before an S3 server."""
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    moto.start()
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    address = moto.get_host_and_port()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    with faulty_proxy(address) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.url)
        yield proxy
    moto.stop()


def test_a_fresh_clone_pulls_raw_data_and_artefacts_from_a_folder_and_from_s3(tmp_path, proxy):
    project, s3 = tmp_path / "project", boto3.client("s3", endpoint_url="http://{}:{}".format(*proxy.upstream))
    s3.create_bucket(Bucket="lvdm")
    for name in (".gitignore", ".dvcignore", ".dvc/config"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, project / name)
    (project / "dvc.yaml").write_text(STAGE)
    with (project / ".dvc/config").open("a") as config:  # as `dvc remote add` writes it
        config.write(f"['remote \"folder\"']\nurl = {tmp_path / 'remote'}\n")
        config.write("['remote \"store\"']\nurl = s3://lvdm/dvc\nverify = true\n")
    for i in range(3):
        (project / "data/raw/a").mkdir(parents=True, exist_ok=True)
        (project / f"data/raw/a/{i}.mp4").write_bytes(random.Random(i).randbytes(3000))
        s3.put_object(Bucket="lvdm", Key=f"raw/{i}.mp4", Body=random.Random(-i - 1).randbytes(3000))
    run(project, "git", "init", "-q")
    said = run(project, "dvc", "add", "data/raw")
    said += run(project, "dvc", "import-url", "s3://lvdm/raw", "data/imported")
    said += run(project, "dvc", "repro")
    run(project, "git", "add", "--all")
    run(project, "git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "data")
    assert {"data/raw.dvc", "data/imported.dvc", "dvc.lock"} <= set(run(project, "git", "ls-files").splitlines())
    assert not [name for name in run(project, "git", "ls-files").splitlines() if name.endswith(".mp4")]

    proxy.fault = fault_at_random(7, ("500", "503", "cut", "reset"), 0.15)
    proxy.seen.clear()
    for remote in ("folder", "store"):
        said += run(project, "dvc", "push", "-r", remote)
    put = [named(path) for method, path in proxy.seen if method == "PUT" and "/md5/" in path]
    for held in s3.list_objects_v2(Bucket="lvdm", Prefix="dvc/")["Contents"]:
        name, body = named(held["Key"]), s3.get_object(Bucket="lvdm", Key=held["Key"])["Body"].read()
        assert hashlib.md5(body).hexdigest() == name.removesuffix(".dir"), "named by its content: never half of it"
        for part in json.loads(body) if name.endswith(".dir") else ():
            assert put.index(part["md5"]) < put.index(name), "a folder is there after its files"
    assert [name for name in put if name.endswith(".dir")]

    for remote in ("folder", "store"):
        clone = tmp_path / f"clone of {remote}"
        run(tmp_path, "git", "clone", "-q", str(project), str(clone))
        said += run(clone, "dvc", "pull", "-r", remote)
        assert files(clone) == files(project)
        assert len(files(clone)) == 12
    assert "up to date" in run(clone, "dvc", "status")
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in written if SECRET.encode() in path.read_bytes()]
    assert SECRET not in said
