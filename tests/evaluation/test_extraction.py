"""Features that several processes of one workspace want at the same time."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from lvdm.evaluation import extraction
from lvdm.evaluation.extraction import SHARD, ClipSet, extract, extract_all
from lvdm.evaluation.features import load_extractor
from lvdm.workspace import Workspace
from tests.evaluation.conftest import CPU, moving_square

COUNT = SHARD + 1  # two shards


@dataclass(frozen=True)
class Leisurely:
    """Clips of which the last takes some time; whoever looks at one says so in a file of its own."""

    first: int
    seconds: float
    looked_at: Path
    count: int = field(default=COUNT, kw_only=True)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int, /) -> Tensor:
        (self.looked_at / f"{self.first} {index} {time.monotonic_ns()}").touch()
        if index == COUNT - 1:
            time.sleep(self.seconds)
        return moving_square(self.first + index, frames=3, size=16)


@dataclass(frozen=True)
class Accompanied(Leisurely):
    """Clips beside which something else happens whenever one is looked at."""

    meanwhile: Callable[[], object]

    def __getitem__(self, index: int, /) -> Tensor:
        self.meanwhile()
        return super().__getitem__(index)


def test_a_clip_is_read_once_for_all_networks(tmp_path: Path) -> None:
    workspace, clips = Workspace(tmp_path), ClipSet(Leisurely(0, 0, tmp_path), content="0")
    extractors = [load_extractor(name, workspace, CPU) for name in ("motion", "static")]
    extract_all([(extractor, clips) for extractor in extractors], workspace)
    extract(extractors[0], replace(clips, captions=["a"] * COUNT), workspace)  # of no matter to one that reads none
    assert [len(list(tmp_path.glob(f"0 {index} *"))) for index in range(COUNT)] == [1] * COUNT
    for extractor in extractors:
        alone = torch.stack([extractor(clips.clips[i]) for i in range(COUNT)]).float()
        assert torch.equal(extract(extractor, clips, workspace), alone)


def test_several_clips_are_read_at_a_time_and_seen_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads a clip waits here for another who does."""
    monkeypatch.setattr(extraction, "READERS", 2)
    monkeypatch.setattr(extraction, "AHEAD", 4)
    both, workspace = threading.Barrier(2), Workspace(tmp_path)
    clips = Accompanied(0, 0, tmp_path, lambda: both.wait(timeout=60), count=SHARD)
    extractor = load_extractor("motion", workspace, CPU)
    found = extract(extractor, ClipSet(clips, content="0"), workspace)
    seen = torch.stack([extractor(moving_square(index, frames=3, size=16)) for index in range(SHARD)]).float()
    assert torch.equal(found, seen)


def test_features_that_a_full_disk_or_a_copy_cut_are_extracted_again(tmp_path: Path) -> None:
    workspace, clips = Workspace(tmp_path), ClipSet(Leisurely(0, 0, tmp_path), content="0")
    extractor = load_extractor("motion", workspace, CPU)
    whole = extract(extractor, clips, workspace).clone()
    (path,) = (workspace.cache / "features").glob("*.npy")
    content = path.read_bytes()
    for left in (0, 50, len(content) - 1):
        path.write_bytes(content[:left])
        assert torch.equal(extract(extractor, clips, workspace), whole), left
        assert path.read_bytes() == content
    shard = path.with_suffix("") / f"{SHARD:06d}.npy"
    shard.parent.mkdir()
    path.unlink()
    shard.write_bytes(content[:50])
    assert torch.equal(extract(extractor, clips, workspace), whole)


def test_features_are_kept_as_long_as_somebody_asks_for_them(tmp_path: Path) -> None:
    workspace, folder = Workspace(tmp_path), tmp_path / ".lvdm/cache/features"
    extractor = load_extractor("motion", workspace, CPU)
    asked, not_asked = (ClipSet(Leisurely(i, 0, tmp_path), content=f"{i}") for i in range(2))
    extract_all([(extractor, clips) for clips in (asked, not_asked)], workspace)
    (folder / "cut short").mkdir()
    long_ago = time.time() - (extraction.DAYS + 1) * 24 * 3600
    for path in folder.iterdir():
        os.utime(path, (long_ago, long_ago))
    extract(extractor, asked, workspace)
    assert len(list(tmp_path.glob("0 0 *"))) == 1  # not again
    assert sorted(path.suffix for path in folder.iterdir()) == [".lock", ".npy"]


