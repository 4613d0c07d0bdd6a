"""Settings: frozen dataclasses with a ``kind`` that go to plain data (TOML, JSON, flags) and back, equal.

A class joins a family with ``@register("schedule")``; a field that holds one of a family is annotated with
``Annotated[Schedule, OneOf("schedule")]``. Pydantic converts the plain fields; unknown kinds and keys are refused with
the nearest name. Durations are steps (int) or a share of the run (float in (0, 1]) until :func:`resolved` settles them.
"""

from __future__ import annotations

import dataclasses
import math
import typing
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from numbers import Integral, Real
from typing import Any, TypeVar

from wirings.core.errors import SettingsError, nearest

Duration = int | float
"""Steps (int >= 0), or a share of the run (float in (0, 1]) until ``attach(..., steps=N)`` resolves it."""

_FAMILIES: dict[str, dict[str, type]] = {}
_ENTRY_POINTS = {"method": "wirings.methods", "maker": "wirings.makers"}
_plugins_loaded: set[str] = set()

C = TypeVar("C", bound=type)
T = TypeVar("T")


def register(family: str) -> Callable[[C], C]:
    """Class decorator: the settings class becomes one of ``family``, under its ``kind``."""

    def join(cls: C) -> C:
        kind = _kind_of(cls)
        if not kind:
            raise TypeError(f"`{cls.__name__}` needs a field `kind: Literal[...]` with a default to be registered.")
        before = _FAMILIES.setdefault(family, {}).get(kind)
        if before is not None and before.__qualname__ != cls.__qualname__:  # defined again is fine, as in a notebook
            raise ValueError(
                f"`kind` of `{cls.__name__}` must be its own. "
                f"{kind!r} is already that of {before.__module__}.{before.__name__}."
            )
        _FAMILIES[family][kind] = cls
        return cls

    return join


def family(name: str) -> dict[str, type]:
    """Kind -> class, of all members of a family, plug-ins included (entry points ``wirings.methods``, ``.makers``)."""
    members = _FAMILIES.setdefault(name, {})
    if name in _ENTRY_POINTS and name not in _plugins_loaded:
        _plugins_loaded.add(name)
        for point in entry_points(group=_ENTRY_POINTS[name]):
            try:
                loaded = point.load()  # importing it runs its @register; naming it is enough for one that forgot
            except Exception as error:  # whatever a stranger's module raises, the others must stay usable
                warnings.warn(
                    f"The plug-in `{point.name}` ({point.value}) cannot be loaded: {error}. Mend or uninstall it.",
                    stacklevel=2,
                )
                continue
            members.setdefault(_kind_of(loaded) or point.name, loaded)
            members.setdefault(point.name, loaded)
    return members


def _kind_of(cls: type) -> str:
    """The ``kind`` of a settings class, or an empty string."""
    kinds = [f.default for f in dataclasses.fields(cls) if f.name == "kind"] if dataclasses.is_dataclass(cls) else []
    return kinds[0] if kinds and isinstance(kinds[0], str) else ""


@dataclass(frozen=True)
class OneOf:
    """Annotates a field that holds one member of a family: ``Annotated[Schedule, OneOf("schedule")]``."""

    family: str


def duration(*, least: int = 0, **options: Any) -> Any:  # Any, as dataclasses.field: it stands for the field's value
    """A dataclass field that holds a :data:`Duration`; a share of the run becomes at least ``least`` steps."""
    return field(metadata={"duration": True, "least": least}, **options)


