"""The common suite of every form."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence

import torch

from wirings.core.forms import Form
from wirings.core.settings import from_plain, to_plain
from wirings.core.streams import stream
from wirings.core.topology import Topology
from wirings.testing.checking import must

SHAPES: Sequence[tuple[int, ...]] = ((8, 16), (8, 4, 3, 3))
"""What a form is tried on, if nothing else is said."""


def check_form(form: Form, *, shapes: Sequence[tuple[int, ...]] = SHAPES, grows: bool = True) -> None:
    """Choose connections in a form, drop some, grow others, and check what every form must keep.

    ``settle`` never exceeds what was asked and is settled itself; ``top`` chooses exactly as many, among what it may,
    with the form; it is repeatable, also with random ties; what was kept and what is then chosen from the rest has the
    form again; settings survive TOML.

    Example:
        >>> check_form(Block(2, 4)), check_form(NM(2, 4), grows=False)
        (None, None)

    Args:
        form: which.
        shapes: of the weights that it is tried on.
        grows: whether methods that drop and grow may use it (N:M may not: a group can be full).

    Raises:
        AssertionError: one sentence that says what does not hold.
    """
    import tomli_w

    label = f"{form!r}"
    back = from_plain("form", tomllib.loads(tomli_w.dumps(to_plain(form))))
    must(back == form, f"{label} must survive TOML. It came back as {back!r}.")
    for shape in shapes:
        whole = Topology.full(shape)
        scores = torch.rand(whole.numel, generator=stream(0, "scores", *shape), dtype=torch.float64)
        for asked in (0, whole.numel // 3, whole.numel // 2, whole.numel):
            k = form.settle(asked, shape)
            must(
                0 <= k <= asked and form.settle(k, shape) == k,
                f"`settle` of {label} must be settled. Got {k} of {asked}.",
            )
            chosen = form.top(scores, asked, whole)
            must(chosen.nnz == k, f"`top` of {label} must choose {k} of {shape}. Got {chosen.nnz}.")
            must(form.holds(chosen), f"`top` of {label} must choose what `holds` accepts (shape {shape}, {k}).")
            must(chosen == form.top(scores, asked, whole), f"`top` of {label} must be repeatable.")
            ties = [form.top(torch.zeros_like(scores), asked, whole, ties=stream(1, "ties")) for _ in range(2)]
            must(ties[0] == ties[1] and ties[0].nnz == k, f"`top` of {label} must be repeatable with random ties.")
            if grows:
                _check_exchange(form, scores, chosen, label)


def _check_exchange(form: Form, scores: torch.Tensor, now: Topology, label: str) -> None:
    keep = form.top(scores[now.index], form.settle(now.nnz // 2, now.shape), now)
    must(keep <= now and form.holds(keep), f"`top` of {label} must keep the form among fewer positions.")
    free = ~keep
    grown = form.top(-scores[free.index], now.nnz - keep.nnz, free)
    must(form.holds(keep | grown), f"what {label} keeps and grows must have the form together.")
    must((keep | grown).nnz == now.nnz, f"an exchange in {label} must keep the count.")
