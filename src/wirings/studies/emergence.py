"""When does a wiring emerge? In-degrees and connections followed through training (Van Gelder et al. 2020, figure 3).

DNW chooses its connections anew after every step. The paper says that most of the change happens in the first epoch,
and that the rest of training amplifies what it made. RigL and SET are followed beside it; and DNW once more with a
warm-up, with a tenth of the learning rate and with a constant one, for the first epoch is also the one with the highest
rate.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wirings.analysis.claims import Claim, Verdict, judge, judge_all
from wirings.core.schedules import Every
from wirings.studies import deconstruction as seed0
from wirings.studies import words
from wirings.studies.figures import Figure
from wirings.studies.measures.emergence import Emergence, amplified, net_share, rank_kept
from wirings.studies.study import Findings, Preset, Study
from wirings.studies.tables import Column, Row, Spread, Table
from wirings.studies.views import emergence as views
from wirings.studies.views.emergence import Seen
from wirings.training.settings import Run


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a preset trains.

    Args:
        densities: of DNW; the claims are about the last one, "a very sparse graph".
        beside: densities of RigL and SET.
        sparse: whether these two, which need no dense weights, train truly sparse.
        rates: whether DNW also trains at other learning rates, at the last density.
        looks: how many wirings an epoch are kept. At the paper's scale one: each takes a megabyte and more.
        changed: settings of its runs that differ from the other studies' of this paper.
    """

    densities: tuple[float, ...] = (0.1, 0.02)
    beside: tuple[float, ...] = (0.1, 0.02)
    sparse: bool = False
    rates: bool = True
    looks: int = 10
    changed: Mapping[str, Any] = field(default_factory=dict)  # any setting of a run


PLANS = {
    "smoke": Plan(densities=(0.1, 0.05), beside=(0.1, 0.05)),
    "laptop": Plan(),
    "overnight": Plan(beside=(0.02,), sparse=True, rates=False, changed={"epochs": 10}),
    "paper": Plan(looks=1),
}
"""Fixed before the first run of each. Overnight trains for a third as long as the other studies of this paper, so that
two cores reach five seeds."""

RATES: dict[str, tuple[str, Mapping[str, Any]]] = {
    "dnw-warm-up": ("DNW, warm-up", {"warmup": 0.25}),
    "dnw-low-rate": ("DNW, a tenth of the rate", {}),
    "dnw-constant": ("DNW, constant rate", {"schedule": "constant"}),
}
"""DNW at other learning rates, at the last density: label -> what people call it, settings that differ."""

TRACED = 40
"""Units of a layer whose in-degrees are drawn."""

CLAIMS = (
    Claim(
        id="S0.3a",
        sentence="The majority of DNW's structural changes happen in the first epoch.",
        statistic="share of the net change of connections (Hamming distance, first to last wiring) that lies behind "
        "after one epoch, over the network",
        threshold=0.5,
        direction="above",
        n=5,
        effect=0.05,
    ),
    Claim(
        id="S0.3a, ranks",
        sentence="After one epoch DNW's structure is mostly determined: it is known which units will have many inputs.",
        statistic="rank correlation of in-degrees after one epoch with the last ones, median over layers",
        threshold=0.8,
        direction="above",
        n=5,
        effect=0.05,
    ),
    Claim(
        id="S0.3b",
        sentence="What follows the first epoch amplifies its structure: units with more inputs gain more.",
        statistic="slope of the change of in-degree after epoch 1 against the in-degree after epoch 1, reached by "
        "80 % of the layers",
        threshold=0.0,
        direction="above",
        n=5,
        effect=0.1,
    ),
)
"""Fixed before the first run; the thresholds are ours, the paper gives none and no numbers."""

STATISTICS: tuple[Callable[[Mapping[str, Any]], float | None], ...] = (net_share, rank_kept, amplified)
"""What is read from one run's result, a function a claim."""


# ---------------------------------------------------------------------- runs


def runs(preset: str, seeds: Sequence[int]) -> list[Run]:
    """Three methods on the main network, DNW on the others, and DNW at other learning rates; the sparsest first."""
    asked = settings(preset, seeds)
    return [run for key in sorted(asked, key=lambda key: key[2]) for run in asked[key]]


