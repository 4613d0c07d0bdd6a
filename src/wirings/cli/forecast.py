"""``wirings forecast``: would a network be faster in sparse storage here?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from torch import nn

    from wirings.analysis.forecast import Forecast


def forecast_(
    model: Annotated[str, Parameter(show_default=False)],
    /,
    *,
    shape: str = "1,28,28",
    density: str | None = None,
    sparsity: str | None = None,
    batch: int = 64,
    classes: int = 10,
    train: bool = True,
    threads: int | None = None,
    measure: bool = False,
    calibrate: bool = False,
    json: bool = False,
) -> int:
    """Would a network be faster in sparse storage here? Layer by layer, without training it.

        wirings forecast resnet-18 --shape 3,32,32 --sparsity 0.95
        wirings forecast mypkg:Net --shape 1,3,224,224 --sparsity 0.9 --measure

    Times come from a calibration of this machine, made at the first use in some seconds and kept.

    Parameters
    ----------
    model
        A model's name, or mypkg:Net for your own.
    shape
        Of an input: of one image, or of a batch with its size first.
    density
        Share of the connections that stays, shared out over the layers by ERK.
    sparsity
        Share that goes, instead of --density: 0.9 or 90%. [default: 90%]
    batch
        Samples a step.
    classes
        Outputs of the network.
    train
        Training steps; --no-train for forward passes.
    threads
        Torch threads. [default: torch's own]
    measure
        Then run it, layers and whole steps, and print both.
    calibrate
        Measure the machine anew.
    json
        Print one JSON object, for programs.
    """
    import json as writer

    import torch

    from wirings.analysis.calibrate import calibrated
    from wirings.analysis.forecast import forecast, measured
    from wirings.cli import flags
    from wirings.core.errors import SettingsError

    shares = flags.densities(density, sparsity) or [0.1]
    if len(shares) != 1:
        raise SettingsError("`wirings forecast` takes one density: --density 0.1 or --sparsity 90%.")
    for flag, value in (("--batch", batch), ("--classes", classes), ("--threads", threads)):
        if value is not None and value < 1:
            raise SettingsError(f"`{flag}` must be at least 1. Got {value}.")
    sizes = tuple(flags.listed(shape, int, flag="--shape"))
    sizes = sizes if len(sizes) in (2, 4) else (1, *sizes)
    net = _network(model, sizes[1:], classes)
    if threads is not None:
        torch.set_num_threads(threads)
    calibration = calibrated(fresh=calibrate)
    try:
        found = forecast(net, sizes, shares[0], batch=batch, calibration=calibration)
    except (ValueError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0]
        raise SettingsError(f"`{model}` does not run on input of shape {sizes}: {first}") from error
    if measure:
        found = measured(net, sizes, found, shares[0])
    if json:
        print(writer.dumps(found.as_dict()))
    else:
        _print(found, train)
    return 0


def _network(name: str, shape: tuple[int, ...], classes: int) -> nn.Module:
    from wirings.training.build import build_model

    return build_model(name, {}, shape, classes, 0)  # type: ignore[arg-type]


def _print(found: Forecast, train: bool) -> None:
    from rich.table import Table

    from wirings.cli.console import output
    from wirings.kernels.work import Purpose

    purpose: Purpose = "train" if train else "infer"
    console, both = output(), bool(found.measured_ms)
    heads = ["weight", "shape", "sparsity", "dense ms", "sparse ms", "faster", "dense MB", "sparse MB", "run it"]
    heads[6:6] = ["measured: dense", "sparse", "faster"] if both else []
    table = Table(*heads, box=None, pad_edge=False, header_style="bold")
    for column in table.columns[2:-1]:
        column.justify = "right"
    for layer in found.layers:
        keys, held = (f"dense {purpose}", f"sparse {purpose}"), found.measured_layers.get(layer.name, {})
        cells = [_times(layer.ms, keys)] + ([_times(held, keys)] if both else [])
        table.add_row(
            layer.name,
            "x".join(map(str, layer.works[0].shape)),
            f"{100 * (1 - layer.density):.4g} %",
            *[cell for some in cells for cell in some],
            *[_mb(layer.bytes.get(key)) for key in keys],
            f"dense: {layer.reason}" if layer.reason else layer.kernel(purpose),
        )
    whole = {f"{kernel} {purpose}": found.ms(kernel, purpose) for kernel in ("dense", "sparse")}
    keys = (f"dense {purpose}", f"sparse {purpose}")
    table.add_row()
    table.add_row(
        "rest", "", "", *[f"{found.rest_ms[key]:.3g}" for key in keys], *[""] * (5 if both else 2), "", ""
    )  # fmt: skip
    table.add_row(
        "network",
        "",
        f"{100 * (1 - found.density):.4g} %",
        *_times(whole, keys),
        *(_times(found.measured_ms, keys) if both else ()),
        *[_mb(found.bytes(kernel, purpose)) for kernel in ("dense", "sparse")],
        style="bold",
    )
    console.print(table)
    key = found.calibration.key
    what = "a training step" if train else "a forward pass"
    gain = found.gain(purpose)
    verdict = f"{gain:.2g} times faster" if gain > 1 else f"{1 / gain:.2g} times slower"
    console.print(
        f"{what} at batch {found.batch} in sparse storage: {verdict} than dense; "
        f"from this machine's calibration of {found.calibration.date[:10]} "
        f"({key.processor}, {key.isa}, {key.threads} thread(s), torch {key.torch})",
        markup=False,
    )


def _times(ms: object, keys: tuple[str, str]) -> tuple[str, str, str]:
    assert hasattr(ms, "get")
    dense, sparse = (ms.get(key) for key in keys)
    gain = f"{dense / sparse:.2f}" if dense and sparse else ""
    return (*("" if t is None else f"{t:.3g}" for t in (dense, sparse)), gain)  # type: ignore[return-value]


def _mb(size: int | None) -> str:
    return "" if size is None else f"{size / 1e6:.3g}"
