"""The same clips, the same protocol, the same number; faults in the clips show in the right numbers."""

from __future__ import annotations

import functools
import itertools
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
import torch
from torch import Tensor

from lvdm.errors import ArtefactError, WeightsError
from lvdm.evaluation.extraction import SHARD, ClipSet, extract
from lvdm.evaluation.features import load_extractor
from lvdm.evaluation.measuring import evaluate
from lvdm.evaluation.protocol import PROTOCOLS, Split
from lvdm.evaluation.result import Estimate, Result
from lvdm.evaluation.sets import Window, choose_windows
from lvdm.fingerprints import sha256
from lvdm.machine import Machine
from lvdm.models.pretrained import NETWORKS, install_file
from lvdm.workspace import Workspace
from tests.evaluation.conftest import CPU, TinyDetector, TinyInception, install_detector, moving_square, script_quietly

N = 24
PROTOCOL = replace(PROTOCOLS["small"], num_clips=N, clip_frames=16, stride=1, size=32)
Fault = Callable[[Tensor], Tensor]


def clips(first: int, count: int, fault: Fault = lambda clip: clip) -> ClipSet:
    return ClipSet([fault(moving_square(seed)) for seed in range(first, first + count)])


def reals(first: int, count: int, fault: Fault = lambda clip: clip) -> dict[Split, ClipSet]:
    return {"test": clips(first, count, fault)}


def noisy(sigma: float) -> Fault:
    noise = torch.randn(16, 32, 32, 3, generator=torch.Generator().manual_seed(0))
    return lambda clip: (clip + sigma * noise[: len(clip)]).clamp(0, 255).byte()


