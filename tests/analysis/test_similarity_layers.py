"""Activations by hooks, and comparisons of any layers of any two models."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from wirings.analysis.similarity import MEASURES, activations, compare, linear_cka, svcca
from wirings.core.streams import stream


class Small(nn.Module):
    """Two convolutions, the second on a map of half the size, and a linear layer."""

    def __init__(self, seed: int, width: int = 5) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.act = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, 6, 3, padding=1, stride=2)
        self.fc = nn.Linear(6 * 4 * 4, 7)
        self.drop = nn.Dropout(0.5)
        rng = stream(seed, "init")
        with torch.no_grad():
            for p in self.parameters():
                p.copy_(torch.randn(p.shape, generator=rng, dtype=torch.float64) * 0.3)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv2(self.act(self.norm(self.conv1(x))))
        return self.fc(self.drop(x.flatten(1)))


def batches(n: int = 3, size: int = 20) -> list[tuple[Tensor, Tensor]]:
    rng = stream(0, "data")
    return [(torch.randn(size, 2, 8, 8, generator=rng, dtype=torch.float64), torch.zeros(size)) for _ in range(n)]


LAYERS = ["conv1", "conv2", "fc"]


def test_channels_become_units_and_positions_points() -> None:
    model = Small(0)
    found = activations(model, [*LAYERS, ""], batches())
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        "conv1": (60 * 64, 5), "conv2": (60 * 16, 6), "fc": (60, 7), "": (60, 7),
    }  # fmt: skip
    model.eval()
    with torch.no_grad():
        expected = torch.cat([model.conv1(x).movedim(1, -1).reshape(-1, 5) for x, _ in batches()])
        logits = torch.cat([model(x) for x, _ in batches()])
    assert torch.equal(found["conv1"], expected)  # although the ReLU after it works in place
    assert torch.equal(found["fc"], logits)


def test_flattened_maps_have_one_point_an_image() -> None:
    found = activations(Small(0), LAYERS, batches(), per="flatten")
    assert [tuple(found[name].shape) for name in LAYERS] == [(60, 5 * 64), (60, 6 * 16), (60, 7)]


def test_drawn_positions_are_the_same_in_every_layer_and_model() -> None:
    model, other = Small(0), Small(1)
    whole = activations(model, ["conv1"], batches())["conv1"].reshape(60, 64, 5)
    found = activations(model, ["conv1", "norm", "conv2"], batches(), positions=6, rng=stream(3, "positions"))
    assert found["conv1"].shape == (360, 5)
    assert found["conv2"].shape == (360, 6)
    drawn = found["conv1"].reshape(60, 6, 5)
    matches = (drawn[:, :, None] == whole[:, None]).all(-1)  # (image, draw, position)
    assert bool((matches.sum(-1) == 1).all())
    places = matches.to(torch.uint8).argmax(-1)
    assert all(len(set(row.tolist())) == 6 for row in places)
    assert len({tuple(row.tolist()) for row in places}) > 50  # other positions in other images
    whole_other = activations(other, ["conv1"], batches())["conv1"].reshape(60, 64, 5)
    again = activations(other, ["conv1"], batches(), positions=6, rng=stream(3, "positions"))["conv1"]
    assert torch.equal(again, whole_other.gather(1, places[..., None].expand(-1, -1, 5)).reshape(360, 5))


def test_hooks_and_training_modes_are_as_before_even_after_an_error() -> None:
    model = Small(0).train()
    model.norm.eval()
    modes = [module.training for module in model.modules()]
    running = model.norm.running_mean.clone()
    activations(model, LAYERS, batches())

    def broken():
        yield batches()[0]
        raise RuntimeError("the disk is gone")

    with pytest.raises(RuntimeError, match="the disk is gone"):
        activations(model, LAYERS, broken())
    with pytest.raises(RuntimeError):
        compare(model, Small(1), LAYERS, [torch.zeros(2, 3, 8, 8, dtype=torch.float64)])  # three channels, not two
    with pytest.raises(ValueError, match="has no module"):
        activations(model, ["conv1", "conv3"], batches())
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(model.norm.running_mean, running)
    assert not any(module._forward_hooks for module in model.modules())
    assert torch.is_grad_enabled()


def test_axis_says_where_the_channels_are() -> None:
    model = nn.Sequential(nn.Conv1d(2, 5, 3, padding=1), nn.Flatten(2))
    x = torch.randn(4, 2, 9, generator=stream(0))
    assert activations(model, ["0"], [x], axis=1)["0"].shape == (36, 5)
    assert activations(model, ["0"], [x])["0"].shape == (20, 9)
    with pytest.raises(ValueError, match=r"`axis` must be a dimension of \(4, 5, 9\) other than the first. Got 3."):
        activations(model, ["0"], [x], axis=3)


class Odd(nn.Module):
    """A module that runs twice, one that never runs, and one that returns words; called by keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.twice, self.never, self.pair, self.words = nn.ReLU(), nn.ReLU(), Pair(), Words()

    def forward(self, *, inputs: Tensor, flag: bool) -> Tensor:
        assert flag
        self.words(inputs)
        return self.pair(self.twice(self.twice(inputs)))[0]


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, str]:
        return x, "more"


