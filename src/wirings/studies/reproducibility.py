"""Reproducibility: what makes two trainings of one network differ, and by how much? (after the Neuronix text)

Ten runs differ in their data order alone, ten in their first values, ten in their wiring, ten in everything, ten in the
part of the data that they are tested on. Then single runs are made again: as they are, on more threads, from sparse
storage, in other precisions, with other instruction sets; and followed step by step as they drift apart.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from wirings.analysis.claims import Claim, Verdict, judge, judge_all
from wirings.core.schedules import Every
from wirings.makers.random import ErdosRenyi
from wirings.methods import RigL, Static
from wirings.methods.method import Method
from wirings.studies.figures import Figure
from wirings.studies.measurement import Measurement
from wirings.studies.measures.reproducibility import Again, Divergence, Replay
from wirings.studies.study import Findings, Preset, Study, Work
from wirings.studies.tables import Table
from wirings.studies.views import repeated as views
from wirings.studies.views.repeated import METHODS, SOURCES, Pair
from wirings.training.records import Record
from wirings.training.settings import Run

SAME = Claim(
    id="S2.18",
    sentence="The same job on the same processor gives identical results each time.",
    statistic="1 where a stored run, made again from its settings, ends in the same values bit for bit, else 0",
    threshold=0.0,
    target=1.0,
    direction="within",
    n=10,
    published=1.0,
    exact=True,
)
GPU = Claim(
    id="S2.19",
    sentence="The same job on CPU and on GPU gives identical results.",
    statistic="1 where a run on the GPU ends in the same values as on the CPU, bit for bit, else 0",
    threshold=0.0,
    target=1.0,
    direction="within",
    n=1,
    published=1.0,
    exact=True,
)
SUBSTITUTE = Claim(
    id="S2.19-substitute",
    sentence="The same job with another instruction set or another torch gives identical results (in place of a GPU).",
    statistic="1 where a run ends in the same values bit for bit, else 0; sparse kernels for other instruction sets, "
    "torch without AVX, another torch version",
    threshold=0.0,
    target=1.0,
    direction="within",
    n=5,
    exact=True,
)
TOLERANCE = Claim(
    id="S2.19-tolerance",
    sentence="With another instruction set or another torch, results are equal within half a point.",
    statistic="accuracy (other − first), points; the runs of S2.19-substitute",
    threshold=0.5,
    direction="within",
    n=10,
)
ORDERS = Claim(
    id="S2.20a",
    sentence="Results are comparable when the data are presented in a different order.",
    statistic="difference of accuracy between two data orders, points, disjoint pairs of runs",
    threshold=0.5,
    direction="below",
    n=5,
    effect=0.5,
)
LESS = Claim(
    id="S2.20b",
    sentence="Data order changes results less than first values do.",
    statistic="distance of accuracy from its median, over data orders − over first values, points (Brown & Forsythe)",
    threshold=0.0,
    direction="below",
    n=10,
    effect=0.1,
)
FLUCTUATION = Claim(
    id="S2.21",
    sentence="Error rates of one experiment fluctuate by up to 25 %.",
    statistic="largest less smallest error rate of equal runs, % of their mean; one value a method and source",
    threshold=25.0,
    direction="above",
    n=5,
    effect=5.0,
    published=25.0,
)

DENSITY = 0.1
DIVERGING = 3
"""Seeds of the runs that are made again under other conditions; half of the preset's, at most."""

BOTH = ("process", "threads", "older", "torch", "cuda", "nudge", "float64", "bfloat16", "order", "init")
SPARSE = (*BOTH[:2], "sparse", "sparse-64", "generic", "avx2", *BOTH[2:], "wiring")
"""Changes of dense and of sparse networks, as far as they are at hand."""

SUBSTITUTES = ("generic", "avx2", "older", "torch")


# ---------------------------------------------------------------------- runs


def runs(preset: str, seeds: Sequence[int]) -> list[Work]:
    """For each method: everything new, then one source of chance new at a time, then another part of the data."""
    work: list[Work] = []
    for name in METHODS:
        for k in seeds:
            work.append(_run(preset, name, seed=k))
            for source in _streams(name):
                work.append(_run(preset, name, streams={source: k + 1}, label=f"{name}-{source}"))
            if k < 10:
                data = f"wirings.studies.measures.folds:ten.fold_{k}"
                work.append(_run(preset, name, data=data, label=f"{name}-fold"))
    return work


def _streams(method: str) -> tuple[str, ...]:
    return ("order", "init") if method == "dense" else ("order", "init", "wiring")


