"""Convolutional networks whose activations stay in planes: any module's own `forward`, converted only at its borders.

Between sparse convolutions, batch norms, ReLUs, additions and max pools, packing images into the kernels' layout and
out of it again costs as much as the sparse products themselves. Inside a module told to :func:`keep_planes`, sparse
convolutions hand on :class:`PlaneImages`: to the operations above they are planes, to everything else they are the
tensor.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wirings.kernels import native
from wirings.kernels.conv import ConvIndex
from wirings.kernels.pool import Window
from wirings.kernels.stored import DTYPES
from wirings.kernels.work import LANES, few_images
from wirings.sparse.planes_autograd import ConvInPlanes, NormInPlanes, Pack, PoolInPlanes, Unpack, halo_after

if TYPE_CHECKING:
    from wirings.sparse.conv import SparseConv2d

_region = threading.local()


def keep_planes(model: nn.Module) -> nn.Module:
    """Let activations inside a module stay in planes from sparse convolution to sparse convolution; returns the module.

    What goes in and what comes out are tensors as ever, and the numbers are the same. Batch norm, the addition of a
    shortcut and ReLU run in one pass; max pools stay in planes, too. Under autocast images are bfloat16 where the
    processor multiplies it, and else stay float32 from a float32 input on. Where planes cannot be (another device,
    torch.compile, float16) nothing changes.
    Forward hooks on modules inside see :class:`PlaneImages`, which behave as the tensor.

    Example:
        >>> model = keep_planes(to_sparse(resnet, wiring))
    """
    if any(hook is _leave for hook in model._forward_hooks.values()):
        return model
    model.register_forward_pre_hook(_enter)
    model.register_forward_hook(_leave, always_call=True)
    return model


def _enter(module: nn.Module, args: Any) -> None:
    if not torch.compiler.is_compiling():
        _region.depth = getattr(_region, "depth", 0) + 1


def _leave(module: nn.Module, args: Any, output: Any) -> Any:
    if torch.compiler.is_compiling():
        return output
    _region.depth -= 1
    return output if _region.depth else _as_tensors(output)


def convolved(layer: SparseConv2d, x: Tensor | PlaneImages) -> PlaneImages | None:
    """The layer's result in planes, where it should and can be; else ``None``."""
    if not getattr(_region, "depth", 0) or torch.compiler.is_compiling() or layer.used is not None:
        return None
    values = layer.values
    if x.dim() != 4 or x.device.type != "cpu" or x.shape[0] == 0 or not native.available():
        return None
    wanted = torch.bfloat16 if _narrows(x, values) else values.dtype
    if wanted not in DTYPES or (x.dtype != wanted and wanted == values.dtype):
        return None
    if few_images(x.shape[0]) and not torch.is_grad_enabled():
        return None  # most lanes would be padding
    index = layer.index
    assert isinstance(index, ConvIndex)
    if x.dtype != wanted:
        x = (x.tensor() if isinstance(x, PlaneImages) else x).to(wanted)
    images = x if isinstance(x, PlaneImages) else PlaneImages.of(x, halo=index.padding)
    data, again = ConvInPlanes.apply(images.data, values, layer.bias, layer, index, images.batch, images.halo)  # type: ignore[no-untyped-call]
    if again is not None:
        images._data = again
    return PlaneImages(data, images.batch, halo_after(images.halo), last=images.last)


def _narrows(x: Tensor | PlaneImages, values: Tensor) -> bool:
    """Whether to go on in bfloat16 under autocast: where that is faster, and half of the lanes are not padding."""
    autocast = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    halves = all(t.dtype in (torch.float32, torch.bfloat16) for t in (x, values))
    return autocast and halves and native.multiplies_bfloat16() and x.shape[0] > LANES


