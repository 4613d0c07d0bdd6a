"""What a finished run says of its arithmetic."""

from __future__ import annotations

from pathlib import Path

import pytest

from wirings.core.budgets import uniform
from wirings.core.schedules import Cubic, Every
from wirings.methods import DNW, GradualMagnitude
from wirings.training import Run, train


@pytest.mark.parametrize(("freeze_at", "dense"), [(0, 0), (5, 5), (None, 16)])
def test_frozen_dnw_makes_no_dense_weight_gradient_after_the_freezing_step(
    freeze_at: int | None, dense: int, tmp_path: Path
) -> None:
    method = DNW(density=0.25, budget=uniform, freeze_at=freeze_at)
    settings = {"hidden": [16]}
    run = Run(model="mlp", model_settings=settings, data="gaussian-blobs", method=method, epochs=2, batch_size=128)
    results = train(run, tmp_path).results
    steps = 16  # 900 training images in batches of 128, twice
    assert results["dense_gradient_steps"] == dense
    forward, whole = results["forward_flops"], results["dense_training_flops"] / (3 * steps * 900 * 2 / steps)
    assert whole == pytest.approx(2 * (64 * 16 + 16 * 10))
    sparse_steps, dense_steps = 3 * forward, 2 * forward + whole
    per_step = [128] * 7 + [4]
    images = sum(per_step[n % 8] for n in range(dense)), sum(per_step[n % 8] for n in range(dense, steps))
    assert results["training_flops"] == pytest.approx(images[0] * dense_steps + images[1] * sparse_steps)


def test_the_best_epoch_of_a_pruned_network_is_a_sparse_one(tmp_path: Path) -> None:
    method = GradualMagnitude(density=Cubic(final=0.02, begin=0, until=0.75), when=Every(1))
    settings = {"hidden": [16]}
    run = Run(model="mlp", model_settings=settings, data="gaussian-blobs", method=method, epochs=8, batch_size=128)
    record = train(run, tmp_path)
    rows = {row["step"]: row for row in record.metrics}
    best = rows[record.results["best_step"]]
    assert max(row["held_out_accuracy"] for row in rows.values()) > best["held_out_accuracy"]  # it was better, denser
    assert best["density"] == pytest.approx(0.02, rel=0.02)
    sparse = [row["held_out_accuracy"] for row in rows.values() if row["density"] < 0.0205]
    assert record.results["held_out_accuracy_best"] == max(sparse)
