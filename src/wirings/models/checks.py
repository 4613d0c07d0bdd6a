"""What every model checks before it builds itself, said in one way."""

from __future__ import annotations

import math

ImageShape = tuple[int, int, int]
"""(channels, height, width)."""


def image_shape(owner: str, shape: tuple[int, ...], smallest: int = 1) -> ImageShape:
    """The (channels, height, width) of the images, checked against the smallest side the network can take."""
    if len(shape) != 3 or any(not isinstance(n, int) or isinstance(n, bool) or n < 1 for n in shape):
        raise ValueError(
            f"`image_shape` of `{owner}` must be (channels, height, width), three positive integers. Got {shape!r}."
        )
    if min(shape[1:]) < smallest:
        raise ValueError(f"`image_shape` of `{owner}` must be at least {smallest} × {smallest}. Got {shape!r}.")
    return shape[0], shape[1], shape[2]


def count(owner: str, name: str, value: int, least: int = 1) -> int:
    """A whole number of at least ``least``."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"`{name}` of `{owner}` must be a whole number of at least {least}. Got {value!r}.")
    return value


def factor(owner: str, name: str, value: float) -> float:
    """A positive, finite multiplier."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ValueError(f"`{name}` of `{owner}` must be a positive number. Got {value!r}.")
    return float(value)


def one_of(owner: str, name: str, value: str, known: tuple[str, ...]) -> str:
    """One of a closed set of words."""
    if value not in known:
        raise ValueError(f"`{name}` of `{owner}` must be one of {', '.join(known)}. Got {value!r}.")
    return value


def switch(owner: str, name: str, value: bool) -> bool:
    """True or false, and nothing that merely looks like it (the text "false" is true in Python)."""
    if not isinstance(value, bool):
        raise ValueError(f"`{name}` of `{owner}` must be true or false. Got {value!r}.")
    return value


def scaled(width: int, by: float) -> int:
    """A width times a factor, at least 1.

    Example:
        >>> scaled(300, 0.05), scaled(100, 0.05), scaled(10, 0.01)
        (15, 5, 1)
    """
    return max(1, round(width * by))
