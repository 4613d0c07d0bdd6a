"""Fully connected networks: LeNet-300-100 and any other stack of linear layers."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch.nn.functional as F
from torch import Tensor, nn

from wirings.models import checks
from wirings.models.init import find


class MLP(nn.Module):
    """Linear layers ``fc1``, ``fc2``, ... with ReLU between them.

    Example:
        >>> model = MLP(image_shape=(1, 28, 28), hidden=(300, 100))   # LeNet-300-100
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

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int] = (1, 28, 28),
        classes: int = 10,
        hidden: Sequence[int] = (300, 100),
        width: float = 1.0,
        first_width: float = 1.0,
        bias: bool = True,
        relu_logits: bool = False,
        init: str = "glorot-normal",
    ) -> None:
        super().__init__()
        owner = "MLP"
        inputs = prod(checks.image_shape(owner, image_shape))
        checks.count(owner, "classes", classes)
        checks.factor(owner, "width", width)
        checks.factor(owner, "first_width", first_width)
        checks.switch(owner, "bias", bias)
        self.relu_logits = checks.switch(owner, "relu_logits", relu_logits)
        find(init)
        self.initialiser = init
        if isinstance(hidden, str) or not isinstance(hidden, Sequence):
            raise ValueError(f"`hidden` of `{owner}` must be a list of widths, as (300, 100). Got {hidden!r}.")
        widths = [checks.scaled(checks.count(owner, "hidden", n), width) for n in hidden]
        if widths:
            widths[0] = checks.scaled(hidden[0], width * first_width)
        sizes = [inputs, *widths, classes]
        self.depth = len(sizes) - 1
        for i in range(self.depth):
            self.add_module(f"fc{i + 1}", nn.Linear(sizes[i], sizes[i + 1], bias=bias))

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        for i in range(1, self.depth + 1):
            x = getattr(self, f"fc{i}")(x)
            if i < self.depth or self.relu_logits:
                x = F.relu(x)
        return x
