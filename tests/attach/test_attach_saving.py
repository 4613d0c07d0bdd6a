"""Save, load, go on: bit-equal, in any order of loading; and what is refused."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch
from attach_nets import METHODS, assert_same, check_zero_outside, memories, net, rigl, set_, sgd, static, trained
from hypothesis import given, settings
from hypothesis import strategies as st

import wirings as wr
from wirings.attach.saving import VERSION, _decoded, _encoded
from wirings.core.errors import WiringError

ORDERS = [("model", "optimizer", "sparse"), ("sparse", "model", "optimizer"), ("optimizer", "sparse", "model")]


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def make(method: str, optimizer: str, *, net_seed: int = 0, seed: int = 0) -> dict[str, Any]:
    model = net(net_seed)
    made = sgd(model) if optimizer == "sgd" else torch.optim.AdamW(model.parameters(), lr=0.01)
    sparse = wr.attach(model, made, METHODS[method](), steps=10, seed=seed)
    return {"model": model, "optimizer": made, "sparse": sparse}


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("order", ORDERS, ids="-".join)
@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_run_goes_on_bit_equal_in_whatever_order_it_is_loaded(
    method: str, order: tuple[str, ...], optimizer: str
) -> None:
    run = make(method, optimizer)
    trained(run["model"], run["optimizer"], 3)
    saved = through_a_file({name: part.state_dict() for name, part in run.items()})
    trained(run["model"], run["optimizer"], range(4, 9))
    other = make(method, optimizer, net_seed=1, seed=7)
    trained(other["model"], other["optimizer"], 5)
    for name in order:
        other[name].load_state_dict(saved[name])
    check_zero_outside(other["sparse"])
    trained(other["model"], other["optimizer"], range(4, 9))
    assert_same(run["model"], other["model"])
    assert run["sparse"].supports == other["sparse"].supports
    for name, site in run["sparse"].sites.items():
        twin = other["sparse"].sites[name].param
        for key, memory in memories(run["optimizer"], site.param).items():
            assert torch.equal(memory, memories(other["optimizer"], twin)[key])


def test_a_saved_state_is_not_touched_by_training_on() -> None:
    run = make("dnw", "sgd")
    trained(run["model"], run["optimizer"], 2)
    state = run["sparse"].state_dict()
    before = copy.deepcopy(state)
    trained(run["model"], run["optimizer"], 3)
    for name, entry in state["sites"].items():
        assert torch.equal(entry["aside"], before["sites"][name]["aside"])
        assert torch.equal(entry["forward"]["bits"], before["sites"][name]["forward"]["bits"])


def damaged(state: dict[str, Any], what: str) -> Any:
    site = state["sites"]["fc1.weight"]
    match what:
        case "newer":
            state["version"] = VERSION + 1
        case "no version":
            del state["version"]
        case "foreign":
            return {"state": {}, "param_groups": []}
        case "list":
            return [1, 2]
        case "method":
            state["method"] = "SET"
        case "lacks a weight":
            del state["sites"]["fc1.weight"]
        case "rng":
            state["rng"] = state["rng"][:10]
        case "rng kind":
            state["rng"] = "zero"
        case "step":
            state["step"] = "many"
        case "bits":
            site["forward"]["bits"] = site["forward"]["bits"][:-1]
        case "shape":
            site["forward"]["shape"] = [64, 8]
        case "negative":
            site["forward"]["shape"] = [-8, -64]
        case "index":
            site["forward"] = {"shape": [8, 64], "index": torch.tensor([0, 512])}
        case "twice":
            site["forward"] = {"shape": [8, 64], "index": torch.tensor([3, 3])}
        case "crossed":
            site["backward"] = {"shape": [8, 64], "index": torch.tensor([0])}
        case "aside":
            del site["aside"]
        case "aside shape":
            site["aside"] = site["aside"].T
        case "aside kind":
            site["aside"] = "values"
    return state


SENTENCES = {
    "newer": "written by a newer version of wirings; upgrade",
    "no version": "not the saved state of a sparsifier, or it is damaged: KeyError",
    "foreign": "not the saved state of a sparsifier",
    "list": "not the saved state of a sparsifier",
    "method": "is of `SET`, but `TopKAST` is attached",
    "lacks a weight": "disagree about `fc1.weight`",
    "rng": "damaged",
    "rng kind": "damaged",
    "step": "damaged",
    "bits": "a topology has the wrong number of bits",
    "shape": r"has shape \(64, 8\), but the network's has \(8, 64\)",
    "negative": "saved",
    "index": "damaged",
    "twice": "damaged",
    "crossed": "`backward` of `Support` must contain `forward`",
    "aside": "of `fc1.weight` is damaged: it lacks the values that its method trains",
    "aside shape": r"has shape \(64, 8\)",
    "aside kind": "damaged",
}


@pytest.mark.parametrize("what", SENTENCES)
def test_a_damaged_or_foreign_state_is_one_sentence_and_changes_nothing(what: str) -> None:
    run, twin = make("top-kast", "sgd"), make("top-kast", "sgd")
    for one in (run, twin):
        trained(one["model"], one["optimizer"], 3)
    with pytest.raises(WiringError, match=SENTENCES[what]) as error:
        run["sparse"].load_state_dict(damaged(run["sparse"].state_dict(), what))
    assert "\n" not in str(error.value)
    for one in (run, twin):
        trained(one["model"], one["optimizer"], range(4, 8))
    assert_same(run["model"], twin["model"])
    assert run["sparse"].supports == twin["sparse"].supports
    assert run["sparse"].step == twin["sparse"].step == 7


def test_a_state_of_another_network_is_refused() -> None:
    model = torch.nn.Linear(3, 3)
    other = wr.attach(model, sgd(model), static())
    run = make("static", "sgd")
    with pytest.raises(WiringError, match=r"disagree about `conv.weight`"):
        run["sparse"].load_state_dict(other.state_dict())


def test_a_resumed_run_draws_what_the_whole_one_draws() -> None:
    wirings = []
    for resume in (False, True):
        model = net()
        optimizer = sgd(model)
        sparse = wr.attach(model, optimizer, set_(every=1), seed=3)
        trained(model, optimizer, 2)
        if resume:
            saved = sparse.state_dict()
            sparse.detach()
            sparse = wr.attach(model, optimizer, set_(every=1), seed=99)
            sparse.load_state_dict(saved)
        backward_twice = range(3, 5)
        trained(model, optimizer, backward_twice)
        wirings.append([t.nnz for t in sparse.wiring.values()])
        wirings[-1].append(sparse._rng.get_state().sum().item())
    assert wirings[0] == wirings[1]


def test_a_run_may_begin_at_a_later_step() -> None:
    model = net()
    optimizer = sgd(model)
    sparse = wr.attach(model, optimizer, rigl(every=10))
    sparse.step = 9
    wiring = sparse.wiring
    trained(model, optimizer, 1)
    assert sparse.step == 10
    assert sparse.wiring != wiring, "the step that the run begins with is heard"


@given(st.lists(st.booleans(), min_size=1, max_size=300), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_a_topology_survives_saving(bits: list[bool], rows: int) -> None:
    mask = torch.tensor(bits * rows).view(rows, -1)
    topology = wr.Topology.of(mask)
    saved = _encoded(topology)
    assert _decoded(through_a_file(saved)) == topology
    stored = sum(t.numel() * t.element_size() for t in saved.values() if isinstance(t, torch.Tensor))
    assert stored <= max((mask.numel() + 7) // 8, 8 * topology.nnz)