def test_features_that_nobody_asks_for_are_kept_for_30_days(tmp_path: Path) -> None:
    for days in (29, 31):
        (tmp_path / f"{days}.npy").touch()
        os.utime(tmp_path / f"{days}.npy", (time.time() - days * 24 * 3600,) * 2)
    extraction._forget(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["29.npy"]


def test_what_an_extraction_goes_on_from_is_not_forgotten_under_it(tmp_path: Path) -> None:
    workspace, folder = Workspace(tmp_path), tmp_path / ".lvdm/cache/features"
    extractor = load_extractor("motion", workspace, CPU)
    clips, another = (ClipSet(Leisurely(first, 0, tmp_path), content=f"{first}") for first in (0, 100))
    whole = extract(extractor, clips, workspace).numpy().copy()
    (path,) = folder.glob("*.npy")
    path.unlink()
    path.with_suffix("").mkdir()
    np.save(path.with_suffix("") / f"{0:06d}.npy", whole[:SHARD])  # as one that was killed leaves it
    long_ago = time.time() - (extraction.DAYS + 1) * 24 * 3600
    for left in folder.iterdir():
        os.utime(left, (long_ago, long_ago))
    meanwhile = Accompanied(0, 0, tmp_path, lambda: extract(extractor, another, workspace))
    np.testing.assert_array_equal(extract(extractor, replace(clips, clips=meanwhile), workspace), whole)
    assert len(list(tmp_path.glob("0 0 *"))) == 1  # not again
    assert path.with_suffix(".lock").exists()  # by which others wait


def test_features_are_extracted_again_by_other_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace, clips = Workspace(tmp_path), ClipSet(Leisurely(0, 0, tmp_path), content="0")
    code, times = tmp_path / "features.py", []
    monkeypatch.setattr(extraction, "PACKAGE", tmp_path)
    monkeypatch.setattr(extraction, "CODE", [code.name])
    for version in ("1", "1", "2"):
        code.write_text(version)
        extract(load_extractor("motion", workspace, CPU), clips, workspace)
        times.append(len(list(tmp_path.glob("0 0 *"))))
    assert times == [1, 1, 2]


def test_who_waits_for_another_process_says_so_once_and_does_nothing_meanwhile(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    workspace, clips = Workspace(tmp_path), ClipSet(Leisurely(0, 0, tmp_path), content="0")
    extractor = load_extractor("motion", workspace, CPU)
    with ThreadPoolExecutor(1) as pool, caplog.at_level(logging.INFO):
        with extraction._Job.of(extractor, clips, workspace).held(wait=False) as held:
            assert held
            waiting = pool.submit(extract, extractor, clips, workspace)
            wait_until(lambda: "another process extracts motion-" in caplog.text, "the line")
            time.sleep(0.2)  # in which one that does not wait would ask again, many times
            assert caplog.text.count("another process extracts") == 1 and not list(tmp_path.glob("0 *"))
        assert len(waiting.result()) == COUNT


def extract_shared_and_own(root: Path, number: int, seconds: float) -> None:
    """Extracts what every process wants and what process `number` alone does; writes what it got of both."""
    torch.set_num_threads(1)
    workspace, extractor = Workspace(root), load_extractor("motion", Workspace(root), CPU)
    sets = [ClipSet(Leisurely(first, seconds, root), content=str(first)) for first in (0, 100 * number)]
    extract_all([(extractor, clips) for clips in sets], workspace)
    np.save(root / f"got {number}.npy", torch.cat([extract(extractor, clips, workspace) for clips in sets]).numpy())


def wait_until(there: Callable[[], object], what: str) -> None:
    until = time.monotonic() + 120
    while not there():
        assert time.monotonic() < until, f"{what} did not come"
        time.sleep(0.002)


def test_processes_that_want_the_same_features_extract_them_once_also_if_the_first_is_killed(tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")  # real processes, without importing torch each time
    context.set_forkserver_preload(["lvdm.evaluation.extraction"])
    (tmp_path / "again").mkdir()
    killed = context.Process(target=extract_shared_and_own, args=(tmp_path, 9, 600))
    killed.start()
    wait_until(lambda: list(tmp_path.glob(f"0 {COUNT - 1} *")), "the last clip")
    others = [context.Process(target=extract_shared_and_own, args=(tmp_path, i, 0.4 * i)) for i in (1, 2, 3)]
    for process in others:
        process.start()
    wait_until(lambda: len(list(tmp_path.glob(f"?00 {COUNT - 1} *"))) >= 3, "what each alone wants")
    killed.kill()
    for process in others:
        process.join(120)
        assert process.exitcode == 0
    extractor = load_extractor("motion", Workspace(tmp_path), CPU)
    expected = {
        first: torch.stack([extractor(Leisurely(first, 0, tmp_path / "again")[i]) for i in range(COUNT)]).float()
        for first in (0, 100, 200, 300)
    }
    for number in (1, 2, 3):
        got = torch.from_numpy(np.load(tmp_path / f"got {number}.npy"))
        assert torch.equal(got, torch.cat([expected[0], expected[100 * number]]))
    times = [len(list(tmp_path.glob(f"0 {index} *"))) for index in range(COUNT)]
    assert times == [1] * SHARD + [2], "what was done, or what another does, was extracted again"
