"""Budgets: the tables of the papers, exact totals, and every paper's way to round."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wirings.core.budgets import (
    ER,
    ERK,
    ROUNDINGS,
    Budget,
    Explicit,
    SmartRatio,
    Uniform,
    check_density,
    er,
    erk,
    smart_ratio,
    uniform,
)
from wirings.core.wiring import Shapes

LENET = {"fc1": (300, 784), "fc2": (100, 300), "fc3": (10, 100)}


def resnet18() -> dict[str, tuple[int, ...]]:
    """The CIFAR ResNet-18 of papers.md 1.5: 21 weights."""
    shapes: dict[str, tuple[int, ...]] = {"conv1": (64, 3, 3, 3)}
    before = 64
    for stage, width in enumerate((64, 128, 256, 512), start=1):
        for block in range(2):
            shapes[f"layer{stage}.{block}.conv1"] = (width, before, 3, 3)
            shapes[f"layer{stage}.{block}.conv2"] = (width, width, 3, 3)
            if before != width:
                shapes[f"layer{stage}.{block}.shortcut"] = (width, before, 1, 1)
            before = width
    return shapes | {"linear": (10, 512)}


def resnet20() -> dict[str, tuple[int, ...]]:
    """ResNet-20 without shortcut convolutions: 268,336 weights."""
    shapes: dict[str, tuple[int, ...]] = {"conv1": (16, 3, 3, 3)}
    before = 16
    for stage, width in enumerate((16, 32, 64), start=1):
        for block in range(3):
            shapes[f"{stage}.{block}.1"] = (width, before, 3, 3)
            shapes[f"{stage}.{block}.2"] = (width, width, 3, 3)
            before = width
    return shapes | {"fc": (10, 64)}


def size(shapes: Shapes) -> int:
    return sum(math.prod(shape) for shape in shapes.values())


RESNET18_ERK = {
    0.5: {
        "conv1": 1, "layer1.0.conv1": 1, "layer2.0.conv1": 1, "layer2.0.conv2": 1, "layer2.0.shortcut": 1,
        "layer3.0.conv1": 1, "layer3.0.conv2": 0.7205, "layer3.0.shortcut": 1, "layer4.0.conv1": 0.5383,
        "layer4.1.conv2": 0.3582, "layer4.0.shortcut": 1, "linear": 1,
    },
    0.1: {
        "conv1": 1, "layer1.0.conv1": 0.4797, "layer2.0.conv1": 0.3544, "layer2.0.conv2": 0.2345,
        "layer2.0.shortcut": 1, "layer3.0.conv1": 0.1745, "layer3.0.conv2": 0.1159, "layer3.0.shortcut": 1,
        "layer4.0.conv1": 0.0866, "layer4.1.conv2": 0.0576, "layer4.0.shortcut": 0.7752, "linear": 1,
    },
    0.02: {
        "conv1": 1, "layer1.0.conv1": 0.0907, "layer2.0.conv1": 0.0670, "layer2.0.conv2": 0.0443,
        "layer2.0.shortcut": 0.5906, "layer3.0.conv1": 0.0330, "layer3.0.conv2": 0.0219,
        "layer3.0.shortcut": 0.2938, "layer4.0.conv1": 0.0164, "layer4.1.conv2": 0.0109,
        "layer4.0.shortcut": 0.1465, "linear": 1,
    },
}  # fmt: skip


@pytest.mark.parametrize("density", RESNET18_ERK)
def test_erk_gives_the_densities_of_resnet_18(density: float) -> None:
    shapes = resnet18()
    assert size(shapes) == 11_164_352
    counts = erk(shapes, density)
    assert sum(counts.values()) == round(density * 11_164_352)
    for name, expected in RESNET18_ERK[density].items():
        numel = math.prod(shapes[name])  # four digits, of a density before counts are whole
        assert counts[name] / numel == pytest.approx(expected, abs=5e-5 + 1 / numel), name


@pytest.mark.parametrize(
    "density, expected",
    [(0.5, (0.4341, 1, 1)), (0.1, (0.0796, 0.2302, 1)), (0.02, (0.0154, 0.0445, 0.3674))],
)
def test_erk_gives_the_densities_of_lenet(density: float, expected: tuple[float, ...]) -> None:
    counts = erk(LENET, density)
    for name, share in zip(LENET, expected, strict=True):
        # the oracle is the density before counts are whole: within one connection of it
        assert abs(counts[name] - share * math.prod(LENET[name])) <= 1 + 5e-5 * math.prod(LENET[name])
    assert sum(counts.values()) == round(density * 266_200)


def test_er_ignores_kernels_and_equals_erk_on_linear_layers() -> None:
    assert er(LENET, 0.1) == erk(LENET, 0.1)
    shapes = {"a": (8, 4, 3, 3), "b": (8, 8, 1, 1)}
    counts = er(shapes, 0.2)
    assert counts["a"] / 288 / (counts["b"] / 64) == pytest.approx((12 / 32) / (16 / 64), rel=0.05)
    assert er(shapes, 0.2) != erk(shapes, 0.2)


def test_the_power_of_erk_reaches_from_uniform_to_steep() -> None:
    assert ERK(power=0.0)(LENET, 0.1) == uniform(LENET, 0.1)
    assert ERK(power=2.0)(LENET, 0.1)["fc1"] < erk(LENET, 0.1)["fc1"]


def test_layers_with_the_same_raw_value_become_dense_together() -> None:
    shapes = {"a": (4, 4), "b": (4, 4), "c": (100, 100)}
    counts = erk(shapes, 0.1)
    assert counts["a"] == counts["b"] == 16
    assert counts["c"] == round(0.1 * 10_032) - 32


BUDGETS = [uniform, er, erk, ERK(power=0.5), smart_ratio, SmartRatio(vgg=True)]
nets = st.lists(
    st.one_of(
        st.tuples(st.integers(1, 40), st.integers(1, 40)),
        st.tuples(st.integers(1, 20), st.integers(1, 20), st.integers(1, 3), st.integers(1, 3)),
    ),
    min_size=2,
    max_size=7,
).map(lambda shapes: {f"w{i}": shape for i, shape in enumerate(shapes)})


@pytest.mark.parametrize("budget", BUDGETS, ids=repr)
@given(shapes=nets, density=st.floats(1e-3, 1.0))
@settings(max_examples=60, deadline=None)
def test_totals_are_exact_and_no_weight_overflows(budget: Budget, shapes: Shapes, density: float) -> None:
    try:
        counts = budget(shapes, density)
    except ValueError as error:
        assert "must leave something" in str(error)  # noqa: PT017 (SmartRatio only, at tiny densities)
        return
    assert list(counts) == list(shapes)
    assert all(0 <= counts[name] <= math.prod(shape) for name, shape in shapes.items())
    assert all(type(n) is int for n in counts.values())
    assert abs(sum(counts.values()) - density * size(shapes)) <= 0.5 + 1e-6


@pytest.mark.parametrize("budget", BUDGETS, ids=repr)
def test_a_density_of_one_is_the_dense_network(budget: Budget) -> None:
    assert budget(LENET, 1.0) == {name: math.prod(shape) for name, shape in LENET.items()}


@pytest.mark.parametrize(
    "rule, size, density, kept",
    [
        ("nearest", 266_200, 0.1, 26_620),  # SNIP: round(N (1 - s))
        ("nearest", 7, 0.5, 4),  # 3.5: to even, as numpy and Python do
        ("nearest", 5, 0.3, 2),
        ("floor-zeros", 10, 0.25, 3),  # RigL: floor(0.75 * 10) = 7 zeros
        ("floor-zeros", 1728, 0.1, 173),  # floor(1555.2) zeros
        ("truncated-zeros", 10, 0.25, 3),  # SynFlow, DNW, edge-popup: int(7.5) removed
        ("truncated-zeros", 4, 0.25, 1),  # DNW: 75 % of four
        ("floor-kept", 10, 0.25, 2),  # FORCE: int(2.5)
        ("floor-kept", 10, 0.29, 2),
        ("ceil-pruned", 10, 0.25, 2),  # open_lth: ceil(7.5) pruned
        ("ceil-pruned", 266_200, 0.8, 212_960),
        ("ceil-pruned", 212_960, 0.8, 170_368),
    ],
)
def test_every_paper_rounds_in_its_own_way(rule: str, size: int, density: float, kept: int) -> None:
    assert ROUNDINGS[rule](size, density) == kept
    assert Uniform(rounding=rule)({"w": (size,)}, density) == {"w": kept}  # type: ignore[arg-type]


@pytest.mark.parametrize("rule", ROUNDINGS)
@given(st.integers(1, 10**6), st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_no_rule_stumbles_over_binary_fractions(rule: str, tens: int, thousandths: int) -> None:
    n = 1000 * tens
    assert ROUNDINGS[rule](n, thousandths / 1000) == tens * thousandths
    assert ROUNDINGS[rule](n, 1 - (1000 - thousandths) / 1000) == tens * thousandths


def test_large_layers_are_rounded_like_small_ones() -> None:
    n = 10**10 + 7
    assert ROUNDINGS["floor-kept"](n, 0.3) == 3_000_000_002
    assert ROUNDINGS["floor-zeros"](n, 0.3) == n - 7_000_000_004


@pytest.mark.parametrize("rule", ROUNDINGS)
def test_rounding_rules_apply_to_each_weight(rule: str) -> None:
    counts = ERK(rounding=rule)(LENET, 0.1)  # type: ignore[arg-type]
    exact = erk(LENET, 0.1)
    assert all(abs(counts[name] - exact[name]) <= 1 for name in LENET)
    assert counts["fc3"] == 1000


SMART_144 = [9.95, 9.11, 8.20, 7.34, 6.51, 5.73, 5.03, 4.36, 3.74, 3.16, 2.64, 2.16, 1.73, 1.34, 1.01, 0.72, 0.48, 0.29, 0.14]  # fmt: skip  # noqa: E501
SMART_059 = [3.70, 3.43, 3.08, 2.78, 2.43, 2.17, 1.87, 1.65, 1.41, 1.19, 1.00, 0.81, 0.65, 0.50, 0.38, 0.27, 0.18, 0.11, 0.05]  # fmt: skip  # noqa: E501


@pytest.mark.parametrize("density, published", [(0.0144, SMART_144), (0.0059, SMART_059)])
def test_smart_ratio_gives_the_published_densities(density: float, published: list[float]) -> None:
    shapes = resnet20()
    assert size(shapes) == 268_336
    counts = smart_ratio(shapes, density)
    assert counts.pop("fc") == 192  # 30 %
    for (name, n), expected in zip(counts.items(), published, strict=True):
        numel = math.prod(shapes[name])
        # published with two decimals from whole connections, of a target itself known to two decimals
        assert 100 * n / numel == pytest.approx(expected, rel=0.01, abs=0.005 + 100 / numel), name


def test_smart_ratio_of_a_vgg_falls_with_the_square_of_depth_too() -> None:
    shapes = {f"c{i}": (100, 100) for i in range(4)} | {"fc": (10, 10)}
    counts = SmartRatio(vgg=True)(shapes, 0.1)
    assert counts["fc"] == 30
    raw = [(5**2 + 5) / 1, (4**2 + 4) / 4, (3**2 + 3) / 9, (2**2 + 2) / 16]
    total = round(0.1 * 40_100) - 30
    assert [counts[f"c{i}"] for i in range(4)] == pytest.approx([total * r / sum(raw) for r in raw], abs=1)


def test_smart_ratio_needs_room_beside_its_last_layer() -> None:
    with pytest.raises(ValueError, match=r"must leave something beside the last layer's share 0.3. Got 0.001"):
        smart_ratio(LENET, 0.001)
    with pytest.raises(ValueError, match=r"`SmartRatio` needs at least two weights. Got 1"):
        smart_ratio({"a": (3, 3)}, 0.5)


@pytest.mark.parametrize("cls", [Uniform, ER, ERK, SmartRatio])
def test_weights_that_stay_dense_lie_outside_the_budget(cls: type[Uniform]) -> None:
    shapes = {"conv1": (16, 3, 3, 3), "conv2": (16, 16, 3, 3), "conv3": (16, 16, 3, 3), "fc": (10, 16)}
    counts = cls(dense=("conv1",))(shapes, 0.1)
    assert counts["conv1"] == 432
    assert sum(counts.values()) == 432 + round(0.1 * (2304 + 2304 + 160))


def test_a_pattern_that_fits_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`dense` of a budget must name weights. 'conv1' fits none of fc1, fc2, fc3"):
        Uniform(dense=("conv1",))(LENET, 0.1)
    with pytest.raises(ValueError, match=r"`densities` of a budget must name weights. 'conv' fits none"):
        Explicit(densities={"conv": 0.5})(LENET, 0.1)


def test_explicit_densities_leave_the_rest_to_the_asked_one() -> None:
    budget = Explicit(densities={"fc3*": 1.0})
    assert budget({"fc1": (4, 5), "fc3": (2, 4)}, 0.5) == {"fc1": 10, "fc3": 8}
    assert Explicit(densities={"*": 0.5})({"a": (4,), "b": (6,)}, 0.1) == {"a": 2, "b": 3}
    assert hash(budget) == hash(Explicit(densities={"fc3*": 1.0}))
    for value in (math.nan, 1.5, True, "1"):
        with pytest.raises(ValueError, match=r"`densities` of `Explicit` must be in \[0, 1\]"):
            Explicit(densities={"a": value})  # type: ignore[dict-item]


def test_weights_without_positions_get_none() -> None:
    for budget in (uniform, er, erk):
        assert budget({"a": (0, 5), "b": (4, 5)}, 0.5) == {"a": 0, "b": 10}
        assert budget({}, 0.5) == {}


@pytest.mark.parametrize("density", [0, 0.0, -0.1, 1.5, math.nan, math.inf, True, "0.1", None])
def test_an_impossible_density_is_refused(density: object) -> None:
    with pytest.raises(ValueError, match=r"`density` of `X` must be in \(0, 1\]. Got "):
        check_density(density, "X")  # type: ignore[arg-type]
    for budget in BUDGETS:
        with pytest.raises(ValueError, match=r"`density` of `\w+` must be in \(0, 1\]. Got "):
            budget(LENET, density)  # type: ignore[arg-type]


def test_settings_of_budgets_are_checked() -> None:
    with pytest.raises(ValueError, match=r"`power` of `ERK` must be in \[0, 10\]. Got nan"):
        ERK(power=math.nan)
    with pytest.raises(ValueError, match=r"`last` of `SmartRatio` must be in \(0, 1\]. Got 0"):
        SmartRatio(last=0)
    with pytest.raises(ValueError, match=r"`rounding` of `Uniform` must be one of exact, nearest"):
        Uniform(rounding="up")  # type: ignore[arg-type]
