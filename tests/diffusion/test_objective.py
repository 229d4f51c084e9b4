from __future__ import annotations

import pytest
import torch

from lvdm.diffusion.frame_conditions import draw_frame_conditions
from lvdm.diffusion.noise import draw_noise, generator_of
from lvdm.diffusion.objective import Draws, denoising_loss, min_snr_weight
from lvdm.diffusion.perturbation import add_perturbed_condition
from lvdm.diffusion.schedule import Schedule
from lvdm.models.condition import Condition

from .conftest import LATENT_SHAPE, NUM_LABELS, asked

WINDOW = 5


def batch(size: int) -> tuple[torch.Tensor, torch.Tensor, Condition]:
    channels, height, width = LATENT_SHAPE
    latent = draw_noise(
        [generator_of("latent", i) for i in range(size)], torch.empty(size, channels, WINDOW, height, width)
    )
    return latent, torch.ones(size, dtype=torch.long), asked(*(i % NUM_LABELS for i in range(size)))


def loss_of(denoiser, objective, size=64, **changes):
    generators = [generator_of(i) for i in range(size)]
    objective, examples = objective.model_copy(update=changes), batch(size)
    return denoising_loss(denoiser, *examples, objective, Draws.of(objective, examples[0], generators))


class Oracle:
    """Knows the latents, and says exactly what a denoiser of each prediction should; off by `error` on given frames."""

    def __init__(self, prediction: str, schedule: Schedule, size: int, error_on: torch.Tensor | None = None):
        self.prediction, self.schedule, self.latent = prediction, schedule, batch(size)[0]

    def __call__(self, z, level, stride, condition):
        alpha, sigma = (s[:, None, :, None, None] for s in self.schedule.alpha_sigma(level))
        eps = torch.where(sigma > 0, (z - alpha * self.latent) / sigma.clamp(min=1e-12), 0)
        exact = {"x0": self.latent, "eps": eps, "v": alpha * eps - sigma * self.latent}[self.prediction]
        shared = level.mode(dim=1).values  # of the frames to make, in windows with few given frames
        return torch.where((level == shared[:, None])[:, None, :, None, None], exact, exact + 100)


@pytest.mark.parametrize("prediction", ["v", "eps", "x0"])
@pytest.mark.parametrize("loss", ["l1", "l2"])
def test_the_right_answer_costs_nothing_and_given_frames_have_no_weight(train, prediction, loss):
    schedule = "scaled_linear" if prediction == "eps" else "cosine"
    oracle = Oracle(prediction, Schedule(schedule), 64)
    changes = {"prediction": prediction, "schedule": schedule, "loss": loss, "max_given": 1}
    result = loss_of(oracle, train.objective, **changes)
    assert result.error.max() < 1e-4
    assert result.loss < 1e-4


@pytest.mark.parametrize("level", [None, 0.5])
def test_a_window_s_loss_is_the_mean_over_its_frames_to_make_however_many_are_given(train, level):
    size = 64
    latent = torch.ones(size, *batch(1)[0].shape[1:])
    draws = Draws.of(train.objective, latent, [generator_of(i) for i in range(size)])
    objective = train.objective.model_copy(update={"prediction": "x0", "min_snr_gamma": None})
    result = denoising_loss(lambda z, *_: torch.zeros_like(z), latent, *batch(size)[1:], objective, draws, level)
    assert draws.conditions.given.sum(dim=1).unique().tolist() == [0, 1, 2, 3]
    torch.testing.assert_close(result.error, torch.ones(size))
    torch.testing.assert_close(result.loss, torch.ones(()))


def test_the_gradient_reaches_frames_to_make_only(train):
    seen = {}

    def denoiser(z, level, stride, condition):
        seen["level"], seen["output"] = level, torch.zeros_like(z, requires_grad=True)
        return seen["output"]

    objective = train.objective.model_copy(update={"max_given": 2, "min_snr_gamma": None})
    loss_of(denoiser, objective).loss.backward()
    touched = seen["output"].grad.abs().sum(dim=(1, 3, 4)) > 0
    made = seen["level"] == seen["level"][:, 2:3]  # the third frame is never given here
    assert torch.equal(touched, made)
    assert not made.all()


def test_with_independent_levels_the_loss_is_on_all_frames_and_weighted_at_the_level_of_each(train):
    seen = {}

    def denoiser(z, level, stride, label):
        seen["level"], seen["output"] = level, torch.zeros_like(z, requires_grad=True)
        return seen["output"]

    tasks = train.objective.tasks.model_copy(update={"predict": 0.0, "interpolate": 0.0, "independent": 0.99})
    loss_of(denoiser, train.objective.model_copy(update={"tasks": tasks})).loss.backward()
    latent, gradient = batch(64)[0], seen["output"].grad
    alpha, sigma = Schedule("cosine").alpha_sigma(seen["level"])
    weight = min_snr_weight("v", alpha, sigma, train.objective.min_snr_gamma)[:, None, :, None, None]
    mean_square = (gradient / weight).square().mean(dim=(1, 3, 4))
    assert (gradient.abs().sum(dim=(1, 3, 4)) > 0).all()
    variance = (2 / latent.numel()) ** 2  # of the gradient 2 (0 - v) / numel, for v of variance 1
    assert mean_square.mean().item() == pytest.approx(variance, rel=0.1)


