"""``wirings prune``: write a wiring before training."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

if TYPE_CHECKING:
    from torch import nn

    from wirings.core.wiring import Wiring


def prune_(
    *,
    model: str = "lenet-300-100",
    method: str = "synflow",
    density: str | None = None,
    sparsity: str | None = None,
    data: str | None = None,
    shape: str | None = None,
    classes: int | None = None,
    except_: Annotated[str | None, Parameter(name="--except")] = None,
    seed: int = 0,
    set_: Annotated[tuple[str, ...], Parameter(name="--set", negative="")] = (),
    out: Path | None = None,
    data_root: Path | None = None,
    json: bool = False,
) -> int:
    """Write a wiring before training: SynFlow, SNIP, GraSP, RadiX-Nets, random, ...

    Prints each layer's density, the effective density (connections on a path from input to output) and which layers
    collapsed. `wirings run --wiring FILE` trains what it writes.

        wirings prune --model vgg-16 --data cifar10 --method synflow --density 1e-4

    Parameters
    ----------
    model
        A model's name, or mypkg:Net for your own; with its first values of this seed, as `wirings run` draws them.
    method
        synflow, snip, grasp, obd, ntk-sap, magnitude, erdos-renyi, radix-net, ...
    density
        Share of the connections that stays.
    sparsity
        Share that goes, instead of --density: 0.99 or 99%.
    data
        The data set that SNIP, GraSP and their like look at; it also gives shape and classes. [default: mnist-mini]
    shape
        Of one image, "3,32,32", where no data is looked at.
    classes
        Outputs of the network, where no data is looked at.
    except_
        Weights that stay dense: "conv1,fc".
    seed
        Of the network's first values, and of whatever is drawn.
    set_
        Any other setting of the method: --set rounds=10
    out
        The wiring file. [default: <model>-<method>-<density>.safetensors]
    data_root
        The folder that holds data sets; otherwise $WIRINGS_DATA.
    json
        Print one JSON object, for programs.
    """
    import json as writer
    import time

    from wirings import models
    from wirings.cli import flags
    from wirings.core.errors import SettingsError
    from wirings.makers.scoring import CollapseWarning

    shares = flags.densities(density, sparsity)
    if len(shares) != 1:
        raise SettingsError("`wirings prune` needs one density: --density 0.01 or --sparsity 99%.")
    patterns = tuple(flags.listed(except_, str, flag="--except")) if except_ else ()
    images, image_shape, outputs = _images(data, shape, classes, data_root)
    network = _network(model, image_shape, outputs, seed)
    begun = time.perf_counter()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", CollapseWarning)
        wiring = _wiring(method, shares[0], network, image_shape, images, patterns, seed, set_)
    seconds = time.perf_counter() - begun
    name = models.canonical(model) if ":" not in model else model.replace(":", "-")
    path = wiring.save(out or Path(f"{name}-{method}-{shares[0]:g}.safetensors"))

    found = {
        "wiring": str(path),
        "fingerprint": wiring.fingerprint,
        "density": wiring.density,
        "effective_density": _effective(network, wiring, image_shape),
        "collapsed": [n for n, t in wiring.items() if t.nnz == 0],
        "layers": {n: t.density for n, t in wiring.items()},
        "seconds": round(seconds, 3),
        "warnings": [str(w.message) for w in told],
    }
    if json:
        print(writer.dumps(found))
    else:
        _print(wiring, found)
    return 0


def _images(
    data: str | None, shape: str | None, classes: int | None, root: Path | None
) -> tuple[Any, tuple[int, ...], int]:
    """The data set, unless shape and classes say it all; shape of an image; outputs."""
    from wirings.cli.flags import listed
    from wirings.training.build import load_data

    if shape is not None and classes is not None and data is None:
        return None, tuple(listed(shape, int, flag="--shape")), classes
    found = load_data(data or "mnist-mini", None if root is None else str(root))
    return found, tuple(listed(shape, int, flag="--shape")) if shape else found.image_shape, classes or found.classes


def _network(model: str, shape: tuple[int, ...], classes: int, seed: int) -> nn.Module:
    from wirings.training.build import network
    from wirings.training.settings import Run

    return network(Run(model=model, seed=seed), shape, classes)  # type: ignore[arg-type]


def _wiring(
    method: str,
    density: float,
    network: nn.Module,
    shape: tuple[int, ...],
    images: Any,
    patterns: tuple[str, ...],
    seed: int,
    settings: tuple[str, ...],
) -> Wiring:
    """Ask the maker for what it needs: a model and batches, weights, or shapes alone."""
    import dataclasses

    from wirings import makers
    from wirings.cli import flags
    from wirings.core.errors import SettingsError
    from wirings.core.settings import family, from_plain
    from wirings.core.streams import stream
    from wirings.makers.maker import WeightMaker
    from wirings.makers.prunable import prunable
    from wirings.makers.scoring import ModelMaker

    assert makers.__name__  # importing them registers them
    plain: dict[str, Any] = {"kind": method, "density": density}
    known = family("maker").get(method)
    own = {f.name for f in dataclasses.fields(known)} if known is not None else set()
    if patterns and "except_" in own:
        plain["except_"] = patterns
    maker = from_plain("maker", flags.changed(plain, settings), where="--method")
    rng = stream(seed, "wiring")
    try:
        if isinstance(maker, ModelMaker):
            batches = None if images is None else _batches(images, seed)
            return maker.of_model(network, (1, *shape), batches, rng)
        weights = prunable(network, except_=patterns)
        if isinstance(maker, WeightMaker):
            return maker.of_weights({name: w.detach() for name, w in weights.items()}, rng)
        made: Wiring = maker({name: tuple(w.shape) for name, w in weights.items()}, rng)
        return made
    except (ValueError, TypeError) as error:
        raise SettingsError(f"`--method {method}`: {error}") from error


def _batches(images: Any, seed: int) -> Any:
    """Shuffled training images, in batches of ten times the classes, as pruning at initialisation wants them."""
    from wirings.data import Batches

    size = 10 * images.classes
    served = Batches(images.train_images, images.train_labels, batch_size=size, seed=seed, normalise=images.normalise)
    return served.epoch(0)


def _effective(network: nn.Module, wiring: Wiring, shape: tuple[int, ...]) -> float:
    from wirings.analysis.paths import effective_wiring

    return effective_wiring(network, wiring, (1, *shape)).density


def _print(wiring: Wiring, found: dict[str, Any]) -> None:
    from rich.table import Table

    from wirings.cli.console import output

    console = output()
    table = Table("weight", "shape", "connections", "density", box=None, pad_edge=False, header_style="bold")
    for column in table.columns[2:]:
        column.justify = "right"
    for name, topology in wiring.items():
        shape = "x".join(map(str, topology.shape))
        table.add_row(name, shape, f"{topology.nnz:,}", f"{100 * topology.density:.3g} %")
    console.print(table)
    console.print(
        f"{wiring.nnz:,} of {wiring.numel:,} connections ({100 * (1 - wiring.density):.5g} % sparse); "
        f"effective density {100 * found['effective_density']:.3g} %; {found['seconds']:.1f} s"
    )
    for sentence in found["warnings"]:
        console.print(f"[yellow]{sentence}[/]")
    if found["collapsed"]:
        console.print(
            f"[red]collapsed:[/] {', '.join(found['collapsed'])} have no connection left; nothing can be learnt."
        )
    console.print(f"{found['wiring']}  (wirings run --wiring {found['wiring']})", markup=False)