def blurred(pixels: int) -> Fault:
    mean = functools.partial(torch.nn.functional.avg_pool2d, kernel_size=pixels, stride=1, padding=pixels // 2)
    return lambda clip: mean(clip.permute(0, 3, 1, 2).float(), count_include_pad=False).byte().permute(0, 2, 3, 1)


def frozen(share: float) -> Fault:
    """From there on it stands still."""
    return lambda clip: clip[[min(frame, int((1 - share) * len(clip))) for frame in range(len(clip))]]


def shuffled(clip: Tensor) -> Tensor:
    return clip[torch.randperm(len(clip), generator=torch.Generator().manual_seed(0))]


def cut(times: int) -> Fault:
    """To the negative and back."""

    def fault(clip: Tensor) -> Tensor:
        negative = torch.arange(len(clip)) * (times + 1) // len(clip) % 2 == 1
        return torch.where(negative[:, None, None, None], 255 - clip, clip)

    return fault


FAULTS: dict[str, tuple[Fault, ...]] = {  # each from light to heavy
    "noise": (noisy(12), noisy(32)),
    "blur": (blurred(5), blurred(9)),
    "freeze": (frozen(0.3), frozen(1)),
    "shuffle": (shuffled,),
    "cuts": (cut(1), cut(3)),
}


@pytest.mark.parametrize(
    ("metric", "seen", "unseen"),
    [
        ("fd_tn2", ("noise", "blur", "freeze", "shuffle", "cuts"), ()),
        ("fd_efflite0", ("noise", "blur"), ("shuffle",)),
        ("motion_gap", ("noise", "freeze", "shuffle", "cuts"), ()),
        ("static_gap", ("freeze",), ("noise", "blur")),
    ],
)
def test_the_heavier_a_fault_the_worse_the_number_that_is_there_for_it(
    metric: str, seen: tuple[str, ...], unseen: tuple[str, ...], with_weights: Workspace
) -> None:
    protocol, real = replace(PROTOCOL, num_clips=8, clip_frames=8), reals(0, 16, lambda clip: clip[:8])

    def measure(fault: Fault) -> float:
        faulty = clips(1000, 8, lambda clip: fault(clip[:8]))
        return evaluate(real, faulty, protocol, (metric,), with_weights).metrics[metric]

    clean = measure(Tensor.clone)
    for name in seen:
        values = [clean, *map(measure, FAULTS[name])]
        assert values == sorted(set(values)), (name, values)
    for name in unseen:
        assert measure(FAULTS[name][-1]) == pytest.approx(clean, rel=0.01), name


def test_a_frozen_video_shows_without_any_network(workspace: Workspace) -> None:
    clean, still = (
        evaluate(reals(0, N), clips(1000, N, fault), PROTOCOL, (), workspace) for fault in (Tensor.clone, frozen(1))
    )
    assert still.metrics["static_gap"] == 1
    assert still.measured["motion"]["fake"] == 0
    assert still.metrics["motion_gap"] > 3 * clean.metrics["motion_gap"]


def test_fvd_and_kvd_run_on_a_detector_whose_hash_is_vouched_for(workspace: Workspace) -> None:
    networks = install_detector(workspace, TinyDetector())
    result = evaluate(reals(0, 2 * N), clips(1000, N), PROTOCOL, ("fvd", "kvd"), workspace, networks)
    assert set(result.metrics) == set(result.floor) == {"fvd", "kvd", "motion_gap", "static_gap"}
    fvd = result.estimates["fvd"]
    assert (fvd.extractor, fvd.sha256, fvd.better) == ("i3d", networks["i3d"].sha256, "lower")
    assert (fvd.n_real, fvd.n_fake, fvd.floor_n) == (N, N, N)
    assert result.not_available == {}
    by_n = replace(PROTOCOL, covariance="n")
    smaller = evaluate(reals(0, 2 * N), clips(1000, N), by_n, ("fvd", "kvd"), workspace, networks)
    (low, high), (lower, less_high) = fvd.interval or (0, 0), smaller.estimates["fvd"].interval or (0, 0)
    assert smaller.metrics["fvd"] < fvd.value and smaller.floor["fvd"] < fvd.floor and less_high - lower < high - low
    assert smaller.metrics["kvd"] == result.metrics["kvd"]


@pytest.mark.parametrize("num_real", [3 * N, 2 * N, N + 4])
def test_the_floor_is_between_the_first_real_clips_and_the_next_and_each_split_has_a_value(
    workspace: Workspace, num_real: int
) -> None:
    """Of a metric that one can compute by hand: the difference of the mean motion."""
    real, train, fake = clips(0, num_real), clips(300, N), clips(1000, N)
    one, other, made = (
        [clip.double().diff(dim=0).abs().mean().item() for clip in s.clips] for s in (real, train, fake)
    )
    found = evaluate({"test": real, "train": train}, fake, PROTOCOL, (), workspace).estimates["motion_gap"]
    half = min(N, num_real // 2)
    assert found.floor_n == half
    assert found.floor == pytest.approx(abs(mean(one[:half]) - mean(one[half : 2 * half])), rel=1e-5)
    expected = {"test": abs(mean(one[:N]) - mean(made)), "train": abs(mean(other) - mean(made))}
    assert found.by_split == pytest.approx(expected, rel=1e-5)


def test_every_true_network_runs_from_an_installed_file_of_its_format(workspace: Workspace, clip_folder: Path) -> None:
    """Files with other weights than the true ones, for somebody who vouches for their hashes; nobody else."""
    given = {"i3d": workspace.root / "i3d.pt", "inception": workspace.root / "inception.pt", "clip": clip_folder}
    script_quietly(TinyDetector(), given["i3d"])
    script_quietly(TinyInception(), given["inception"])
    networks = dict(NETWORKS)
    for name, path in given.items():
        file = path / "pytorch_model.bin" if path.is_dir() else path
        with pytest.raises(WeightsError, match=rf"expected sha256 {NETWORKS[name].sha256}.*--install {name}=PATH"):
            install_file(NETWORKS[name], path, workspace)
        networks[name] = replace(NETWORKS[name], sha256=sha256(file))
        install_file(networks[name], path, workspace)
    asked = ("fvd", "kvd", "fid", "kid", "clipsim")
    protocol = replace(PROTOCOL, num_clips=4)
    real, fake = (replace(clips(first, n), captions=["a square"] * n) for first, n in ((0, 8), (50, 4)))
    result = evaluate({"test": real}, fake, protocol, asked, workspace, networks)
    assert result.not_available == {}
    assert all(result.estimates[key].sha256 == networks[result.estimates[key].extractor].sha256 for key in asked)
    clipsim = result.estimates["clipsim"]
    assert (clipsim.better, clipsim.floor_n) == ("higher", 4)
    assert clipsim.floor == pytest.approx(result.measured["clip"]["real"]), "that of the real clips, said once"
    for side in ("real", "fake"):
        assert result.measured["clipsim_x100"][side] == pytest.approx(100 * result.measured["clip"][side])
    refused = evaluate({"test": real}, fake, protocol, asked, workspace)
    assert set(refused.not_available) == set(asked), "the true networks these are not"


def test_a_set_against_itself_is_at_distance_zero(workspace: Workspace) -> None:
    networks = install_detector(workspace, TinyDetector())
    result = evaluate(reals(0, N), clips(0, N), PROTOCOL, ("fvd",), workspace, networks)
    assert result.metrics["fvd"] == pytest.approx(0, abs=1e-3)
    assert result.metrics["motion_gap"] == result.metrics["static_gap"] == 0
    assert result.estimates["fvd"].floor_n == N // 2


def test_the_same_clips_give_the_same_bytes_with_and_without_the_cache(tmp_path: Path) -> None:
    written = []
    for name in ("first", "second"):
        workspace = Workspace(tmp_path / name)
        networks = install_detector(workspace, TinyDetector())
        for i in range(2):
            evaluate(reals(0, 2 * N), clips(50, N), PROTOCOL, ("fvd",), workspace, networks).write(
                workspace.metrics(f"run{i}")
            )
            written.append(workspace.metrics(f"run{i}").read_bytes())
        assert len(list((workspace.cache / "features").glob("*.npy"))) == 6
    assert len(set(written)) == 1


def test_any_number_of_processes_gives_the_same_bytes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Three shards of clips a side, by one, two and three processes, of which the first says how far it is."""
    protocol, written = replace(PROTOCOL, num_clips=40, size=16), []
    one, other = (ClipSet([moving_square(seed, size=16) for seed in range(first, first + 40)]) for first in (0, 50))
    for devices in (1, 2, 3):
        workspace = Workspace(tmp_path / str(devices), Machine(accelerator="cpu", devices=devices))
        networks = install_detector(workspace, TinyDetector())
        result = evaluate({"test": one}, other, protocol, ("fvd", "kvd"), workspace, networks)
        result.write(workspace.metrics("run"))
        written.append(workspace.metrics("run").read_bytes())
    assert len(set(written)) == 1
    said = capfd.readouterr().err
    assert [said.count(f"features: 16 clips 1 of {mine}") for mine in (3, 2)] == [1, 1]


def test_killed_in_the_middle_what_was_extracted_stays(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    class Breaking(list[Tensor]):
        def __getitem__(self, index: Any) -> Any:
            if index == 20:
                raise KeyboardInterrupt
            return super().__getitem__(index)

    shown, extractor = clips(0, N).clips, load_extractor("motion", workspace, CPU)
    broken, whole = (ClipSet(kind(shown), content="these") for kind in (Breaking, list))
    with pytest.raises(KeyboardInterrupt):
        extract(extractor, broken, workspace)
    (kept,) = (workspace.cache / "features").glob("*/*.npy")
    looked_at: list[Tensor] = []
    network = extractor.network.forward
    monkeypatch.setattr(extractor.network, "forward", lambda frames: (looked_at.append(frames), network(frames))[1])
    features = extract(extractor, whole, workspace)
    assert (len(looked_at), kept.exists()) == (N - SHARD, False)
    assert torch.equal(features[:, 0], torch.stack([extractor(clip)[0] for clip in whole.clips]).float())


def test_another_real_set_is_never_answered_from_the_cache(workspace: Workspace) -> None:
    first, second = (evaluate(reals(i, N), clips(500, N), PROTOCOL, (), workspace) for i in (0, 1))
    assert first.protocol["real_set"] != second.protocol["real_set"]
    assert first.metrics["motion_gap"] != second.metrics["motion_gap"]


def test_metrics_without_their_network_are_named_with_the_remedy(workspace: Workspace) -> None:
    result = evaluate(reals(0, N), clips(1, N), PROTOCOL, ("fd_tn2", "fvd", "clipsim"), workspace)
    assert set(result.metrics) == {"motion_gap", "static_gap"}
    assert "lvdm weights --install i3d=PATH" in result.not_available["fvd"]
    assert "lvdm weights --install tn2" in result.not_available["fd_tn2"]
    assert "needs a label" in result.not_available["clipsim"]
    assert str(workspace.root) not in str(result)


@pytest.mark.parametrize(("num_real", "num_fake", "side"), [(N - 1, N, "real"), (N, N - 1, "fake")])
def test_too_few_samples_are_an_error(workspace: Workspace, num_real: int, num_fake: int, side: str) -> None:
    with pytest.raises(ArtefactError, match=f"{side} clips: expected at least {N}, .* small .*, got {N - 1}"):
        evaluate(reals(0, num_real), clips(0, num_fake), PROTOCOL, (), workspace)


def test_two_clips_and_twice_as_many_real_ones_are_the_fewest(with_weights: Workspace) -> None:
    metrics, two = ("fd_tn2", "kd_efflite0"), replace(PROTOCOL, num_clips=2)
    assert set(metrics) <= set(evaluate(reals(0, 4), clips(0, 2), two, metrics, with_weights).estimates)
    with pytest.raises(ArtefactError, match=r"real clips: expected at least 4, .*, got 3"):
        evaluate(reals(0, 3), clips(0, 2), two, metrics, with_weights)


def test_a_clip_of_another_shape_is_an_error(workspace: Workspace) -> None:
    with pytest.raises(ArtefactError, match=r"uint8 \(16, 32, 32, 3\)"):
        evaluate(reals(0, N), clips(0, N, lambda clip: clip[:8]), PROTOCOL, (), workspace)


def test_windows_are_disjoint_inside_their_video_and_spread_over_the_videos_first() -> None:
    protocol, lengths = replace(PROTOCOL, stride=2), [31, 100, 30, 200, 64]
    windows = choose_windows(lengths, protocol, 1000)
    assert [sum(w.video == v for w in windows) for v in range(5)] == [1, 3, 0, 6, 2]
    assert {w.video for w in windows[:4]} == {0, 1, 3, 4}
    for video, length in enumerate(lengths):
        starts = sorted(w.start for w in windows if w.video == video)
        assert all(b - a >= 31 for a, b in itertools.pairwise(starts))
        assert all(0 <= start <= length - 31 for start in starts)


def test_a_clip_of_every_video_begins_at_any_frame_from_which_there_are_enough() -> None:
    windows = choose_windows([20] * 400, replace(PROTOCOL, real="one of every video"), 400)
    assert sorted(w.video for w in windows) == list(range(400))
    begun = Counter(w.start for w in windows)
    assert set(begun) == set(range(5)) and min(begun.values()) > 40


def test_windows_depend_on_the_seed_alone_and_fewer_are_the_first_of_more() -> None:
    lengths = [50] * 20
    assert choose_windows(lengths, PROTOCOL, 30)[:7] == choose_windows(lengths, PROTOCOL, 7)
    assert choose_windows(lengths, PROTOCOL, 30) != choose_windows(lengths, replace(PROTOCOL, seed=1), 30)
    assert choose_windows([16], PROTOCOL, 5) == [Window(0, 0)]


def test_a_result_survives_its_file_and_a_foreign_file_is_refused(tmp_path: Path) -> None:
    estimate = Estimate(1.5, 0.5, (1.0, 2.0), 8, 8, 4, "lower", "i3d", "bec6")
    result = Result({"fvd": estimate}, {}, {"num_clips": 8}, {"fid": "remedy"}, {"tn2": {"fake_first": 1.0}})
    result.write(tmp_path / "a.json")
    assert Result.read(tmp_path / "a.json") == result
    document = json.loads((tmp_path / "a.json").read_text())
    damages: list[dict[str, Any]] = [
        {"protocol": [1]},
        {"drift": None},
        {"of_tomorrow": 1},
        {"metrics": {}, "floor": {}, "estimates": {}},
        {"estimates": {"fvd": {**document["estimates"]["fvd"], "interval": [1.0]}}},
    ]
    foreign = [b'{"fvd": 168.0}', b"\xff{}", *(json.dumps(document | damage).encode() for damage in damages)]
    for content in foreign:
        (tmp_path / "b.json").write_bytes(content)
        with pytest.raises(ArtefactError, match=r"b\.json: not a result of `lvdm evaluate`: .*; run `lvdm evaluate b`"):
            Result.read(tmp_path / "b.json")
