from __future__ import annotations

import itertools

import pytest
import torch
import yaml
from torch import nn
from torch._dynamo.testing import CompileCounter

from lvdm import presets
from lvdm.diffusion.sampling import DenoiserSpec, VideoRequest, group_videos, rows_of_calls, sample_videos
from lvdm.diffusion.schedule import Schedule
from lvdm.errors import ArtefactError
from lvdm.models.condition import Prompts
from lvdm.params import parse_params

from .conftest import LATENT_SHAPE, NUM_LABELS, PROMPTS

LONG, SHORT = VideoRequest(seed=1, prompt=None, num_latents=18), VideoRequest(seed=2, prompt=2, num_latents=4)
OTHER = VideoRequest(seed=3, prompt=None, num_latents=23)


@pytest.fixture
def spec(train) -> DenoiserSpec:
    return DenoiserSpec(train, PROMPTS, LATENT_SHAPE)


@pytest.fixture
def sample(params):
    return params.sample.model_copy(update={"steps": 3, "batch_size": 3})


class Recorded(nn.Module):
    """Calls a denoiser and keeps what it was told."""

    def __init__(self, network: nn.Module, die_after: int | None = None):
        super().__init__()
        self.network, self.die_after, self.calls = network, die_after, []

    def forward(self, z, level, stride, condition):
        if len(self.calls) == self.die_after:
            raise KeyboardInterrupt
        self.calls.append((z, level, stride, condition))
        return self.network(z, level, stride, condition)


def updated(sample, **changes):
    return sample.model_copy(update=changes)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpmpp2m"])
@pytest.mark.parametrize("scheme", ["hierarchical", "autoregressive"])
def test_every_video_has_its_length_and_every_latent_is_made(network, spec, sample, tmp_path, sampler, scheme):
    requests = [LONG, SHORT, OTHER]
    videos = list(sample_videos(network, spec, updated(sample, sampler=sampler, scheme=scheme), requests, tmp_path))
    assert [v.shape for v in videos] == [(2, r.num_latents, 4, 4) for r in requests]
    assert all(v.isfinite().all() and v.dtype == torch.float32 for v in videos)


