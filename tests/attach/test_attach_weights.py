"""Which weights, whose values: names, ties, groups, formats, copies, and what a user writes into a live parameter."""

from __future__ import annotations

import copy
import io
import logging
import os
import pickle
import subprocess
import sys
import warnings

import pytest
import torch
from attach_nets import METHODS, backward, check_zero_outside, net, rigl, set_, sgd, static, train, trained
from torch import nn

import wirings as wr
from wirings.core.errors import WiringError

ALL = sorted(METHODS)


# ---------------------------------------------------------------------- which weights


def test_attach_says_what_it_keeps_and_what_stays_dense(caplog: pytest.LogCaptureFixture) -> None:
    model = net()
    model.fc2.weight.requires_grad_(False)
    with caplog.at_level(logging.INFO, logger="wirings"):
        wr.attach(model, sgd(model), static(0.25), where=lambda m: wr.prunable(m, except_=("conv",)))
    assert caplog.messages == [
        "keeps 128 of 512 weights (75 % sparse)",
        "stays dense (left out by `where`): conv.weight",
        "stays dense (a bias): conv.bias, norm.bias, fc1.bias, fc2.bias",
        "stays dense (a vector of BatchNorm2d): norm.weight",
        "stays dense (frozen): fc2.weight",
    ]


def test_weights_are_chosen_by_name_by_function_and_in_any_wrapper() -> None:
    model = net()
    by_name = wr.attach(model, sgd(model), static(), where=["fc2.weight", "_orig_mod.module.conv.weight"])
    assert list(by_name.wiring) == ["conv.weight", "fc2.weight"]
    model = net()
    by_function = wr.attach(model, sgd(model), static(), where=lambda m: wr.prunable(m, except_=("conv",)))
    assert list(by_function.wiring) == ["fc1.weight", "fc2.weight"]
    model = torch.compile(nn.DataParallel(net()), backend="eager")
    assert list(wr.attach(model, sgd(model), static()).wiring) == ["conv.weight", "fc1.weight", "fc2.weight"]


def test_tied_weights_are_one_site() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encode = nn.Linear(6, 6)
            self.decode = nn.Linear(6, 6)
            self.decode.weight = self.encode.weight

    for where in (wr.prunable, ["decode.weight"], ["encode.weight", "decode.weight"]):
        model = Tied().double()
        optimizer = sgd(model)
        sparse = wr.attach(model, optimizer, rigl(density=0.5), where=where)
        assert list(sparse.wiring) == ["encode.weight"]
        for _ in range(4):
            optimizer.zero_grad()
            model.decode(model.encode(torch.ones(2, 6).double())).square().sum().backward()
            optimizer.step()
            check_zero_outside(sparse)
        assert model.decode.weight is model.encode.weight
        assert sparse.wiring.nnz == 18


def test_several_groups_and_one_that_comes_later() -> None:
    model, head = net(), nn.Linear(3, 3).double()
    optimizer = torch.optim.SGD(
        [{"params": model.conv.parameters(), "lr": 0.01}, {"params": model.fc1.parameters()}], lr=0.1, momentum=0.9
    )
    sparse = wr.attach(model, optimizer, rigl(), where=["conv.weight", "fc1.weight"])
    trained(model, optimizer, 3)
    optimizer.add_param_group({"params": [*model.fc2.parameters(), *head.parameters()], "lr": 0.1})
    before = model.fc2.weight.detach().clone()
    trained(model, optimizer, range(4, 8))
    check_zero_outside(sparse)
    assert not torch.equal(model.fc2.weight, before)
    assert sparse.step == 7


def test_frozen_weights_stay_dense() -> None:
    model = net()
    model.fc1.weight.requires_grad_(False)
    before = model.fc1.weight.clone()
    optimizer = sgd(model)
    sparse = wr.attach(model, optimizer, static())
    assert list(sparse.wiring) == ["conv.weight", "fc2.weight"]
    trained(model, optimizer, 2)
    assert torch.equal(model.fc1.weight, before)
    model.fc2.weight.requires_grad_(False)  # frozen while attached
    held = model.fc2.weight.clone()
    optimizer.zero_grad()
    trained(model, optimizer, range(3, 5))
    assert torch.equal(model.fc2.weight, held)
    check_zero_outside(sparse)


def test_a_vector_can_be_sparse_where_the_user_says_so() -> None:
    model = net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    sparse = wr.attach(model, optimizer, static(0.5), where=["fc1.bias", "fc1.weight"])
    trained(model, optimizer, 3)
    check_zero_outside(sparse)
    assert sparse.wiring["fc1.bias"].shape == (8,)


def refused(sentence: str, **options: object) -> None:
    model = net()
    arguments: dict[str, object] = {"optimizer": sgd(model), "method": static(), **options}
    before = copy.deepcopy(model.state_dict())
    with pytest.raises((WiringError, ValueError, TypeError), match=sentence) as error:
        wr.attach(model, **arguments)
    assert "\n" not in str(error.value)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert not any(p._backward_hooks for p in model.parameters())


