"""Lottery tickets: exact densities, true rewinding, and rounds that are found again."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_run import Net, run
from torch import nn

from wirings.attach import attach
from wirings.core.errors import WiringError
from wirings.core.files import sha256_of
from wirings.core.topology import Topology
from wirings.core.wiring import Wiring
from wirings.methods.static import Static
from wirings.procedures import Lottery, Pruning, Ticket, lottery, lottery_runs
from wirings.training import Record, train, train_all
from wirings.training.build import network

SHAPES = {"fc1.weight": (300, 784), "fc2.weight": (100, 300), "fc3.weight": (10, 100)}


# ---------------------------------------------------------------------- how much goes


def test_twenty_percent_a_round_gives_the_papers_densities() -> None:
    densities = [sum(Pruning().counts(SHAPES, r).values()) / 266_200 for r in range(23)]
    expected = [100, 80, 64, 51.2, 40.96, 32.77, 26.21, 20.97, 16.78, 13.42, 10.74, 8.59, 6.87, 5.50, 4.40, 3.52]
    assert [round(100 * d, 2) for d in densities[:16]] == expected
    assert densities == pytest.approx([0.8**r for r in range(23)], abs=1e-5)


def test_the_output_layer_goes_at_half_rate() -> None:
    counts = Pruning(scope="local").counts(SHAPES, level=1)
    assert counts == {"fc1.weight": 188_160, "fc2.weight": 24_000, "fc3.weight": 900}
    convolutional = Pruning(scope="local", rates={"fc1": 0.1}, last=1.0).counts(SHAPES, level=2)
    assert convolutional == {"fc1.weight": round(235_200 * 0.81), "fc2.weight": 19_200, "fc3.weight": 640}


@given(density=st.floats(0.005, 0.95), rounds=st.integers(1, 20), scope=st.sampled_from(["global", "local"]))
def test_so_many_rounds_hit_the_density_exactly(density: float, rounds: int, scope: str) -> None:
    pruning = Pruning.reaching(density, rounds, SHAPES, scope=scope)
    assert sum(pruning.counts(SHAPES, rounds).values()) == round(density * 266_200)


def test_a_density_out_of_reach_is_refused() -> None:
    with pytest.raises(ValueError, match=r"is out of reach of `Pruning`: its fixed rates and `last` leave more."):
        Pruning.reaching(0.01, 2, SHAPES, scope="local", rates={"fc1": 0.1})
    with pytest.raises(ValueError, match="needs the `shapes` of the weights"):
        Pruning.reaching(0.01, 2, scope="local")


def test_global_pruning_takes_the_smallest_wherever_they_are() -> None:
    weights = {"a": torch.tensor([[0.1, -5.0, 0.2, 3.0]]), "b": torch.tensor([[1.0, 0.05]])}
    wiring = Wiring({name: Topology.full(w.shape) for name, w in weights.items()})
    pruned = Pruning(rate=0.5)(weights, wiring, 1)
    assert {name: t.index.tolist() for name, t in pruned.items()} == {"a": [1, 3], "b": [0]}


def test_layer_pruning_takes_the_smallest_of_each() -> None:
    weights = {"a": torch.tensor([[0.1, -5.0, 0.2, 3.0]]), "b": torch.tensor([[1.0, 0.05]])}
    wiring = Wiring({name: Topology.full(w.shape) for name, w in weights.items()})
    pruned = Pruning(rate=0.5, scope="local", last=1.0)(weights, wiring, 1)
    assert {name: t.index.tolist() for name, t in pruned.items()} == {"a": [1, 3], "b": [0]}
    assert {
        name: t.index.tolist() for name, t in Pruning(rate=0.5, scope="local", last=0)(weights, wiring, 1).items()
    } == {
        "a": [1, 3],
        "b": [0, 1],
    }


@pytest.mark.parametrize(
    "settings, sentence",
    [
        ({"rate": 1.0}, "`rate` of `Pruning` must be in (0, 1). Got 1.0."),
        ({"rate": float("nan")}, "`rate` of `Pruning` must be in (0, 1). Got nan."),
        ({"scope": "row"}, "`scope` of `Pruning` must be one of global, local. Got 'row'."),
        ({"rates": {"fc1": 0.1}}, "`rates` of `Pruning` needs `scope` 'local'"),
    ],
)
def test_impossible_prunings_are_refused(settings, sentence) -> None:
    with pytest.raises(ValueError) as error:
        Pruning(**settings)
    assert sentence in str(error.value)


# ---------------------------------------------------------------------- with the user's own training


def make_fit(seen: list[dict[str, torch.Tensor]] | None = None):
    """A few steps of the user's own loop; ``seen`` gets the values that each call began with."""
    rng = torch.Generator().manual_seed(0)
    x, y = torch.randn(64, 1, 6, 6, generator=rng), torch.randint(3, (64,), generator=rng)

    def fit(model: nn.Module, wiring: Wiring | None) -> float:
        if seen is not None:
            seen.append({name: t.clone() for name, t in model.state_dict().items()})
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        if wiring is not None:
            attach(model, optimizer, Static(begin=wiring), where=wiring)
        for _ in range(4):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        return float((model.eval()(x).argmax(1) == y).double().mean())

    return fit


def make_model() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Net((1, 6, 6), 3)
    model.drop = nn.Identity()
    return model


