"""What stands beside the loop: watchers, averaged copies, parameter groups, the summary, the small tools."""

from __future__ import annotations

import copy

import pytest
import torch
from attach_nets import METHODS, Net, backward, check_zero_outside, net, rigl, set_, sgd, train, trained
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import wirings as wr
from wirings.attach.bits import bits_of, only, only_, put_
from wirings.core.errors import WiringError
from wirings.sparse import to_sparse

# ---------------------------------------------------------------------- watchers


def test_watchers_are_told_of_every_update_and_of_nothing_else() -> None:
    model = net()
    optimizer = sgd(model)
    sparse = wr.attach(model, optimizer, set_(every=3))
    seen: list[tuple[int, str]] = []
    stop = sparse.watch(lambda of: seen.append((of.step, of.wiring.fingerprint)))
    prints = {step: sparse.wiring.fingerprint for step in train(model, optimizer, 7)}
    assert seen == [(3, prints[3]), (6, prints[6])]
    stop()
    stop()  # once more does nothing
    trained(model, optimizer, 6)
    assert len(seen) == 2


def test_a_watcher_may_detach() -> None:
    model = net()
    optimizer = sgd(model)
    sparse = wr.attach(model, optimizer, set_(every=2))
    sparse.watch(lambda of: of.detach())
    trained(model, optimizer, 4)
    assert sparse.step == 2
    assert not optimizer._optimizer_step_post_hooks


def test_a_watcher_sees_the_network_as_it_goes_on() -> None:
    model = net()
    optimizer = sgd(model)
    sparse = wr.attach(model, optimizer, wr.DNW(density=0.3))
    sparse.watch(check_zero_outside)
    sparse.watch(lambda of: seen.append(model.fc1.weight.detach().clone()))
    seen: list[torch.Tensor] = []
    for step in train(model, optimizer, 3):
        assert torch.equal(seen[step - 1], model.fc1.weight)


def test_listening_says_when_dense_gradients_are_made() -> None:
    def over(method: str, steps: int) -> list[bool]:
        model = net()
        optimizer = sgd(model)
        sparse = wr.attach(model, optimizer, METHODS[method](), steps=10)
        return [sparse.listening, *(sparse.listening for _ in train(model, optimizer, steps))]

    assert over("static", 3) == [False] * 4
    assert over("rigl", 4) == [False, True, False, True, False]  # before every second step
    assert over("dnw-frozen", 4) == [True, True, True, False, False]
    assert over("snfs", 3) == [True] * 4


def test_the_wiring_is_asked_and_kept_without_changing_under_its_owner() -> None:
    model = net()
    optimizer = sgd(model)
    sparse = wr.attach(model, optimizer, set_(every=1))
    before = sparse.wiring
    print_ = before.fingerprint
    trained(model, optimizer, 3)
    assert before.fingerprint == print_
    assert sparse.wiring != before


def test_a_seed_is_the_wiring_and_the_global_random_state_is_left_alone() -> None:
    state = torch.get_rng_state()

    def wired(seed: int) -> wr.Wiring:
        model = net()
        optimizer = sgd(model)
        sparse = wr.attach(model, optimizer, set_(every=1), seed=seed)
        trained(model, optimizer, 3)
        return sparse.wiring

    assert wired(1) == wired(1)
    assert wired(1) != wired(2)
    assert torch.equal(state, torch.get_rng_state())


# ---------------------------------------------------------------------- averaged copies


@pytest.mark.parametrize("method", ["rigl", "set", "dnw", "gradual"])
def test_an_average_that_follows_stays_on_the_wiring(method: str) -> None:
    model = net()
    optimizer = sgd(model)
    sparse = wr.attach(model, optimizer, METHODS[method](), steps=10)
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.5))
    alone = copy.deepcopy(average)
    wr.follow(average, sparse)
    for _ in train(model, optimizer, 7):
        average.update_parameters(model)
        alone.update_parameters(model)
        for name, topology in sparse.wiring.items():
            assert not average.module.get_parameter(name)[~topology.mask].any()
    stale = [alone.module.get_parameter(n)[~t.mask].any() for n, t in sparse.wiring.items()]
    assert any(map(bool, stale)), "without `follow` the average is not sparse"


