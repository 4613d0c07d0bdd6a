"""GraSP: the closed form of a quadratic loss, both signs, halves, temperature, an untouched model."""

from __future__ import annotations

import pytest
import torch
from tiny_networks import MLP, SmallResNet, SmallVGG, built, drawn, same_afterwards
from torch import Tensor, nn
from torch.nn import functional as F

from wirings.core.settings import from_plain, to_plain
from wirings.core.streams import stream
from wirings.makers.gradients import Problem
from wirings.makers.grasp import GraSP, balanced, grasp, grasp_scores
from wirings.makers.prunable import prunable


def images(n: int = 20) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    return torch.randn(n, 3, 8, 8, generator=rng), torch.arange(n) % 5


def quadratic(a: Tensor):  # type: ignore[no-untyped-def]
    """A linear layer whose loss is ``w' A w / 2``: it answers with w when it reads the unit matrix."""
    model = built(MLP, len(a), 1).double()
    return model, torch.eye(len(a), dtype=torch.float64), lambda w, _: w[:, 0] @ a @ w[:, 0] / 2


def test_a_quadratic_loss_scores_weight_times_a_a_weight() -> None:
    a = torch.tensor([[2.0, -1.0, 0.0], [-1.0, 3.0, 0.5], [0.0, 0.5, 1.0]], dtype=torch.float64)
    model, x, loss = quadratic(a)
    w = model.layers[0].weight.detach()[0]
    expected = w * (a @ (a @ w))
    problem = Problem(model, prunable(model), [(x, x)], loss)
    assert torch.allclose(grasp_scores(problem)["layers.0.weight"][0], expected, rtol=1e-13)
    assert torch.allclose(grasp_scores(problem, sign="synflow-data")["layers.0.weight"][0], -expected, rtol=1e-13)


def test_what_is_kept_holds_the_gradient_up() -> None:
    a = torch.diag(torch.tensor([1.0, 4.0, 2.0, 3.0], dtype=torch.float64))
    model, x, loss = quadratic(a)
    with torch.no_grad():
        model.layers[0].weight.fill_(1.0)
    batches = [(x, x), (x, x)]  # one that is given twice is not cut: w * H g is 4 w a² here
    assert grasp(model, batches, 0.5, loss=loss)["layers.0.weight"].index.tolist() == [1, 3]
    other = grasp(model, batches, 0.5, loss=loss, sign="synflow-data")["layers.0.weight"]
    assert other.index.tolist() == [0, 2]


def test_the_halves_are_summed_before_and_after() -> None:
    a = torch.tensor([[2.0, -1.0], [-1.0, 3.0]], dtype=torch.float64)
    model, x, loss = quadratic(a)
    w = model.layers[0].weight.detach()[0]
    twice = grasp_scores(Problem(model, prunable(model), [(x, x), (x, x)], loss))["layers.0.weight"][0]
    assert torch.allclose(twice, 4 * w * (a @ (a @ w)), rtol=1e-13)  # g and H g are both doubled


def test_the_score_is_half_the_drop_of_the_squared_gradient_norm() -> None:
    model = built(SmallVGG).double().eval()
    x, y = images(6)
    problem = Problem(model, prunable(model), [(x.double(), y)], temperature=2.0)
    scores = grasp_scores(problem)["fc.weight"]
    top = int(scores.abs().argmax())
    step = 1e-5

    def squared_norm() -> Tensor:
        return torch.stack([g.square().sum() for g in problem.gradient(None).values()]).sum()

    before = squared_norm()
    with torch.no_grad():
        model.fc.weight.view(-1)[top] *= 1 - step
    assert float(before - squared_norm()) / (2 * step) == pytest.approx(float(scores.view(-1)[top]), rel=1e-3)


def test_the_temperature_divides_the_logits() -> None:
    model = built(SmallVGG)
    hot = grasp(model, images(), 0.1)
    assert hot == grasp(model, images(), 0.1, temperature=200)
    assert hot == grasp(model, images(), 0.1, loss=lambda a, t: F.cross_entropy(a, t))
    assert hot != grasp(model, images(), 0.1, temperature=1)


@pytest.mark.parametrize("norms", ["train", "eval"])
@pytest.mark.parametrize("make", [SmallVGG, SmallResNet])
def test_the_model_is_the_same_afterwards_and_the_wiring_repeats(make: type[nn.Module], norms: str) -> None:
    model = built(make).train()
    with same_afterwards(model):
        first = grasp(model, images(), 0.1, norms=norms)  # type: ignore[arg-type]
        assert grasp(model, images(), 0.1, norms=norms) == first  # type: ignore[arg-type]
    assert first.nnz == round(0.1 * first.numel)


def test_linear_layers_may_be_redrawn_for_scoring() -> None:
    model = built(SmallVGG)
    with same_afterwards(model):
        drawn_once = grasp(model, images(), 0.1, redraw_linear=True)
    assert drawn_once == grasp(model, images(), 0.1, redraw_linear=True, rng=stream(0, "grasp"))
    assert drawn_once != grasp(model, images(), 0.1)


def test_attention_can_be_differentiated_twice() -> None:
    encoder = drawn(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.3))
    x = torch.randn(4, 5, 8, generator=torch.Generator().manual_seed(0))
    with same_afterwards(encoder):
        wiring = grasp(encoder, (x, x), 0.5, loss=lambda a, t: (a - t).square().mean())
    assert wiring.nnz == round(0.5 * wiring.numel)


def test_balanced_batches_hold_every_class_evenly_in_both_halves() -> None:
    x = torch.arange(12.0)[:, None]
    y = torch.tensor([0, 0, 0, 0, 0, 1, 1, 2, 1, 2, 2, 0])
    inputs, targets = balanced([(x[:6], y[:6]), (x[6:], y[6:])], classes=3, each=2)
    assert targets.tolist() == [0, 1, 2, 0, 1, 2]
    assert inputs.flatten().tolist() == [0, 5, 7, 1, 6, 9]
    with pytest.raises(ValueError, match=r"asks for 9 samples of every class. Got 6 of class 0"):
        balanced([(x, y)], classes=3, each=9)
    with pytest.raises(ValueError, match=r"classes below 2. Got 2"):
        balanced([(x, y)], classes=2)


def test_settings_collect_a_balanced_batch_by_themselves() -> None:
    model = built(SmallVGG)
    x, y = images(40)
    batches = [(x[i : i + 8], y[i : i + 8]) for i in range(0, 40, 8)]
    wiring = GraSP(0.1, samples_per_class=4).of_model(model, (1, 3, 8, 8), batches, stream(0, "wiring"))
    assert wiring == grasp(model, balanced(batches, classes=5, each=4), 0.1)


@pytest.mark.parametrize(
    ("keywords", "text"),
    [
        ({"sign": "other"}, '`sign` of `grasp` must be "paper" or "synflow-data"'),
        ({"temperature": 0.0}, "`temperature` of `grasp` must be a positive number"),
        ({"temperature": float("nan")}, "`temperature` of `grasp` must be a positive number"),
    ],
)
def test_arguments_that_cannot_be_are_refused(keywords: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        grasp(built(SmallVGG), images(), 0.1, **keywords)  # type: ignore[arg-type]


def test_settings_survive_plain_data() -> None:
    maker = GraSP(0.1, sign="synflow-data", temperature=3.0, samples_per_class=2)
    assert from_plain("maker", to_plain(maker)) == maker
    with pytest.raises(ValueError, match="`GraSP` needs data"):
        maker.of_model(built(SmallVGG), (1, 3, 8, 8), None, stream(0, "wiring"))
