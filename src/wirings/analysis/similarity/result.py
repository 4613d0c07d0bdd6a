"""What a comparison of two representations returns: the value, what it rests on, and what chance alone would give."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Similarity:
    """How alike two representations are; 1 is the same up to what the measure does not see. Never NaN.

    Where there is nothing to compare (no unit varies, fewer than two points) the value is 0 and ``notes`` say why.

    Args:
        value: the similarity, in [0, 1]; debiased CKA may be slightly negative.
        measure: its name, e.g. ``"svcca"``.
        directions: dimensions compared on either side: after truncation for the CCA family and Procrustes, units that
            vary for CKA.
        points: data points used (points with a NaN or an infinity on either side are left out).
        units: units given, dead ones included.
        noise_floor: expected value if either side kept its spectrum but lay at random in the space of points; for CCA
            and SVCCA this is the expected value for independent Gaussian data of these sizes. Report it too. It takes
            points for independent: where several positions of one image are points, chance gives more than this.
        notes: what was out of the ordinary, in words.
        correlations: canonical correlations in descending order (CCA family only).
    """

    value: float
    measure: str
    directions: tuple[int, int]
    points: int
    units: tuple[int, int]
    noise_floor: float
    notes: tuple[str, ...] = ()
    correlations: tuple[float, ...] = field(default=(), repr=False)

    def __float__(self) -> float:
        return self.value
