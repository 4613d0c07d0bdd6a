"""Every maker's wiring trains truly sparse as it trains masked: few steps in float64, and on real digits in float32."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path

import pytest

import wirings.makers  # noqa: F401  # every maker joins its family
from wirings.core.budgets import uniform
from wirings.core.forms import Block, ConstantFanIn
from wirings.core.settings import family
from wirings.makers.random import ErdosRenyi
from wirings.makers.scoring import CollapseWarning
from wirings.methods import Static
from wirings.training import Record, Run, train

FORMS = {"erdos-renyi, blocks": Block(2, 2), "erdos-renyi, constant fan-in": ConstantFanIn()}
NAMES = [*sorted(family("maker")), *FORMS]

TOLERANCE = 0.01
"""In accuracy: half the 95 % interval of 95 % on 2,000 images. Rounding alone tells the two trainings apart."""


def made(name: str, density: float) -> object:
    if name in FORMS:
        return ErdosRenyi(density, budget=uniform, form=FORMS[name])
    return family("maker")[name](density)


def static(name: str, density: float, **settings: object) -> Run:
    maker = made(name, density)
    method = Static(begin=maker, form=getattr(maker, "form", Static.form))  # type: ignore[arg-type]
    return Run(method=method, label=name.replace(", ", "-"), **settings)  # type: ignore[arg-type]


def both(masked: Run, root: Path) -> tuple[Record, Record]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CollapseWarning)  # magnitude and random may empty a layer
        return train(masked, root), train(dataclasses.replace(masked, execution="sparse"), root)


@pytest.mark.parametrize("name", NAMES)
def test_every_makers_wiring_gives_the_same_losses_truly_sparse_as_masked(name: str, tmp_path: Path) -> None:
    settings = {"model": "mlp", "data": "gaussian-blobs", "model_settings": {"hidden": [24, 16]}}
    masked, sparse = both(static(name, 0.25, steps=5, batch_size=32, dtype="float64", **settings), tmp_path)
    assert masked.path != sparse.path
    assert masked.wiring == sparse.wiring
    assert 0 < masked.density < 0.6
    losses = [[row["loss"] for row in record.metrics if row["step"]] for record in (masked, sparse)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-10)
    assert masked.test_accuracy_last == sparse.test_accuracy_last


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", NAMES)
def test_every_makers_wiring_reaches_the_same_accuracy_on_digits(name: str, tmp_path: Path) -> None:
    """LeNet-300-100 at 95 % sparsity on 9,000 handwritten digits, five epochs."""
    masked, sparse = both(static(name, 0.05, epochs=5), tmp_path)
    assert masked.wiring == sparse.wiring
    assert masked.test_accuracy_last > (0.4 if name == "band" else 0.8)  # a narrow band leaves most pixels out
    assert abs(masked.test_accuracy_last - sparse.test_accuracy_last) <= TOLERANCE
