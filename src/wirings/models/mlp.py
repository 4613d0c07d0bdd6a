"""Fully connected networks: LeNet-300-100 and any other stack of linear layers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from math import prod

from torch import nn

from wirings.models import checks
from wirings.models.init import find


def mlp(
    *,
    image_shape: tuple[int, int, int] = (1, 28, 28),
    classes: int = 10,
    hidden: Sequence[int] = (300, 100),
    width: float = 1.0,
    first_width: float = 1.0,
    bias: bool = True,
    relu_logits: bool = False,
    init: str = "glorot-normal",
) -> nn.Sequential:
    """Linear layers ``fc1``, ``fc2``, ... with ReLU between them, in an ``nn.Sequential``: one chain once truly sparse.

    Example:
        >>> model = mlp(image_shape=(1, 28, 28), hidden=(300, 100))   # LeNet-300-100
        >>> [tuple(p.shape) for n, p in model.named_parameters() if n.endswith("weight")]
        [(300, 784), (100, 300), (10, 100)]

    LeNet-300-100 is ``hidden=(300, 100)``: 266,200 weights (LeCun et al. 1998; Frankle & Carbin 2019). The Caffe
    study of Alford et al. (2019) had no 10-way layer: ``hidden=(300,), classes=100, relu_logits=True``.

    Args:
        image_shape: (channels, height, width); images are flattened.
        classes: how many logits.
        hidden: width of each hidden layer; ``()`` is a linear classifier.
        width: factor on every hidden width; 1 is the paper's.
        first_width: a further factor on the first hidden layer (the size-constant networks of Alford et al.).
        bias: whether layers have biases.
        relu_logits: ReLU on the logits too, as Alford et al. had it (2019, code): classes can die. Off: neutral.
        init: a name of `wirings.models.initialisers()`; Glorot normal as in Frankle & Carbin.
    """
    owner = "mlp"
    inputs = prod(checks.image_shape(owner, image_shape))
    checks.count(owner, "classes", classes)
    checks.factor(owner, "width", width)
    checks.factor(owner, "first_width", first_width)
    checks.switch(owner, "bias", bias)
    checks.switch(owner, "relu_logits", relu_logits)
    find(init)
    if isinstance(hidden, str) or not isinstance(hidden, Sequence):
        raise ValueError(f"`hidden` of `{owner}` must be a list of widths, as (300, 100). Got {hidden!r}.")
    widths = [checks.scaled(checks.count(owner, "hidden", n), width) for n in hidden]
    if widths:
        widths[0] = checks.scaled(hidden[0], width * first_width)
    model = nn.Sequential(OrderedDict(flatten=nn.Flatten()))
    for i, (before, after) in enumerate(pairwise([inputs, *widths, classes]), start=1):
        model.add_module(f"fc{i}", nn.Linear(before, after, bias=bias))
        if i <= len(widths) or relu_logits:
            model.add_module(f"relu{i}", nn.ReLU())
    model.initialiser = init  # type: ignore[assignment]  # torch: a module or a tensor
    return model
