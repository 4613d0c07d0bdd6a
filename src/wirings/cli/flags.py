"""What flags say: lists, ranges, densities, durations; and the grid of runs that they make."""

from __future__ import annotations

import itertools
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from wirings.core.errors import SettingsError, nearest, reason_of

if TYPE_CHECKING:
    from wirings.training.settings import Run

T = TypeVar("T")


def listed(text: str, convert: Callable[[str], T], *, flag: str) -> list[T]:
    """A list from ``"a,b"``; for integers ``"0-4"`` is a range.

    Example:
        >>> listed("0-2,7", int, flag="--seed")
        [0, 1, 2, 7]

    Raises:
        SettingsError: if a part does not convert, or there is none.
    """
    found: list[T] = []
    for part in (p.strip() for p in text.split(",")):
        span = re.fullmatch(r"(\d+)-(\d+)", part) if convert is int else None
        try:
            if span:
                found += [convert(str(n)) for n in range(int(span[1]), int(span[2]) + 1)]
            elif part:
                found.append(convert(part))
        except ValueError as error:
            raise SettingsError(
                f"`{flag}` must be a list such as {_EXAMPLES.get(convert, 'a,b')}. Got {text!r}."
            ) from error
    if not found:
        raise SettingsError(f"`{flag}` must name at least one. Got {text!r}.")
    return found


_EXAMPLES: dict[object, str] = {int: "0-4 or 0,1,2", float: "0.1,0.05"}


def densities(density: str | None, sparsity: str | None) -> list[float]:
    """The densities that ``--density 0.05`` or ``--sparsity 0.95`` (or ``95%``) asks for; empty if neither does.

    Example:
        >>> densities(None, "0.9,98%")
        [0.1, 0.02]
    """
    if density is not None and sparsity is not None:
        raise SettingsError("`--density` and `--sparsity` say the same thing twice; give one of them.")
    flag, text = ("--density", density) if density is not None else ("--sparsity", sparsity)
    if text is None:
        return []
    found = []
    for value in listed(text, _share, flag=flag):
        share = value if flag == "--density" else round(1 - value, 12)
        if not 0 < share <= 1:
            bounds = "(0, 1]" if flag == "--density" else "[0, 1)"
            raise SettingsError(f"`{flag}` must be in {bounds}. Got {value:g}.")
        found.append(share)
    return found


def _share(text: str) -> float:
    return float(text.removesuffix("%")) / 100 if text.endswith("%") else float(text)


def duration(text: str, epochs: int, *, flag: str) -> int | float:
    """Steps (``"500"``), a share of the run (``"0.2"``) or epochs (``"3ep"``).

    Example:
        >>> duration("3ep", 20, flag="--warmup")
        0.15
    """
    try:
        count = float(text.removesuffix("ep"))
    except ValueError as error:
        known = "steps (500), a share of the run (0.2) or epochs (3ep)"
        raise SettingsError(f"`{flag}` must be {known}. Got {text!r}.") from error
    if not text.endswith("ep"):
        return int(text) if re.fullmatch(r"\d+", text) else count
    if not 0 <= count <= epochs:
        raise SettingsError(f"`{flag}` must lie within the run's {epochs} epochs. Got {text!r}.")
    return count / epochs if count else 0


def preset(path: str | None) -> dict[str, Any]:
    """The settings in a TOML file, or none."""
    if path is None:
        return {}
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is not TOML: {error}.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {reason_of(error)}.") from error


def changed(plain: Mapping[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """Plain settings with single ones changed: ``["method.fraction.peak=0.5"]``; values as in TOML."""
    result: dict[str, Any] = _copied(plain)
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals or not path.strip():
            raise SettingsError(
                f"`--set` must be a setting and its value, such as optimizer.momentum=0.8. Got {setting!r}."
            )
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text.strip()
        table = result
        *parents, last = path.strip().split(".")
        for name in parents:
            table = table.setdefault(name, {})
            if not isinstance(table, dict):
                raise SettingsError(f"`--set` {setting!r}: `{name}` is not a table.")
        table[last] = value
    return result


def _copied(plain: Any) -> Any:
    return {k: _copied(v) for k, v in plain.items()} if isinstance(plain, Mapping) else plain


def grid(axes: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Every combination of what the axes list, the last axis fastest."""
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def method_tables(
    names: Sequence[str], shares: Sequence[float], budget: str
) -> list[tuple[str, dict[str, Any] | None]]:
    """(label, the method's settings) for each method at each density; a dense network once, without a method.

    A maker's name (``"synflow"``, ``"radix-net"``) is static training on the wiring that it writes. A method that finds
    its own density (a learned supermask) is there once, whatever the densities.
    """
    from wirings import makers
    from wirings.core.budgets import ERK
    from wirings.core.settings import family, from_plain, to_plain
    from wirings.methods import names as methods

    members = {kind: family("method")[kind] for kind in methods()}
    assert makers.__name__  # importing them registers them
    writers = {kind: found for kind, found in family("maker").items() if kind not in members}
    known = [*members, "dense", "small-dense", "lottery", *writers]
    budgeted = from_plain("budget", budget, where="--budget") if budget else ERK()
    tables: list[tuple[str, dict[str, Any] | None]] = []
    for name in names:
        if name not in known:
            raise SettingsError(f"`--method` must be a known method. Got {name!r}. {nearest(name, known)}")
        if name == "dense":
            tables.append((name, None))
            continue
        if name in members and not {"begin", "density"} & {f.name for f in fields(members[name])}:
            tables.append((name, {"kind": name}))  # it finds its own density
            continue
        if not shares:
            raise SettingsError(f"`--method {name}` needs a density: give --sparsity 0.95 or --density 0.05.")
        for share in shares:
            if name in ("small-dense", "lottery"):
                tables.append((name, {"density": share}))
                continue
            if name in writers:
                begin = from_plain("maker", {"kind": name, "density": share}, where=f"--method {name}")
                tables.append((name, {"kind": "static", "begin": to_plain(begin)}))
                continue
            try:
                tables.append((name, to_plain(members[name].at(share, budget=budgeted))))  # type: ignore[attr-defined]
            except ValueError as error:
                raise SettingsError(f"`--method {name}` at density {share:g}: {error}") from error
    return tables


def runs_of(plains: Sequence[Mapping[str, Any]]) -> list[Run]:
    """Runs from plain settings, each once."""
    from wirings.training.settings import Run

    runs: dict[str, Run] = {}
    for plain in plains:
        run = Run.from_plain(plain)
        runs.setdefault(run.id, run)
    return list(runs.values())