def settings(preset: str, seeds: Sequence[int]) -> dict[tuple[str, str, float], list[Run]]:
    """(network, method or label, density) -> its runs, one a seed."""
    plan, (main, *others) = PLANS[preset], seed0.NETS[preset]
    asked = [(main, "dnw", density) for density in plan.densities]
    asked += [(main, method, density) for method in ("rigl", "set") for density in plan.beside]
    asked += [(net, "dnw", density) for net in others for density in plan.densities]
    found = {key: [_run(plan, seed, *key) for seed in seeds] for key in asked}
    for label, (_, changed) in RATES.items() if plan.rates else ():
        last = plan.densities[-1]
        found[main, label, last] = [_slower(_run(plan, s, main, "dnw", last), label, changed) for s in seeds]
    return found


def _run(plan: Plan, seed: int, net: str, method: str, density: float) -> Run:
    """The run that the other studies of this paper share, but looked at more often."""
    execution = "sparse" if plan.sparse and method != "dnw" else "masked"
    run = seed0.run_of(net, seed, seed0.method_of(method, density), execution=execution, **plan.changed)
    return dataclasses.replace(run, history=Every(round(1 / (plan.looks * run.epochs), 6)))


def _slower(run: Run, label: str, changed: Mapping[str, Any]) -> Run:
    rate = run.learning_rate / 10 if label == "dnw-low-rate" else run.learning_rate
    return dataclasses.replace(run, label=label, learning_rate=rate, **changed)


def measurements(found: Findings) -> list[Emergence]:
    """One a finished run."""
    finished = {record.id for record in found.records}
    return [m for of in _measures(found).values() for m in of if m.run in finished]


def _measures(found: Findings) -> dict[tuple[str, str, float], list[Emergence]]:
    """The measurements of each setting; the first seed at the last density is traced unit by unit."""
    last = PLANS[found.preset].densities[-1]
    return {
        key: [Emergence(run=run.id, units=TRACED if i == 0 and key[2] == last else 0) for i, run in enumerate(asked)]
        for key, asked in settings(found.preset, found.seeds).items()
    }


def seen(found: Findings) -> list[Seen]:
    """What was measured, by setting; settings of which nothing is there yet are left out."""
    gathered = []
    for (net, method, density), asked in _measures(found).items():
        pairs = [(m.run, result) for m in asked if (result := found.measured(m)) is not None]
        if pairs:
            ids, results = zip(*pairs, strict=True)
            gathered.append(
                Seen(net=net, method=method, density=density, results=results, runs=ids, name=_name(method))
            )
    return gathered


def _name(method: str) -> str:
    return RATES[method][0] if method in RATES else words.method(method)


# ---------------------------------------------------------------------- what they say


def claims(found: Findings) -> list[Verdict]:
    """Each claim on each network and density, DNW alone; the first also at other learning rates."""
    gathered = {(s.net, s.method, s.density): s for s in seen(found)}
    main, last = seed0.NETS[found.preset][0], PLANS[found.preset].densities[-1]
    verdicts = []
    for key, asked in settings(found.preset, found.seeds).items():
        net, method, density = key
        if method != "dnw" and method not in RATES:
            continue
        for claim, statistic in zip(CLAIMS, STATISTICS, strict=True):
            if method in RATES and claim.id != "S0.3a":
                continue
            beside = [] if density == last else [words.sparsity(density)]
            beside += [RATES[method][0].removeprefix("DNW, ")] if method in RATES else []
            here = gathered.get(key)
            values = [] if here is None else [v for r in here.results if (v := statistic(r)) is not None]
            verdicts.append(
                judge(
                    dataclasses.replace(claim, id=f"{claim.id} ({', '.join(beside)})") if beside else claim,
                    values,
                    scale=found.scale,
                    net=net,
                    data=asked[0].data if asked else "",
                    run_ids=() if here is None else here.runs,
                )
            )
    return judge_all(sorted(verdicts, key=lambda verdict: verdict.net != main))


def tables(found: Findings) -> list[Table]:
    """When it happened; and layer by layer."""
    gathered = seen(found)
    return [_moments(gathered), _layers(gathered)]


