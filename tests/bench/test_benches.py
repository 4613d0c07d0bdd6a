"""Every benchmark on something tiny: its rows, its checks against float64, its schema. No time is judged."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import torch

from wirings.bench import conv, graph_challenge, inference, linear, masks, memory, mlp, nets, peers, resnet18, threads
from wirings.bench import topology as topology_bench
from wirings.bench.result import Contender, begun, figure, filled, markdown, measured, provenance, table
from wirings.core.errors import RunError, SettingsError
from wirings.core.topology import Topology
from wirings.report.style import look_of

ROW = {"contender", "density", "mask", "median_ms", "best_ms", "ratio", "baseline", "error"}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _topology(**asked: Any) -> dict[str, Any]:
    return topology_bench.run(quick=True, **asked)


BENCHES: Mapping[str, Callable[..., dict[str, Any]]] = {
    "mlp": lambda **k: mlp.run(
        cases=[mlp.Case("tiny", (12, 16, 10), 8, (0.3,)), mlp.Case("net", (784, 8, 10), 4, (0.5,), ("trained",))], **k
    ),
    "inference": lambda **k: inference.run(cases=[inference.Case(24, 1, (0.3,)), inference.Case(24, 5, (0.3,))], **k),
    "linear": lambda **k: linear.run(cases=[linear.Case(20, 3, (0.3,))], **k),
    "conv": lambda **k: conv.run(cases=[conv.Case(6, 4, 6, stride=2, batches=(3,), densities=(0.3,))], **k),
    "resnet18": lambda **k: resnet18.run(
        cases=[resnet18.Case("resnet-20", 2, (0.3,), side=8, settings={"width": 0.25}, masks=("random",))], **k
    ),
    "topology": _topology,
}


@pytest.mark.parametrize("name", BENCHES)
def test_a_benchmark_checks_its_numbers_and_writes_them_down(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(masks.trained.__kwdefaults__, "steps", 3)
    result = BENCHES[name](rounds=1, command=f"wirings bench {name}")
    assert json.loads(json.dumps(result)) == result
    assert (result["bench"], result["command"], result["threads"]) == (name, f"wirings bench {name}", 1)
    assert result["machine"]["canary_before_ms"]["torch"] > 0
    assert torch.__version__.startswith(result["versions"]["torch"])  # metadata leaves the build out
    assert result["cases"]
    for case in result["cases"]:
        assert case["rounds"] == 1
        rows = case["rows"]
        assert all(set(row) >= ROW for row in rows)
        base = min((row["median_ms"] for row in rows if row["baseline"]), default=None)
        for row in rows:
            assert row["median_ms"] >= row["best_ms"] > 0
            if base is not None:
                assert row["ratio"] == pytest.approx(base / row["median_ms"])
        ours = [row for row in rows if row["contender"].startswith("wirings")]
        for row in ours:
            assert row["error"] is None or row["error"] < (0.03 if "bf16" in row["contender"] else 1e-5)
        if name in ("mlp", "inference"):
            assert any(row["contender"] == "wirings, bf16" for row in ours)
        if name not in ("topology",):
            assert any(row["error"] is not None for row in ours)
            assert any(row["contender"].startswith("dense, bf16") for row in rows)
    heads, rows = table(result)
    assert heads[:2] == ("case", "contender")
    assert all(len(row) == len(heads) for row in rows)
    assert f"`wirings bench {name}`" in markdown(result)


def test_peers_run_where_they_are_installed_and_are_named_where_not() -> None:
    found, missing = peers.asked(
        ["dense", "torch-csr", "sparseprop", "mkl"], offers=("dense", "torch-csr", "sparseprop")
    )
    assert "torch-csr" in found
    assert missing["mkl"] == "not part of this benchmark"
    with pytest.raises(SettingsError, match=r"`--against` knows no 'torchcsr'. Did you mean 'torch-csr'\?"):
        peers.asked(["torchcsr"], offers=peers.PEERS)
    result = mlp.run(rounds=1, against=("dense", "torch-csr"), cases=[mlp.Case("tiny", (6, 8, 4), 3, (0.5,))])
    rows = {row["contender"]: row for row in result["cases"][0]["rows"]}
    assert rows["torch-csr"]["error"] < 1e-5
    assert "dense, bf16" not in rows


@pytest.mark.parametrize("peer", peers.PEERS[2:])
def test_a_peers_layer_computes_the_same(peer: str) -> None:
    _skip_without(peer)
    weight = torch.randn(5, 7, generator=torch.Generator().manual_seed(0)).relu()
    x = torch.randn(3, 7, generator=torch.Generator().manual_seed(1))
    layer = peers.layer(peer, weight, batch=3)
    y = layer(x)
    assert torch.allclose(y, x @ weight.t(), atol=1e-5)
    if peer in peers.TRAINS:
        before = y.square().sum()
        before.backward()
        torch.optim.SGD(layer.parameters(), lr=1e-3).step()
        assert layer(x).square().sum() < before


def _skip_without(peer: str) -> None:
    if not peers.installed(peer):
        pytest.skip(f"{peer} is a peer, not a dependency")


@pytest.mark.parametrize("peer", peers.GRAPHS)
def test_a_runtimes_graph_is_the_network_in_float32(peer: str) -> None:
    _skip_without(peer)
    net = nets.stack(6, 40, 30, 4)
    for part in net:
        if isinstance(part, torch.nn.Linear):
            torch.nn.init.normal_(part.bias, generator=torch.Generator().manual_seed(2))
    wiring = masks.random(nets.shapes_of(net), 0.5)
    graph, twin = nets.of_peer(peer, net, wiring, batch=5), nets.masked(net, wiring)
    first, second = nets.batch_of((5, 6), 4)[0], torch.ones(5, 6)
    for x in (first, second, first):  # another input is bound when it comes
        assert nets.error(graph, twin, x) < 1e-6
    first.neg_()  # and read where it is
    assert nets.error(graph, twin, first) < 1e-6


@pytest.mark.parametrize("peer", peers.GRAPHS)
@pytest.mark.parametrize("bench", ["inference", "linear"])
def test_a_runtimes_forward_pass_is_checked_and_timed_by_the_whole_process(peer: str, bench: str) -> None:
    _skip_without(peer)
    result = BENCHES[bench](rounds=1, against=("dense", peer))
    rows = [row for case in result["cases"] for row in case["rows"]]
    theirs = [row for row in rows if row["contender"] == peer]
    assert len(theirs) == (2 if bench == "inference" else 1)
    assert all(row["error"] < 1e-5 and row["clock"] == "processor time of all threads" for row in theirs)
    assert not any("clock" in row for row in rows if row["contender"] != peer)
    assert f"{peer}: processor time of all threads of the process." in provenance(result)


def test_who_computes_in_another_thread_is_not_free() -> None:
    def elsewhere() -> None:
        worker = threading.Thread(target=lambda: sum(range(500_000)))
        worker.start()
        worker.join()

    case = measured("c", [Contender("hidden", elsewhere), Contender("seen", elsewhere, whole=True)], rounds=3)
    hidden, seen = case["rows"]
    assert seen["median_ms"] > 2 * hidden["median_ms"]
    torch.set_num_threads(2)  # wall time, for everybody
    case = measured("c", [Contender("seen", elsewhere, whole=True)], rounds=1)
    assert "clock" not in case["rows"][0]


def test_a_peer_that_is_not_installed_is_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert peers.asked(["dense", "sparselab", "mkl"], offers=peers.PEERS) == (
        ("dense",),
        {"sparselab": "not installed (pip install sparselab)", "mkl": "not installed (pip install sparse-dot-mkl)"},
    )
    assert peers.asked(["onnxruntime"], offers=peers.PEERS)[1] == {
        "onnxruntime": "not installed (pip install onnxruntime onnx)"
    }


def test_a_peer_that_has_nothing_sparse_is_refused_with_the_reason() -> None:
    found, missing = peers.asked(["dense", "nerva"], offers=peers.PEERS)
    assert found == ("dense",)
    assert missing["nerva"].startswith("not part of this benchmark: nerva-torch has dense layers only")


def test_uneven_masks_have_the_counts_of_random_ones_and_uneven_rows() -> None:
    shapes = {"a": (200, 200), "b": (8, 4, 3, 3)}
    even, uneven = masks.random(shapes, 0.05), masks.uneven(shapes, 0.05)
    assert {n: t.nnz for n, t in even.items()} == {n: t.nnz for n, t in uneven.items()}
    spread = [float(w["a"].in_degrees.double().std()) for w in (even, uneven)]
    assert spread[1] > 3 * spread[0]
    assert masks.uneven(shapes, 0.05) == uneven


def test_ratios_are_taken_to_the_fastest_baseline() -> None:
    def busy(n: int) -> Callable[[], object]:
        return lambda: sum(range(n))

    case = measured(
        "c", [Contender("slow", busy(40_000), baseline=True), Contender("fast", busy(20_000), baseline=True)], rounds=3
    )
    assert max(row["ratio"] for row in case["rows"]) == 1.0
    alone = measured("c", [Contender("ours", busy(10), density=0.5)], rounds=1, batch=3)
    assert (alone["rows"][0]["ratio"], alone["batch"]) == (None, 3)


def _result() -> dict[str, Any]:
    row = {"contender": "wirings", "density": 0.05, "mask": "random", "median_ms": 1.0, "best_ms": 0.9}
    rows = [
        {**row, "contender": "dense", "density": None, "mask": "", "median_ms": 10.0, "ratio": 1.0},
        {**row, "ratio": 10.0, "error": 1e-7},
        {**row, "density": 0.01, "ratio": 30.0, "error": None},
    ]
    found = begun("mlp", "wirings bench mlp", threads=1, missing={"mkl": "not installed"})
    return {**found, "cases": [{"case": "net", "rows": rows}]}


def test_a_table_tells_sparsity_in_percent_and_where_it_comes_from() -> None:
    result = _result()
    heads, rows = table(result)
    assert heads == (
        "case", "contender", "sparsity", "connections", "ms (median)", "ms (best)", "against dense", "error"
    )  # fmt: skip
    assert rows[1] == ["", "wirings", "95 %", "random", "1.000", "0.900", "10.00", "1e-07"]
    assert "mkl: not installed." in provenance(result)
    canary = {"torch": 1.0}
    result["machine"] = {
        "clock": "wall time", "load_before": 0, "load_after": 0, "canary_before_ms": canary, "canary_after_ms": canary
    }  # fmt: skip
    assert "take this table again" not in " ".join(provenance(result))
    result["machine"]["canary_after_ms"] = {"torch": 1.2}
    assert "the canary moved by more than 10 %, so take this table again" in " ".join(provenance(result))


def test_a_figure_has_a_line_a_contender_and_needs_something_to_draw() -> None:
    drawn = figure(_result())
    assert [series.label for series in drawn.panels[0].series] == ["wirings, random", "dense"]
    assert drawn.panels[0].series[0].y == (10.0, 30.0)
    with pytest.raises(ValueError, match="there is nothing to draw in the results of `mlp`"):
        figure({**_result(), "cases": []})


def test_contenders_are_told_apart_and_look_the_same_in_every_panel() -> None:
    names = [f"contender {i}" for i in range(9)]
    cases = [
        {"case": case, "rows": [{"contender": n, "mask": "", "density": 0.1, "ratio": 2.0} for n in some]}
        for case, some in (("one", names), ("two", names[4:]))
    ]
    one, two = figure({**_result(), "cases": cases}).panels
    looks = {series.label: look_of(series.method) for series in one.series[:-1]}
    assert len(set(looks.values())) == 9
    assert all(look_of(series.method) == looks[series.label] for series in two.series[:-1])


def test_scaling_draws_what_a_connection_costs_by_their_number() -> None:
    rows = {"10 connections, 99 %": (10, 4.0), "5 connections, 99 %": (5, 6.0), "7 connections, 3 neurons": (7, 9.0)}
    cases = [{"case": name, "rows": [{"nnz": n, "ns_per_sample": ns}]} for name, (n, ns) in rows.items()]
    (panel,) = figure({**_result(), "bench": "scaling", "cases": cases}).panels
    assert (panel.series[0].x, panel.series[0].y) == ((5.0, 10.0), (6.0, 4.0))
    with pytest.raises(ValueError, match="there is nothing to draw"):
        figure({**_result(), "bench": "scaling", "cases": []})


def test_tables_go_to_their_places_and_nowhere_else() -> None:
    text = "before\n<!-- bench: mlp -->\nold\n<!-- end -->\nbetween\n<!-- bench: conv -->\nkept\n<!-- end -->\nafter\n"
    new, places = filled(text, {"mlp": r"\1 new"})
    assert new == text.replace("old", r"\1 new")
    assert places == {"mlp", "conv"}
    assert filled(new, {"mlp": r"\1 new"})[0] == new


def test_memory_is_measured_in_a_fresh_process() -> None:
    result = memory.run(rounds=1, cases=[{"name": "tiny", "widths": [20, 300, 300, 5], "density": 0.01, "batch": 4}])
    row = result["cases"][0]["rows"][0]
    assert row["nnz"] == round(0.01 * 20 * 300) + 900 + round(0.01 * 300 * 5)
    assert row["above_mb"] >= 0
    assert row["imports_mb"] > 10
    assert row["bytes_per_connection"] == pytest.approx(1e6 * row["above_mb"] / row["nnz"])
    assert json.loads(json.dumps(result)) == result


def test_a_process_that_dies_is_told_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.sys, "executable", "/bin/false")
    with pytest.raises(RunError, match="The memory benchmark `big` died: killed; the memory may have run out"):
        memory.in_fresh_process({"name": "big", "widths": [2, 2], "threads": 1})


def test_scaling_keeps_the_connections_and_changes_the_neurons(monkeypatch: pytest.MonkeyPatch) -> None:
    def fake(spec: Mapping[str, Any]) -> dict[str, Any]:
        n = spec["widths"][0]
        return {"nnz": round(spec["density"] * n * n), "positions": n * n, "above_mb": 1.0 if "most" in spec else 3.0,
                "bytes_per_connection": 1.0, "dense_gb": 1.0, "step_ms": [9.0, 2.0, 4.0]}  # fmt: skip

    monkeypatch.setattr(memory, "in_fresh_process", fake)
    rows = [case["rows"][0] for case in memory.scaling(rounds=2, quick=True)["cases"]]
    assert [row["nnz"] for row in rows[:3]] == [10**5] * 3
    assert rows[0]["median_ms"] == 3.0  # the first step builds the index and does not count
    assert rows[0]["ns_per_unit"] == pytest.approx(3e6 / (10**5 + 2 * 512))
    assert rows[0]["ns_per_sample"] == pytest.approx(3e6 / (10**5 * 16))
    assert rows[0]["held_mb"] == 2.0


def test_threads_are_compared_and_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    before, seen = torch.get_num_threads(), []
    monkeypatch.setattr(threads, "_blocks", lambda quick: {"net": lambda: seen.append(torch.get_num_threads())})
    result = threads.run(rounds=1, quick=True)
    assert torch.get_num_threads() == before
    assert [row["contender"] for row in result["cases"][0]["rows"]] == ["one thread", "2 threads"]
    assert set(seen) == {1, 2}


# ---------------------------------------------------------------------- the Graph Challenge


@pytest.mark.parametrize("neurons", [1024, 4096])
def test_every_neuron_of_the_challenge_has_32_connections_in_and_out(neurons: int) -> None:
    layers = graph_challenge.network(neurons, 14)
    assert len(layers) == 14
    assert layers[12] is layers[0]
    for topology in layers[:4]:
        assert topology.shape == (neurons, neurons)
        assert set(topology.in_degrees.tolist()) == set(topology.out_degrees.tolist()) == {32}


def test_inference_agrees_with_scipy_whether_dead_images_are_dropped_or_not() -> None:
    layers = graph_challenge.network(1024, 25)
    x = graph_challenge.images(1024, 40)
    assert set(x.unique().tolist()) == {0.0, 1.0}
    x[3], x[5:9] = 0, torch.rand(4, 1024, generator=torch.Generator().manual_seed(0)).round()  # bright ones live
    exact = graph_challenge.by_scipy(layers, x, -0.30)
    assert 0 < int(exact.any(1).sum()) < 40, "some images live and some have died"
    for drop in (True, False):
        y = graph_challenge.infer(layers, x, -0.30, drop=drop)
        assert torch.allclose(y.double(), exact, atol=1e-4)
        assert torch.equal(y.any(1), exact.any(1))


def test_graphblas_agrees_with_scipy_where_it_is_installed() -> None:
    if importlib.util.find_spec("graphblas") is None:
        pytest.skip("python-graphblas is a peer, not a dependency")
    alone = """if True:  # in a process of its own: it brings a second pool of threads
        import torch
        from wirings.bench import graph_challenge
        layers = graph_challenge.network(1024, 12)
        x = torch.rand(20, 1024, generator=torch.Generator().manual_seed(0)).round()  # bright ones live
        exact = graph_challenge.by_scipy(layers, x, -0.30)
        y = graph_challenge.by_graphblas(layers, x, -0.30)
        assert exact.any() and torch.allclose(y.double(), exact, atol=1e-4)
    """
    subprocess.run(
        [sys.executable, "-c", alone], check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )


def test_the_challenge_counts_edges_and_refuses_other_networks() -> None:
    result = graph_challenge.run(rounds=1, cases=[graph_challenge.Case(1024, 4, images=8, check=True)])
    row = result["cases"][0]["rows"][0]
    assert row["error"] < 1e-5
    assert row["edges_per_second"] == pytest.approx(8 * 4 * 32768 / (1e-3 * row["median_ms"]))
    with pytest.raises(ValueError, match=r"`neurons` of the Graph Challenge must be one of 1024, 4096.* Got 1000."):
        graph_challenge.network(1000, 1)
    with pytest.raises(ValueError, match=r"`layers` of the Graph Challenge must be at least 1. Got 0."):
        graph_challenge.network(1024, 0)


def test_networks_of_benchmarks_are_equal_where_they_must_be() -> None:
    net = nets.stack(6, 8, 4)
    wiring = masks.random(nets.shapes_of(net), 0.5)
    x, labels = nets.batch_of((5, 6), 4)
    assert nets.error(nets.sparse(net, wiring), nets.masked(net, wiring), x) < 1e-6
    assert nets.error(net, nets.masked(net, wiring), x) > 1e-3
    nets.training(net, x, labels, foreach=True)()
    assert net[0].weight.grad is not None
    assert isinstance(wiring["0.weight"], Topology)