class Words(nn.Module):
    def forward(self, x: Tensor) -> str:
        return "words"


def test_modules_that_cannot_be_read_are_refused_in_a_sentence() -> None:
    batch = [{"inputs": torch.ones(3, 4), "flag": True}]
    assert activations(Odd(), ["pair"], batch)["pair"].shape == (3, 4)
    with pytest.raises(ValueError, match=r"Module 'twice' ran 2 times in one forward pass, and must run once."):
        activations(Odd(), ["twice"], batch)
    with pytest.raises(ValueError, match=r"Module 'never' ran 0 times"):
        activations(Odd(), ["never"], batch)
    with pytest.raises(TypeError, match=r"Module 'words' must return a tensor with a batch dimension. Got str."):
        activations(Odd(), ["words"], batch)
    with pytest.raises(ValueError, match=r"The model has no module 'twise'. Did you mean 'twice'"):
        activations(Odd(), ["twise"], batch)
    with pytest.raises(ValueError, match=r"`rng` of `activations` must be given where `positions` are drawn"):
        activations(Odd(), ["pair"], batch, positions=3)
    with pytest.raises(ValueError, match=r"`positions` of `activations` must be at least 1, or None for all. Got 0."):
        activations(Odd(), ["pair"], batch, positions=0, rng=stream(0))
    with pytest.raises(ValueError, match=r'`per` of `activations` must be "channel" or "flatten". Got \'pixel\'.'):
        activations(Odd(), ["pair"], batch, per="pixel")
    with pytest.raises(ValueError, match=r"`batches` of `activations` must hold at least one batch. Got none."):
        activations(Odd(), ["pair"], [])


def test_wrapped_models_are_read_by_the_names_of_the_bare_one() -> None:
    model = Small(0)
    assert torch.equal(
        activations(nn.DataParallel(model), ["fc"], batches())["fc"], activations(model, ["fc"], batches())["fc"]
    )


def test_a_model_is_like_itself_on_the_diagonal_of_every_measure() -> None:
    model = Small(0)
    found = compare(model, model, LAYERS, batches(), measures=list(MEASURES), positions=4)
    for measure in MEASURES:
        table = found.map(measure)
        assert table.shape == (3, 3)
        assert torch.allclose(table.diagonal(), torch.ones(3, dtype=torch.float64), atol=1e-10)
        assert bool(((table <= 1 + 1e-12) & (found.noise(measure) < 1)).all())
        assert [cell.value for cell in found.curve(measure)] == table.diagonal().tolist()
    assert float(found.map("cka").triu(1).max()) < 0.999


def test_layers_of_one_size_are_compared_point_by_point() -> None:
    a, b = Small(0), Small(1, width=4)
    found = compare(a, b, LAYERS, batches(), positions=None)
    whole_a, whole_b = activations(a, LAYERS, batches()), activations(b, LAYERS, batches())
    for name in LAYERS:
        cell = found.cells["svcca", name, name]
        assert cell.value == pytest.approx(svcca(whole_a[name], whole_b[name]).value, abs=1e-12)
        assert cell.points == len(whole_a[name])


