"""SNIP, iterative SNIP and FORCE: closed forms, exact counts, an untouched model."""

from __future__ import annotations

import itertools

import pytest
import torch
from tiny_networks import MLP, SmallVGG, built, drawn, same_afterwards
from torch import Tensor, nn
from torch.nn import functional as F

from wirings.core.settings import from_plain, to_plain
from wirings.core.streams import stream
from wirings.makers.gradients import Problem
from wirings.makers.prunable import prunable
from wirings.makers.scoring import CollapseWarning, remaining
from wirings.makers.snip import SNIP, snip, snip_scores


def images(n: int = 12, seed: int = 0) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(n, 3, 8, 8, generator=rng), torch.arange(n) % 5


def total(answer: Tensor, targets: Tensor) -> Tensor:
    return (answer * targets).sum()


def test_a_linear_loss_scores_weight_times_gradient() -> None:
    model = built(MLP, 3, 2).double()
    x = torch.tensor([[1.0, -2.0, 0.5], [0.0, 1.0, 3.0]], dtype=torch.float64)
    t = torch.tensor([[1.0, 2.0], [-1.0, 0.5]], dtype=torch.float64)
    scores = snip_scores(Problem(model, prunable(model), [(x, t)], total))
    weight = model.layers[0].weight.detach()
    assert torch.allclose(scores["layers.0.weight"], (weight * (t.T @ x)).abs(), rtol=1e-14)


def test_the_highest_scores_are_kept_over_all_layers_and_ties_go_to_the_lower_index() -> None:
    model = built(MLP, 2, 2).double()
    with torch.no_grad():
        model.layers[0].weight.copy_(torch.tensor([[1.0, -1.0], [1.0, 2.0]]))
    ones = torch.ones(1, 2, dtype=torch.float64)
    assert snip(model, (ones, ones), 0.5, loss=total)["layers.0.weight"].index.tolist() == [0, 3]


def test_gradients_of_all_batches_are_summed() -> None:
    model = built(SmallVGG).double()
    x, y = images()
    x = x.double()
    whole = snip_scores(
        Problem(model.eval(), prunable(model), [(x, y)], lambda a, t: F.cross_entropy(a, t, reduction="sum"))
    )
    parts = [(x[:5], y[:5]), (x[5:], y[5:])]
    summed = snip_scores(Problem(model, prunable(model), parts, lambda a, t: F.cross_entropy(a, t, reduction="sum")))
    assert all(torch.allclose(whole[n], summed[n], rtol=1e-9, atol=1e-15) for n in whole)


@pytest.mark.parametrize("norms", ["eval", "train"])
@pytest.mark.parametrize("rounds", [1, 4])
def test_the_model_is_the_same_afterwards_and_the_wiring_repeats(norms: str, rounds: int) -> None:
    model = built(SmallVGG).train()
    model.bn1.eval()
    with same_afterwards(model):
        first = snip(model, images(), 0.1, norms=norms, rounds=rounds)  # type: ignore[arg-type]
        assert snip(model, images(), 0.1, norms=norms, rounds=rounds) == first  # type: ignore[arg-type]
    assert first.nnz == round(0.1 * first.numel)


def test_several_batches_may_come_from_any_iterable() -> None:
    model = built(SmallVGG)
    batches = [images(6, seed) for seed in range(3)]
    assert snip(model, iter(batches), 0.1) == snip(model, batches, 0.1)
    assert snip(model, list(images(6, 0)), 0.1) == snip(model, [batches[0]], 0.1)  # type: ignore[arg-type]


def test_iterative_snip_differs_from_one_shot_and_both_keep_their_counts() -> None:
    model = built(SmallVGG)
    once, often = snip(model, images(), 0.05), snip(model, images(), 0.05, rounds=10)
    assert once != often
    assert once.nnz == often.nnz == round(0.05 * once.numel)


def test_force_scores_removed_connections_with_the_weight_they_had() -> None:
    model = built(MLP, 4, 3).double()
    problem = Problem(model, prunable(model), [(torch.ones(1, 4).double(), torch.ones(1, 3).double())], total)
    masks = {"layers.0.weight": torch.zeros(3, 4, dtype=torch.bool)}
    assert float(snip_scores(problem, masks)["layers.0.weight"].sum()) == 0
    weight = model.layers[0].weight.detach()
    assert torch.allclose(snip_scores(problem, masks, force=True)["layers.0.weight"], weight.abs(), rtol=1e-14)