def test_what_cannot_be_is_refused_in_one_sentence() -> None:
    refused("`fc9.weight`, which the model does not have", where=["fc9.weight"])
    refused("must be a sequence of names. Got the string 'fc1.weight'", where="fc1.weight")
    refused("found no weight that could be sparse", where=[])
    refused("`conv.weight` must be in the optimizer once. Got 0 times", optimizer=sgd(net()))
    refused("must be a torch.optim.Optimizer. Got Net", optimizer=net())
    refused("must be a method such as RigL", method=wr.ErdosRenyi(0.1))
    refused("at least 1. Got 0", steps=0)
    refused("at least 1. Got True", steps=True)
    refused(r"say how long the run is: attach\(..., steps=N\)", method=wr.RigL())
    for wiring, sentence in (
        (wr.Wiring({"fc1.weight": wr.Topology.full((8, 64))}), "`conv.weight` is missing"),
        (wr.Wiring({"other.weight": wr.Topology.full((8, 64))}), "names `other.weight`, which the network does not"),
        (
            wr.Wiring({"fc2.weight": wr.Topology.full((3, 9))}),
            r"`fc2.weight` has shape \(3, 9\), but that of the network has \(3, 8\)",
        ),
    ):
        refused(sentence, method=wr.Static(begin=wiring))


def test_a_frozen_weight_named_by_the_user_is_refused() -> None:
    model = net()
    model.fc1.weight.requires_grad_(False)
    with pytest.raises(WiringError, match=r"`fc1.weight` must train to be sparse. It is frozen"):
        wr.attach(model, sgd(model), static(), where=["fc1.weight"])


def test_a_second_method_is_refused_until_the_first_is_detached() -> None:
    model = net()
    optimizer = sgd(model)
    sparse = wr.attach(model, optimizer, static())
    with pytest.raises(WiringError, match=r"`conv.weight` has a method attached already"):
        wr.attach(model, optimizer, rigl())
    sparse.detach()
    wr.attach(model, optimizer, wr.Static(begin=sparse.wiring))


def test_a_weight_that_no_decay_reaches_beside_others_is_said() -> None:
    model = net()
    groups = [
        {"params": [p for p in model.parameters() if p.ndim < 3], "weight_decay": 0.1},
        {"params": [model.conv.weight]},
    ]
    with pytest.warns(UserWarning, match=r"`conv.weight` has no weight decay, .* wirings.param_groups"):
        wr.attach(model, torch.optim.SGD(groups, lr=0.1), static())
    model = net()
    wr.attach(model, torch.optim.SGD(wr.param_groups(model, 0.1), lr=0.1), static())  # says nothing


def test_importing_the_folder_does_not_hide_the_function() -> None:
    code = "import wirings.attach.saving, wirings as wr; from wirings import attach; assert wr.attach is attach"
    code += "; assert callable(attach) and attach.__name__ == 'attach'"
    where = os.pathsep.join(sys.path)
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, env={**os.environ, "PYTHONPATH": where})


# ---------------------------------------------------------------------- formats, devices, dtypes


@pytest.mark.parametrize("method", ALL)
def test_channels_last_weights_train_as_contiguous_ones(method: str) -> None:
    model, twin = net(), net().to(memory_format=torch.channels_last)
    optimizer, other = sgd(model), sgd(twin)
    sparse, beside = (wr.attach(m, o, METHODS[method](), steps=8) for m, o in ((model, optimizer), (twin, other)))
    for _ in zip(train(model, optimizer, 6), train(twin, other, 6), strict=True):
        check_zero_outside(beside)
    assert twin.conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert sparse.wiring == beside.wiring
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(p, q, rtol=1e-9, atol=1e-12)


def test_nine_of_sixteen_are_zero_in_both_memory_formats() -> None:
    mask = torch.tensor([1, 0, 0, 1, 0, 1, 0, 0, 1, 0, 1, 0, 1, 0, 0, 1]).view(4, 4, 1, 1).bool()
    for memory_format in (torch.contiguous_format, torch.channels_last):
        model = nn.Conv2d(4, 4, 1, bias=False).to(memory_format=memory_format)
        optimizer = sgd(model)
        sparse = wr.attach(model, optimizer, wr.Static(begin=wr.Wiring({"weight": wr.Topology.of(mask)})))
        for _ in range(3):
            assert int((model.weight == 0).sum()) == 9
            assert torch.equal(model.weight != 0, mask)
            optimizer.zero_grad()
            model(torch.ones(1, 4, 2, 2)).square().sum().backward()
            optimizer.step()
        assert sparse.wiring.nnz == 7


