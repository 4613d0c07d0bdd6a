"""What is written down about every run beside its accuracy: structure, exploration, arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wirings.analysis.cost import CostMeter, layer_costs
from wirings.analysis.degrees import dead_units, in_degrees
from wirings.analysis.overlap import jaccard
from wirings.analysis.paths import effective_wiring
from wirings.attach import Sparsifier
from wirings.core.topology import Topology
from wirings.core.wiring import Shapes, Wiring
from wirings.training.folder import stem


class Measures:
    """Follows one run and says at each row what its wiring is like.

    What cannot be measured on somebody's own network (its paths, its arithmetic) is ``None`` in the record, and
    ``missing`` says why; the run goes on.

    Args:
        model: the network in its dense form; its values do not matter.
        sparse: what attach returned; ``None`` for a dense network.
        shape: of one input with a batch of 1, ``(1, channels, height, width)``.
        shapes: of the weights that may be sparse.
    """

    def __init__(self, model: nn.Module, sparse: Sparsifier | None, shape: tuple[int, ...], *, shapes: Shapes) -> None:
        self._model, self._sparse, self._shape = model, sparse, shape
        self._full = Wiring.full(shapes)
        self._explored: dict[str, Tensor] = {}  # weight name -> where a connection has ever been
        self._previous: Wiring | None = None
        self._kept = ""
        self._counts: tuple[int, ...] = ()
        self.missing: dict[str, str] = {}
        self._cost = self._meter()
        if sparse is not None:
            self._changed(sparse)
            sparse.watch(self._changed)

    @property
    def wiring(self) -> Wiring:
        """What the forward pass uses, now."""
        return self._full if self._sparse is None else self._sparse.wiring

    def before_step(self, samples: int) -> None:
        """The gradients of a step on so many images are there, the step is not made: count what they cost."""
        if self._cost is not None:
            heard = self._sparse is not None and self._sparse.method.hears(self._sparse.step + 1)
            self._cost.step(samples, dense_gradient=heard)

    def keep(self, step: int, folder: Path) -> None:
        """Write the wiring to disk, unless it is still the one that was written last."""
        wiring = self.wiring
        fingerprint = wiring.fingerprint
        if fingerprint != self._kept:
            wiring.save(folder / f"{stem(step)}.safetensors")
            self._kept = fingerprint

    def row(self) -> dict[str, Any]:
        """The structure now, and how it changed since the last row."""
        wiring = self.wiring
        row = {
            **self._structure(wiring),
            "overlap": None if self._previous is None else jaccard(self._previous, wiring),
            "explored": self._rate(),
            "training_flops": None if self._cost is None else self._cost.total,
        }
        self._previous = wiring
        return row

    def results(self) -> dict[str, Any]:
        """The structure at the end, and what the whole training cost."""
        wiring, cost = self.wiring, self._cost
        return {
            **self._structure(wiring),
            "connections": wiring.nnz,
            "weights": wiring.numel,
            "explored": self._rate(),
            "training_flops": None if cost is None else cost.total,
            "dense_training_flops": None if cost is None else cost.dense_total,
            "forward_flops": None if cost is None else cost.forward,
            "dense_gradient_steps": None if cost is None else cost.dense_gradients,
            "flops_convention": "2 operations a multiply-add; a step is 2 f(forward) + f(gradient) (Evci et al. 2020)",
            "missing": self.missing,
        }

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to go on measuring; tensors and plain data."""
        return {
            "explored": {name: seen.cpu() for name, seen in self._explored.items()},
            "previous": _saved(self._previous),
            "kept": self._kept,
            "cost": None if self._cost is None else self._cost.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where :meth:`state_dict` was taken; the model and the sparsifier have their own states again."""
        self._explored = {name: seen.to(self.wiring[name].device) for name, seen in state["explored"].items()}
        self._previous = self._loaded(state["previous"])
        self._kept = state["kept"]
        if self._sparse is not None:
            self._counts = ()
            self._tell_densities(self._sparse)
        if self._cost is not None:
            self._cost.load_state_dict(state["cost"])

    def _structure(self, everything: Wiring) -> dict[str, Any]:
        # biases, which the original SNIP prunes too, count, but lead nowhere
        wiring = Wiring({name: topology for name, topology in everything.items() if len(topology.shape) > 1})
        effective = self._effective(wiring)
        dead = dead_units(wiring if effective is None else effective)
        degrees = in_degrees(wiring)
        layers = {}
        for name, topology in wiring.items():
            entering = degrees[name]
            layers[name] = {
                "density": topology.density,
                "effective_density": None if effective is None else effective[name].density,
                "dead_units": len(dead[name].outputs),
                "in_degree": [int(entering.min()), float(entering.mean()), int(entering.max())],
            }
        return {
            "density": everything.density,
            "effective_density": None if effective is None else effective.density,
            "dead_units": sum(len(units.outputs) for units in dead.values()),
            "layers": layers,
        }

    def _effective(self, wiring: Wiring) -> Wiring | None:
        if wiring.nnz == wiring.numel:
            return wiring
        if "effective_density" in self.missing:
            return None
        try:
            return effective_wiring(self._model, wiring, self._shape)
        except Exception as error:  # anything may go wrong in a network that we do not know
            self.missing["effective_density"] = f"{type(error).__name__}: {error}"
            return None

    def _meter(self) -> CostMeter | None:
        try:
            return CostMeter(layer_costs(self._model, self._shape))
        except Exception as error:  # as above
            self.missing["training_flops"] = f"{type(error).__name__}: {error}"
            return None

    def _changed(self, sparse: Sparsifier) -> None:
        """The wiring was changed (or begun)."""
        for name, support in sparse.supports.items():
            if name in self._explored:  # in place: DNW comes by after every step
                self._explored[name].bitwise_or_(support.forward.mask)
            else:
                self._explored[name] = support.forward.mask.clone()
        self._tell_densities(sparse)

    def _rate(self) -> float:
        """Share of positions that were ever connected: R_s of Liu et al. 2021 (ITOP)."""
        seen = sum(int(torch.count_nonzero(mask)) for mask in self._explored.values())
        return seen / self._full.numel if self._sparse is not None else 1.0

    def _tell_densities(self, sparse: Sparsifier) -> None:
        supports = sparse.supports
        counts = tuple(n for s in supports.values() for n in (s.forward.nnz, s.backward.nnz))
        if self._cost is None or counts == self._counts:
            return
        self._counts = counts
        known = {name: support for name, support in supports.items() if name in self._cost.layers}
        self._cost.densities(
            {name: support.forward.density for name, support in known.items()},
            {name: support.backward.density for name, support in known.items()},
        )

    def _loaded(self, masks: Mapping[str, Tensor] | None) -> Wiring | None:
        if masks is None:
            return None
        device = next(iter(self.wiring.values())).device
        return Wiring({name: Topology.of(mask.to(device)) for name, mask in masks.items()})


def _saved(wiring: Wiring | None) -> dict[str, Tensor] | None:
    return None if wiring is None else {name: topology.mask.to("cpu", torch.bool) for name, topology in wiring.items()}