@pytest.mark.parametrize("level", [0.0, 1e-3, 0.2, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("gamma", [1.0, 5.0])
def test_min_snr_weights_are_one_weight_of_x0_in_every_prediction(level, gamma):
    schedule, t = Schedule("cosine"), torch.tensor(level, dtype=torch.float64)
    alpha, sigma = schedule.alpha_sigma(t)
    weights = {p: min_snr_weight(p, alpha, sigma, gamma) for p in ("x0", "eps", "v")}
    assert all(w.isfinite() for w in weights.values())
    snr = (alpha / sigma).square().item()
    assert weights["x0"] == pytest.approx(min(snr, gamma))
    if 0 < level < 1:
        assert weights["eps"].item() * snr == pytest.approx(weights["x0"].item())
        assert weights["v"].item() * (snr + 1) == pytest.approx(weights["x0"].item())


def test_the_same_error_of_x0_costs_the_same_in_every_prediction(train):
    """In the scaled-linear schedule, where all three are defined."""

    def off_by_one(prediction):
        def denoiser(z, level, stride, condition):
            alpha, sigma = (s[:, None, :, None, None] for s in Schedule("scaled_linear").alpha_sigma(level))
            exact = Oracle(prediction, Schedule("scaled_linear"), 64)
            shift = {"x0": torch.ones_like(sigma), "eps": -alpha / sigma, "v": -1 / sigma}[prediction]
            return exact(z, level, stride, condition) + shift

        return denoiser

    for loss in ("l1", "l2"):
        tasks = train.objective.tasks.model_copy(update={"predict": 0.0, "interpolate": 0.0})
        changes = {"schedule": "scaled_linear", "loss": loss, "tasks": tasks}
        losses = [
            loss_of(off_by_one(p), train.objective, prediction=p, **changes).loss.item() for p in ("x0", "eps", "v")
        ]
        assert losses[0] > 0.1
        assert losses == pytest.approx([losses[0]] * 3, rel=1e-3)


def test_a_window_s_loss_does_not_depend_on_its_batch(network, train):
    together = loss_of(network, train.objective, size=6)
    latent, stride, _ = batch(6)
    draws = Draws.of(train.objective, latent[4:5], [generator_of(4)])
    alone = denoising_loss(network, latent[4:5], stride[4:5], asked(4 % NUM_LABELS), train.objective, draws)
    assert torch.allclose(together.error[4], alone.error[0], rtol=1e-5)


def test_the_seed_s_perturbation_shifts_what_the_denoiser_reads_in_training(train):
    def read(alpha: float) -> torch.Tensor:
        seen = []
        perturbation = train.objective.perturbation.model_copy(update={"alpha": alpha})
        loss_of(lambda z, *_: seen.append(z) or z, train.objective, perturbation=perturbation)
        return seen[0]

    given = Draws.of(train.objective, batch(64)[0], [generator_of(i) for i in range(64)]).conditions.given
    assert torch.equal(read(0.5), add_perturbed_condition(read(0.0), given, 0.5))
    assert not torch.equal(read(0.5), read(0.0))


def test_labels_are_dropped_as_often_as_asked(train):
    labels = []

    def denoiser(z, level, stride, condition):
        labels.append(condition.number)
        return z

    loss_of(denoiser, train.objective, size=1000, drop_condition=0.3, raise_given=0.0)
    assert (labels[0] == NUM_LABELS).float().mean() == pytest.approx(0.3, abs=0.05)
    assert torch.equal(labels[0][labels[0] < NUM_LABELS], batch(1000)[2].number[labels[0] < NUM_LABELS])


def test_where_the_given_frames_are_raised_the_label_is_dropped(train):
    """Else the pass that guidance runs without either is hardly ever trained."""
    seen = []

    def denoiser(z, level, stride, condition):
        seen.append((level, condition.number))
        return z

    loss_of(denoiser, train.objective, size=1000, raise_given=0.4, drop_condition=0.0)
    drawn = draw_frame_conditions(
        train.objective.model_copy(update={"raise_given": 0.4}), WINDOW, [generator_of(i) for i in range(1000)]
    )
    raised = (drawn.given & (seen[0][0] == 1)).any(dim=1)
    assert 0.2 < raised.float().mean() < 0.4
    assert torch.equal(seen[0][1] == NUM_LABELS, raised)


def test_the_stride_is_passed_on(train):
    """The released loaders compute the stride and then ignore it."""
    seen = []

    def denoiser(z, level, stride, condition):
        seen.append(stride)
        return z

    latent, _, condition = batch(2)
    draws = Draws.of(train.objective, latent, [generator_of(0)] * 2)
    denoising_loss(denoiser, latent, torch.tensor([1, 4]), condition, train.objective, draws)
    assert seen[0].tolist() == [1, 4]


def test_a_denoiser_learns_from_the_loss(train):
    """Latents of constant value: a network of one number a label learns it."""
    value = torch.nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.Adam([value], lr=0.1)
    latent, stride = torch.full((8, 1, WINDOW, 1, 1), 3.0), torch.ones(8, dtype=torch.long)
    objective = train.objective.model_copy(update={"prediction": "x0"})
    generators = [generator_of(i) for i in range(8)]
    for _ in range(100):
        draws = Draws.of(objective, latent, generators)
        loss = denoising_loss(lambda z, *_: value.expand_as(z), latent, stride, asked(*[0] * 8), objective, draws).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert value.item() == pytest.approx(3, abs=0.2)
