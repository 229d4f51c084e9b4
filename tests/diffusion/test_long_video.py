from __future__ import annotations

import operator
from collections import Counter
from itertools import accumulate, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvdm.diffusion.long_video import plan_long_video
from lvdm.errors import ParamsError


@st.composite
def requests(draw) -> dict[str, Any]:
    window = draw(st.integers(2, 9))
    ratios = draw(st.lists(st.integers(2, window - 1), max_size=4)) if window > 2 else []
    overlap = draw(st.integers(1, window - 1))
    scheme = draw(st.sampled_from(["hierarchical", "autoregressive"]))
    return {
        "num_latents": draw(st.integers(1, 700)),
        "window": window,
        "strides": tuple(accumulate([1, *ratios], operator.mul)),
        "overlap": overlap,
        "scheme": scheme,
    }


@given(requests())
def test_every_latent_is_made_exactly_once(request):
    plan = plan_long_video(**request)
    made = Counter(p for windows in plan.rounds for window in windows for p in window.made)
    assert set(made.values()) == {1}
    assert set(range(plan.num_latents)) <= set(made)


@pytest.mark.parametrize(
    ("num_latents", "scheme", "joins"),
    [
        (18, "hierarchical", (1, 4, 5, 8, 9, 12, 13, 16, 17)),  # on either side of every key frame but the first
        (18, "autoregressive", (5, 9, 13, 17)),
        (5, "hierarchical", ()),
        (1, "autoregressive", ()),
    ],
)
def test_joins_are_where_another_window_made_the_latent_than_the_one_before(num_latents, scheme, joins):
    assert plan_long_video(num_latents, window=5, strides=(1, 4), overlap=1, scheme=scheme).joins == joins


@given(requests())
def test_no_window_sees_a_latent_that_is_not_yet_made(request):
    plan = plan_long_video(**request)
    made: set[int] = set()
    for windows in plan.rounds:
        for window in windows:
            assert {p for p in window.positions if p not in window.made} <= made
        made |= {p for window in windows for p in window.made}


@given(requests())
def test_windows_are_of_the_three_tasks_that_training_knows(request):
    """The released code marks every latent as known when it predicts."""
    plan, length, overlap = plan_long_video(**request), request["window"], request["overlap"]
    coarser = dict(pairwise(request["strides"]))
    for number, windows in enumerate(plan.rounds):
        for window in windows:
            steps = {b - a for a, b in pairwise(window.positions)}
            assert steps == {window.stride}
            assert window.made
            if window.fills_a_gap:
                made = coarser[window.stride] // window.stride - 1  # between the two ends
                assert window.given == (True, *[False] * made, True)
            else:
                given = 0 if number == 0 else overlap
                assert window.given == (*[True] * given, *[False] * (length - given))


@given(requests())
def test_little_is_made_past_the_end(request):
    plan, length = plan_long_video(**request), request["window"]
    coarsest = plan.rounds[0][0].stride
    assert plan.num_latents <= plan.extent <= plan.num_latents + (length - 1) * coarsest
    assert plan.num_latents > 1 or coarsest == 1


@pytest.mark.parametrize("num_latents", [256, 1024])
def test_all_gaps_between_key_frames_are_filled(num_latents):
    """The released code fills a third of them."""
    plan = plan_long_video(num_latents, 5, (1, 4), 1, "hierarchical")
    keys = [p for windows in plan.rounds[:-1] for window in windows for p in window.made if p < num_latents]
    assert keys == list(range(0, num_latents, 4))
    assert len(plan.rounds[-1]) == num_latents // 4


def test_the_gaps_of_a_level_are_one_round_and_levels_go_from_coarse_to_fine():
    plan = plan_long_video(600, 5, (1, 4, 16), 1, "hierarchical")
    strides = [windows[0].stride for windows in plan.rounds]
    assert strides == sorted(strides, reverse=True)
    assert strides.count(4) == strides.count(1) == 1
    assert len(plan.rounds[-1]) == 150


def test_a_video_of_one_window_is_one_window_at_stride_one():
    for num_latents in range(1, 6):
        (windows,) = plan_long_video(num_latents, 5, (1, 4, 16), 1, "hierarchical").rounds
        assert [(w.positions, w.stride) for w in windows] == [((0, 1, 2, 3, 4), 1)]


def test_a_coarser_stride_than_the_video_needs_is_not_used():
    assert plan_long_video(10, 5, (1, 4, 16), 1, "hierarchical") == plan_long_video(10, 5, (1, 4), 1, "hierarchical")


def test_autoregressive_extends_at_stride_one_with_the_overlap():
    plan = plan_long_video(12, 5, (1, 4), 2, "autoregressive")
    assert [windows[0].positions[0] for windows in plan.rounds] == [0, 3, 6, 9]
    assert all(windows[0].stride == 1 for windows in plan.rounds)


@given(requests())
def test_each_level_makes_what_the_levels_above_it_left_out(request):
    """Down to a stride, the latents made are all multiples of it."""
    plan = plan_long_video(**request)
    made = Counter(w.stride for windows in plan.rounds for w in windows for p in w.made if p < plan.num_latents)
    coarser = dict(pairwise(request["strides"]))
    for stride in made:
        up_to_here = sum(count for s, count in made.items() if s >= stride)
        assert up_to_here == len(range(0, plan.num_latents, stride))
        assert stride == plan.rounds[0][0].stride or coarser[stride] in made


@pytest.mark.parametrize(("num_latents", "overlap"), [(0, 1), (10, 0), (10, 5)])
def test_lengths_and_overlaps_that_make_nothing_are_refused(num_latents, overlap):
    with pytest.raises(ParamsError):
        plan_long_video(num_latents, 5, (1, 4), overlap, "hierarchical")


@pytest.mark.parametrize("strides", [(), (2,), (1, 1), (1, 5), (1, 4, 6), (1, 4, 20)])
def test_strides_whose_gaps_are_no_windows_are_refused(strides):
    with pytest.raises(ParamsError, match=r"train_denoiser\.strides: expected 1 first"):
        plan_long_video(100, 5, strides, 1, "hierarchical")
