"""SynFlow (Tanaka et al. 2020): which pruners cut a network in two before training, and what their wirings can learn.

Most of it needs no training: critical compressions, conservation and the flow that a round removes are computed on
networks of full size. Accuracies are of small networks, at the laptop's scale.
"""

from __future__ import annotations

from wirings.studies import synflow_plan as plan
from wirings.studies import words
from wirings.studies.measures.synflow import SCORERS
from wirings.studies.study import Findings, Preset, Study
from wirings.studies.synflow_claims import claims
from wirings.studies.tables import Spread
from wirings.studies.views.synflow import figures, tables


def answers(found: Findings) -> list[str]:
    """What was found."""
    sentences = (_on_collapse, _on_residual, _on_conservation, _on_accuracy, _on_controls)
    return [said for sentence in sentences if (said := sentence(found))]


def _on_collapse(found: Findings) -> str:
    net = next(iter(plan.SCALES[found.preset].nets))
    told = []
    for scorer in SCORERS:
        if values := [r["exponent"] for r in plan.exponents_of(found, net, scorer)]:
            told.append(f"{plan.NAMES[scorer]} 10^{sum(values) / len(values):.2f} (n = {len(values)})")
    flow = plan.alive(plan.results(found, (m for name, m in plan.flowing(found) if name == net)))
    if not told or not flow:
        return ""
    return (
        f"On {net} the first layer dies at these compressions: {', '.join(told)}. SynFlow keeps every layer alive at "
        f"10^{min(flow):g} (n = {len(flow)})."
    )


def _on_residual(found: Findings) -> str:
    nets = plan.SCALES[found.preset].nets
    if not {"resnet-18/10", "resnet-18/100, fan-out"} <= set(nets):
        return ""
    own, bounded = (plan.exponents_of(found, n, "magnitude") for n in ("resnet-18/10", "resnet-18/100, fan-out"))
    if not own or not bounded:
        return ""
    means = [sum(r["exponent"] for r in results) / len(results) for results in (own, bounded)]
    return (
        f"On ResNet-18 magnitude pruning collapses at 10^{means[0]:.2f} where all layers begin by Kaiming's rule, "
        f"and at 10^{means[1]:.2f} where the classifier begins in a bounded interval, as in the publication's code: "
        f"there it is the classifier ({words.layer(bounded[0]['first'])}) that dies. The published exponent is about "
        f"first weights more than about the pruner (n = {len(own)} and {len(bounded)})."
    )


def _on_conservation(found: Findings) -> str:
    made = {
        s: plan.results(found, (m for name, m in plan.conserved(found) if name == s))
        for s in ("synflow", "snip-signed", "grasp")
    }
    if not all(made.values()):
        return ""
    worst = {s: max(r["error"] for r in results) for s, results in made.items()}
    return (
        f"What enters a hidden unit leaves it, to {worst['synflow']:.0e} of the largest for SynFlow and "
        f"{worst['snip-signed']:.0e} for signed SNIP. GraSP misses it by up to {worst['grasp']:.0e}: exactly by the "
        "squared gradients that leave a unit less those that enter, since its function of the weights is none of the "
        f"outputs alone (n = {len(made['synflow'])})."
    )


def _on_accuracy(found: Findings) -> str:
    conv = plan.conv_of(found)
    exponent = max(plan.SCALES[found.preset].exponents[conv])
    means = {
        m: sum(v.values()) / len(v)
        for m in plan.METHODS
        if (v := plan.accuracies(plan.cell(found, conv, m, exponent)))
    }  # fmt: skip
    if "synflow" not in means or len(means) < 2:
        return ""
    told = ", ".join(f"{words.method(m)} {value:.1f} %" for m, value in sorted(means.items(), key=lambda i: -i[1]))
    return f"At 10^{exponent:g} {conv} reaches, after its short training: {told} (n = {len(found.seeds)})."


def _on_controls(found: Findings) -> str:
    told = []
    for control in ("shuffled", "anew", "inverted"):
        values = tuple(plan.change(found, "synflow", control, 1.0).values())
        if len(values) > 1 and (span := Spread(values).interval) is not None:
            told.append(
                f"{control} {Spread(values).mean:+.2f} ({span.low:+.2f} to {span.high:+.2f}, n = {len(values)})"
            )
    return f"What becomes of SynFlow's accuracy at 10^1, in points: {'; '.join(told)}." if told else ""


study = Study(
    name="synflow",
    title="Pruning before training without cutting the network in two",
    question="Some pruners leave a layer without connections long before the network is as small as it could be. "
    "Which, when, and which layer first? Does SynFlow, which looks at no data, reach the end?\n\nAnd what is such a "
    "wiring worth: how accurate do networks get that are pruned at initialisation, and is it the wiring, or only how "
    "many connections each layer has?",
    presets={
        "smoke": Preset(seeds=2, takes="seconds: a narrow VGG-11 before training, a small MLP on Gaussian blobs"),
        "laptop": Preset(seeds=5, takes="25 minutes on two cores: VGG-16 and ResNet-18 of full size before training, "
                         "LeNet-300-100 and a narrow VGG-11 trained"),
        "overnight": Preset(seeds=5, takes="a night: longer trainings, VGG-11 of half the width"),
        "paper": Preset(seeds=3, takes="a GPU for weeks: 160 epochs, to 10^3; CIFAR-100 and Tiny ImageNet "
                        "must be there"),
    },
    runs=plan.runs,
    measurements=plan.measurements,
    tables=tables,
    figures=figures,
    claims=claims,
    answers=answers,
    source="Tanaka, Kunin, Yamins & Ganguli 2020, Pruning neural networks without any data by iteratively conserving "
    "synaptic flow",
)  # fmt: skip