def test_following_ends_when_asked_and_needs_a_copy() -> None:
    model = net()
    optimizer = sgd(model)
    sparse = wr.attach(model, optimizer, set_(every=1))
    dense = net(seed=1)
    stop = wr.follow(dense, sparse)
    assert not dense.fc1.weight[~sparse.wiring["fc1.weight"].mask].any(), "at once"
    stop()
    held = dense.fc1.weight.detach().clone()
    trained(model, optimizer, 2)
    assert torch.equal(dense.fc1.weight, held)
    with pytest.raises(WiringError, match=r"must be a copy. Got the live model itself"):
        wr.follow(model, sparse)
    with pytest.raises(WiringError, match=r"`conv.weight` is missing or of another shape"):
        wr.follow(nn.Linear(3, 4), sparse)


# ---------------------------------------------------------------------- parameter groups


def test_weights_decay_and_the_rest_does_not() -> None:
    model = net()
    decayed, spared = wr.param_groups(model, 0.1)
    names = {id(p): n for n, p in model.named_parameters()}
    assert [names[id(p)] for p in decayed["params"]] == ["conv.weight", "fc1.weight", "fc2.weight"]
    assert [names[id(p)] for p in spared["params"]] == ["conv.bias", "norm.weight", "norm.bias", "fc1.bias", "fc2.bias"]
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)


def test_every_trained_parameter_is_in_one_group_once() -> None:
    model = Net()
    model.twin = nn.Linear(64, 8)
    model.twin.weight = model.fc1.weight
    model.fc2.bias.requires_grad_(False)
    groups = wr.param_groups(model, 0.1)
    ids = [id(p) for group in groups for p in group["params"]]
    assert sorted(ids) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    no_vectors = nn.Linear(2, 2, bias=False)
    torch.optim.SGD(wr.param_groups(no_vectors, 0.1), lr=0.1)


# ---------------------------------------------------------------------- summary

PICTURE = """\
weight       shape    connections  density   fan-in  dead units
conv.weight  4x2x3x3           22   30.56%  0 to 18           2
fc1.weight   8x64              64   12.50%        8           0
fc2.weight   3x8               24  100.00%        8           0
all                    110 of 608   18.09%
stays dense (a bias): conv.bias, norm.bias, fc1.bias, fc2.bias
stays dense (a vector of BatchNorm2d): norm.weight"""


def test_a_summary_is_a_picture_of_the_network() -> None:
    model = net()
    conv = torch.zeros(4, 18, dtype=torch.bool)
    conv[0, :4] = conv[1, :18] = True
    fc1 = torch.zeros(8, 64, dtype=torch.bool)
    fc1[:, ::8] = True
    wiring = wr.Wiring(
        {
            "conv.weight": wr.Topology.of(conv.view(4, 2, 3, 3)),
            "fc1.weight": wr.Topology.of(fc1),
            "fc2.weight": wr.Topology.full((3, 8)),
        }
    )
    wr.attach(model, sgd(model), wr.Static(begin=wiring))
    assert str(wr.summary(model)) == PICTURE
    assert wr.summary(model).wiring == wiring


def test_a_new_connection_counts_though_its_weight_is_still_zero() -> None:
    model = net()
    optimizer = sgd(model)
    sparse = wr.attach(model, optimizer, rigl(every=2))
    trained(model, optimizer, 2)
    assert int((model.fc1.weight != 0).sum()) < sparse.wiring["fc1.weight"].nnz
    assert wr.summary(model).wiring == sparse.wiring
    sparse.detach()
    assert wr.summary(model).wiring["fc1.weight"].nnz == int((model.fc1.weight != 0).sum())