def _run(preset: str, name: str, **settings: Any) -> Run:
    often = Every(0.02, until=0.75)
    begin = ErdosRenyi(DENSITY)
    method: Method | None = {"dense": None, "static": Static(begin=begin), "rigl": RigL(begin=begin, when=often)}[name]
    scale = _SCALES["laptop" if preset != "smoke" else preset]
    return Run(method=method, **(scale | settings))


_SCALES: dict[str, dict[str, Any]] = {
    "smoke": {"model": "mlp", "data": "gaussian-blobs", "batch_size": 64, "steps": 40, "held_out": 50},
    "laptop": {"data": "mnist-mini", "epochs": 10},
}


# ---------------------------------------------------------------------- what is made again


def measurements(found: Findings) -> list[Measurement]:
    """Repetitions of the first run of each method; replays of its order; and pairs that drift apart."""
    wanted: list[Measurement] = []
    for name in METHODS:
        firsts = _all(found, name)
        wanted += [Again(run=record.id, repeat=k) for record in firsts[:1] for k in range(len(found.seeds))]
        wanted += [Replay(run=record.id) for record in _varied(found, name, "order")[:3]]
        wanted += [pair.measurement for pair in pairs(found) if pair.method == name]
    return wanted


def pairs(found: Findings) -> list[Pair]:
    """Who is followed beside whom, by method, change and seed."""
    count = min(DIVERGING, max(1, len(found.seeds) // 2))
    return [
        Pair(method=name, change=change, seed=record.seed, measurement=Divergence(run=record.id, change=change))
        for name in METHODS
        for change in (BOTH if name == "dense" else SPARSE)
        for record in _all(found, name)[:count]
    ]


def _all(found: Findings, method: str) -> list[Record]:
    """The runs of a method in which everything is new, by seed."""
    return found.of(method)


def _varied(found: Findings, method: str, source: str) -> list[Record]:
    """The runs of a method in which one source of chance is new."""
    if source == "all":
        return _all(found, method)
    varied = found.of(f"{method}-{source}")
    return sorted(varied, key=lambda r: (r.run.streams.get(source, 0), r.run.data))


def _by_source(found: Findings) -> dict[tuple[str, str], list[Record]]:
    """(method, source) -> its runs, where there are at least two."""
    cells = {(name, source): _varied(found, name, source) for name in METHODS for source in SOURCES}
    return {key: records for key, records in cells.items() if len(records) > 1}


def _followed(found: Findings) -> list[tuple[Pair, Mapping[str, Any]]]:
    every = ((pair, found.measured(pair.measurement)) for pair in pairs(found))
    return [(pair, result) for pair, result in every if result is not None]


def _repeats(found: Findings, method: str) -> list[Mapping[str, Any]]:
    asked = [Again(run=r.id, repeat=k) for r in _all(found, method)[:1] for k in range(len(found.seeds))]
    return [result for again in asked if (result := found.measured(again)) is not None]


def _replays(found: Findings, method: str) -> list[Mapping[str, Any]]:
    asked = [Replay(run=record.id) for record in _varied(found, method, "order")[:3]]
    return [result for replay in asked if (result := found.measured(replay)) is not None]


# ---------------------------------------------------------------------- what they say


def claims(found: Findings) -> list[Verdict]:
    """Bits where bits are claimed, spreads where spreads are."""
    spreads = _by_source(found)
    followed = _followed(found)
    about: dict[str, Any] = {"scale": found.scale, "data": str(_SCALES["smoke" if found.preset == "smoke" else "laptop"]
                                                               ["data"])}  # fmt: skip
    verdicts = []
    for name in METHODS:
        net = f"{_net(found)}, {views.METHOD_TITLES[name]}"
        same = [float(r["stored"]["values"] == r["again"]["values"]) for r in _repeats(found, name)]
        ids = [record.id for record in _all(found, name)[:1]]
        verdicts.append(judge(SAME, same, net=net, run_ids=ids, **about))
        order, init = spreads.get((name, "order"), []), spreads.get((name, "init"), [])
        ids = [record.id for record in (*order, *init)]
        apart = [abs(a - b) for a, b in zip(_accuracies(order)[::2], _accuracies(order)[1::2], strict=False)]
        verdicts.append(judge(ORDERS, apart, net=net, run_ids=[record.id for record in order], **about))
        verdicts.append(
            judge(LESS, _from_median(order), _from_median(init), pairs=False, net=net, run_ids=ids, **about)
        )
    every = f"{_net(found)}, all"
    for claim, changes in ((GPU, ("cuda",)), (SUBSTITUTE, SUBSTITUTES)):
        ends = [(pair, result) for pair, result in followed if pair.change in changes]
        equal = [float(result["equal"]) for _, result in ends]
        verdict = judge(claim, equal, net=every, run_ids=_runs(ends), **about)
        if claim is GPU and not equal:
            verdict = dataclasses.replace(verdict, reason="there was no GPU; S2.19-substitute stands in for it")
        verdicts.append(verdict)
    ends = [(pair, result) for pair, result in followed if pair.change in SUBSTITUTES]
    moved = [100 * (result["accuracy"][1] - result["accuracy"][0]) for _, result in ends]
    verdicts.append(judge(TOLERANCE, moved, net=every, run_ids=_runs(ends), **about))
    ranges = [views.error_range(records) for (_, source), records in spreads.items() if source != "fold"]
    ids = [record.id for (_, source), records in spreads.items() if source != "fold" for record in records]
    verdicts.append(judge(FLUCTUATION, ranges, net=every, run_ids=ids, **about))
    return judge_all(verdicts)


def _net(found: Findings) -> str:
    return "MLP" if found.preset == "smoke" else "LeNet-300-100"


def _runs(ends: Iterable[tuple[Pair, Mapping[str, Any]]]) -> list[str]:
    return list(dict.fromkeys(pair.measurement.run for pair, _ in ends))


def _accuracies(records: Iterable[Record]) -> list[float]:
    return [100 * record.test_accuracy_last for record in records]


def _from_median(records: Sequence[Record]) -> list[float]:
    """How far each accuracy is from the median of all: what a test of equal spread compares."""
    values = _accuracies(records)
    return [abs(value - statistics.median(values)) for value in values]


def tables(found: Findings) -> list[Table]:
    """The variance that each source brings; what is equal bit for bit; what is replayed."""
    repeats = {name: _repeats(found, name) for name in METHODS}
    replays = {name: _replays(found, name) for name in METHODS}
    drawn = [
        views.source_table(_by_source(found)),
        views.change_table(_followed(found)),
        views.repeat_table(repeats, replays),
    ]
    return [table for table in drawn if table is not None]


def figures(found: Findings) -> list[Figure]:
    """Spreads by source, and distances by step."""
    drawn = [views.spread_figure(_by_source(found)), views.divergence_figure(_followed(found))]
    return [figure for figure in drawn if figure is not None]


def answers(found: Findings) -> list[str]:
    """Four sentences: bits, spreads, drift, fluctuation."""
    said = []
    repeats = [result for name in METHODS for result in _repeats(found, name)]
    if repeats:
        same = sum(result["stored"] == result["again"] for result in repeats)
        said.append(
            f"Of {len(repeats)} repetitions of stored runs, made again from their settings in other processes, {same} "
            "end in the same values, wiring and data order bit for bit."
        )
    spreads = _by_source(found)
    for name in METHODS:
        told = [
            f"{SOURCES[source]} {statistics.stdev(_accuracies(spreads[name, source])):.2f}"
            for source in SOURCES
            if (name, source) in spreads
        ]
        if told:
            n = min(len(records) for (method, _), records in spreads.items() if method == name)
            said.append(
                f"{views.METHOD_TITLES[name].capitalize()}: standard deviation of test accuracy in points, by what is "
                f"new in each run: {', '.join(told)} (n = {n} each)."
            )
    said += views.drift_sentences(_followed(found))
    ranges = [views.error_range(records) for (_, source), records in spreads.items() if source != "fold"]
    if ranges:
        said.append(
            f"Error rates of runs that differ by chance alone range over {min(ranges):.0f} to {max(ranges):.0f} % of "
            f"their mean, over {len(ranges)} combinations of method and source; the text speaks of up to 25 %."
        )
    return said


study = Study(
    name="reproducibility",
    title="How reproducible is a training?",
    question="Published results of deep learning are hard to reproduce: the order of the data, the first values, the "
    "processor and the library all change them. Which of these changes results, by how much, and how does a difference "
    "of one part in ten million grow?\n\nA dense network, a random sparse one and RigL, at 90 % sparsity, are trained "
    "again and again with one source of chance new at a time; and single runs are made again as they are, on more "
    "threads, from sparse storage, in other precisions and with other instruction sets. Where there is no GPU, other "
    "instruction sets and another torch version stand in for it, and are labelled so.",
    presets={
        "smoke": Preset(seeds=2, takes="half a minute: an MLP on small images of Gaussian blobs"),
        "laptop": Preset(seeds=10, takes="twenty minutes of one core: LeNet-300-100 on 10,000 handwritten digits"),
    },
    runs=runs,
    measurements=measurements,
    tables=tables,
    figures=figures,
    claims=claims,
    answers=answers,
    source="Issues in the Reproducibility of Deep Learning Results (Neuronix, Temple University; NSF PAR 10199663).",
)
