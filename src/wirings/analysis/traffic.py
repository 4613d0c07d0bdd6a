"""What passes through a network: the work of each layer, and the numbers that other functions return."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from wirings.core.names import bare
from wirings.kernels.work import Work
from wirings.makers.prunable import prunable
from wirings.makers.scoring import untouched
from wirings.sparse import SparseConv1D

Kind = Literal["elementwise", "norm", "max pool", "mean pool"]


@dataclass
class Traffic:
    """What passes through a network, in numbers at the batch that was asked for.

    Args:
        works: weight -> its works, dense, in the order in which they run.
        firsts: weight -> whether its input needs no gradient.
        others: kind of function -> numbers that each call returns, or reads where these are more.
        fused: numbers that come out of ReLUs which chains fuse into products.
        logits: numbers that the network returns.
    """

    works: dict[str, list[Work]] = field(default_factory=dict)
    firsts: dict[str, bool] = field(default_factory=dict)
    others: dict[Kind, list[int]] = field(default_factory=lambda: {kind: [] for kind in get_args(Kind)})
    fused: int = 0
    logits: int = 0


def traffic(model: nn.Module, shape: tuple[int, ...], batch: int) -> Traffic:
    """Run a model once on zeros, in eval mode, and leave it as it was.

    Args:
        model: any dense model.
        shape: of an input batch, batch dimension first.
        batch: samples for which numbers are told.

    Raises:
        ValueError: no linear layer and no convolution ran.
    """
    found = Traffic()
    first = next(model.parameters(), torch.empty(0))
    x = torch.zeros(shape, device=first.device, dtype=first.dtype)
    chains = _chains(model)
    names = {id(p): name for name, p in prunable(model).items()}

    def scaled(count: int) -> int:
        return -(-count * batch // shape[0])

    def listen(path: str, module: Any) -> Callable[..., None]:
        def hook(_: Any, args: tuple[Any, ...], output: Any) -> None:
            name = names.get(id(module.weight), bare(f"{path}.weight"))
            work = _work(module, args[0], scaled)
            if work is None:
                return
            chained = path in chains
            found.works.setdefault(name, []).append(replace(work, chained=chained))
            root = args[0].untyped_storage().data_ptr() == x.untyped_storage().data_ptr()
            found.firsts[name] = found.firsts.get(name, True) and root
            found.fused += scaled(output.numel()) if chains.get(path) else 0

        return hook

    counter = _Counter(found.others, scaled)
    fast = torch.backends.mha.get_fastpath_enabled()
    with untouched(model), ExitStack() as stack:
        for path, module in model.named_modules():
            if isinstance(module, (nn.Linear, nn.Conv2d)) or SparseConv1D.is_dense_equal(type(module)):
                stack.callback(module.register_forward_hook(listen(path, module)).remove)
        torch.backends.mha.set_fastpath_enabled(False)  # the fused path of transformer layers calls no module
        stack.callback(torch.backends.mha.set_fastpath_enabled, fast)
        with torch.no_grad(), counter:
            output = model(x)
    if isinstance(output, Tensor):
        found.logits = scaled(output.numel())
    if not found.works:
        raise ValueError("`model` of `forecast` has no linear layer or convolution that ran.")
    return found


def _work(module: Any, x: Tensor, scaled: Callable[[int], int]) -> Work | None:
    weight: Tensor = module.weight
    if isinstance(module, nn.Conv2d):
        if module.padding_mode != "zeros" or set(module.dilation) != {1} or isinstance(module.padding, str):
            padding = (weight.shape[2] - 1) // 2
        else:
            padding = module.padding[0]
        return Work(
            shape=tuple(weight.shape), nnz=weight.numel(), batch=scaled(x.shape[0] if x.dim() == 4 else 1),
            image=(x.shape[-2], x.shape[-1]), stride=module.stride[0], padding=padding, groups=module.groups,
        )  # fmt: skip
    shape = tuple(weight.shape) if isinstance(module, nn.Linear) else tuple(weight.shape[::-1])
    return Work(shape=shape, nnz=weight.numel(), batch=scaled(x.numel() // x.shape[-1])) if x.numel() else None


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the numbers that functions other than products return."""

    def __init__(self, others: dict[Kind, list[int]], scaled: Callable[[int], int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.others, self.scaled = others, scaled

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        result = output[0] if isinstance(output, (tuple, list)) and output else output
        name = str(func)
        quiet = any(word in name for word in _PRODUCTS) or getattr(func, "is_view", False)
        if isinstance(result, Tensor) and not quiet:
            read = max((a.numel() for a in args if isinstance(a, Tensor)), default=0)
            self.others[_kind(name)].append(self.scaled(max(result.numel(), read)))
        return output


def _kind(function: str) -> Kind:
    if "_norm" in function:
        return "norm"
    return "max pool" if "max_pool" in function else "mean pool" if "avg_pool" in function else "elementwise"


_PRODUCTS = ("conv", "addmm", ".mm", "matmul", "bmm", "detach", "empty", "t.default", "zeros", "reshape", "view")


def _chains(model: nn.Module) -> dict[str, bool]:
    """Path of every linear layer that would stand in a chain -> whether a ReLU behind it is fused into it."""
    found: dict[str, bool] = {}
    for path, module in model.named_modules():
        if type(module) is not nn.Sequential:
            continue
        chain: list[tuple[str, bool]] = []
        children = list(module.named_children())
        for i, (name, child) in enumerate(children):
            if type(child) is nn.Linear:
                relu = i + 1 < len(children) and type(children[i + 1][1]) is nn.ReLU
                chain.append((f"{path}.{name}" if path else name, relu))
            elif type(child) is not nn.ReLU:
                found.update(chain if len(chain) > 1 else [])
                chain = []
        found.update(chain if len(chain) > 1 else [])
    return found