def test_force_lets_connections_return_and_iterative_snip_does_not() -> None:
    model = built(SmallVGG)
    shares = [remaining(0.02, k, 6) for k in range(1, 7)]
    assert shares == sorted(shares, reverse=True)
    forced = snip(model, images(), 0.02, rounds=6, force=True)
    sticky = snip(model, images(), 0.02, rounds=6)
    assert forced.nnz == sticky.nnz
    assert forced != sticky


def test_the_original_scores_biases_on_a_fresh_draw() -> None:
    model = drawn(nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)))
    x, y = torch.randn(8, 6, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 3
    with same_afterwards(model), pytest.warns(CollapseWarning, match=r"no connection in `0.bias`, `2.bias`"):
        wiring = snip(model, (x, y), 0.3, original=True)
    assert list(wiring) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert wiring.nnz == round(0.3 * (30 + 5 + 15 + 3))
    with torch.no_grad():
        model[0].weight.neg_()
    with pytest.warns(CollapseWarning):
        assert snip(model, (x, y), 0.3, original=True) == wiring  # the model's own weights are not looked at
    with pytest.warns(CollapseWarning):
        assert snip(model, (x, y), 0.3, original=True, rng=stream(1, "snip")) != wiring


def test_settings_read_as_many_batches_as_they_ask_for() -> None:
    read = []

    def endless():  # type: ignore[no-untyped-def]
        for seed in itertools.count():
            read.append(seed)
            yield images(6, seed)

    model = built(SmallVGG)
    wiring = SNIP(0.1, batches=2).of_model(model, (1, 3, 8, 8), endless(), stream(0, "wiring"))
    assert read == [0, 1]
    assert wiring == snip(model, [images(6, 0), images(6, 1)], 0.1)


def test_batches_by_name_take_the_models_own_loss() -> None:
    class Answer(dict):  # type: ignore[type-arg]
        @property
        def loss(self) -> Tensor:
            found: Tensor = self["loss"]
            return found

    class ByName(MLP):
        def forward(self, x: Tensor, labels: Tensor | None = None) -> Answer:  # type: ignore[override]
            answer = super().forward(x)
            loss = None if labels is None else F.cross_entropy(answer, labels)
            return Answer(loss=loss, logits=answer)

    x, y = torch.randn(8, 6, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 3
    by_name = snip(built(ByName, 6, 5, 3), {"x": x, "labels": y}, 0.3)
    assert by_name == snip(built(MLP, 6, 5, 3), (x, y), 0.3)
    own = snip(built(ByName, 6, 5, 3), {"x": x, "labels": y}, 0.3, loss=F.cross_entropy)
    assert own == by_name


@pytest.mark.parametrize(
    ("keywords", "error", "text"),
    [
        ({"force": True}, ValueError, "`force` of `snip` needs `rounds` of at least 2"),
        ({"original": True, "where": ["fc"]}, ValueError, "settles the prunable set itself"),
        ({"batch": []}, ValueError, "must hold at least one batch"),
        ({"batch": torch.ones(2)}, TypeError, r"must be \(inputs, targets\). Got a tensor alone"),
    ],
)
def test_arguments_that_cannot_be_are_refused(keywords: dict[str, object], error: type[Exception], text: str) -> None:
    given = {"batch": images(), "density": 0.1, **keywords}
    with pytest.raises(error, match=text):
        snip(built(SmallVGG), **given)  # type: ignore[arg-type]


def test_a_loss_that_is_not_finite_is_refused() -> None:
    model = built(SmallVGG)
    with pytest.raises(ValueError, match=r"`snip` cannot rank `conv1.weight`: a score is not finite"):
        snip(model, images(), 0.1, loss=lambda a, t: (a.sum() * 0).log())


def test_settings_survive_plain_data_and_need_data() -> None:
    maker = SNIP(0.1, rounds=5, force=True, norms="train", batches=3, only=("conv*",))
    assert from_plain("maker", to_plain(maker)) == maker
    with pytest.raises(ValueError, match="`SNIP` needs data: give `batches`"):
        SNIP(0.1).of_model(built(SmallVGG), (1, 3, 8, 8), None, stream(0, "wiring"))
    with pytest.raises(ValueError, match="`force` of `SNIP` needs `rounds`"):
        SNIP(0.1, force=True)
