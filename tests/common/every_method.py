"""One row a method and form: its name -> the method, and how many connections there must be after each step.

Every combination of a registered method and form stands here, or is refused when the method is made
(``wirings.methods.forms_of``); further rows try settings that take another path.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from wirings.core.budgets import Budget, erk, uniform
from wirings.core.forms import NM, Block, ConstantFanIn, Form, Unstructured
from wirings.core.schedules import Constant, Cosine, Cubic, Every
from wirings.core.settings import family
from wirings.core.wiring import Shapes
from wirings.makers.random import ErdosRenyi
from wirings.methods import (
    DNW,
    MEST,
    SET,
    SNFS,
    EdgePopup,
    GemMiner,
    GradualMagnitude,
    GraNet,
    Method,
    RigL,
    SRigL,
    Static,
    Supermask,
    TopKAST,
    forms_of,
    names,
    one_time,
)
from wirings.testing.methods import Counts

STEPS = 12
FORMS: dict[str, Form] = {
    "unstructured": Unstructured(),
    "n:m": NM(2, 4),
    "block": Block(2, 2),
    "constant-fan-in": ConstantFanIn(),
}
SOON = Every(3)
SHARE = Cosine(0.5, over=10)


def held(budget: Budget, density: float, form: Form, *, since: int = 0) -> Counts:
    """These counts at every step from ``since`` on; every position before."""

    def counts(step: int, shapes: Shapes) -> dict[str, int]:
        share = density if step >= since else 1.0
        return {name: form.settle(k, shapes[name]) for name, k in budget(shapes, share).items()}

    return counts


def numel(shapes: Shapes) -> int:
    return sum(uniform(shapes, 1.0).values())


def granet_total(step: int, shapes: Shapes) -> int:
    schedule = Cubic(initial=0.5, final=0.2, until=8)
    return round(schedule(step // 3 * 3) * numel(shapes))


def soft_total(step: int, shapes: Shapes) -> dict[str, int]:
    """Twice the budget, from step 6 (halved) once and a half, from step 9 (stopped) the budget."""
    share = 1.0 if step < 6 else 0.5 if step < 9 else 0.0
    return {name: k + int(share * k) for name, k in uniform(shapes, 0.2).items()}


def falling(step: int, shapes: Shapes) -> int:
    return round(0.25 ** min(step / 6, 1) * numel(shapes))


def gem_total(step: int, shapes: Shapes) -> int | None:
    return round(0.2 * numel(shapes)) if step == STEPS else None


def small(kind: str, form: Form) -> tuple[Method, Counts | None]:
    """A registered method with settings that change something within a few steps."""
    begin = ErdosRenyi(0.3, form=form)
    kept = held(erk, 0.3, form)
    spread = held(uniform, 0.25, form)
    makers: dict[str, Callable[[], tuple[Method, Counts | None]]] = {
        "static": lambda: (Static(begin=begin, form=form), kept),
        "set": lambda: (SET(begin=begin, form=form, fraction=SHARE, when=SOON), kept),
        "rigl": lambda: (RigL(begin=begin, form=form, fraction=SHARE, when=SOON), kept),
        "snfs": lambda: (
            SNFS(begin=begin, form=form, when=SOON),
            lambda step, shapes: sum(erk(shapes, 0.3).values()),
        ),
        "dnw": lambda: (DNW(density=0.25, form=form), spread),
        "top-kast": lambda: (TopKAST(density=0.25, backward=0.6, form=form, when=SOON), spread),
        "edge-popup": lambda: (EdgePopup(density=0.25, form=form), spread),
        "gradual": lambda: (
            GradualMagnitude(density=Constant(0.25), when=SOON, form=form),
            held(uniform, 0.25, form, since=3) if isinstance(form, Unstructured) else _from_step_3(form),
        ),
        "gem-miner": lambda: (GemMiner(density=0.2, when=SOON, decay=1e-2, form=form), gem_total),
        "granet": lambda: (
            GraNet(density=Cubic(initial=0.5, final=0.2, until=8), when=SOON, form=form),
            granet_total,
        ),
        "mest": lambda: (MEST(density=0.25, mutation=0.5, when=SOON, form=form), spread),
        "srigl": lambda: (SRigL(density=0.3, fraction=SHARE, when=SOON, form=form), None),
        "supermask": lambda: (Supermask(form=form), None),
    }
    return makers[kind]()


def _from_step_3(form: Form) -> Counts:
    sparse = held(uniform, 0.25, form)
    return lambda step, shapes: sparse(step, shapes) if step >= 3 else numel(shapes)


def rows() -> dict[str, tuple[Method, Counts | None]]:
    forms = {kind: FORMS[kind] for kind in family("form")}
    table = {
        f"{kind} x {form}": small(kind, forms[form]) for kind in names() if kind in KINDS for form in forms_of(kind)
    }
    unstructured = Unstructured()
    spread = held(uniform, 0.25, unstructured)
    gradual, popup = GradualMagnitude(density=Constant(0.25), when=SOON), EdgePopup(density=0.25)
    return table | {
        "dnw, frozen half-way": (DNW(density=0.25, freeze_at=0.5), spread),
        "gradual, recomputed": (replace(gradual, sticky=False), held(uniform, 0.25, unstructured, since=3)),
        "gradual, over the network": (
            replace(gradual, scope="global"),
            lambda step, shapes: round(0.25 * numel(shapes)) if step >= 3 else numel(shapes),
        ),
        "one-time": (one_time(0.25, 0.5), held(uniform, 0.25, unstructured, since=6)),
        "top-kast, remembering": (TopKAST(density=0.25, backward=0.6, when=SOON, remember=True), spread),
        "edge-popup, over the network": (
            replace(popup, scope="global", decay=1e-3),
            lambda step, shapes: round(0.25 * numel(shapes)),
        ),
        "edge-popup, falling": (replace(popup, scope="global", sparser_until=0.5), falling),
        "granet, within weights": (
            GraNet(density=Cubic(initial=0.5, final=0.2, until=8), when=SOON, budget=uniform, scope="local"),
            granet_total,
        ),
        "mest, soft": (MEST(density=0.2, mutation=1.0, halve_at=6, stop_at=9, when=SOON, soft=True), soft_total),
        "mest, with gradients": (MEST(density=0.25, mutation=0.5, slope=0.5, when=SOON), spread),
        "srigl, many ablations": (SRigL(density=0.3, fraction=Constant(0.5), when=SOON, gamma=0.95), None),
    }


KINDS = frozenset(
    {"static", "set", "rigl", "snfs", "dnw", "top-kast", "edge-popup", "gradual", "gem-miner", "granet", "mest"}
    | {"srigl", "supermask"}
)
"""The library's own methods; plug-ins that happen to be installed bring their own tests."""

ROWS = rows()
