"""Seeds in one batched step: the same training as one by one."""

from __future__ import annotations

import torch

from wirings import models
from wirings.bench import masks, nets, seeds


def test_a_batched_step_is_the_steps_one_by_one(monkeypatch):
    monkeypatch.setattr(seeds, "_RATE", 0.1)
    made = [models.build("mlp", image_shape=(1, 4, 4), seed=seed, hidden=(7,)).double() for seed in range(3)]
    wiring = masks.random(nets.shapes_of(made[0]), 0.3)
    masked = [nets.masked(net, wiring) for net in made]
    x, labels = nets.batch_of((3, 5, 1, 4, 4), 10)
    x, labels = x.double(), labels[:, None].expand(3, 5).contiguous()
    together = seeds.stacked(masked, wiring, x, labels)
    for _ in range(4):
        found = together()
    for i, net in enumerate(masked):
        alone = seeds.Masked(net, wiring)
        step = alone.step_of(x[i], labels[i])
        for _ in range(4):
            step()
        for name, value in alone.net.named_parameters():
            torch.testing.assert_close(found[name][i], value, rtol=1e-10, atol=1e-12)
            assert not torch.equal(value, dict(net.named_parameters())[name])


def test_the_bench_tells_all_three_ways():
    result = seeds.run(rounds=1, quick=True)
    (case,) = result["cases"]
    assert (case["case"], case["seeds"]) == ("5 seeds, MLP 64-32-10, batch 32", 5)
    assert [row["contender"] for row in case["rows"]] == [
        "masked, one by one", "masked, one batched step", "truly sparse, one by one"]  # fmt: skip
    assert case["rows"][0]["ratio"] == 1.0
