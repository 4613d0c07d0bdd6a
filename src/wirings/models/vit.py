"""A vision transformer small enough for tests and forecasts (Dosovitskiy et al. 2021)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from wirings.models import checks
from wirings.models.init import find, put, truncated_normal


class ViT(nn.Module):
    """Patches, a position each, pre-norm blocks of attention and MLP, the mean over the patches, one linear layer.

    Differs from the paper: no class token; the patches are averaged instead.

    Args:
        image_shape: (channels, height, width), sides divisible by ``patch``.
        classes: how many logits.
        patch: side of a patch in pixels.
        features: width of a token; a multiple of ``heads``.
        depth: how many blocks.
        heads: attention heads.
        width: factor on ``features``, rounded to a multiple of ``heads``.
        init: a name of `wirings.models.initialisers()`; default truncated normals of 0.02.
    """

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int] = (3, 32, 32),
        classes: int = 10,
        patch: int = 4,
        features: int = 64,
        depth: int = 4,
        heads: int = 4,
        width: float = 1.0,
        init: str = "truncated-normal-0.02",
    ) -> None:
        super().__init__()
        owner = "ViT"
        channels, height, broad = checks.image_shape(owner, image_shape)
        for name, value in {"classes": classes, "patch": patch, "features": features, "depth": depth}.items():
            checks.count(owner, name, value)
        checks.count(owner, "heads", heads)
        checks.factor(owner, "width", width)
        find(init)
        if height % patch or broad % patch:
            raise ValueError(f"`patch` of `{owner}` must divide the image's sides {height} × {broad}. Got {patch}.")
        if features % heads:
            raise ValueError(f"`features` of `{owner}` must be a multiple of its {heads} heads. Got {features}.")
        self.initialiser = init
        features = heads * checks.scaled(features // heads, width)
        self.patch = nn.Conv2d(channels, features, patch, stride=patch)
        self.position = Position((height // patch) * (broad // patch), features)
        self.blocks = nn.Sequential(*(TransformerBlock(features, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(features)
        self.fc = nn.Linear(features, classes)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.position(self.patch(x).flatten(2).transpose(1, 2))
        logits: Tensor = self.fc(self.norm(self.blocks(tokens)).mean(1))
        return logits


class Position(nn.Module):
    """A learned vector for each patch, added to its token."""

    def __init__(self, tokens: int, features: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(tokens, features))

    def draw(self, rng: Generator) -> None:
        put(self.table, truncated_normal(tuple(self.table.shape), 0.02, rng))

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens + self.table


class TransformerBlock(nn.Module):
    """Attention and a fourfold MLP, each behind a layer norm and added to what came in."""

    def __init__(self, features: int, heads: int) -> None:
        super().__init__()
        self.heads, self.size = heads, features // heads
        self.norm1 = nn.LayerNorm(features)
        self.qkv = nn.Linear(features, 3 * features)
        self.out = nn.Linear(features, features)
        self.norm2 = nn.LayerNorm(features)
        self.fc1 = nn.Linear(features, 4 * features)
        self.fc2 = nn.Linear(4 * features, features)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm1(x)).unflatten(2, (3, self.heads, self.size)).permute(2, 0, 3, 1, 4).unbind(0)
        seen = F.scaled_dot_product_attention(q, k, v)
        x = x + self.out(seen.transpose(1, 2).flatten(2))
        out: Tensor = self.fc2(F.gelu(self.fc1(self.norm2(x))))
        return x + out
