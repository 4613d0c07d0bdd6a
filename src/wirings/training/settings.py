"""A run as data: everything that decides how one training goes, as a frozen dataclass that goes to TOML and back."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import re
import tomllib
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from wirings.core.errors import SettingsError, reason_of
from wirings.core.schedules import Every, When
from wirings.core.settings import (
    Duration,
    OneOf,
    build,
    check_duration,
    duration,
    in_range,
    positive_int,
    register,
    to_plain,
)
from wirings.data.augment import CropFlip, Distort
from wirings.methods.method import Method
from wirings.methods.rule import Straight
from wirings.training.optimizers import SGD, AnyOptimizer

T = TypeVar("T")

AnyMethod = Annotated[Method, OneOf("method")]
"""How a settings field says that it holds a method."""

AnyAugment = Annotated[CropFlip | Distort, OneOf("augment")] | None
"""How a settings field says that it holds an augmentation, or none."""

register("augment")(CropFlip)
register("augment")(Distort)

STREAMS = ("init", "order", "wiring")
"""The random streams of a run that may have a seed of their own: initial weights, data order, wiring."""

_NOT_IDENTITY = frozenset({"seed", "label", "threads", "device", "checkpoint"})


@dataclass(frozen=True, kw_only=True)
class Values:
    """Weights on disk that a run begins with, instead of drawing its own.

    Args:
        path: a safetensors file of the model's state dict.
        sha256: of that file; it stands for the values in the run's identity, the path does not.
        step: how many steps of the run these weights have behind them (rewinding to step k); it goes on from there.
    """

    path: str
    sha256: str
    step: int = 0


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training, from its first weights to its last test.

    Example:
        >>> run = Run(method=RigL(begin=ErdosRenyi(0.05)), epochs=20, seed=3)
        >>> record = train(run, "runs")

    Args:
        model: a name of `wirings.models.names()`, or ``"mypkg:Net"``: anything importable that, called with
            ``image_shape=`` and ``classes=`` (as far as it takes them) and ``model_settings``, makes a module.
        model_settings: what the model is called with beyond that.
        small_dense: train a dense network with as many weights as this density leaves of the model: its ``width`` is
            chosen so. Default: the model as it is.
        data: a name of `wirings.data.names()`, or ``"mypkg:loaders"``: anything importable that, called with nothing,
            gives an `ImageData`.
        method: how the wiring changes while training. Default: none, a dense network.
        except_: name patterns of weights that stay dense (``"conv1"``, ``"fc*"``).
        execution: ``"masked"``: dense tensors with zeros; or ``"sparse"``: truly sparse, from storage that holds the
            connections alone. Initial values, batches and wirings are the same, losses up to rounding, and so are the
            files it leaves. Without a method a network is dense either way, and the same run.
        values: the weights to begin with. Default: drawn by the model's own initialiser.
        epochs: passes over the training images.
        steps: optimizer steps; replaces ``epochs`` where given.
        batch_size: images per step.
        optimizer: its kind and settings.
        learning_rate: the highest one, reached after the warm-up.
        schedule: what becomes of it: ``"cosine"`` to zero, ``"constant"``, or ``"steps"``: times ``factor`` at each of
            ``milestones``.
        milestones: shares of the run, ascending. He et al. 2016: half and three quarters.
        factor: at each milestone.
        warmup: straight from 0, over so many steps or such a share of the run. Neutral: none.
        drop_last: leave out the last batch of an epoch where it would be smaller.
        fixed_order: every epoch in stored order, as Alford et al. 2019 had it.
        augment: `CropFlip` or `Distort`; in TOML, ``"crop-flip"`` is the first at its defaults. Neutral: none. Where it
            crops to a smaller side, the network is made for that side and tests on the centre.
        normalise: ``"channels"``: by mean and deviation of each channel over the training set; ``"per-image"``; or
            ``"none"``: pixels in [0, 1].
        label_smoothing: in [0, 1). Neutral: 0.
        clip_norm: the largest norm of the whole gradient. Neutral: none.
        held_out: training images set aside to choose the best epoch on. Default: 5,000, or 10 % where that is less;
            none under the protocol ``"paper"``.
        protocol: ``"held-out"``: the best epoch is chosen on held-out images and the test set is read once, at the
            end. ``"paper"``: the best epoch is chosen on the test set, as many papers do; every table says so.
        dtype: of weights and images.
        autocast: what forward passes are multiplied in, in training and evaluation, where torch's autocast finds it
            safe: ``"bfloat16"``, or ``"float16"`` with a loss scale. Weights, losses, the optimizer and everything
            that ranks stay in float32 (Micikevicius et al. 2018). Neutral: ``"none"``.
        channels_last: whether images and the weights of convolutions lie in memory with the channels together, as some
            devices multiply them faster. The numbers are the same up to rounding. Neutral: no.
        seed: all random streams of the run descend from it.
        streams: seeds of single streams, where they are to differ from ``seed``: "init", "order", "wiring".
        history: the steps after which the wiring is kept on disk, beside the first and the last.
        snapshot: a step (or share of the run) whose weights are kept on disk, to rewind to.
        label: what stands for the method in the run's folder and in tables. Default: the method's kind.
        threads: of torch, in this run. Does not count for the run's identity, nor do the three below and ``label``.
        device: where it trains: ``"cpu"``, ``"cuda"``, or ``"auto"``, which is the accelerator if there is one.
        checkpoint: seconds between checkpoints.
    """

    model: str = "lenet-300-100"
    model_settings: Mapping[str, Any] = field(default_factory=dict)  # any plain value; the model checks them
    small_dense: float | None = None
    data: str = "mnist-mini"
    method: AnyMethod | None = None
    except_: tuple[str, ...] = ()
    execution: Literal["masked", "sparse"] = "masked"
    values: Values | None = None
    epochs: int = 20
    steps: int | None = None
    batch_size: int = 128
    optimizer: AnyOptimizer = SGD()
    learning_rate: float = 0.1
    schedule: Literal["cosine", "constant", "steps"] = "cosine"
    milestones: tuple[float, ...] = (0.5, 0.75)
    factor: float = 0.1
    warmup: Duration = duration(default=0)
    drop_last: bool = False
    fixed_order: bool = False
    augment: AnyAugment = None
    normalise: Literal["channels", "per-image", "none"] = "channels"
    label_smoothing: float = 0.0
    clip_norm: float | None = None
    held_out: int | None = None
    protocol: Literal["held-out", "paper"] = "held-out"
    dtype: Literal["float32", "float64"] = "float32"
    autocast: Literal["none", "bfloat16", "float16"] = "none"
    channels_last: bool = False
    seed: int = 0
    streams: Mapping[str, int] = field(default_factory=dict)
    history: When = Every(0.1)
    snapshot: Duration | None = duration(default=None)
    label: str = ""
    threads: int = 1
    device: str = "cpu"
    checkpoint: float = 60.0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "threads"):
            positive_int(name, self)
        if self.steps is not None:
            positive_int("steps", self)
        if self.small_dense is not None:
            in_range("small_dense", self, 0, 1, open_low=True)
            if self.method is not None:
                raise ValueError("`small_dense` of `Run` is a dense network: leave `method` out.")
        in_range("learning_rate", self, 0, 1e6)
        in_range("factor", self, 0, 1)
        in_range("label_smoothing", self, 0, 1, open_high=True)
        in_range("checkpoint", self, 0, 1e9)
        if self.clip_norm is not None:
            in_range("clip_norm", self, 0, 1e9, open_low=True)
        for share in self.milestones:
            in_range("milestones", self, 0, 1, of=share)
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"`milestones` of `Run` must ascend. Got {self.milestones}.")
        check_duration("warmup", self)
        check_duration("snapshot", self, optional=True)
        for name, known in (
            ("schedule", ("cosine", "constant", "steps")),
            ("normalise", ("channels", "per-image", "none")),
            ("protocol", ("held-out", "paper")),
            ("execution", ("masked", "sparse")),
            ("dtype", ("float32", "float64")),
            ("autocast", ("none", "bfloat16", "float16")),
            *((("streams", STREAMS),) if self.streams else ()),
        ):
            said = getattr(self, name)
            for word in said if isinstance(said, Mapping) else (said,):
                if word not in known:
                    raise ValueError(f"`{name}` of `Run` must be one of {', '.join(known)}. Got {word!r}.")
        if self.execution == "sparse" and self.method is not None:
            _check_sparse(self.method)
        _check_autocast(self)
        if self.held_out is not None and (not isinstance(self.held_out, int) or self.held_out < 0):
            raise ValueError(f"`held_out` of `Run` must be a number of images, 0 or more. Got {self.held_out!r}.")
        if self.held_out == 0 and self.protocol == "held-out":
            raise ValueError(
                "`held_out` of `Run` must be at least 1 under the protocol 'held-out'. Got 0; to choose on the test "
                "set as papers do, say protocol='paper'."
            )
        for name in ("seed", *self.streams):
            value = self.seed if name == "seed" else self.streams[name]
            if not isinstance(value, int) or isinstance(value, bool):
                raise ValueError(f"`{name}` of `Run` must be an integer. Got {value!r}.")

    # ------------------------------------------------------------------ what follows from the settings

    @property
    def method_name(self) -> str:
        """What tables and folders call the method: its label, its kind, ``"dense"`` or ``"small-dense"``."""
        if self.label:
            return self.label
        if self.small_dense is not None:
            return "small-dense"
        return "dense" if self.method is None else str(getattr(self.method, "kind", type(self.method).__name__))

    @property
    def group(self) -> str:
        """The run's identity without its seed: what runs of one table cell have in common."""
        digest = hashlib.sha256(canonical(_identity(self)).encode()).hexdigest()[:10]
        return f"{_slug(self.model)}-{_slug(self.data)}-{_slug(self.method_name)}-{digest}"

    @property
    def id(self) -> str:
        """The run's identity, and the name of its folder: ``<model>-<data>-<method>-<hash>-s<seed>``.

        The hash is of what differs from the defaults, less the seed, paths, threads and device. So a new setting with
        a neutral default orphans no finished run.
        """
        return f"{self.group}-s{self.seed}"

    def seed_of(self, stream: str) -> int:
        """The seed of one random stream."""
        return self.streams.get(stream, self.seed)

    def total_steps(self, images: int) -> int:
        """How many optimizer steps the run has, with so many training images."""
        if self.steps is not None:
            return self.steps
        batches = images // self.batch_size if self.drop_last else math.ceil(images / self.batch_size)
        return self.epochs * batches

    # ------------------------------------------------------------------ TOML

    def to_toml(self, *, defaults: bool = False) -> str:
        """The run as TOML text; ``defaults=True`` writes every setting out."""
        import tomli_w

        return tomli_w.dumps(to_plain(self, defaults=defaults))

    @classmethod
    def from_plain(cls, plain: Mapping[str, object]) -> Run:
        """A run from plain data, as TOML or JSON give it.

        Raises:
            SettingsError: one sentence that names the setting.
        """
        return build(cls, plain, where="run")

    @classmethod
    def from_toml(cls, text: str) -> Run:
        """A run from TOML text."""
        try:
            plain = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise SettingsError(f"This is not TOML: {error}.") from error
        return cls.from_plain(plain)

    @classmethod
    def load(cls, path: str | Path) -> Run:
        """A run from a TOML file."""
        try:
            return cls.from_toml(Path(path).read_text(encoding="utf-8"))
        except SettingsError as error:
            raise SettingsError(f"{path}: {error}") from error
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{path} cannot be read: {reason_of(error)}.") from error


