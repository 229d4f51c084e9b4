"""What all tests share: shapes are checked at run time, what is drawn is the same in every run, and nothing reaches for
a network or more than one thread.

Tests run beside each other; and sums over other numbers of threads differ in the last bit, so that runs which are
compared need the same number.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

os.environ.update(
    AWS_ACCESS_KEY_ID="test",
    AWS_SECRET_ACCESS_KEY="test",
    AWS_DEFAULT_REGION="us-east-1",
    AWS_EC2_METADATA_DISABLED="true",
    DAGSTER_DISABLE_TELEMETRY="1",
    DVC_NO_ANALYTICS="1",
    GX_ANALYTICS_ENABLED="false",
    HF_HUB_OFFLINE="1",
    OMP_NUM_THREADS="1",
)

from jaxtyping import install_import_hook

install_import_hook("lvdm", "beartype.beartype")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Torch seeds itself anew in every process: a test that draws without a seed would be another one in every run."""
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What is flushed to the disk and what gets its final name, in order: ("flushed", its name) or ("renamed", ...)."""
    done: list[tuple[str, str]] = []

    def noting(what: str, function: Callable[..., Any], name: Callable[[Any], str]) -> Callable[..., Any]:
        def call(subject: Any, *arguments: Any) -> Any:
            done.append((what, name(subject)))
            return function(subject, *arguments)

        return call

    flushed = noting("flushed", os.fsync, lambda descriptor: Path(f"/proc/self/fd/{descriptor}").readlink().name)
    monkeypatch.setattr(os, "fsync", flushed)
    for function in (Path.replace, Path.rename):
        monkeypatch.setattr(Path, function.__name__, noting("renamed", function, lambda path: path.name))
    return done
