"""Models by name: `build` makes one, repeatably, without touching torch's global random state."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from wirings.core.errors import SettingsError, nearest
from wirings.core.streams import stream
from wirings.models.convnet import ConvNet
from wirings.models.ecn import ECN
from wirings.models.init import reinitialise
from wirings.models.lenet import LeNet5, LeNet5Caffe
from wirings.models.mlp import mlp
from wirings.models.resnet import ResNet
from wirings.models.vgg import VGG
from wirings.models.vit import ViT
from wirings.models.wide_resnet import WideResNet

# name -> (what makes it, what the name settles)
_KNOWN: dict[str, tuple[Callable[..., nn.Module], dict[str, Any]]] = {
    "lenet-300-100": (mlp, {"hidden": (300, 100)}),
    "lenet-5": (LeNet5, {}),
    "lenet-5-caffe": (LeNet5Caffe, {}),
    "mlp": (mlp, {}),
    **{f"conv-{depth}": (ConvNet, {"depth": depth}) for depth in (2, 4, 6)},
    **{f"vgg-{depth}": (VGG, {"depth": depth}) for depth in (11, 13, 16, 19)},
    **{f"resnet-{depth}": (ResNet, {"depth": depth}) for depth in (18, 20, 32, 56)},
    "wrn-22-2": (WideResNet, {"depth": 22, "widen": 2}),
    "ecn": (ECN, {}),
    "vit-tiny": (ViT, {}),
}
_ALIASES = {"lenet300": "lenet-300-100", "lenetcaffe": "lenet-5-caffe", "wideresnet222": "wrn-22-2", "vit": "vit-tiny"}


def build(
    name: str,
    *,
    image_shape: tuple[int, int, int] = (1, 28, 28),
    classes: int = 10,
    seed: int = 0,
    **settings: Any,  # checked against the model's own settings below
) -> nn.Module:
    """A model of the literature with its own initial weights; same seed, same weights.

    Example:
        >>> model = build("resnet-20", image_shape=(3, 32, 32), classes=10, seed=1, shortcut="conv")

    Args:
        name: one of `names()`; dashes, underscores and case do not matter ("ResNet20").
        image_shape: (channels, height, width) of the images.
        classes: how many logits.
        seed: the run's seed; weights are drawn from its stream "init".
        settings: the model's own settings, as `settings(name)` lists them.

    Raises:
        SettingsError: unknown name or setting, or a setting out of range.
    """
    known = canonical(name)
    kind, settled = _KNOWN[known]
    own = _own_settings(known)
    for key in settings:
        if key not in own:
            raise SettingsError(f"`{known}` has no setting `{key}`. {nearest(key, own)}")
    try:
        # on "meta" no initial weight is drawn, so that the global random state stays where it is
        with torch.device("meta"):
            model = kind(image_shape=tuple(image_shape), classes=classes, **{**settled, **settings})
    except (TypeError, ValueError) as wrong:
        raise SettingsError(f"`{known}` cannot be built: {wrong}") from wrong
    model.to_empty(device="cpu")
    reinitialise(model, stream(seed, "init"))
    return model


def names() -> tuple[str, ...]:
    """All models, by the name that runs and tables show."""
    return tuple(_KNOWN)


def canonical(name: str) -> str:
    """The proper name of a model that was named loosely.

    Example:
        >>> canonical("lenet300"), canonical("ResNet_20")
        ('lenet-300-100', 'resnet-20')

    Raises:
        SettingsError: no model has such a name.
    """
    plain = {_squeezed(known): known for known in _KNOWN} | _ALIASES
    found = plain.get(_squeezed(str(name)))
    if found is None:
        raise SettingsError(f"There is no model {name!r}. {nearest(str(name), _KNOWN)}")
    return found


def settings(name: str) -> Mapping[str, Any]:
    """The settings of a model and their defaults (without ``image_shape``, ``classes`` and ``seed``).

    Example:
        >>> settings("lenet-5-caffe")
        {'width': 1.0, 'init': 'caffe-xavier'}
    """
    return _own_settings(canonical(name))


def _own_settings(known: str) -> dict[str, Any]:
    kind, settled = _KNOWN[known]
    parameters = inspect.signature(kind).parameters
    return {
        key: parameter.default
        for key, parameter in parameters.items()
        if key not in settled and key not in ("image_shape", "classes")
    }


def _squeezed(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())
