"""A sparsifier's state as plain tensors, numbers and names: ``torch.load(..., weights_only=True)`` reads it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from wirings.attach.site import LiveSite
from wirings.attach.sparse import SparseSite
from wirings.core.errors import WiringError
from wirings.core.support import Support
from wirings.core.topology import Topology

VERSION = 1
_KEPT = ("aside", "frozen", "averaged")


def to_saved(method: str, step: int, rng: Generator, sites: Mapping[str, LiveSite]) -> dict[str, Any]:
    """Step, random state, and of each site its supports and the values that only attach keeps."""
    saved: dict[str, Any] = {"version": VERSION, "method": method, "step": step, "rng": rng.get_state(), "sites": {}}
    for name, site in sites.items():
        support = site.support
        entry: dict[str, Any] = {"forward": _encoded(support.forward)}
        if not support.is_plain:
            entry["backward"] = _encoded(support.backward)
        entry |= {key: t.detach().clone() for key in _KEPT if (t := getattr(site, key)) is not None}
        saved["sites"][name] = entry
    return saved


def from_saved(saved: Mapping[str, Any], method: str, rng: Generator, sites: Mapping[str, LiveSite]) -> int:
    """Put a saved state into live sites; returns the step. Everything is checked before anything is changed."""
    try:
        if saved["version"] > VERSION:
            raise WiringError("The saved state was written by a newer version of wirings; upgrade to load it.")
        if saved["method"] != method:
            raise WiringError(
                f"The saved state is of `{saved['method']}`, but `{method}` is attached. Attach that one first."
            )
        if saved["sites"].keys() != sites.keys():
            odd = sorted(saved["sites"].keys() ^ sites.keys())[0]
            raise WiringError(f"The saved state and the network disagree about `{odd}`. Attach to the same weights.")
        supports = {name: _support(name, entry, sites[name]) for name, entry in saved["sites"].items()}
        step, state = int(saved["step"]), saved["rng"].cpu()
        Generator().set_state(state)
    except WiringError:
        raise
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise WiringError(f"This is not the saved state of a sparsifier, or it is damaged: {error!r}.") from error
    for name, entry in saved["sites"].items():
        sites[name].restore(supports[name], **{key: entry.get(key) for key in _KEPT})
    rng.set_state(state)
    return step


def _support(name: str, entry: Mapping[str, Any], site: LiveSite) -> Support:
    forward = _decoded(entry["forward"])
    backward = _decoded(entry["backward"]) if "backward" in entry else forward
    kept = {key: entry[key] for key in _KEPT if key in entry}
    for shape in (forward.shape, backward.shape, *(tuple(tensor.shape) for tensor in kept.values())):
        if shape != site.shape:
            raise WiringError(f"The saved `{name}` has shape {shape}, but the network's has {site.shape}.")
    support = Support(forward, backward)
    if isinstance(site, SparseSite):  # its values are all in the layer
        if "aside" in kept or "frozen" in kept:
            raise WiringError(
                f"The saved state of `{name}` is of a masked run; go on masked, or start anew from its model."
            )
        return support
    if ("frozen" in kept) != (site.frozen is not None) or ("aside" not in kept and not support.is_plain):
        raise WiringError(f"The saved state of `{name}` is damaged: it lacks the values that its method trains.")
    return support


def _encoded(topology: Topology) -> dict[str, Any]:
    """Shape, and bits or positions, the smaller; nothing at all where everything is connected."""
    shape = list(topology.shape)
    if topology.is_full:
        return {"shape": shape}
    if topology.numel <= 64 * topology.nnz:
        return {"shape": shape, "bits": torch.from_numpy(np.packbits(topology.mask.cpu().numpy().reshape(-1)))}
    return {"shape": shape, "index": topology.index.cpu().clone()}


def _decoded(saved: Mapping[str, Any]) -> Topology:
    shape = tuple(int(n) for n in saved["shape"])
    if "bits" in saved:
        bits: Tensor = saved["bits"]
        numel = math.prod(shape)
        if bits.dtype != torch.uint8 or bits.numel() != (numel + 7) // 8:
            raise WiringError("The saved state is damaged: a topology has the wrong number of bits.")
        mask = np.unpackbits(bits.cpu().numpy(), count=numel).astype(bool)
        return Topology.of(torch.from_numpy(mask).view(shape))
    return Topology.at(shape, saved["index"]) if "index" in saved else Topology.full(shape)