def test_layers_of_different_size_are_averaged_down_to_the_smaller() -> None:
    a, b = Small(0), Small(1)
    found = compare(a, b, LAYERS, batches(), positions=None)
    whole_a, whole_b = activations(a, LAYERS, batches()), activations(b, LAYERS, batches())
    blocks = whole_a["conv1"].reshape(60, 4, 2, 4, 2, 5).mean((2, 4)).reshape(-1, 5)
    assert found.cells["cka", "conv1", "conv2"].value == pytest.approx(
        linear_cka(blocks, whole_b["conv2"]).value, abs=1e-12
    )
    means = whole_b["conv2"].reshape(60, 16, 6).mean(1)
    cell = found.cells["cka", "fc", "conv2"]
    assert cell.value == pytest.approx(linear_cka(whole_a["fc"], means).value, abs=1e-12)
    assert cell.points == 60


def test_a_curve_compares_the_same_places_only() -> None:
    a, b = Small(0), Small(1)
    curve = compare(a, b, ["conv1", "fc"], batches(), layers_b=["norm", "fc"], pairs="same", measures=["cka"])
    assert list(curve.cells) == [("cka", "conv1", "norm"), ("cka", "fc", "fc")]
    whole = compare(a, b, ["conv1", "fc"], batches(), layers_b=["norm", "fc"], measures=["cka"])
    assert curve.curve("cka") == whole.curve("cka")
    with pytest.raises(ValueError, match="A map needs every pair of layers"):
        curve.map("cka")


def test_rows_are_ready_for_a_table() -> None:
    rows = compare(Small(0), Small(1), ["fc"], batches(), measures=["svcca"]).rows()
    assert len(rows) == 1
    assert {key: rows[0][key] for key in ("measure", "layer_a", "layer_b", "points", "notes")} == {
        "measure": "svcca", "layer_a": "fc", "layer_b": "fc", "points": 60, "notes": "",
    }  # fmt: skip
    assert 0 < rows[0]["noise_floor"] < rows[0]["value"] <= 1


def test_dead_channels_and_diverged_models_give_no_nan() -> None:
    dead, diverged = Small(0), Small(1)
    with torch.no_grad():
        dead.conv1.weight.zero_()
        diverged.fc.weight[0] = math.nan
    found = compare(dead, diverged, LAYERS, batches(), measures=list(MEASURES))
    for measure in MEASURES:
        assert bool(found.map(measure).isfinite().all())
    assert found.cells["svcca", "conv1", "conv1"].notes == ("x has no unit that varies",)
    assert "60 points are not finite and were left out" in found.cells["svcca", "fc", "fc"].notes


def test_wrong_arguments_of_compare_are_refused_in_a_sentence() -> None:
    a, b = Small(0), Small(1)
    with pytest.raises(ValueError, match=r"`measures` of `compare` are unknown. Got 'cko'. Did you mean 'cka'"):
        compare(a, b, LAYERS, batches(), measures=["cko"])
    with pytest.raises(ValueError, match=r'`pairs` of `compare` must be "all" or "same". Got \'diagonal\'.'):
        compare(a, b, LAYERS, batches(), pairs="diagonal")
    with pytest.raises(ValueError, match=r"`layers_b` of `compare` must be as many as `layers`"):
        compare(a, b, LAYERS, batches(), layers_b=["fc"], pairs="same")
    with pytest.raises(ValueError, match=r"`batches` of `compare` must hold at least one batch. Got none."):
        compare(a, b, LAYERS, [])
    uneven = [torch.zeros(4, 2, 8, 8), torch.zeros(4, 2, 10, 8)]
    body = nn.Sequential(nn.Conv2d(2, 3, 3))
    with pytest.raises(ValueError, match=r"must give maps of one size. They changed between two batches."):
        compare(body, body, ["0"], uneven)