def test_a_summary_shows_truly_sparse_layers_too() -> None:
    model = net().float()
    wiring = wr.ErdosRenyi(0.2)({"fc1.weight": (8, 64)}, torch.Generator().manual_seed(0))
    summary = wr.summary(to_sparse(model, wiring))
    assert list(summary.wiring) == ["conv.weight", "fc1.weight", "fc2.weight"]
    assert summary.wiring["fc1.weight"] == wiring["fc1.weight"]
    assert all(not name.endswith("values") for name in summary.dense)


# ---------------------------------------------------------------------- bits


@given(
    st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, -0.0, 1.5, -2.0, float("inf"), float("nan")])), min_size=1),
    st.sampled_from([torch.float64, torch.float32, torch.bfloat16, torch.float16]),
)
@settings(max_examples=80, deadline=None)
def test_bits_keep_what_is_connected_bit_for_bit_and_zero_the_rest(
    content: list[tuple[bool, float]], dtype: torch.dtype
) -> None:
    mask = torch.tensor([held for held, _ in content])
    values = torch.tensor([value for _, value in content], dtype=dtype)
    bits = bits_of(wr.Topology.of(mask), values)
    expected = torch.where(mask, values, 0.0)

    def same(found: torch.Tensor, wanted: torch.Tensor) -> bool:
        whole = torch.int64 if dtype == torch.float64 else torch.int32 if dtype == torch.float32 else torch.int16
        return torch.equal(found.view(whole), wanted.view(whole))

    assert same(only(values, bits), expected)
    changed = values.clone()
    only_(changed, bits)
    assert same(changed, expected)
    written = torch.full_like(values, 7.0)
    only_(written, bits, of=values)
    assert same(written, expected)
    mixed = torch.full_like(values, 7.0)
    put_(mixed, values, bits)
    assert same(mixed, torch.where(mask, values, torch.full_like(values, 7.0)))


def test_bits_fit_any_memory_format() -> None:
    weight = torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last)
    topology = wr.Topology.full(tuple(weight.shape)).sample(20, torch.Generator().manual_seed(0))
    bits = bits_of(topology, weight)
    assert bits.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(only(weight, bits), torch.where(topology.mask, weight, 0.0))
    spread = torch.ones(()).expand(4, 3, 2, 2)  # the gradient of a sum
    assert torch.equal(only(spread, bits), topology.mask.float())


# ---------------------------------------------------------------------- random lives


@given(
    method=st.sampled_from(sorted(METHODS)),
    moves=st.lists(st.sampled_from(["step", "skip", "halves", "closure", "reload", "inf"]), max_size=12),
)
@settings(max_examples=60, deadline=None)
def test_whatever_a_loop_does_the_model_is_its_sparse_network(method: str, moves: list[str]) -> None:
    model = net(dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, fused=True)
    sparse = wr.attach(model, optimizer, METHODS[method](), steps=12)
    counted, total = 0, sparse.wiring.nnz
    for at, move in enumerate(moves):
        if move != "closure":
            backward(model, optimizer, at)
        match move:
            case "step":
                optimizer.step()
            case "skip":
                optimizer.zero_grad()
            case "halves":
                backward(model, optimizer, at)
                model(torch.ones(2, 2, 4, 4)).sum().backward()
                optimizer.step()
            case "closure":
                optimizer.step(lambda: backward(model, optimizer, at))  # noqa: B023
            case "reload":
                sparse.load_state_dict(sparse.state_dict())
            case "inf":
                optimizer.grad_scale, optimizer.found_inf = torch.tensor(1.0), torch.tensor(1.0)
                optimizer.step()
                del optimizer.grad_scale, optimizer.found_inf
        counted += move in ("step", "halves", "closure")
        assert sparse.step == counted
        check_zero_outside(sparse)
        for name, site in sparse.sites.items():
            support = sparse.supports[name]
            assert support.forward <= support.backward
            grad = site.param.grad
            if grad is not None and not sparse._hears:
                assert not grad[~support.backward.mask].any()
            for memory in optimizer.state.get(site.param, {}).values():
                if memory.shape == site.param.shape:
                    assert not memory[~support.backward.mask].any()
        if method in ("static", "set", "rigl", "snfs", "dnw"):
            assert sparse.wiring.nnz == total