@pytest.mark.parametrize("method", ALL)
def test_a_model_that_is_converted_after_attach_goes_on(method: str) -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    sparse = wr.attach(model, optimizer, METHODS[method](), steps=8)
    trained(model, optimizer, 3)
    wiring = sparse.wiring
    model.float()
    optimizer.zero_grad()
    assert sparse.wiring == wiring
    for _ in train(model, optimizer, range(4, 8)):
        check_zero_outside(sparse)
    assert sparse.step == 7
    assert model.fc1.weight.dtype == torch.float32


# ---------------------------------------------------------------------- what a user writes stays


@pytest.mark.parametrize("method", [m for m in ALL if m != "edge-popup"])
def test_an_edit_of_a_live_weight_is_what_trains_on(method: str) -> None:
    model = net()
    optimizer = sgd(model, lr=0.0)
    sparse = wr.attach(model, optimizer, METHODS[method](), steps=30)
    trained(model, optimizer, 1)
    with torch.no_grad():
        for site in sparse.sites.values():
            site.param.fill_(9.0)  # on the wiring it stays; elsewhere there is no connection to hold it
    wiring = sparse.wiring
    backward(model, optimizer, 2)
    optimizer.step()
    check_zero_outside(sparse)
    for name, site in sparse.sites.items():
        kept = (wiring[name] & sparse.wiring[name]).mask
        assert kept.any()
        assert torch.all(site.param[kept] == 9.0)


def test_an_edit_of_weights_under_scores_stays_and_shapes_the_gradient_of_the_scores() -> None:
    model = net()
    optimizer = sgd(model)
    sparse = wr.attach(model, optimizer, METHODS["edge-popup"]())
    used = sparse.wiring["fc1.weight"].mask
    with torch.no_grad():
        model.fc1.weight.copy_(torch.where(used, 2.0, 0.0))
    model.fc1.weight.sum().backward()
    assert torch.all(model.fc1.weight.grad[used].abs() == 2.0)  # times the slope of |score|
    optimizer.step()
    now = sparse.wiring["fc1.weight"].mask
    assert torch.all(model.fc1.weight[used & now] == 2.0)


@pytest.mark.parametrize("method", ALL)
def test_weights_loaded_into_a_live_model_stay(method: str) -> None:
    model = net()
    optimizer = sgd(model, lr=0.0, momentum=0.0)
    sparse = wr.attach(model, optimizer, METHODS[method](), steps=30)
    other = net(seed=1).state_dict()
    model.load_state_dict(other)
    wiring = sparse.wiring
    backward(model, optimizer, 1)
    optimizer.step()
    for name, topology in wiring.items():
        kept = (topology & sparse.wiring[name]).mask
        assert torch.equal(model.get_parameter(name)[kept], other[name][kept])
    check_zero_outside(sparse)


# ---------------------------------------------------------------------- copies, and the end


@pytest.mark.parametrize("method", ALL)
def test_copies_of_an_attached_model_are_plain_sparse_models(method: str) -> None:
    model = net()
    optimizer = sgd(model)
    sparse = wr.attach(model, optimizer, METHODS[method](), steps=8)
    trained(model, optimizer, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        saved = io.BytesIO()
        torch.save(model, saved)
        saved.seek(0)
        copies = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]  # noqa: S301
        copies.append(torch.load(saved, weights_only=False))
        copy.deepcopy(optimizer)
        pickle.dumps(optimizer)
    for other in copies:
        for (name, p), q in zip(other.named_parameters(), model.parameters(), strict=True):
            assert torch.equal(p, q)
            assert not p._backward_hooks
            if name in sparse.wiring:
                assert not p[~sparse.wiring[name].mask].any()
    trained(model, optimizer, range(4, 6))
    assert sparse.step == 5


@pytest.mark.parametrize("method", ALL)
def test_detach_leaves_the_sparse_model_and_no_hook(method: str) -> None:
    model = net()
    optimizer = sgd(model)
    keys = list(model.state_dict())
    sparse = wr.attach(model, optimizer, METHODS[method](), steps=8)
    trained(model, optimizer, 3)
    before = copy.deepcopy(model.state_dict())
    sparse.detach()
    sparse.detach()  # once more does nothing
    assert not any(p._backward_hooks for p in model.parameters())
    assert not optimizer._optimizer_step_pre_hooks
    assert not optimizer._optimizer_step_post_hooks
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not module._backward_hooks
    assert list(model.state_dict()) == keys
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    trained(model, optimizer, 2)
    assert sparse.step == 3
    if method != "edge-popup":
        assert int((model.fc1.weight != 0).sum()) > sparse.wiring["fc1.weight"].nnz, "nothing holds the zeros any more"


def test_the_parameters_stay_the_same_objects_for_life() -> None:
    model = net()
    optimizer = sgd(model)
    before = list(model.parameters())
    wr.attach(model, optimizer, set_(every=1))
    trained(model, optimizer, 4)
    assert all(p is q for p, q in zip(model.parameters(), before, strict=True))
