"""Similarities of activations too many to hold: batch by batch, equal to the whole at once.

Canonical correlations and Procrustes stream through the triangular factor of the centred data, which keeps every inner
product over the points without ever squaring a condition number; CKA through sums of products.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from wirings.analysis.similarity.cca import cca_of, check_variance, pwcca_of, svcca_of
from wirings.analysis.similarity.cka import Moments, alignment, linear_cka_of
from wirings.analysis.similarity.procrustes import procrustes_of
from wirings.analysis.similarity.result import Similarity
from wirings.analysis.similarity.side import Activations, Side, finite_points, of_centred, precision, varies
from wirings.core.errors import nearest


class StreamingCCA:
    """SVCCA, CCA, PWCCA, Procrustes and linear CKA of batches of activations, in memory (units of x + units of y)^2.

    Example:
        >>> stream = StreamingCCA()
        >>> for x, y in batches:
        ...     stream.update(x, y)
        >>> stream.result("svcca").value

    Args:
        variance: share of the variance that `svcca` keeps.
    """

    def __init__(self, *, variance: float = 0.99) -> None:
        self._measures: dict[str, Callable[[Side, Side], Similarity]] = {
            "svcca": lambda a, b: svcca_of(a, b, variance=variance),
            "cca": cca_of,
            "pwcca": pwcca_of,
            "procrustes": procrustes_of,
            "cka": linear_cka_of,
        }
        check_variance(variance)
        self._seen = _Seen()
        self._mean = torch.zeros(0)
        self._factor = torch.zeros(0, 0)
        self._squares: tuple[Tensor, Tensor] = (torch.zeros(0), torch.zeros(0))  # sums over points, unit by unit

    def update(self, x: Activations, y: Activations) -> None:
        """Take in one batch: activations of the same points, shape (points, units)."""
        before = self._seen.points
        batch = self._seen.take(x, y)
        if not before:
            widths = self._seen.units
            self._mean = torch.zeros(sum(widths), dtype=torch.float64)
            self._factor = self._mean.new_zeros(0, sum(widths))
            self._squares = self._mean.new_zeros(widths[0]), self._mean.new_zeros(widths[1])
        if batch is None:
            return
        x, y = (side / scale for side, scale in zip(batch, self._seen.scales, strict=True))
        rows, count = torch.cat([x, y], dim=1), len(x)
        self._squares = self._squares[0] + x.square().sum(0), self._squares[1] + y.square().sum(0)
        mean = rows.mean(0)
        step = mean - self._mean
        # the scatter about the new common mean: both scatters, and what the two means lie apart
        apart = step * (before * count / (before + count)) ** 0.5
        self._factor = torch.cat([self._factor, rows - mean, apart[None]])
        self._mean = self._mean + step * (count / (before + count))
        if len(self._factor) > 2 * rows.shape[1]:
            self._factor = torch.linalg.qr(self._factor, mode="r")[1]

    def result(self, measure: str = "svcca") -> Similarity:
        """The similarity of all batches so far: ``"svcca"``, ``"cca"``, ``"pwcca"``, ``"procrustes"`` or ``"cka"``."""
        if measure not in self._measures:
            way_out = nearest(measure, self._measures)
            raise ValueError(f"`measure` of `StreamingCCA.result` is unknown. Got {measure!r}. {way_out}")
        seen, width = self._seen, self._seen.units[0]
        parts = (self._factor[:, :width], self._factor[:, width:])
        a, b = (
            of_centred(part[:, live], float(squares[live].sum().sqrt()), eps, seen.points, units, name, seen.notes)
            for part, live, squares, eps, units, name in zip(
                parts, seen.live, self._squares, seen.eps, seen.units, "xy", strict=True
            )
        )
        return self._measures[measure](a, b)


class StreamingCKA:
    """CKA of batches of activations.

    Args:
        estimator: ``"linear"`` equals `linear_cka` and ``"debiased"`` equals `debiased_cka` of all batches at once,
            both in memory (units of x + units of y)^2. ``"minibatch"`` is the mean over batches of the unbiased HSIC
            (Nguyen, Raghu & Kornblith 2021), in memory of one batch, for layers of any width; its batches need four
            points each.
    """

    def __init__(self, estimator: Literal["linear", "debiased", "minibatch"] = "debiased") -> None:
        if estimator not in ("linear", "debiased", "minibatch"):
            raise ValueError(
                f'`estimator` of `StreamingCKA` must be "linear", "debiased" or "minibatch". Got {estimator!r}.'
            )
        self._estimator = estimator
        self._seen = _Seen()
        self._shift: tuple[Tensor, Tensor] | None = None
        self._sums: tuple[_Sums, _Sums, _Sums] | None = None
        self._hsic = [0.0, 0.0, 0.0]
        self._small = 0

    def update(self, x: Activations, y: Activations) -> None:
        """Take in one batch: activations of the same points, shape (points, units)."""
        batch = self._seen.take(x, y)
        if batch is None:
            return
        if self._shift is None:
            self._shift = batch[0].mean(0), batch[1].mean(0)
        x, y = (
            (side - shift) / scale for side, shift, scale in zip(batch, self._shift, self._seen.scales, strict=True)
        )
        if self._estimator == "minibatch":
            self._add_batch(x, y)
            return
        if self._sums is None:
            self._sums = _Sums(x, y), _Sums(x, x), _Sums(y, y)
        for sums, (left, right) in zip(self._sums, ((x, y), (x, x), (y, y)), strict=True):
            sums.add(left, right)

    def result(self) -> Similarity:
        """The similarity of all batches so far."""
        seen = self._seen
        measure = {"linear": "cka", "debiased": "debiased_cka", "minibatch": "minibatch_cka"}[self._estimator]
        live = (int(seen.live[0].sum()), int(seen.live[1].sum()))
        remarks = list(seen.notes)
        if self._small:
            remarks.append(f"{self._small} batches have fewer than four points and were left out")
        remarks += [f"{name} has no unit that varies" for name, k in zip("xy", live, strict=True) if not k]

        def told(value: float, floor: float, *why: str) -> Similarity:
            return Similarity(value, measure, live, seen.points, seen.units, floor, (*remarks, *why))

        if not all(live):
            return told(0.0, 0.0)
        if self._estimator == "minibatch":
            pair, own, other = self._hsic
        else:
            assert self._sums is not None  # a unit that varies has been added
            moments = [sums.centred() for sums in self._sums]
            if self._estimator == "linear":
                size = (moments[1].gram * moments[2].gram) ** 0.5
                floor = moments[0].trace_x * moments[0].trace_y / ((seen.points - 1) * size)
                return told(min(moments[0].gram / size, 1.0), floor)
            if seen.points < 4:
                return told(0.0, 0.0, f"{seen.points} points: the unbiased estimator needs four")
            pair, own, other = moments[0].hsic, moments[1].own_hsic, moments[2].own_hsic
        value = alignment(pair, own, other)
        if value is None:
            return told(0.0, 0.0, "all pairs of points of one side are equally alike")
        return told(value, 0.0)

    def _add_batch(self, x: Tensor, y: Tensor) -> None:
        """The unbiased HSIC of one batch, through its Gram matrices."""
        if len(x) < 4:
            self._small += 1
            return
        x, y = x - x.mean(0), y - y.mean(0)
        for i, (left, right) in enumerate(((x, y), (x, x), (y, y))):
            first, second = left.square().sum(1), right.square().sum(1)
            gram = float(((left @ left.T) * (right @ right.T)).sum())
            moments = Moments(gram, float(first @ second), float(first.sum()), float(second.sum()), len(x))
            self._hsic[i] += moments.own_hsic if i else moments.hsic


class _Seen:
    """What both streams keep of their batches: counts, the range of each unit, a scale that keeps squares finite."""

    def __init__(self) -> None:
        self.points = 0
        self.lost = 0
        self.units = (0, 0)
        self.eps = (0.0, 0.0)
        self.scales = (1.0, 1.0)
        self._ranges: tuple[tuple[Tensor, Tensor], ...] | None = None

    def take(self, x: Activations, y: Activations) -> tuple[Tensor, Tensor] | None:
        """The batch in float64 without points that are not finite; None where no point is left."""
        x, y, lost = finite_points(x, y)
        units = (x.shape[1], y.shape[1])
        if self._ranges is not None and units != self.units:
            raise ValueError(f"`update` must get the units of the first batch, {self.units}. Got {units}.")
        self.units = units
        self.lost += lost
        if not len(x):
            return None
        self.eps = (max(self.eps[0], precision(x)), max(self.eps[1], precision(y)))
        x, y = x.to(torch.float64), y.to(torch.float64)
        ranges = tuple((side.amin(0), side.amax(0)) for side in (x, y))
        if self._ranges is None:
            self.scales = (_size(x), _size(y))
        else:
            ranges = tuple(
                (torch.minimum(low, old_low), torch.maximum(high, old_high))
                for (low, high), (old_low, old_high) in zip(ranges, self._ranges, strict=True)
            )
        self._ranges = ranges
        self.points += len(x)
        return x, y

    @property
    def live(self) -> tuple[Tensor, Tensor]:
        """Which units vary, over all batches."""
        if self._ranges is None or self.points < 2:
            none = [torch.zeros(units, dtype=torch.bool) for units in self.units]
            return none[0], none[1]
        first, second = (varies(low, high, eps) for (low, high), eps in zip(self._ranges, self.eps, strict=True))
        return first, second

    @property
    def notes(self) -> tuple[str, ...]:
        return (f"{self.lost} points are not finite and were left out",) if self.lost else ()


class _Sums:
    """Sums over points from which the `Moments` about the final mean follow."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self._points = 0
        self._x, self._y = x.new_zeros(x.shape[1]), y.new_zeros(y.shape[1])
        self._xy = x.new_zeros(x.shape[1], y.shape[1])
        self._xx_y, self._x_yy = y.new_zeros(y.shape[1]), x.new_zeros(x.shape[1])
        self._xx = self._yy = self._xx_yy = 0.0

    def add(self, x: Tensor, y: Tensor) -> None:
        xx, yy = x.square().sum(1), y.square().sum(1)
        self._points += len(x)
        self._x += x.sum(0)
        self._y += y.sum(0)
        self._xy += x.T @ y
        self._xx_y += xx @ y
        self._x_yy += yy @ x
        self._xx += float(xx.sum())
        self._yy += float(yy.sum())
        self._xx_yy += float(xx @ yy)

    def centred(self) -> Moments:
        """Moments about the means m, l: |x - m|^2 = |x|^2 - 2 m x + |m|^2, multiplied out and summed."""
        n = self._points
        m, l = self._x / n, self._y / n
        mm, ll = float(m @ m), float(l @ l)
        diagonal = (
            self._xx_yy
            - 2 * float(self._xx_y @ l)
            - 2 * float(self._x_yy @ m)
            + 4 * float(m @ self._xy @ l)
            + ll * self._xx
            + mm * self._yy
            - 3 * n * mm * ll
        )
        gram = float((self._xy - n * torch.outer(m, l)).square().sum())
        return Moments(gram, diagonal, self._xx - n * mm, self._yy - n * ll, n)


def _size(x: Tensor) -> float:
    """The largest magnitude, or 1 where there is none."""
    return (float(x.abs().max()) if x.numel() else 0.0) or 1.0
