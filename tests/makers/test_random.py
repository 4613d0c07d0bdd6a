"""Random makers: exact counts, expected counts, fixed fan-ins; repeatable; nothing global is touched."""

from __future__ import annotations

import math

import pytest
import torch

from wirings.core.budgets import Uniform, erk, uniform
from wirings.core.forms import NM, Block, ConstantFanIn, Form
from wirings.core.wiring import Wiring
from wirings.makers.random import Bernoulli, ErdosRenyi, FixedFanIn, drawn_in_rows

SHAPES = {"fc1": (30, 80), "conv": (8, 12, 3, 3), "fc2": (10, 30), "bias": (16,)}
MAKERS = [ErdosRenyi(0.1), Bernoulli(0.1), FixedFanIn(0.1), FixedFanIn(0.8, budget=uniform)]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("maker", MAKERS, ids=repr)
def test_same_seed_same_wiring_and_no_global_draw(maker: ErdosRenyi) -> None:
    before = torch.get_rng_state()
    first, again, other = maker(SHAPES, generator()), maker(SHAPES, generator()), maker(SHAPES, generator(1))
    assert first == again
    assert first != other
    assert first.shapes == SHAPES
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("budget", [uniform, erk, Uniform(dense=("fc2",))], ids=repr)
@pytest.mark.parametrize("density", [0.01, 0.1, 0.5, 0.9, 1.0])
def test_erdos_renyi_keeps_exactly_its_budget(budget: Uniform, density: float) -> None:
    assert ErdosRenyi(density, budget=budget)(SHAPES, generator()).counts == budget(SHAPES, density)


def test_bernoulli_keeps_its_budget_on_average_only() -> None:
    expected = uniform(SHAPES, 0.1)
    rng = generator()
    draws = [Bernoulli(0.1, budget=uniform)(SHAPES, rng).counts for _ in range(300)]
    for name, shape in SHAPES.items():
        numel, counts = math.prod(shape), torch.tensor([float(d[name]) for d in draws])
        p = expected[name] / numel
        assert abs(counts.mean() - expected[name]) < 5 * math.sqrt(numel * p * (1 - p) / 300)
        assert counts.var() == pytest.approx(numel * p * (1 - p), rel=0.5)
    assert Bernoulli(1.0)(SHAPES, rng) == Wiring.full(SHAPES)


def test_fixed_fan_in_is_the_same_for_every_unit() -> None:
    wiring = FixedFanIn(0.25, budget=uniform)({"fc": (30, 80), "conv": (8, 12, 3, 3)}, generator())
    assert wiring["fc"].in_degrees.tolist() == [20] * 30
    assert wiring["conv"].in_degrees.tolist() == [27] * 8
    assert FixedFanIn(0.001)({"fc": (30, 80)}, generator())["fc"].in_degrees.tolist() == [1] * 30
    assert FixedFanIn(1.0)({"fc": (3, 8)}, generator())["fc"].is_full


@pytest.mark.parametrize("degrees", [[0, 1, 2, 3, 4, 5, 6], [6, 6, 5, 4], [1, 2, 1], [0, 0]])
def test_rows_get_the_degrees_they_were_promised(degrees: list[int]) -> None:
    topology = drawn_in_rows((len(degrees), 6), torch.tensor(degrees), generator())
    assert topology.in_degrees.tolist() == degrees
    assert topology.index.tolist() == sorted(set(topology.index.tolist()))


def test_inputs_of_a_row_are_uniform() -> None:
    from scipy.stats import chisquare

    for fan_in in (2, 3):
        topology = drawn_in_rows((4000, 5), torch.full((4000,), fan_in), generator(2))
        sets = (topology.mask.long() * (2 ** torch.arange(5))).sum(1)
        assert chisquare(sets.unique(return_counts=True)[1].numpy()).pvalue > 1e-3
        assert len(sets.unique()) == 10


@pytest.mark.parametrize(
    "form, shapes",
    [
        (NM(2, 4), {"a": (6, 8), "b": (4, 8, 3, 3)}),
        (Block(2, 4), {"a": (6, 8)}),
        (ConstantFanIn(), {"a": (6, 9)}),
    ],
)
def test_forms_hold_and_counts_are_settled(form: Form, shapes: dict[str, tuple[int, ...]]) -> None:
    wiring = ErdosRenyi(0.3, budget=uniform, form=form)(shapes, generator())
    for name, topology in wiring.items():
        assert form.holds(topology)
        assert topology.nnz == form.settle(uniform(shapes, 0.3)[name], shapes[name]) > 0


def test_a_layer_of_a_million_by_a_million_can_be_drawn() -> None:
    shapes = {"huge": (10**6, 10**6)}
    assert ErdosRenyi(1e-8)(shapes, generator()).nnz == 10**4
    assert abs(Bernoulli(1e-8)(shapes, generator()).nnz - 10**4) < 600
    assert FixedFanIn(1e-6)({"wide": (1000, 10**6)}, generator()).nnz == 1000


@pytest.mark.parametrize("maker", [ErdosRenyi, Bernoulli, FixedFanIn])
@pytest.mark.parametrize("density", [0, 1.5, math.nan, True, "0.1"])
def test_an_impossible_density_is_refused(maker: type[ErdosRenyi], density: object) -> None:
    with pytest.raises(ValueError, match=rf"`density` of `{maker.__name__}` must be in \(0, 1\]. Got "):
        maker(density)  # type: ignore[arg-type]