def identity(plain: Mapping[str, Any]) -> dict[str, Any]:
    """All that decides what a run computes, from its plain settings with every default written out.

    Two runs with equal ones are the same run; a difference at equal ids means that a default has changed in between.
    Settings that did not exist when they were written down are at their neutral defaults.
    """
    return _deciding({**_defaults(), **plain}, _NOT_IDENTITY - {"seed"})


def canonical(plain: object) -> str:
    """Plain data as one text, the same for equal data."""
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def _identity(run: Run) -> dict[str, Any]:
    return _deciding(to_plain(run, defaults=False), _NOT_IDENTITY)


def _deciding(plain: Mapping[str, Any], without: Set[str]) -> dict[str, Any]:
    """Plain settings without those, without paths, and without ``execution`` where nothing could be sparse."""
    without = without | ({"execution"} if plain.get("method") is None else set())
    return _less_paths({k: v for k, v in plain.items() if k not in without})


@functools.cache
def _defaults() -> dict[str, Any]:
    return dict(to_plain(Run()))


def _less_paths(plain: T) -> T:
    """Plain data without the paths of files that are named by their content as well."""
    if isinstance(plain, dict):
        named = "fingerprint" in plain or "sha256" in plain
        return {k: _less_paths(v) for k, v in plain.items() if not (named and k == "path")}  # type: ignore[return-value]
    if isinstance(plain, list):
        return [_less_paths(v) for v in plain]  # type: ignore[return-value]
    return plain


