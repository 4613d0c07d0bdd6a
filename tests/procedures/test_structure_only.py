"""A found wiring from fresh values: the values are new, the wiring is not."""

from __future__ import annotations

import torch
from small_run import run
from test_lottery import make_fit
from test_train import METHODS

from wirings import models
from wirings.core.topology import Topology
from wirings.core.wiring import Wiring
from wirings.procedures import structure_only, structure_only_run
from wirings.training import Record, train
from wirings.training.build import network


def shuffled(wiring: Wiring, rng: torch.Generator) -> Wiring:
    """The same counts at random positions."""
    return Wiring({name: Topology.full(t.shape).sample(t.nnz, rng) for name, t in wiring.items()})


def test_values_are_drawn_anew_and_the_wiring_stays() -> None:
    model = models.build("mlp", image_shape=(1, 6, 6), classes=3, hidden=(16, 8))
    before = {name: t.clone() for name, t in model.state_dict().items()}
    wiring = shuffled(Wiring.full({n: tuple(p.shape) for n, p in model.named_parameters() if p.dim() > 1}), rng())
    seen: list[dict[str, torch.Tensor]] = []
    again = list(structure_only(model, wiring, make_fit(seen), seeds=(5, 6, 5)))
    assert [a.seed for a in again] == [5, 6, 5]
    assert all(a.wiring is wiring for a in again)
    assert not torch.equal(seen[0]["fc1.weight"], seen[1]["fc1.weight"])
    assert torch.equal(again[0].trained["fc1.weight"], again[2].trained["fc1.weight"])
    fresh = models.build("mlp", image_shape=(1, 6, 6), classes=3, hidden=(16, 8), seed=5)
    assert torch.equal(again[0].origin["fc1.weight"], fresh.state_dict()["fc1.weight"])
    assert all(torch.equal(model.state_dict()[name], t) for name, t in before.items())


def test_a_control_transforms_the_wiring_first() -> None:
    model = models.build("mlp", image_shape=(1, 6, 6), classes=3, hidden=(16, 8))
    wiring = Wiring({n: Topology.at(p.shape, range(10)) for n, p in model.named_parameters() if p.dim() > 1})
    one, other = structure_only(model, wiring, make_fit(), seeds=(5, 6), control=shuffled)
    assert one.wiring.counts == other.wiring.counts == wiring.counts
    assert one.wiring != other.wiring != wiring


def found(root) -> Record:
    return train(run(method=METHODS["rigl"]), root)


def test_as_a_run_it_is_static_with_new_values_and_a_new_order(tmp_path) -> None:
    record = found(tmp_path)
    mine = structure_only_run(record, seed=7)
    assert (mine.method.kind, mine.seed, mine.method_name) == ("static", 7, "rigl-structure")
    again = train(mine, tmp_path)
    assert dict(again.history())[0] == again.wiring == record.wiring
    old, new = (network(r.run, (1, 6, 6), 3).state_dict()["fc1.weight"] for r in (record, again))
    assert not torch.equal(old, new)
    assert again.metrics[1]["order"] != record.metrics[1]["order"]


def test_a_control_is_a_run_of_its_own(tmp_path) -> None:
    record = found(tmp_path)
    mine = structure_only_run(record, seed=7, control=shuffled)
    assert mine.method_name == "rigl-shuffled"
    assert mine.id == structure_only_run(record, seed=7, control=shuffled).id != structure_only_run(record, seed=7).id
    again = train(mine, tmp_path)
    assert again.wiring.counts == record.wiring.counts
    assert again.wiring != record.wiring


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)
