"""Conv-2, Conv-4 and Conv-6: the small VGGs of Frankle & Carbin (2019)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from wirings.models import checks
from wirings.models.init import find


class ConvNet(nn.Module):
    """Pairs of 3×3 convolutions with a 2×2 max-pool after each pair, then 256, 256 and the logits; no batch norm.

    Frankle & Carbin 2019, Figure 2. On 3×32×32 images the weights are 4,300,992 (Conv-2), 2,425,024 (Conv-4) and
    2,261,184 (Conv-6).

    Args:
        image_shape: (channels, height, width).
        classes: how many logits.
        depth: how many convolutions: 2, 4 or 6 of 64, 64, 128, 128, 256, 256 filters.
        width: factor on every width; 1 is the paper's.
        init: a name of `wirings.models.initialisers()`; default the paper's Glorot normal.
    """

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int] = (3, 32, 32),
        classes: int = 10,
        depth: int = 4,
        width: float = 1.0,
        init: str = "glorot-normal",
    ) -> None:
        super().__init__()
        owner = "ConvNet"
        if depth not in (2, 4, 6):
            raise ValueError(f"`depth` of `{owner}` must be 2, 4 or 6. Got {depth!r}.")
        channels, height, broad = checks.image_shape(owner, image_shape, smallest=2 ** (depth // 2))
        checks.count(owner, "classes", classes)
        checks.factor(owner, "width", width)
        find(init)
        self.initialiser, self.depth = init, depth
        for i in range(depth):
            filters = checks.scaled((64, 128, 256)[i // 2], width)
            self.add_module(f"conv{i + 1}", nn.Conv2d(channels, filters, 3, padding=1))
            channels = filters
        hidden = checks.scaled(256, width)
        shrink = 2 ** (depth // 2)
        self.fc1 = nn.Linear(channels * (height // shrink) * (broad // shrink), hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.fc3 = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        for i in range(1, self.depth + 1):
            x = F.relu(getattr(self, f"conv{i}")(x))
            if i % 2 == 0:
                x = F.max_pool2d(x, 2)
        x = F.relu(self.fc1(x.flatten(1)))
        logits: Tensor = self.fc3(F.relu(self.fc2(x)))
        return logits
