"""``wirings run``: train networks; lists make a grid."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

if TYPE_CHECKING:
    from wirings.procedures import Lottery
    from wirings.training.jobs import Outcome
    from wirings.training.settings import Run


def run_(
    *,
    preset: Path | None = None,
    model: str | None = None,
    data: str | None = None,
    method: str | None = None,
    sparsity: str | None = None,
    density: str | None = None,
    budget: str = "erk",
    wiring: Path | None = None,
    except_: Annotated[str | None, Parameter(name="--except")] = None,
    epochs: int | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    optimizer: str | None = None,
    learning_rate: Annotated[str | None, Parameter(name=("--learning-rate", "--lr"))] = None,
    weight_decay: float | None = None,
    schedule: str | None = None,
    warmup: str | None = None,
    freeze_at: str | None = None,
    rounds: int | None = None,
    rewind: str | None = None,
    augment: str | None = None,
    execution: str | None = None,
    autocast: str | None = None,
    channels_last: bool | None = None,
    protocol: str | None = None,
    seed: str | None = None,
    set_: Annotated[tuple[str, ...], Parameter(name="--set", negative="")] = (),
    runs: Path = Path("runs"),
    data_root: Path | None = None,
    jobs: int | None = None,
    threads: int | None = None,
    device: str | None = None,
    print_config: bool = False,
) -> int:
    """Train networks: any model, data, method and density; lists make a grid.

    A run is named by its settings: give the same command again and finished runs are found, interrupted ones go on.

        wirings run --method rigl --sparsity 0.95
        wirings run --model resnet-20 --data cifar10 --method rigl,set,dnw --sparsity 0.9,0.98 --seed 0-4 --jobs 2

    Parameters
    ----------
    preset
        A TOML file with settings of a run; flags change them.
    model
        A model's name, or mypkg:Net for your own. Lists: "a,b". [default: lenet-300-100]
    data
        A data set's name, or mypkg:loaders for your own. Lists. [default: mnist-mini]
    method
        dense, static, rigl, set, dnw, gradual, ...; synflow, snip, grasp, radix-net, ... (static training on the
        wiring that they find before it); lottery (rounds of training and pruning); small-dense (a dense network with
        as many weights as the sparse one). Lists.
    sparsity
        Share of connections that do not exist: 0.95 or 95%. Lists.
    density
        Share that exists, instead of --sparsity. Lists.
    budget
        How connections are shared out over layers: erk, uniform, er, smart-ratio.
    wiring
        A wiring to train (method static): a file, or a name of the gallery such as lenet300-mnist-rigl-95-s0.
    except_
        Weights that stay dense: "conv1,fc".
    epochs
        Passes over the training images. [default: 20]
    steps
        Optimizer steps, instead of --epochs.
    batch_size
        Images a step. [default: 128]
    optimizer
        sgd, adam, adamw; its settings by --set optimizer.momentum=0.8. [default: sgd]
    learning_rate
        The highest one. Lists. [default: 0.1]
    weight_decay
        Of the optimizer.
    schedule
        cosine, constant or steps. [default: cosine]
    warmup
        From zero, over steps (500), a share of the run (0.1) or epochs (3ep).
    freeze_at
        When DNW's wiring is fixed: steps, a share of the run or epochs (3ep).
    rounds
        Of a lottery. [default: so many that each takes about a fifth of what is left]
    rewind
        Where a lottery puts survivors back to: a step, a share of the run or epochs. [default: 0, the first values]
    augment
        none, flip, crop or crop-flip. [default: none]
    execution
        masked: dense tensors with zeros; or sparse: from sparse storage, with the same results. Lists.
        [default: masked]
    autocast
        bfloat16 or float16: forward passes in mixed precision; none: all in float32. Lists. [default: none]
    channels_last
        Keep images and the weights of convolutions with their channels together, which GPUs like.
    protocol
        held-out, or paper: choose the best epoch on the test set, as papers do. [default: held-out]
    seed
        Seeds: "0-4" or "0,1,2". [default: 0]
    set_
        Any other setting, by its path: --set method.fraction.peak=0.5
    runs
        The folder of all runs.
    data_root
        The folder that holds data sets; otherwise $WIRINGS_DATA.
    jobs
        Runs side by side. [default: cores / threads]
    threads
        Of each run. [default: 1]
    device
        cpu, cuda or auto. [default: cpu]
    print_config
        Print the settings as TOML, and train nothing.
    """
    from wirings.cli import flags
    from wirings.core.settings import to_plain
    from wirings.training.settings import Run

    plain = flags.preset(None if preset is None else str(preset))
    fixed = {
        "epochs": epochs,
        "steps": steps,
        "batch_size": batch_size,
        "schedule": schedule,
        "augment": augment,
        "channels_last": channels_last,
        "protocol": protocol,
        "threads": threads,
        "device": device,
        "except_": None if except_ is None else flags.listed(except_, str, flag="--except"),
    }
    plain |= {name: value for name, value in fixed.items() if value is not None}
    length = int(plain.get("epochs", 20))
    if warmup is not None:
        plain["warmup"] = flags.duration(warmup, length, flag="--warmup")
    if optimizer is not None:
        plain["optimizer"] = {"kind": optimizer}
    if weight_decay is not None:
        plain["optimizer"] = {**_table(plain.get("optimizer", "sgd")), "weight_decay": weight_decay}

    lists = {
        "model": model,
        "data": data,
        "execution": execution,
        "autocast": autocast,
        "learning_rate": learning_rate,
    }
    axes = _axes(lists) | _methods(wiring, method, density, sparsity, budget) | _axes({"seed": seed})
    freeze = None if freeze_at is None else flags.duration(freeze_at, length, flag="--freeze-at")
    defaults = to_plain(Run())  # whole tables, so that --set may change one setting in them
    plains: list[dict[str, Any]] = []
    lotteries: list[tuple[dict[str, Any], float]] = []
    for point in flags.grid(axes):
        one, at_the_end = _point({**defaults, **plain, **point}, freeze)
        one = flags.changed(one, set_)
        if at_the_end is None:
            plains.append(one)
        else:
            lotteries.append((one, at_the_end))
    wanted = flags.runs_of(plains)
    back = 0 if rewind is None else flags.duration(rewind, length, flag="--rewind")
    plays = [_lottery(one, share, rounds, back) for one, share in lotteries]
    if print_config:
        print("\n".join(f"# {run.id}\n{run.to_toml()}" for run in [*wanted, *(play.first for play in plays)]))
        return 0
    return _train(wanted, plays, runs, data_root, jobs)


def _axes(lists: Mapping[str, str | None]) -> dict[str, list[Any]]:
    """What each flag lists, where it was given."""
    from wirings.cli import flags

    kinds: dict[str, Any] = {"learning_rate": float, "seed": int}
    return {
        name: flags.listed(text, kinds.get(name, str), flag=f"--{name.replace('_', '-')}")
        for name, text in lists.items()
        if text is not None
    }


def _methods(
    wiring: Path | None, method: str | None, density: str | None, sparsity: str | None, budget: str
) -> dict[str, list[Any]]:
    """The axis of methods: (label, settings) each, at each density; no axis where no flag says anything of them."""
    from wirings.cli import flags
    from wirings.core.errors import SettingsError

    if wiring is not None:
        if method not in (None, "static") or density is not None or sparsity is not None:
            raise SettingsError("`--wiring` is trained as it is: leave --method, --density and --sparsity out.")
        return {"method": [("static", {"kind": "static", "begin": {"path": str(_wiring_file(wiring))}})]}
    if method is not None:
        shares = flags.densities(density, sparsity)
        return {"method": flags.method_tables(flags.listed(method, str, flag="--method"), shares, budget)}
    if density is not None or sparsity is not None:
        raise SettingsError("`--density` and `--sparsity` need a method: add --method rigl, say.")
    return {}


def _wiring_file(named: Path) -> Path:
    """The file itself, or that of the gallery's wiring of this name."""
    from wirings.gallery import load_wiring, wiring_names

    return load_wiring(named).path or named if not named.exists() and str(named) in wiring_names() else named