class OneLine(nn.Module):
    """A denoiser that torch compiles: one whose types are checked as it runs, like all of lvdm here, it cannot."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.ones(1))

    def forward(self, z, level, stride, condition):
        return self.slope * z * level[:, None, :, None, None] + (stride + condition.number)[:, None, None, None, None]


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # of torch, where its compiler is loaded
def test_a_denoiser_is_compiled_for_one_window_and_for_any_number_and_no_more(spec, sample, tmp_path):
    """Each takes a minute or more on a GPU: for the first window, of which nothing is given, and for all others."""
    counter, sample = CompileCounter(), updated(sample, guidance=0.5, eta=0.0)
    compiled = torch.compile(OneLine().eval(), backend=counter)
    list(sample_videos(compiled, spec, sample, [LONG], tmp_path))
    assert set(rows_of_calls([LONG], spec.train_denoiser, sample)) == {1, 2, 4, 6}
    assert counter.frame_count == 2


@pytest.mark.parametrize("sampler", ["ddpm", "dpmpp2m"])
def test_a_video_depends_on_its_request_alone_and_the_last_partial_batch_is_made(
    network, spec, sample, tmp_path, sampler
):
    """The released code drops the last partial batch."""
    sample = updated(sample, sampler=sampler)
    together = list(sample_videos(network, spec, sample, [LONG, OTHER, SHORT], tmp_path / "together"))
    for batch_size in (1, 2, 100):
        folder = tmp_path / str(batch_size)
        (alone,) = sample_videos(network, spec, updated(sample, batch_size=batch_size), [OTHER], folder)
        assert torch.allclose(alone, together[1], atol=1e-5)


def test_ddim_at_eta_1_makes_the_videos_of_ddpm_and_at_0_others(network, spec, sample, tmp_path):
    def made(**changes) -> torch.Tensor:
        (video,) = sample_videos(network, spec, updated(sample, steps=5, **changes), [SHORT], tmp_path / str(changes))
        return video

    ddpm = made(sampler="ddpm")
    assert torch.equal(made(sampler="ddim", eta=1.0), ddpm)
    others = [ddpm, made(sampler="ddim", eta=0.5), made(sampler="ddim", eta=0.0), made(sampler="dpmpp2m")]
    assert all(not torch.allclose(a, b, atol=1e-3) for a, b in itertools.combinations(others, 2))


def test_seeds_and_labels_make_different_videos(network, spec, sample, tmp_path):
    requests = [VideoRequest(seed, label, 5) for seed, label in [(0, None), (1, None), (0, 1), (0, 2)]]
    videos = torch.stack(list(sample_videos(network, spec, sample, requests, tmp_path)))
    assert videos.flatten(1).unique(dim=0).shape[0] == 4


@pytest.mark.parametrize("killed_after", [0, 2, 4, 7, 10, 13])
def test_a_killed_run_continues_to_the_same_bits(network, spec, sample, tmp_path, killed_after):
    sample = updated(sample, sampler="ddim", eta=1.0)
    whole = list(sample_videos(network, spec, sample, [LONG, SHORT], tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        list(sample_videos(Recorded(network, killed_after).eval(), spec, sample, [LONG, SHORT], tmp_path / "killed"))
    recorded = Recorded(network).eval()
    continued = list(sample_videos(recorded, spec, sample, [LONG, SHORT], tmp_path / "killed"))
    assert all(torch.equal(a, b) for a, b in zip(whole, continued, strict=True))
    done = killed_after // sample.steps * sample.steps
    total = len(list((tmp_path / "whole").glob("*/*"))) * sample.steps
    assert len(recorded.calls) == total - done


def test_a_batch_that_the_disk_damaged_is_one_line(network, spec, sample, tmp_path):
    list(sample_videos(network, spec, sample, [SHORT], tmp_path))
    (batch,) = tmp_path.glob("*/*.safetensors")
    batch.write_bytes(batch.read_bytes()[:-1])
    with pytest.raises(ArtefactError, match=r"000001\.safetensors: damaged: .*; remove it, and it is made again$"):
        list(sample_videos(network, spec, sample, [SHORT], tmp_path))


def test_the_denoiser_is_told_the_stride_and_the_level_of_given_frames(network, spec, sample, tmp_path):
    """The released code embeds the level s in training and not in sampling, and ignores the stride."""
    recorded = Recorded(network).eval()
    list(sample_videos(recorded, spec, updated(sample, guidance=0.0, perturbation_level=0.2), [LONG], tmp_path))
    predictions = [call for call in recorded.calls if call[2][0] == 4][sample.steps :]
    gaps = [call for call in recorded.calls if call[2][0] == 1]
    assert len(predictions) == sample.steps
    for calls, given in ((predictions, [0]), (gaps, [0, 4])):
        for _, level, _, _ in calls:
            made = [i for i in range(5) if i not in given]
            assert (level[:, given] == torch.tensor(0.2)).all()
            assert (level[:, made] == level[0, made[0]]).all()
    assert [call[1][0, 1].item() for call in predictions] == pytest.approx([1, 2 / 3, 1 / 3])


def test_a_shared_key_frame_is_perturbed_identically_in_every_window_and_step(network, spec, sample, tmp_path):
    recorded = Recorded(network).eval()
    sample = updated(sample, guidance=0.0, perturbation_level=0.2, batch_size=100)
    (video,) = sample_videos(recorded, spec, sample, [LONG], tmp_path)
    gaps = [z for z, _, stride, _ in recorded.calls if stride[0] == 1]
    for z in gaps:
        assert torch.equal(z[:-1, :, 4], z[1:, :, 0])
        assert torch.equal(z[:, :, [0, 4]], gaps[0][:, :, [0, 4]])
    alpha, sigma = Schedule("cosine").alpha_sigma(torch.tensor(0.2))
    noise = (gaps[0][1, :, 0] - alpha * video[:, 4]) / sigma
    assert 0.5 < noise.std() < 1.5


def test_every_window_of_a_video_starts_from_its_own_noise(network, spec, sample, tmp_path):
    recorded = Recorded(network).eval()
    list(sample_videos(recorded, spec, updated(sample, guidance=0.0, batch_size=100), [LONG], tmp_path))
    gaps = next(z for z, _, stride, _ in recorded.calls if stride[0] == 1)
    assert gaps[:, :, 1:4].flatten(1).unique(dim=0).shape[0] == len(gaps) == 5


def test_without_perturbation_given_frames_are_seen_as_they_are(network, spec, sample, tmp_path):
    recorded = Recorded(network).eval()
    (video,) = sample_videos(recorded, spec, updated(sample, perturbation_level=0.0, batch_size=100), [LONG], tmp_path)
    z = recorded.calls[-1][0]
    assert torch.equal(z[1, :, 0], video[:, 4])


def test_guidance_runs_no_pass_that_cannot_differ(network, spec, sample, tmp_path):
    """A first window without a label has nothing to guide away from; the key window and five gaps after it have."""
    recorded = Recorded(network).eval()
    list(sample_videos(recorded, spec, updated(sample, guidance=0.1, condition_guidance=0.5), [LONG], tmp_path))
    assert [len(call[0]) for call in recorded.calls[:: sample.steps]] == [1, 2, 2 * 3, 2 * 2]


def test_guidance_away_from_the_label_runs_its_own_pass(network, spec, sample, tmp_path):
    recorded = Recorded(network).eval()
    list(sample_videos(recorded, spec, updated(sample, guidance=0.0, condition_guidance=0.5), [SHORT], tmp_path))
    assert [call[3].number.tolist() for call in recorded.calls] == [[2, NUM_LABELS]] * sample.steps


def test_without_given_frames_both_guidances_run_one_pass_of_their_summed_weights(network, spec, sample, tmp_path):
    recorded = Recorded(network).eval()
    both = updated(sample, guidance=0.1, condition_guidance=0.5)
    (video,) = sample_videos(recorded, spec, both, [SHORT], tmp_path / "both")
    assert [call[3].number.tolist() for call in recorded.calls] == [[2, NUM_LABELS]] * sample.steps
    label_alone = updated(sample, guidance=0.0, condition_guidance=0.6)
    (expected,) = sample_videos(network, spec, label_alone, [SHORT], tmp_path / "label")
    assert torch.allclose(video, expected, atol=1e-6)


@pytest.mark.parametrize("refine_strength", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("guidance", "condition_guidance"), [(0.0, 0.0), (0.1, 0.5), (-1.0, 0.0), (-0.5, 0.5)])
def test_the_rows_of_every_call_are_known_before(
    network, spec, sample, tmp_path, refine_strength, guidance, condition_guidance
):
    changed = updated(sample, guidance=guidance, condition_guidance=condition_guidance, refine_strength=refine_strength)
    recorded, requests = Recorded(network).eval(), [LONG, SHORT, OTHER, VideoRequest(4, 1, 18)]
    list(sample_videos(recorded, spec, changed, requests, tmp_path))
    assert rows_of_calls(requests, spec.train_denoiser, changed) == [len(z) for z, *_ in recorded.calls]


def test_refinement_at_strength_zero_is_linear_interpolation_without_a_pass(network, spec, sample, tmp_path):
    recorded = Recorded(network).eval()
    (video,) = sample_videos(recorded, spec, updated(sample, refine_strength=0.0), [LONG], tmp_path)
    assert {call[2][0].item() for call in recorded.calls} == {4}
    assert torch.allclose(video[:, 6], (video[:, 4] + video[:, 8]) / 2, atol=1e-6)
    assert torch.allclose(video[:, 5], 0.75 * video[:, 4] + 0.25 * video[:, 8], atol=1e-6)


def test_refinement_starts_gaps_from_their_strength_and_leaves_key_frames_alone(network, spec, sample, tmp_path):
    recorded = Recorded(network).eval()
    (refined,) = sample_videos(recorded, spec, updated(sample, refine_strength=0.5), [LONG], tmp_path / "refined")
    (paper,) = sample_videos(network, spec, sample, [LONG], tmp_path / "paper")
    assert torch.equal(refined[:, ::4], paper[:, ::4])
    assert not torch.allclose(refined[:, 1], paper[:, 1])
    levels = {call[1][0, 1].item() for call in recorded.calls if call[2][0] == 1}
    assert levels == {0.5, 0.25}


@pytest.mark.parametrize(("strength", "steps", "of_a_gap"), [(0.28, 25, 7), (0.5, 5, 3), (0.01, 5, 1), (1.0, 7, 7)])
def test_a_refined_gap_takes_its_part_of_the_steps_rounded_up(spec, sample, strength, steps, of_a_gap):
    changed = updated(sample, refine_strength=strength, steps=steps, guidance=0.0, batch_size=100)
    calls = rows_of_calls([VideoRequest(0, None, 17)], spec.train_denoiser, changed)
    assert calls == [1] * steps + [4] * of_a_gap  # a window of key frames, then its four gaps


def test_the_strength_of_refinement_goes_from_interpolation_to_the_paper(network, spec, sample, tmp_path):
    def gap(strength: float) -> torch.Tensor:
        changed = updated(sample, refine_strength=strength, sampler="ddim", steps=4)
        (video,) = sample_videos(network, spec, changed, [LONG], tmp_path / str(strength))
        return video[:, 1:4]

    interpolated, paper = gap(0.0), gap(1.0)
    distances = [(gap(s) - interpolated).norm().item() for s in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert distances == sorted(distances)
    assert torch.allclose(gap(0.9999), paper, atol=1e-2)


def test_groups_fill_a_batch_in_their_widest_round_and_cover_all_in_order(spec, sample):
    short, long = VideoRequest(0, None, 4), VideoRequest(0, None, 18)  # 1 window; at most 5 gaps at once
    requests = [short] * 7 + [long] * 3
    groups = group_videos(requests, spec.train_denoiser, updated(sample, batch_size=6))
    assert groups == [range(6), range(6, 8), range(8, 9), range(9, 10)]
    assert group_videos(requests, spec.train_denoiser, updated(sample, batch_size=100)) == [range(10)]
    assert group_videos([], spec.train_denoiser, sample) == []


@pytest.mark.parametrize(("count", "together"), [(8, 1), (16, 2), (31, 3), (32, 4), (100, 4)])
def test_many_long_videos_share_the_batches_of_their_key_frames_and_leave_eight_groups(spec, sample, count, together):
    long, changed = VideoRequest(0, None, 18), updated(sample, batch_size=4, guidance=0.0)
    groups = group_videos([long] * count, spec.train_denoiser, changed)
    assert [len(group) for group in groups[:-1]] == [together] * (len(groups) - 1) and len(groups) >= 8
    assert sum(map(len, groups)) == count
    alone = group_videos([long] * count, spec.train_denoiser, updated(sample, batch_size=1))
    assert len(alone) == count, "a batch of one window is shared by none"
    calls = rows_of_calls([long] * 32, spec.train_denoiser, changed)
    assert len(calls) == sample.steps * (8 * 2 + 32 * 5 // 4)  # two rounds of key windows, and the gaps, by fours


@pytest.mark.parametrize(("count", "calls"), [(1, 900), (8, 7200), (32, 9600)])
def test_the_calls_for_videos_of_1024_frames_at_the_papers_sizes_are_those_of_the_docs(count, calls):
    params = parse_params(yaml.safe_load(presets.render("sky_timelapse")))
    experiment = params.experiment(next(iter(params.experiments)))
    requests = [VideoRequest(seed, None, 1024 // 4) for seed in range(count)]
    assert len(rows_of_calls(requests, experiment.train_denoiser, experiment.sample)) == calls


def test_groups_made_apart_are_the_bits_of_all_together(network, spec, sample, tmp_path):
    """However many devices divide the groups among them."""
    requests = [LONG, SHORT, OTHER, SHORT, LONG]
    together = list(sample_videos(network, spec, sample, requests, tmp_path / "together"))
    groups = group_videos(requests, spec.train_denoiser, sample)
    assert len(groups) > 2
    for share in (groups[::2], groups[1::2]):
        apart = sample_videos(network, spec, sample, requests, tmp_path / "apart", share)
        for index, video in zip([i for group in share for i in group], apart, strict=True):
            assert torch.equal(video, together[index])


def test_the_seed_s_perturbation_changes_videos_only_where_frames_are_given(network, spec, sample, tmp_path):
    objective = spec.train_denoiser.objective
    perturbation = objective.perturbation.model_copy(update={"alpha": 0.5})
    train = spec.train_denoiser.model_copy(
        update={"objective": objective.model_copy(update={"perturbation": perturbation})}
    )
    (off,) = sample_videos(network, spec, sample, [LONG], tmp_path / "off")
    (on,) = sample_videos(network, DenoiserSpec(train, PROMPTS, LATENT_SHAPE), sample, [LONG], tmp_path / "on")
    assert torch.equal(off[:, :17:4], on[:, :17:4])  # the first window of key frames
    assert not torch.allclose(off[:, 1], on[:, 1])


def test_sampling_holds_its_arithmetic_for_its_own_work_alone(network, spec, sample, tmp_path):
    def bfloat16() -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16)

    videos = sample_videos(network, spec, sample, [SHORT, SHORT], tmp_path / "a", autocast=bfloat16)
    first = next(videos)
    assert not torch.is_autocast_enabled("cpu")
    (exact,) = sample_videos(network, spec, sample, [SHORT], tmp_path / "b")
    assert first.dtype == torch.float32
    assert not torch.equal(first, exact) and torch.allclose(first, exact, atol=0.2)


class Ramp(nn.Module):
    """The exact denoiser of videos x(position) = position / 10 from window-relative facts alone: given first frames."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(()))

    def forward(self, z, level, stride, condition):
        first = torch.where(level[:, 0] < level[:, 1], z[:, 0, 0, 0, 0], 0.0)
        steps = stride[:, None] * torch.arange(z.shape[2]) / 10
        x0 = (first[:, None] + steps)[:, None, :, None, None]
        alpha, sigma = (s[:, None, :, None, None] for s in Schedule("cosine").alpha_sigma(level))
        return (alpha * z - x0) / sigma.clamp(min=1e-6)


