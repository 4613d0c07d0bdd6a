"""Which weights of a network may lose connections: the one answer that makers, `attach` and the reports share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch import nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.nn.parameter import UninitializedParameter

from wirings.core.errors import WiringError
from wirings.core.names import bare, matches

# Exact types: a subclass may do anything with its weight. NonDynamicallyQuantizableLinear is the plain Linear that
# MultiheadAttention calls `out_proj`.
_BY_TYPE: dict[type, tuple[str, ...]] = {
    nn.Linear: ("weight",),
    NonDynamicallyQuantizableLinear: ("weight",),
    nn.Conv1d: ("weight",),
    nn.Conv2d: ("weight",),
    nn.MultiheadAttention: ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"),
}


def prunable(model: nn.Module, *, except_: Iterable[str] = ()) -> dict[str, nn.Parameter]:
    """The weights that can be sparse, by their names in the bare model, in the order of its modules.

    Those are the weights of exact `nn.Linear`, `nn.Conv1d`, `nn.Conv2d` and of `transformers`' `Conv1D`, and the input
    projections of `nn.MultiheadAttention`; never biases or norms. A weight that several layers share appears once,
    under its first name. One that a layer of another kind uses too (a head tied to its embedding) stays dense.
    :func:`left_dense` tells the reasons.

    Example:
        >>> list(prunable(nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))))
        ['0.weight', '2.weight']
        >>> list(prunable(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), except_=("1",)))
        ['0.weight']

    Args:
        model: any module; wrappers (`torch.compile`, DistributedDataParallel) do not change the names.
        except_: patterns of weights, or of modules that hold them, which stay dense: ``("conv1", "fc")``.

    Raises:
        WiringError: if a pattern fits no weight, or a lazy module has no shape yet.
    """
    if isinstance(except_, str):
        raise TypeError(f"`except_` of `prunable` must be a sequence of patterns. Got the string {except_!r}.")
    patterns = tuple(except_)
    elsewhere = {id(p) for _, p, reason in _uses(model) if reason}
    found: dict[int, tuple[str, nn.Parameter]] = {}
    for name, parameter, reason in _uses(model):
        if not reason and id(parameter) not in elsewhere:
            found.setdefault(id(parameter), (name, parameter))
    weights = dict(found.values())
    for pattern in patterns:
        if not any(matches(name, (pattern,)) for name in weights):
            known = ", ".join(list(weights)[:8]) + (", ..." if len(weights) > 8 else "")
            raise WiringError(f"`except_` must name prunable weights. {pattern!r} fits none of {known}.")
    return {name: parameter for name, parameter in weights.items() if not matches(name, patterns)}


def with_biases(model: nn.Module, *, except_: Iterable[str] = ()) -> dict[str, nn.Parameter]:
    """:func:`prunable` and the biases of the same layers, each after its weight: what the original SNIP prunes.

    Example:
        >>> list(with_biases(nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2, bias=False))))
        ['0.weight', '0.bias', '2.weight']
    """
    everything = {bare(name): p for name, p in model.named_parameters(remove_duplicate=False)}
    found: dict[str, nn.Parameter] = {}
    for name, weight in prunable(model, except_=except_).items():
        found[name] = weight
        bias = name.removesuffix("weight") + "bias"  # "fc.weight" -> "fc.bias", "in_proj_weight" -> "in_proj_bias"
        if bias in everything:
            found[bias] = everything[bias]
    return found


def left_dense(model: nn.Module, *, except_: Iterable[str] = ()) -> dict[str, str]:
    """Every parameter that :func:`prunable` leaves out, and why, in words for a reader.

    Example:
        >>> left_dense(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, affine=False)))
        {'0.bias': 'a bias'}
    """
    taken = prunable(model, except_=except_)
    own = {id(parameter) for parameter in taken.values()}
    could_be = {id(parameter) for parameter in prunable(model).values()}
    reasons: dict[int, tuple[str, str]] = {}
    for name, parameter, reason in _uses(model):
        if id(parameter) in own:
            continue
        if id(parameter) in could_be:
            reason = "named by `except_`"
        known, said = reasons.get(id(parameter), (name, ""))
        if reason and not said:
            said = reason if known == name else f"shared with `{name}`, {reason}"
        reasons[id(parameter)] = (known, said)
    return dict(reasons.values())


def _uses(model: nn.Module) -> Iterator[tuple[str, nn.Parameter, str]]:
    """Every use of a parameter: bare name, parameter, and why it stays dense there ("" where it need not)."""
    for path, module in model.named_modules(remove_duplicate=True):
        for key, parameter in module._parameters.items():
            if parameter is None:
                continue
            name = bare(f"{path}.{key}" if path else key)
            if isinstance(parameter, UninitializedParameter):
                raise WiringError(f"`{name}` has no shape yet: run the lazy model once before asking for its weights.")
            yield name, parameter, _reason(module, key, parameter)


def _reason(module: nn.Module, key: str, parameter: nn.Parameter) -> str:
    kind = type(module)
    if key in _BY_TYPE.get(kind, ()) or (key == "weight" and _is_transformers_conv1d(kind)):
        return ""
    if "bias" in key:
        return "a bias"
    if key.startswith("original") and "parametriz" in kind.__module__:
        return "computed by a parametrization"
    if isinstance(module, tuple(t for t in _BY_TYPE if t is not nn.MultiheadAttention)) and key == "weight":
        return f"{kind.__name__} is a subclass, which may use its weight in its own way"
    if parameter.ndim < 2:
        return f"a vector of {kind.__name__}"
    return f"{kind.__name__} is not a kind of layer that can be sparse"


def _is_transformers_conv1d(kind: type) -> bool:
    return kind.__name__ == "Conv1D" and kind.__module__.startswith("transformers.")