def _moments(gathered: Iterable[Seen]) -> Table:
    early = (0.1, 0.3, 0.5, 1.0, 2.0)
    columns = (
        Column(title="Network"),
        Column(title="Sparsity"),
        Column(title="Method"),
        *(Column(title=f"After {at:g} {_epochs(at)}", unit="%", digits=1, help="net change behind") for at in early),
        Column(title="Path after 1 epoch", unit="%", digits=1, help="share of all changes seen, also those taken back"),
        Column(title="Path over net change", digits=2, help="1 where nothing was taken back; looked at as often"),
        Column(title="Moved", unit="%", digits=1, help="last connections that the first wiring did not have"),
        Column(title="n"),
    )
    rows = tuple(
        Row(
            values=(
                one.net,
                words.sparsity(one.density),
                one.name,
                *(_spread(one.at("net", at), 100) for at in early),
                _spread(one.at("path", 1.0), 100),
                _spread([r["detour"] for r in one.results]),
                _spread([r["moved"] for r in one.results], 100),
                len(one.results),
            ),
            runs=one.runs,
            method="dnw" if one.method in RATES else one.method,
        )
        for one in gathered
    )
    caption = (
        "Share of the net change, from the first to the last wiring, that lay behind at each moment, mean ± "
        "standard deviation over seeds. The paper says of DNW that the majority is behind after one epoch; it "
        "gives no numbers. The path counts every change from look to look, ten looks an epoch."
    )
    return Table(name="moments", title="When the wiring came about", columns=columns, rows=rows, caption=caption)


def _layers(gathered: Iterable[Seen]) -> Table:
    columns = (
        Column(title="Network"),
        Column(title="Sparsity"),
        Column(title="Method"),
        Column(title="Layer"),
        Column(title="Connections", unit="%", digits=1, help="of the layer's positions, at the end"),
        Column(title="Net change in epoch 1", unit="%", digits=1),
        Column(title="Ranks: first", help="rank correlation of the first in-degrees with the last"),
        Column(title="Ranks: epoch 1", help="rank correlation of the in-degrees after one epoch with the last"),
        Column(title="Amplification", signed=True, help="slope of the change after epoch 1 against the in-degree then"),
        Column(title="Gini: first", help="of the in-degrees"),
        Column(title="Gini: epoch 1"),
        Column(title="Gini: last"),
        Column(title="Dead: first", digits=1, help="units without inputs"),
        Column(title="Dead: last", digits=1),
    )
    rows = []
    for one in gathered:
        for name in one.results[0]["layers"]:
            of = [result["layers"][name] for result in one.results]
            early = [result["early"] for result in one.results]
            then = [(layer["spearman"][e], layer["gini"][e]) for layer, e in zip(of, early, strict=True)]
            rows.append(
                Row(
                    values=(
                        one.net,
                        words.sparsity(one.density),
                        one.name,
                        words.layer(name),
                        100 * statistics.fmean(layer["density"] for layer in of),
                        _spread([layer["net_share"] for layer in of], 100),
                        _spread([layer["spearman"][0] for layer in of]),
                        _spread([ranks for ranks, _ in then]),
                        _spread([layer["amplification"] for layer in of]),
                        statistics.fmean(layer["gini"][0] for layer in of),
                        statistics.fmean(share for _, share in then),
                        statistics.fmean(layer["gini"][-1] for layer in of),
                        statistics.fmean(layer["dead"][0] for layer in of),
                        statistics.fmean(layer["dead"][-1] for layer in of),
                    ),
                    runs=one.runs,
                    method="dnw" if one.method in RATES else one.method,
                )
            )
    caption = (
        "Layers that keep all their connections have no ranks and no change. Ranks of the first in-degrees say how "
        "much of the final order was there before training; an amplification above 0 means that units with more "
        "inputs after one epoch gained more of them later."
    )
    return Table(name="layers", title="Layer by layer", columns=columns, rows=tuple(rows), caption=caption)


def figures(found: Findings) -> list[Figure]:
    """A figure a question."""
    gathered = seen(found)
    main, last = seed0.NETS[found.preset][0], PLANS[found.preset].densities[-1]
    here = [one for one in gathered if one.net == main]
    rates = [one for one in here if one.density == last and one.name.startswith("DNW")]
    sparsest = [one for one in here if one.density == last and one.method not in RATES]
    drawn = [
        views.change_figure([one for one in here if one.method not in RATES]),
        views.rate_figure(rates),
        views.trace_figure(sparsest),
        views.amplification_figure([one for one in sparsest if one.method == "dnw"]),
        views.rank_figure([one for one in gathered if one.method == "dnw" and one.density == last]),
        views.gini_figure(sparsest),
    ]
    return [figure for figure in drawn if figure is not None]