def test_every_round_begins_where_the_first_began_buffers_too() -> None:
    model, seen = make_model(), []
    first = {name: t.clone() for name, t in model.state_dict().items()}
    tickets = list(lottery(model, make_fit(seen), rounds=4))
    assert [ticket.level for ticket in tickets] == [0, 1, 2, 3, 4]
    assert [ticket.wiring.nnz for ticket in tickets] == [round(780 * 0.8**r) for r in range(5)]
    for values in (model.state_dict(), *seen, *(ticket.origin for ticket in tickets)):
        assert all(torch.equal(values[name], first[name]) for name in first)
    for before, after in pairwise(tickets):
        assert after.wiring <= before.wiring
        kept = torch.cat([before.trained[n].flatten()[t.index] for n, t in after.wiring.items()]).abs().min()
        lost = before.wiring - after.wiring
        assert torch.cat([before.trained[n].flatten()[t.index] for n, t in lost.items()]).abs().max() <= kept
        assert not torch.equal(after.trained["norm.running_mean"], first["norm.running_mean"])
    for ticket in tickets:
        assert all(not ticket.trained[name][~t.mask].any() for name, t in ticket.wiring.items())


def test_rewinding_to_step_k_puts_back_the_values_after_k_steps() -> None:
    model, seen = make_model(), []
    early = make_fit()
    tickets = list(lottery(model, make_fit(seen), rounds=2, early=lambda m: early(m, None)))
    reference = make_model()
    early(reference, None)
    for values in (*seen, tickets[2].origin):
        assert all(torch.equal(values[name], t) for name, t in reference.state_dict().items())
    assert not torch.equal(model.state_dict()["first.weight"], reference.state_dict()["first.weight"])


def test_weights_may_stay_dense() -> None:
    tickets = list(lottery(make_model(), make_fit(), rounds=1, except_=("last",)))
    assert list(tickets[1].wiring) == ["first.weight"]


def test_a_fit_that_ignores_the_wiring_is_told() -> None:
    tickets = lottery(make_model(), lambda model, wiring: 0.0, rounds=2)
    next(tickets)
    with pytest.raises(
        WiringError, match=r"`fit` must train on the wiring it is given, but `first.weight` has values off"
    ):
        next(tickets)
    with pytest.raises(ValueError, match=r"`rounds` of `lottery` must be an integer of at least 1. Got 0."):
        next(lottery(make_model(), make_fit(), rounds=0))


# ---------------------------------------------------------------------- as runs


def check_rounds(tickets: list[Ticket], rewind: int) -> None:
    first = network(tickets[0].record.run, (1, 6, 6), 3).state_dict()
    assert [ticket.wiring.nnz for ticket in tickets] == [round(728 * 0.8**r) for r in range(len(tickets))]
    for ticket in tickets:
        assert all(torch.equal(ticket.origin[n], tickets[0].origin[n]) for n in first)
        assert all(torch.equal(ticket.origin[n], first[n]) for n in first) == (rewind == 0)
        began = dict(ticket.record.history())
        assert min(began) == (rewind if ticket.level else 0)
        assert began[min(began)] == ticket.wiring
        assert ticket.record.metrics[0]["step"] == min(began)
        assert ticket.record.metrics[-1]["step"] == 24


@pytest.mark.parametrize("rewind", [0, 5])
def test_rounds_are_runs_that_begin_where_the_first_was(tmp_path, rewind) -> None:
    play = Lottery(run=run(), rounds=3, rewind=rewind)
    tickets = list(lottery_runs(play, tmp_path))
    check_rounds(tickets, rewind)
    assert [ticket.record.method for ticket in tickets] == ["dense", *["lottery"] * 3]
    assert tickets[2].score == tickets[2].record.test_accuracy_last
    files = {sha256_of(path) for path in tmp_path.glob("*/final/model.safetensors")}
    again = list(lottery_runs(Lottery(run=run(), rounds=3, rewind=rewind), tmp_path))
    assert [ticket.record for ticket in again] == [ticket.record for ticket in tickets]
    assert {sha256_of(path) for path in tmp_path.glob("*/final/model.safetensors")} == files


def test_rewinding_to_zero_shares_the_plain_dense_run(tmp_path) -> None:
    dense = train(run(), tmp_path)
    assert next(lottery_runs(Lottery(run=run(), rounds=1), tmp_path)).record == dense


def test_rounds_run_beside_others(tmp_path) -> None:
    plays = [Lottery(run=run(seed=s), rounds=2) for s in (0, 1)]
    outcomes = train_all(
        [play.first for play in plays], tmp_path, jobs=2, then=lambda record: [n for p in plays for n in p.then(record)]
    )
    assert [outcome.status for outcome in outcomes] == ["finished"] * 6
    alone = [t.record for t in lottery_runs(Lottery(run=run(seed=0), rounds=2), tmp_path)]
    assert {record.id for record in alone} <= {outcome.record.id for outcome in outcomes}


def test_a_ticket_is_the_same_made_alone(tmp_path) -> None:
    """Round 2 by hand: the dense run's largest weights, from the first values."""
    tickets = list(lottery_runs(Lottery(run=run(), rounds=1), tmp_path))
    dense: Record = tickets[0].record
    weights = torch.cat([dense.values()[name].flatten() for name in dense.wiring]).abs()
    kept = torch.cat([t.mask.flatten() for t in tickets[1].wiring.values()])
    assert weights[kept].min() >= weights[~kept].max()


def test_a_lottery_begins_dense() -> None:
    with pytest.raises(ValueError, match=r"`run` of `Lottery` must have no method: its first round is dense."):
        Lottery(run=run(method="set"), rounds=2)
