from __future__ import annotations

import pytest
import torch

from lvdm.diffusion.frame_conditions import FrameConditions, draw_frame_conditions
from lvdm.diffusion.noise import generator_of
from lvdm.diffusion.schedule import Schedule

WINDOW = 6


@pytest.fixture(scope="module")
def drawn(train):
    return draw_frame_conditions(train.objective, WINDOW, [generator_of(i) for i in range(4000)])


def kinds(given: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Which windows are unconditional, predict and interpolate."""
    return ~given.any(1), given[:, 0] & ~given[:, -1], given[:, 0] & given[:, -1]


def test_tasks_come_as_often_as_asked(drawn, train):
    unconditional, predict, interpolate = kinds(drawn.given)
    assert predict.float().mean() == pytest.approx(train.objective.tasks.predict, abs=0.03)
    assert interpolate.float().mean() == pytest.approx(train.objective.tasks.interpolate, abs=0.03)
    assert (unconditional | predict | interpolate).all()


def test_prediction_is_given_one_to_max_given_first_frames_never_all(drawn, train):
    """The released code marks every frame as known when it predicts."""
    given = drawn.given[kinds(drawn.given)[1]]
    counts = given.sum(1)
    assert counts.unique().tolist() == list(range(1, train.objective.max_given + 1))
    assert torch.equal(given, torch.arange(WINDOW) < counts[:, None])


def test_interpolation_is_given_both_ends_and_nothing_between(drawn):
    given = drawn.given[kinds(drawn.given)[2]]
    assert given[:, [0, -1]].all()
    assert not given[:, 1:-1].any()


def test_a_share_of_windows_has_an_independent_level_a_frame_and_all_frames_to_make(train):
    tasks = train.objective.tasks.model_copy(update={"predict": 0.2, "interpolate": 0.3, "independent": 0.4})
    drawn = draw_frame_conditions(
        train.objective.model_copy(update={"tasks": tasks}), WINDOW, [generator_of(i) for i in range(4000)]
    )
    _, predict, interpolate = kinds(drawn.given)
    assert predict.float().mean() == pytest.approx(0.2, abs=0.03)
    assert interpolate.float().mean() == pytest.approx(0.3, abs=0.03)
    of_its_own = ~drawn.given.any(1) & (drawn.level != drawn.level[:, :1]).any(1)
    assert of_its_own.float().mean() == pytest.approx(0.4, abs=0.03)
    level = drawn.level[of_its_own]
    assert level.min() > 0
    quarters = torch.histc(level, bins=4, min=0, max=1) / level.numel()
    assert quarters.tolist() == pytest.approx([0.25] * 4, abs=0.02)
    assert (level.T.corrcoef() - torch.eye(WINDOW)).abs().max() < 0.1


def test_a_task_can_be_held_at_a_level(drawn):
    held = drawn.at(0.3)
    assert torch.equal(held.given, drawn.given)
    assert torch.equal(held.level[drawn.given], drawn.level[drawn.given])
    assert (held.level[~drawn.given] == 0.3).all()


def test_frames_to_make_share_a_level_that_is_uniform_up_to_the_top(drawn):
    level = drawn.level.masked_fill(drawn.given, torch.nan)
    assert torch.equal(level.nan_to_num(-1).amax(1), level.nan_to_num(2).amin(1))
    t = level.nan_to_num(0).amax(1)
    assert t.min() > 0
    assert t.mean() == pytest.approx(0.5, abs=0.02)


def test_given_frames_share_a_small_level_or_are_all_raised_to_the_top(drawn, train):
    objective, some = train.objective, drawn.given.any(1)
    high = drawn.level.masked_fill(~drawn.given, 0).amax(1)[some]
    low = drawn.level.masked_fill(~drawn.given, 2).amin(1)[some]
    assert torch.equal(high, low)
    raised = low == 1
    assert raised.float().mean() == pytest.approx(objective.raise_given, abs=0.03)
    assert low[~raised].max() < objective.perturbation.max_level
    assert low[~raised].mean() == pytest.approx(objective.perturbation.max_level / 2, abs=0.01)


def test_what_is_drawn_for_a_window_does_not_depend_on_its_batch(train):
    together = draw_frame_conditions(train.objective, WINDOW, [generator_of(i) for i in range(8)])
    alone = draw_frame_conditions(train.objective, WINDOW, [generator_of(5)])
    assert torch.equal(together.level[5], alone.level[0])
    assert torch.equal(together.given[5], alone.given[0])


def test_a_hidden_frame_leaves_nothing_of_itself_even_where_the_schedule_would():
    given = torch.tensor([[True, False]])
    conditions = FrameConditions(given, torch.tensor([[0.1, 1.0]])).hidden()
    assert conditions.level.tolist() == [[1, 1]]
    latent, noise = torch.ones(1, 1, 2, 1, 1), torch.zeros(1, 1, 2, 1, 1)
    z = conditions.noised(Schedule("scaled_linear"), latent, noise).flatten()
    assert z[0] == 0
    assert z[1] > 0.02


def test_interpolation_needs_a_window_with_a_middle(train):
    with pytest.raises(AssertionError, match="between the ends"):
        draw_frame_conditions(train.objective, 2, [generator_of(0)])