def _check_sparse(method: Method) -> None:
    """Refuse a method that needs what sparse storage does not have; sites of live networks refuse the rest."""
    rule, owner = method.rule(), type(method).__name__
    if rule.trains_scores:
        why = "it trains a score for every position"
    elif method.remembers():
        why = "with these settings it remembers the value of every position"
    elif not isinstance(rule, Straight):
        why = f"its rule {rule!r} needs the dense weight"
    else:
        return
    raise ValueError(f"`execution` of `Run` cannot be 'sparse' with `{owner}`: {why}. Leave it 'masked'.")


def _check_autocast(run: Run) -> None:
    """Refuse a precision that would gain nothing."""
    if run.autocast != "none" and run.dtype != "float32":
        raise ValueError(f"`autocast` of `Run` must be 'none' where `dtype` is {run.dtype!r}. Got {run.autocast!r}.")
    if run.autocast == "float16" and run.execution == "sparse" and run.method is not None:
        raise ValueError(
            "`autocast` of `Run` cannot be 'float16' with execution='sparse': sparse storage computes in float32 and "
            "bfloat16. Say 'bfloat16', or run it masked."
        )


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.+]+", "-", text.lower()).strip("-.") or "run"


__all__ = ["AnyMethod", "Run", "Values", "canonical", "identity"]
