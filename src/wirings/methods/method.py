"""What a method is: settings, and three questions that it answers about the sites of a live network."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

from torch import Generator, Tensor

from wirings.core.budgets import Budget, erk
from wirings.core.errors import WiringError
from wirings.core.forms import AnyForm, Block, ConstantFanIn, Form, Unstructured
from wirings.core.settings import default_of, in_range
from wirings.core.support import Support
from wirings.core.topology import Topology
from wirings.core.wiring import Shapes, Wiring
from wirings.makers.maker import Beginning, WeightMaker
from wirings.makers.random import ErdosRenyi
from wirings.methods.rule import Rule, Straight


class Site(Protocol):
    """One sparse weight of a live network, as a method sees it: masked or truly sparse, on any device."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the dense weight, ``(out, in, ...)``."""
        ...

    @property
    def support(self) -> Support:
        """What is used and what is trained, now."""
        ...

    def weight(self, on: Topology) -> Tensor:
        """The trained tensor at these positions, shape ``(on.nnz,)``; zero where nothing trains, unless remembered."""
        ...

    def gradient(self, on: Topology) -> Tensor:
        """This step's gradient there, shape ``(on.nnz,)``. Outside the support only on steps that the method hears."""
        ...

    def strongest_gradient(self, k: int, among: Topology) -> Topology:
        """The ``k`` positions of ``among`` with the largest ``|gradient|``; never an n² object when truly sparse."""
        ...

    def momentum(self, on: Topology) -> Tensor:
        """The running mean of dense gradients that attach keeps for methods with a momentum, shape ``(on.nnz,)``."""
        ...


Sites = Mapping[str, Site]
Supports = Mapping[str, Support]


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """A training-time algorithm. It never sees a module, an optimizer or a device, so it runs masked and truly sparse.

    ``start`` gives the first supports; ``due(step)`` says whether ``update`` is asked after that step (the n-th
    completed optimizer step, counted from 1); ``update`` gives the new supports. All randomness comes from ``rng``.

    Args:
        form: what every forward topology must look like.
    """

    form: AnyForm = Unstructured()

    forms: ClassVar[tuple[type, ...]] = (Unstructured, Block, ConstantFanIn)
    """The forms that make sense with this method; others are refused at construction."""

    keeps_momentum: ClassVar[bool] = False
    """Whether attach keeps a running mean of dense gradients for it, over the steps it hears; the method then has a
    field ``momentum``, the factor."""

    def __post_init__(self) -> None:
        if not isinstance(self.form, self.forms):
            known = ", ".join(form.__name__ for form in self.forms)
            raise ValueError(f"`form` of `{type(self).__name__}` must be one of {known}. Got {self.form!r}.")

    @classmethod
    def at(cls, density: float, *, budget: Budget = erk) -> Self:
        """The method with its own default settings, at this final density: what tables of methods compare.

        Example:
            >>> from wirings.methods.drop_grow import RigL
            >>> RigL.at(0.05).begin
            ErdosRenyi(density=0.05, budget=ERK(power=1.0, dense=(), rounding='exact'), form=Unstructured())

        Args:
            density: of the prunable weights together, at the end, in (0, 1].
            budget: how it is shared out over the weights.
        """
        fields = {f.name: f for f in dataclasses.fields(cls)}
        if not fields.keys() & {"begin", "density"}:
            raise ValueError(f"`{cls.__name__}` has no density that could be set. Got {density}.")
        said: dict[str, Any] = {}  # settings of whatever fields the class has
        if "begin" in fields:
            said["begin"] = ErdosRenyi(density, budget=budget)
        if "density" in fields:
            default: Any = default_of(fields["density"])  # a number, or a schedule that ends in one
            said["density"] = dataclasses.replace(default, final=density) if hasattr(default, "final") else density
        if "budget" in fields:
            said["budget"] = budget
        return cls(**said)

    @abstractmethod
    def start(self, sites: Sites, rng: Generator) -> Supports:
        """The supports to begin with, one for each site."""

    def due(self, step: int) -> bool:
        """Whether supports change after this step."""
        return False

    def update(self, sites: Sites, step: int, rng: Generator) -> Supports:
        """The new supports, one for each site; asked only when :meth:`due`."""
        return {name: site.support for name, site in sites.items()}

    def hears(self, step: int) -> bool:
        """Whether this step's update needs gradients outside the support."""
        return False

    def replaces_step(self) -> bool:
        """Whether an update takes the place of the weight update (RigL) instead of following it."""
        return False

    def remembers(self) -> bool:
        """Whether values outside the backward support stay as they were, to be ranked again, instead of vanishing.

        No gradient reaches them, the optimizer's own weight decay does. It takes a dense copy of every sparse weight,
        so such a method runs masked only.
        """
        return False

    def rule(self) -> Rule:
        """What forward sees of the trained tensor, and the optimizer of the gradient."""
        return Straight()


def check_schedule(name: str, owner: Method, low: float, high: float, *, open_low: bool = False) -> None:
    """Refuse a schedule of the library's that begins or ends outside an interval; others are asked as they come."""
    schedule = getattr(owner, name)
    for end in ("value", "peak", "initial", "final"):
        if (value := getattr(schedule, end, None)) is not None:
            in_range(name, owner, low, high, open_low=open_low, of=value)


def shapes_of(sites: Sites) -> Shapes:
    """Weight name -> shape."""
    return {name: site.shape for name, site in sites.items()}


def everywhere(site: Site) -> Topology:
    """Every position of a site, on its device."""
    return Topology.full(site.shape, device=site.support.backward.device)


def planned(begin: Beginning, sites: Sites, rng: Generator, form: Form) -> dict[str, Support]:
    """The supports that ``begin`` plans, forward and backward equal; refused where they do not fit network or form."""
    shapes = shapes_of(sites)
    if isinstance(begin, Wiring):
        wiring = begin
    elif isinstance(begin, WeightMaker):
        wiring = begin.of_weights({n: s.weight(Topology.full(s.shape)).view(s.shape) for n, s in sites.items()}, rng)
    else:
        wiring = begin(shapes, rng)
    wiring.check(shapes)
    for name in shapes:
        if name not in wiring:
            raise WiringError(f"`begin` must wire every sparse weight. `{name}` is missing; leave it out with `where`.")
        if not form.holds(wiring[name]):
            raise WiringError(f"`begin` must have the form {form!r}. `{name}` has not; give the maker the form too.")
    return {name: Support.both(wiring[name]) for name in shapes}