@pytest.mark.parametrize("scheme", ["hierarchical", "autoregressive"])
def test_an_exact_denoiser_makes_the_exact_long_video(train, sample, tmp_path, scheme):
    """Positions, strides and given frames meet: 200 latents of a ramp come out as that ramp."""
    sample = updated(sample, scheme=scheme, guidance=0.0, perturbation_level=0.0, overlap=1)
    request = VideoRequest(seed=0, prompt=None, num_latents=200)
    (video,) = sample_videos(
        Ramp().eval(), DenoiserSpec(train, Prompts.of_labels(0), (1, 1, 1)), sample, [request], tmp_path
    )
    assert torch.allclose(video[0, :, 0, 0], torch.arange(200) / 10, atol=1e-3)


class Constant(nn.Module):
    """The exact denoiser of videos that are one value everywhere, whatever it is given."""

    def __init__(self, value: float):
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value), requires_grad=False)

    def forward(self, z, level, stride, condition):
        alpha, sigma = (s[:, None, :, None, None] for s in Schedule("cosine").alpha_sigma(level))
        return (alpha * z - self.value) / sigma.clamp(min=1e-6)


@pytest.mark.parametrize(
    ("scheme", "num_latents", "of_predictor"),
    [
        ("hierarchical", 200, range(0, 200, 4)),  # key frames, the first unconditional, then extended; the rest is gaps
        ("hierarchical", 5, range(5)),  # a short clip is one unconditional window
        ("autoregressive", 60, range(60)),
    ],
)
@pytest.mark.parametrize("guidance", [0.0, 0.5])
def test_a_separate_interpolator_makes_exactly_the_gaps(
    train, sample, tmp_path, scheme, num_latents, of_predictor, guidance
):
    spec = DenoiserSpec(train, Prompts.of_labels(0), (1, 1, 1))
    request = VideoRequest(seed=0, prompt=None, num_latents=num_latents)
    predictor, interpolator = Constant(1.0).eval(), Constant(-1.0).eval()
    changed = updated(sample, scheme=scheme, guidance=guidance, perturbation_level=0.0, batch_size=7)
    (video,) = sample_videos(predictor, spec, changed, [request], tmp_path, interpolator=interpolator)
    expected = torch.full((num_latents,), -1.0)
    expected[list(of_predictor)] = 1.0
    torch.testing.assert_close(video[0, :, 0, 0], expected, atol=1e-3, rtol=0)