@dataclass(frozen=True)
class WaitingNorm:
    """A batch norm that waits for what follows it: an addition, a ReLU."""

    source: PlaneImages
    weight: Tensor | None
    bias: Tensor | None
    running: tuple[Tensor, Tensor] | None
    training: bool
    momentum: float
    eps: float
    residual: PlaneImages | None = None
    relu: bool = False
    counted: list[bool] = field(default_factory=lambda: [False])  # running statistics move once, whoever asks first

    def made(self) -> Tensor:
        residual = None if self.residual is None else self.residual.with_halo(self.source.halo)
        result: Tensor = NormInPlanes.apply(self.source.data, self.weight, self.bias, residual, self)  # type: ignore[no-untyped-call]
        return result


class PlaneImages:
    """A batch of images in planes, under autograd; whoever does not know planes sees the tensor.

    Args:
        data: the planes, ``(panel, channel, height + 2 halo, width + 2 halo, lanes)``.
        batch: samples.
        halo: width of the zero border.
        norm: instead of ``data``, a batch norm still to be made.
        last: whether the tensor is to be in channels-last format.
    """

    _handled: ClassVar[dict[Any, Callable[..., Any]]] = {}

    def __init__(
        self, data: Tensor | None, batch: int, halo: int, *, norm: WaitingNorm | None = None, last: bool = False
    ) -> None:
        self._data, self._norm, self._tensor = data, norm, None
        self.batch, self.halo, self.last = batch, halo, last

    _tensor: Tensor | None

    @classmethod
    def of(cls, x: Tensor, *, halo: int) -> PlaneImages:
        """A tensor's images."""
        last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
        return cls(Pack.apply(x, halo), x.shape[0], halo, last=last)  # type: ignore[no-untyped-call]

    @property
    def data(self) -> Tensor:
        """The planes; a waiting batch norm is made now."""
        if self._data is None:
            if self._norm is not None:
                self._data, self._norm = self._norm.made(), None
            else:
                assert self._tensor is not None
                self._data = Pack.apply(self._tensor, self.halo)  # type: ignore[no-untyped-call]
        assert self._data is not None
        return self._data

    def tensor(self) -> Tensor:
        """The images as a plain tensor."""
        if self._tensor is None:
            self._tensor = Unpack.apply(self.data, self.batch, self.halo, self.last)  # type: ignore[no-untyped-call]
        assert self._tensor is not None
        return self._tensor

    def with_halo(self, halo: int) -> Tensor:
        """The planes with a border of this width."""
        d = halo - self.halo
        return self.data if d == 0 else F.pad(self.data, (0, 0, d, d, d, d))

    # ------------------------------------------------------------------ what a tensor is asked

    @property
    def shape(self) -> torch.Size:
        planes = self
        while planes._data is None and planes._norm is not None:
            planes = planes._norm.source
        if planes._data is None:
            return planes.tensor().shape
        _, channels, height, width, _ = planes._data.shape
        return torch.Size((self.batch, channels, height - 2 * planes.halo, width - 2 * planes.halo))

    def size(self, dim: int | None = None) -> Any:
        return self.shape if dim is None else self.shape[dim]

    def dim(self) -> int:
        return 4

    @property
    def ndim(self) -> int:
        return 4

    @property
    def dtype(self) -> torch.dtype:
        return self.data.dtype if self._norm is None else self._norm.source.dtype

    @property
    def device(self) -> torch.device:
        return self.data.device if self._norm is None else self._norm.source.device

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if not name.endswith("_"):
            return getattr(self.tensor(), name)

        def in_place(*args: Any, **kwargs: Any) -> PlaneImages:
            getattr(self.tensor(), name)(*_as_tensors(args), **_as_tensors(kwargs))
            self._written()
            return self

        return in_place

    def _written(self) -> None:
        """Somebody wrote to the tensor: from here on it is the truth, and not the planes."""
        self._data = self._norm = None

    def __add__(self, other: Any) -> Any:
        if isinstance(other, Tensor) and other.shape == self.shape and other.dtype == self.dtype:
            other = PlaneImages.of(other, halo=self.halo)
        if not isinstance(other, PlaneImages) or other.shape != self.shape:
            return self.tensor() + _as_tensors(other)
        for one, two in ((self, other), (other, self)):
            if one._norm is not None and not one._norm.relu and one._norm.residual is None:
                return one._waiting(replace(one._norm, residual=two))
        return PlaneImages(self.data + other.with_halo(self.halo), self.batch, self.halo, last=self.last)

    __radd__ = __add__

    def __iadd__(self, other: Any) -> Any:
        return self + other

    def relu(self) -> PlaneImages:
        if self._norm is not None and not self._norm.relu:
            return self._waiting(replace(self._norm, relu=True))
        return PlaneImages(torch.relu(self.data), self.batch, self.halo, last=self.last)

    def _waiting(self, norm: WaitingNorm) -> PlaneImages:
        return PlaneImages(None, self.batch, norm.source.halo, norm=norm, last=self.last)

    def _become(self, other: PlaneImages) -> PlaneImages:
        self.__dict__.update(other.__dict__)
        return self

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        known = cls._handled.get(func)
        if known is not None:
            done = known(*args, **(kwargs or {}))
            if done is not NotImplemented:
                return done
        whole = (args, dict(kwargs or {}))
        ours = [(image, image.tensor()._version) for image in _images_in(whole)]
        plain_args, plain_kwargs = _as_tensors(whole)
        result = func(*plain_args, **plain_kwargs)
        for image, version in ours:
            if image.tensor()._version != version:
                image._written()
        return result