def _point(one: dict[str, Any], freeze_at: int | float | None) -> tuple[dict[str, Any], float | None]:
    """A point of the grid as plain settings; and where it is a lottery, the density that it ends at."""
    if not isinstance(one.get("method"), tuple):
        return one, None
    label, table = one.pop("method")
    if label == "lottery":
        return one, table["density"]
    if label == "small-dense":
        one["small_dense"] = table["density"]
    elif table is not None:
        one["method"] = dict(table)
        if label != table["kind"]:  # static training on what a maker writes goes by the maker's name
            one["label"] = one["label"] or label
        if freeze_at is not None and label == "dnw":
            one["method"]["freeze_at"] = freeze_at
            one["label"] = one["label"] or "dnw-frozen"
    return one, None


def _table(optimizer: Any) -> dict[str, Any]:
    return {"kind": optimizer} if isinstance(optimizer, str) else dict(optimizer)


def _lottery(plain: Mapping[str, Any], density: float, rounds: int | None, rewind: int | float) -> Lottery:
    """A lottery that ends at this density."""
    from wirings.core.errors import SettingsError
    from wirings.procedures import Lottery, Pruning
    from wirings.training.settings import Run

    rounds = rounds or max(round(math.log(density) / math.log(0.8)), 1)
    try:
        return Lottery(
            run=Run.from_plain(plain), rounds=rounds, pruning=Pruning.reaching(density, rounds), rewind=rewind
        )
    except ValueError as error:
        raise SettingsError(f"`--method lottery` at density {density:g}: {error}") from error


def _train(wanted: list[Run], plays: list[Lottery], root: Path, data_root: Path | None, jobs: int | None) -> int:
    """Make the runs side by side, and those that follow from them; say how they ended."""
    from rich.console import Console

    from wirings.cli.progress import shown
    from wirings.training.check import check
    from wirings.training.jobs import train_all

    asked = [*wanted, *(play.first for play in plays)]
    for run in {run.group: run for run in asked}.values():
        check(run, data_root)
    console = Console(highlight=False)
    with shown(len({run.id for run in asked}) + sum(play.rounds for play in plays)) as listener:
        outcomes = train_all(
            asked,
            root,
            jobs=jobs,
            then=lambda record: [run for play in plays for run in play.then(record)],
            data_root=data_root,
            listener=listener,
        )
    for outcome in {outcome.run.id: outcome for outcome in outcomes}.values():
        console.print(_line(outcome), soft_wrap=True, markup=False)
        for sentence in outcome.record.info.get("begin", {}).get("warnings", ()) if outcome.finished else ():
            console.print(f"  {sentence}", soft_wrap=True, markup=False)
    return 0 if all(outcome.finished for outcome in outcomes) else 1


def _line(outcome: Outcome) -> str:
    if not outcome.finished:
        return f"{outcome.run.id}: {outcome.status}. {outcome.error}"
    record = outcome.record
    best = f"best {100 * record.test_accuracy_best:.2f} % (chosen on {record.best_chosen_on})"
    return (
        f"{record.id}: test accuracy {100 * record.test_accuracy_last:.2f} %, {best}, "
        f"{100 * (1 - record.density):.4g} % sparse, {record.seconds:.1f} s, {record.path}"
    )