def resolved(setting: T, steps: int | None) -> T:
    """The same setting with every share of the run turned into steps, rounded to the nearest.

    Example:
        >>> from wirings.core.schedules import Cosine
        >>> resolved(Cosine(0.3, over=0.75), 1000)
        Cosine(peak=0.3, over=750, final=0.0)

    Raises:
        ValueError: if there is a share and nobody said how many steps the run has.
    """
    if not dataclasses.is_dataclass(setting) or isinstance(setting, type):
        return setting
    changes: dict[str, object] = {}
    for f in dataclasses.fields(setting):
        value = getattr(setting, f.name)
        if f.metadata.get("duration") and isinstance(value, float) and not math.isinf(value):
            if steps is None:
                raise ValueError(
                    f"`{f.name}` of `{type(setting).__name__}` is the share {value} of a run; "
                    "say how long the run is: attach(..., steps=N)."
                )
            changes[f.name] = max(round(value * steps), f.metadata.get("least", 0))
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            settled = resolved(value, steps)
            if settled is not value:
                changes[f.name] = settled
    return dataclasses.replace(setting, **changes) if changes else setting


# ---------------------------------------------------------------------- to plain data and back


def to_plain(setting: object, *, defaults: bool = True) -> Any:  # Any: plain data is whatever TOML can say
    """A setting as nested dicts, lists, strings and numbers. ``defaults=False`` leaves out what is at its default.

    ``None`` values are left out: TOML has no null, and every open end is ``None`` by default.
    """
    from wirings.core.wiring import Wiring

    if isinstance(setting, Wiring):
        if setting.path is None:
            raise SettingsError(
                "A wiring can be written into settings once it is a file: call `wiring.save(path)` first."
            )
        return {"path": str(setting.path), "fingerprint": setting.fingerprint}
    if dataclasses.is_dataclass(setting) and not isinstance(setting, type):
        plain: dict[str, object] = {}
        for f in dataclasses.fields(setting):
            value = getattr(setting, f.name)
            if value is None and default_of(f) is not None:
                raise SettingsError(
                    f"`{f.name}` of `{type(setting).__name__}` cannot be written as None: files have no null."
                )
            if value is None or (f.name != "kind" and not defaults and value == default_of(f)):
                continue
            plain[f.name] = to_plain(value, defaults=defaults)
        return dict(sorted(plain.items(), key=lambda item: item[0] != "kind"))
    if isinstance(setting, Mapping):
        return {str(k): to_plain(v, defaults=defaults) for k, v in setting.items()}
    if isinstance(setting, (list, tuple)):
        return [to_plain(v, defaults=defaults) for v in setting]
    if isinstance(setting, (bool, str)):
        return setting
    if isinstance(setting, Integral):
        return int(setting)  # numpy's integers too
    if isinstance(setting, Real):
        if not math.isfinite(setting):
            raise SettingsError(f"Settings must be finite numbers. Got {setting}.")
        return float(setting)
    raise SettingsError(f"`{setting!r}` cannot be written into settings; use a registered settings class.")


def from_plain(name: str, plain: object, *, where: str = "") -> Any:  # Any: the family is known at run time only
    """One of the family ``name``, from plain data: ``{"kind": "cosine", "peak": 0.3}``, or just ``"erk"``.

    Raises:
        SettingsError: one sentence: unknown kind or key (with the nearest name), or a value of the wrong type.
    """
    from wirings.core.wiring import Wiring

    members = family(name)
    where = where or name
    if isinstance(plain, (*members.values(), Wiring)):
        return plain
    if isinstance(plain, Mapping) and name == "maker" and "path" in plain and "kind" not in plain:
        return _load_wiring(plain)
    if isinstance(plain, str):
        plain = {"kind": plain}
    if not isinstance(plain, Mapping) or "kind" not in plain:
        raise SettingsError(f"`{where}` must be a table with a `kind`. Got {plain!r}. {nearest('', members)}")
    kind = str(plain["kind"])
    if kind not in members:
        raise SettingsError(f"`{where}` must be a known {name}. Got {kind!r}. {nearest(kind, members)}")
    return build(members[kind], {k: v for k, v in plain.items() if k != "kind"}, where=where)