def _images_in(value: Any) -> list[PlaneImages]:
    if isinstance(value, PlaneImages):
        return [value]
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [image for part in inside for image in _images_in(part)]


def _relu(x: Any, inplace: bool = False) -> Any:
    return x._become(x.relu()) if inplace else x.relu()


def _add(a: Any, b: Any, *, alpha: float = 1) -> Any:
    if alpha != 1:
        return NotImplemented
    return a + b if isinstance(a, PlaneImages) else b + a


def _batch_norm(
    x: Any,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    if not isinstance(x, PlaneImages):
        return NotImplemented
    given = [t for t in (running_mean, running_var, weight, bias) if t is not None]
    if any(t.dtype not in (x.dtype, torch.promote_types(x.dtype, torch.float32)) for t in given):
        return NotImplemented
    running = None if running_mean is None or running_var is None else (running_mean, running_var)
    if not training and running is None:
        return NotImplemented
    _ = x.data  # made before it waits: a norm waits for one tensor only
    norm = WaitingNorm(x, weight, bias, running, training, momentum, eps)
    return PlaneImages(None, x.batch, x.halo, norm=norm, last=x.last)


def _max_pool(
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    if _twice(dilation) != (1, 1) or ceil_mode or return_indices:
        return NotImplemented
    window = Window(_twice(kernel_size), _twice(stride or kernel_size), _twice(padding))
    data = PoolInPlanes.apply(x.data, x.batch, x.halo, window)  # type: ignore[no-untyped-call]
    return PlaneImages(data, x.batch, halo_after(x.halo), last=x.last)


def _twice(size: int | tuple[int, ...]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[-1])


PlaneImages._handled.update(
    {
        F.relu: _relu,
        torch.relu: _relu,
        torch.add: _add,
        Tensor.add: _add,
        F.batch_norm: _batch_norm,
        F.max_pool2d: _max_pool,
    }
)


def _delegated(name: str) -> Callable[..., Any]:
    def operator(self: PlaneImages, *others: Any) -> Any:
        return getattr(self.tensor(), name)(*_as_tensors(others))

    return operator


for _name in (
    "mul", "rmul", "sub", "rsub", "truediv", "rtruediv", "matmul", "rmatmul", "pow", "neg", "abs", "getitem", "len",
    "iter", "lt", "le", "gt", "ge", "array", "bool", "float",
):  # fmt: skip
    setattr(PlaneImages, f"__{_name}__", _delegated(f"__{_name}__"))


def _as_tensors(value: Any) -> Any:
    """The same, with tensors in the place of planes."""
    if isinstance(value, PlaneImages):
        return value.tensor()
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(_as_tensors, value))
    if isinstance(value, (list, tuple)):
        return type(value)(map(_as_tensors, value))
    if isinstance(value, dict):
        converted = {key: _as_tensors(v) for key, v in value.items()}
        return converted if type(value) is dict else type(value)(**converted)
    return value
