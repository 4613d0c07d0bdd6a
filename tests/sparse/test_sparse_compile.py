"""torch.compile: one graph for a layer whatever its wiring does, and the same numbers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch._dynamo.config
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.nn.functional import cross_entropy

import wirings as wr
from wirings.core.schedules import Constant, Cubic, Every
from wirings.methods import DNW, GraNet, Method, RigL
from wirings.sparse import to_sparse

STEPS = 44
METHODS: dict[str, tuple[Method, int]] = {  # and at how many compilations it must stay
    "constant count": (RigL(begin=wr.ErdosRenyi(0.3), when=Every(4), fraction=Constant(0.3)), 1),
    "changing count": (GraNet(density=Cubic(initial=0.6, final=0.1, until=STEPS), when=Every(4)), 3),
    "straight through, then frozen": (DNW(density=0.2, freeze_at=20), 3),
}


@pytest.fixture(autouse=True)
def _sizes_of_parameters_may_change() -> Iterator[None]:
    """The one switch that a changing number of connections needs."""
    torch._dynamo.reset()
    with torch._dynamo.config.patch(force_parameter_static_shapes=False):
        yield
    torch._dynamo.reset()


def trained(method: Method, backend: str | None) -> tuple[list[float], list[wr.Wiring], int]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 3)
        model = to_sparse(nn.Sequential(*layers).double())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    sparse = wr.attach(model, optimizer, method, steps=STEPS)
    counter = CompileCounterWithBackend(backend or "eager")
    run = torch.compile(model, fullgraph=True, backend=counter) if backend else model
    losses, wirings = [], [sparse.wiring]
    rng = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        x, y = torch.randn(8, 2, 4, 4, generator=rng, dtype=torch.float64), torch.randint(3, (8,), generator=rng)
        optimizer.zero_grad()
        loss = cross_entropy(run(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if sparse.wiring != wirings[-1]:
            wirings.append(sparse.wiring)
    return losses, wirings, counter.frame_count


def compiled_equals_eager(name: str, backend: str) -> None:
    method, most = METHODS[name]
    losses, wirings, compilations = trained(method, backend)
    plain, same, _ = trained(method, None)
    assert losses == pytest.approx(plain, rel=1e-10)
    assert wirings == same
    assert len(wirings) > 10
    assert compilations <= most


@pytest.mark.parametrize("name", METHODS)
def test_a_compiled_network_follows_its_wiring(name: str) -> None:
    compiled_equals_eager(name, "aot_eager")


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, when it loads its code generator
@pytest.mark.parametrize("name", METHODS)
def test_generated_code_follows_the_wiring_too(name: str) -> None:
    compiled_equals_eager(name, "inductor")


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch 2.15's own opcheck
def test_the_custom_ops_keep_torchs_rules() -> None:
    layer = to_sparse(nn.Linear(6, 4).double(), {"weight": wr.Topology.at((4, 6), [0, 5, 7, 23])})
    x = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    torch.library.opcheck(torch.ops.wirings.sparse_product.default, (x, layer.values, layer.bias, layer.key))
    image = torch.randn(2, 3, 5, 5, dtype=torch.float64).to(memory_format=torch.channels_last).requires_grad_()
    conv = to_sparse(nn.Conv2d(3, 4, 3).double(), {"weight": wr.Topology.at((4, 3, 3, 3), [0, 50, 100])})
    torch.library.opcheck(torch.ops.wirings.sparse_product.default, (image, conv.values, None, conv.key))


def test_an_exported_program_runs_as_long_as_its_layers_live() -> None:
    model = to_sparse(nn.Sequential(nn.Linear(6, 4), nn.ReLU()), {"0.weight": wr.Topology.at((4, 6), [0, 5, 7, 23])})
    x = torch.randn(3, 6)
    program = torch.export.export(model, (x,)).module()
    torch.testing.assert_close(program(x), model(x))
    with pytest.raises(wr.WiringError, match="belongs to a sparse layer that is gone, or of another process"):
        torch.ops.wirings.sparse_product(x, model[0].values, None, 10**9)


def test_autocast_in_a_compiled_graph_returns_what_a_dense_layer_does() -> None:
    layer = to_sparse(nn.Linear(6, 4), {"weight": wr.Topology.at((4, 6), [0, 5, 7, 23])})
    run = torch.compile(layer, fullgraph=True, backend="aot_eager")
    x = torch.randn(3, 6)
    with torch.autocast("cpu", torch.bfloat16):
        y = run(x)
        assert y.dtype == torch.bfloat16
        assert torch.equal(y, layer(x))
    y.float().sum().backward()
    assert layer.values.grad is not None