def build(cls: type[T], plain: Mapping[str, object], *, where: str = "") -> T:
    """An instance of a settings class from plain fields; nested families by ``kind``, the rest by pydantic."""
    from pydantic import ValidationError

    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    owner = where or cls.__name__
    for key in plain:
        if key not in fields:
            known = [name for name in fields if name != "kind"]
            raise SettingsError(f"`{owner}` ({cls.__name__}) has no setting `{key}`. {nearest(str(key), known)}")
    values = {}
    for key, value in plain.items():
        try:
            values[key] = _converted(_hints(cls)[key], value, f"{owner}.{key}")
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise SettingsError(f"`{key}` of `{cls.__name__}`: {first['msg']}. Got {value!r}.") from error
    try:
        return cls(**values)
    except SettingsError:
        raise
    except TypeError as error:
        absent = [n for n, f in fields.items() if n not in values and default_of(f) is dataclasses.MISSING]
        if absent:
            raise SettingsError(f"`{owner}` ({cls.__name__}) needs `{absent[0]}`.") from error
        raise SettingsError(str(error)) from error
    except ValueError as error:
        raise SettingsError(str(error)) from error


def default_of(f: dataclasses.Field[Any]) -> object:
    """A field's default value, or ``dataclasses.MISSING``."""
    return f.default_factory() if f.default_factory is not dataclasses.MISSING else f.default


def _hints(cls: type) -> dict[str, object]:
    return typing.get_type_hints(cls, include_extras=True)


def _converted(hint: Any, value: object, where: str) -> object:
    """``value`` as ``hint`` wants it."""
    from pydantic import ConfigDict, TypeAdapter

    if isinstance(value, bool) and not _admits_bool(hint):  # pydantic would read `true` as 1
        raise SettingsError(f"`{where}` must not be a truth value. Got {value}.")
    for part in typing.get_args(hint) if typing.get_origin(hint) is not typing.Annotated else (hint,):
        for mark in getattr(part, "__metadata__", ()):
            if isinstance(mark, OneOf) and value is not None:
                return from_plain(mark.family, value, where=where)
    return TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False)).validate_python(
        value
    )


def _admits_bool(hint: object) -> bool:
    return hint in (bool, object, Any) or any(_admits_bool(part) for part in typing.get_args(hint))


def _load_wiring(plain: Mapping[str, object]) -> object:
    from wirings.core.errors import WiringError
    from wirings.core.wiring import Wiring

    try:
        wiring = Wiring.load(str(plain["path"]))
    except FileNotFoundError as error:
        raise SettingsError(str(error)) from error
    if "fingerprint" in plain and wiring.fingerprint != plain["fingerprint"]:
        raise WiringError(f"The wiring at {plain['path']} is not the one that the settings name: fingerprints differ.")
    return wiring


# ---------------------------------------------------------------------- checks for __post_init__


def in_range(
    name: str,
    owner: object,
    low: float,
    high: float,
    *,
    open_low: bool = False,
    open_high: bool = False,
    of: object | None = None,
) -> None:
    """Refuse a number outside an interval, or NaN, in the house's sentence."""
    value: Any = getattr(owner, name) if of is None else of
    words = f"{'(' if open_low else '['}{low:g}, {high:g}{')' if open_high else ']'}"
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high
    if not good or (open_low and value == low) or (open_high and value == high):
        raise ValueError(f"`{name}` of `{type(owner).__name__}` must be in {words}. Got {value!r}.")


def positive_int(name: str, owner: object) -> None:
    """Refuse anything but an integer >= 1."""
    value = getattr(owner, name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"`{name}` of `{type(owner).__name__}` must be an integer of at least 1. Got {value!r}.")


def check_duration(name: str, owner: object, *, optional: bool = False) -> None:
    """Refuse anything but steps (int >= 0) or a share (float in (0, 1])."""
    value = getattr(owner, name)
    if value is None and optional:
        return
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return
    if isinstance(value, float) and 0 < value <= 1:
        return
    raise ValueError(
        f"`{name}` of `{type(owner).__name__}` must be steps (an int >= 0) or a share of the run "
        f"(a float in (0, 1]). Got {value!r}."
    )
