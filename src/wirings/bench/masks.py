"""Where the connections of a benchmark are: random, uneven as training makes them, or trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wirings.core import budgets
from wirings.core.streams import stream
from wirings.core.wiring import Shapes, Wiring
from wirings.makers.magnitude import magnitude
from wirings.makers.random import ErdosRenyi


def random(shapes: Shapes, density: float) -> Wiring:
    """Uniformly random positions, exact counts, shared out by ERK."""
    return ErdosRenyi(density)(shapes, stream(0, "bench random"))


def uniform(shapes: Shapes, density: float) -> Wiring:
    """Uniformly random positions, every weight equally dense: at the same count, far less arithmetic than by ERK, which
    keeps most connections where images are large."""
    return ErdosRenyi(density, budget=budgets.uniform)(shapes, stream(0, "bench random"))


def uneven(shapes: Shapes, density: float, *, sigma: float = 1.0) -> Wiring:
    """The same counts with rows and columns as uneven as trained ones: the largest weights of a matrix whose units have
    log-normal scales.

    Args:
        shapes: of the weights.
        density: of all of them together, shared out by ERK.
        sigma: of the logarithm of a unit's scale; 1 makes the fullest percent of rows about five times the mean.
    """
    rng, counts = stream(0, "bench uneven"), random(shapes, density)
    weights: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        weight = torch.randn(shape, generator=rng)
        for axis in (0, 1):
            scale = (sigma * torch.randn(shape[axis], generator=rng)).exp()
            weight *= scale.view([-1 if i == axis else 1 for i in range(len(shape))])
        weights[name] = weight
    parts = [magnitude({name: w}, max(counts[name].density, 1e-12)) for name, w in weights.items()]
    return Wiring({name: part[name] for name, part in zip(weights, parts, strict=True)})


def trained(model: nn.Sequential, density: float, *, steps: int = 200) -> Wiring:
    """The largest weights of a network after a short training on mnist-mini; the network is trained in place."""
    from wirings.training.build import load_data

    data = load_data("mnist-mini", None)
    images = torch.as_tensor(data.train_images).flatten(1).float() / 255
    labels = torch.as_tensor(data.train_labels).long()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    rng = stream(0, "bench trained")
    for _ in range(steps):
        some = torch.randint(len(images), (64,), generator=rng)
        optimizer.zero_grad()
        F.cross_entropy(model(images[some]), labels[some]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return magnitude(model, density)


MASKS = {"random": random, "uneven": uneven}
"""Name -> maker from shapes and a density; ``"trained"`` needs a network and stands apart."""

NETWORK_MASKS = MASKS | {"uniform": uniform}
"""Of networks whose layers differ in arithmetic per weight."""