def answers(found: Findings) -> list[str]:
    """What was found, in sentences."""
    main, last = seed0.NETS[found.preset][0], PLANS[found.preset].densities[-1]
    here = {one.method: one for one in seen(found) if (one.net, one.density) == (main, last)}
    said = []
    if "dnw" in here:
        dnw = here["dnw"]
        at = f"At {words.sparsity(last)} sparsity in {main}"
        share, ranks, slope = (_told([of(r) for r in dnw.results]) for of in STATISTICS)
        epochs = dnw.results[0]["epochs"][-1]
        if share is not None:
            said.append(f"{at}, {_percent(share)} of DNW's net change lies behind after one epoch of {epochs:g}, "
                        f"n = {share.n}.")  # fmt: skip
        if ranks is not None:
            said.append(f"In-degrees after that epoch and at the end correlate by rank with {_number(ranks)} (median "
                        f"over layers), n = {ranks.n}.")  # fmt: skip
        if slope is not None:
            many = "at least" if slope.mean > 0 else "fewer than"
            said.append(f"Units with more inputs after it gain more in {many} 80 % of the layers: 80 % reach a slope "
                        f"of {_number(slope)}, n = {slope.n}.")  # fmt: skip
    rest = [(one, s) for m, one in here.items() if m != "dnw" and (s := _told(one.at("net", 1.0))) is not None]
    for group, lead in (([p for p in rest if p[0].method not in RATES], "Beside it"),
                        ([p for p in rest if p[0].method in RATES], "At other learning rates")):  # fmt: skip
        if group:
            each = ", ".join(f"{one.name}: {_percent(share)}" for one, share in group)
            said.append(f"{lead}, behind after one epoch: {each} (n = {min(share.n for _, share in group)}).")
    return said


def _told(values: Iterable[float | None]) -> Spread | None:
    known = tuple(value for value in values if value is not None)
    return Spread(known) if known else None


def _spread(values: Iterable[float | None], times: float = 1.0) -> Spread | None:
    return _told(None if value is None else times * value for value in values)


def _percent(share: Spread) -> str:
    span = share.interval
    within = "" if span is None else f" (95 % interval {100 * span.low:.0f} to {100 * span.high:.0f})"
    return f"{100 * share.mean:.0f} %{within}"


def _number(spread: Spread) -> str:
    span = spread.interval
    return f"{spread.mean:.2f}" + ("" if span is None else f" (95 % interval {span.low:.2f} to {span.high:.2f})")


def _epochs(count: float) -> str:
    return "epoch" if count <= 1 else "epochs"


study = Study(
    name="emergence",
    title="When does a wiring emerge?",
    question="DNW may choose its connections anew after every step. How much of the way to its last wiring lies "
    "behind after one epoch, does the rest of training amplify what the first epoch made, and is that so because the "
    "first epoch has the highest learning rate? RigL and SET, which exchange a few connections at a time, stand "
    "beside it.\n\nA node's in-degree is the number of connections that enter it, in all kernels of a filter.",
    presets={
        "smoke": Preset(seeds=2, takes="seconds: a small network on Gaussian blobs, ten epochs"),
        "laptop": Preset(
            seeds=5, takes="LeNet-300-100 on Fashion-MNIST, LeNet-5 on digits; about 6 minutes on two cores"
        ),
        "overnight": Preset(seeds=5, takes="ResNet-20 on CIFAR-10, 10 epochs; about 2 hours on two cores"),
        "paper": Preset(seeds=3, takes="ResNet-18 on CIFAR-10, 160 epochs; a GPU"),
    },
    runs=runs,
    measurements=measurements,
    tables=tables,
    figures=figures,
    claims=claims,
    answers=answers,
    source="Van Gelder, Wortsman, Ehsani: Deconstructing the Structure of Sparse Neural Networks, 2020; figure 3.",
)
