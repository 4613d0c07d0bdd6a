"""Mixed precision and channels-last: the same run, up to the rounding that was asked for."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from small_run import Net, run
from test_train import interrupt, same_end
from torch import Tensor, nn

from wirings.core.errors import SettingsError
from wirings.core.schedules import Cubic, Every
from wirings.makers.random import ErdosRenyi
from wirings.makers.snip import SNIP
from wirings.methods import DNW, SET, SNFS, EdgePopup, GradualMagnitude, RigL, Static, TopKAST
from wirings.sparse import SparseConv2d
from wirings.training import Record, Run, checkpoints, train
from wirings.training.build import network, task
from wirings.training.live import come_alive
from wirings.training.precision import Precision

BEGIN = ErdosRenyi(0.3)
METHODS = {
    "dense": None,
    "rigl": RigL(begin=BEGIN, when=Every(5, until=0.75)),
    "set": SET(begin=BEGIN, when=Every(5)),
    "dnw": DNW(density=0.3),
    "gradual": GradualMagnitude(density=Cubic(final=0.2, begin=0.1, until=1.0), when=Every(4)),
    "snfs": SNFS(begin=BEGIN, when=Every(5)),
    "top-kast": TopKAST(density=0.2, backward=0.5, when=Every(4)),
    "edge-popup": EdgePopup(density=0.5),
}
CONV = {"model": "resnet-20", "model_settings": {"width": 0.25}, "steps": 12, "learning_rate": 0.02}
USERS = {"model": "small_run:Net", "model_settings": {}, "learning_rate": 0.05}

ROUNDING = {"bfloat16": 2**-8, "float16": 2**-11}
"""Half a unit in the last place, relative."""


class Steep(Net):
    """Its gradients overflow float16 at the scale that a run begins with; its loss does not."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 64


class Broken(nn.Module):
    """Its loss is a number; its gradients are none, from the training step ``at`` on."""

    def __init__(self, image_shape: tuple[int, int, int], classes: int, at: int) -> None:
        super().__init__()
        self.last, self.left = nn.Linear(36, classes), at

    def forward(self, x: Tensor) -> Tensor:
        self.left -= self.training
        said: Tensor = self.last(x.flatten(1))
        if self.training and self.left <= 0:
            said.register_hook(lambda grad: grad * float("inf"))
        return said


def losses(record: Record) -> list[float]:
    return [row["loss"] for row in record.metrics[1:]] + [row["held_out_loss"] for row in record.metrics]


def alike(record: Record, other: Record) -> None:
    """Wirings of the same counts at every step that was kept."""
    kept, theirs = dict(record.history()), dict(other.history())
    assert kept.keys() == theirs.keys()
    for step, wiring in kept.items():
        assert {name: t.nnz for name, t in wiring.items()} == {name: t.nnz for name, t in theirs[step].items()}


# ---------------------------------------------------------------------- mixed precision


@pytest.mark.parametrize("autocast", ROUNDING)
@pytest.mark.parametrize("net", ["mlp", "conv"])
def test_losses_are_near_those_of_float32_and_not_the_same(net, autocast, tmp_path) -> None:
    plain = run(**{**(CONV if net == "conv" else {}), "learning_rate": 0.002})
    exact, half = train(plain, tmp_path), train(dataclasses.replace(plain, autocast=autocast), tmp_path)
    assert losses(half) != losses(exact)
    # 60 layers of norms over few images and of ReLUs that rounding switches over move further than a unit
    assert losses(half) == pytest.approx(losses(exact), rel=ROUNDING[autocast] if net == "mlp" else 0.02)
    assert half.info["settings"]["autocast"] == autocast


@pytest.mark.parametrize("autocast", ROUNDING)
@pytest.mark.parametrize("method", [name for name in METHODS if name != "dense"])
def test_wirings_have_the_counts_they_have_in_float32(method, autocast, tmp_path) -> None:
    plain = run(method=METHODS[method], model="test_precision:Steep", model_settings={}, history=Every(4))
    mine = dataclasses.replace(plain, autocast=autocast, learning_rate=1e-4)
    record = train(mine, tmp_path)
    alike(record, train(dataclasses.replace(mine, autocast="none"), tmp_path))
    for name, topology in record.wiring.items():
        assert not record.values()[name][~topology.mask].any()


@pytest.mark.parametrize("autocast", ROUNDING)
def test_weights_and_the_optimizers_memory_stay_float32(autocast, tmp_path, monkeypatch) -> None:
    mine = run(autocast=autocast, optimizer="adamw", learning_rate=0.01, method=METHODS["snfs"])
    interrupt(mine, tmp_path, 7, monkeypatch)
    _, values, state = checkpoints.newest(tmp_path / mine.id / "checkpoints")
    assert {t.dtype for t in values.values()} == {torch.float32}
    memory = [t for kept in state["optimizer"]["state"].values() for t in kept.values()]
    assert memory
    assert {t.dtype for t in memory} == {torch.float32}


CASES = [(name, "bfloat16") for name in METHODS] + [(name, "float16") for name in ("dense", "rigl", "gradual")]


@pytest.mark.parametrize("method, autocast", CASES)
def test_an_interrupted_run_goes_on_bit_for_bit(method, autocast, tmp_path, monkeypatch) -> None:
    mine = run(method=METHODS[method], autocast=autocast, **USERS)
    whole = train(mine, tmp_path / "whole")
    for step in (5, 13):
        interrupt(mine, tmp_path / "parts", step, monkeypatch)
    same_end(train(mine, tmp_path / "parts"), whole)


def test_the_scale_of_float16_is_found_once_and_kept_over_an_interruption(tmp_path, monkeypatch) -> None:
    mine = run(autocast="float16", model="test_precision:Steep", model_settings={}, learning_rate=1e-4)
    whole = train(mine, tmp_path / "whole")
    interrupt(mine, tmp_path / "parts", 7, monkeypatch)
    _, _, state = checkpoints.newest(tmp_path / "parts" / mine.id / "checkpoints")
    assert state["precision"]["scale"] < 65536
    taken, real = [], Precision.load_state_dict
    monkeypatch.setattr(Precision, "load_state_dict", lambda self, said: taken.append(said) or real(self, said))
    same_end(train(mine, tmp_path / "parts"), whole)
    assert taken == [state["precision"]]


def test_a_scale_goes_on_where_it_stood() -> None:
    state = {"scale": 8.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 2000, "_growth_tracker": 3}
    precision = Precision("float16", torch.device("cpu"))
    precision.load_state_dict(state)
    assert precision.state_dict() == state
    assert Precision("bfloat16", torch.device("cpu")).state_dict() == {}


def test_gradients_come_out_as_without_a_scale_and_no_step_is_left_out() -> None:
    model = network(run(model="test_precision:Steep", model_settings={}), (1, 6, 6), 3).eval()
    images, labels = torch.randn(20, 1, 6, 6, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 3
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    found = {}
    for autocast in ("none", "bfloat16", "float16"):
        precision = Precision(autocast, torch.device("cpu"))
        optimizer.zero_grad()
        with precision.autocast():
            loss = nn.functional.cross_entropy(model(images), labels, label_smoothing=0.1)
        assert loss.dtype == torch.float32
        assert precision.backward(loss, optimizer)
        found[autocast] = model.first.weight.grad.clone()
    scale = precision.state_dict()["scale"]
    assert scale < 65536  # it overflowed there
    for autocast, rounding in ROUNDING.items():
        error = (found[autocast] - found["none"]).norm() / found["none"].norm()
        assert 0 < error < 64 * rounding  # the network multiplies what was rounded by 64


def test_a_run_whose_gradients_are_no_numbers_at_any_scale_stops_before_that_step(tmp_path) -> None:
    mine = run(autocast="float16", model="test_precision:Broken", model_settings={"at": 5}, checkpoint=0.0)
    record = train(mine, tmp_path)
    assert record.status == "diverged"
    assert record.info["step"] == 4
    assert record.info["error"] == (
        "The gradients of step 5 overflow float16 at every scale; try a smaller learning rate, a warm-up or bfloat16."
    )


@pytest.mark.parametrize("net", [{}, CONV], ids=["mlp", "conv"])
@pytest.mark.parametrize("method", ["rigl", "gradual"])
def test_truly_sparse_it_is_masked_up_to_rounding(method, net, tmp_path) -> None:
    masked = run(method=METHODS[method], autocast="bfloat16", history=Every(4), **{**net, "learning_rate": 0.002})
    one, other = (train(mine, tmp_path) for mine in (masked, dataclasses.replace(masked, execution="sparse")))
    assert other.info["execution"]["kind"] == "sparse"
    alike(one, other)
    assert losses(one) == pytest.approx(losses(other), rel=0.02)  # as near as either is to float32


def test_truly_sparse_it_goes_on_bit_for_bit(tmp_path, monkeypatch) -> None:
    for net in ({}, CONV):
        mine = run(method=METHODS["rigl"], autocast="bfloat16", execution="sparse", channels_last=True, **net)
        whole = train(mine, tmp_path / "whole")
        interrupt(mine, tmp_path / "parts", 7, monkeypatch)
        same_end(train(mine, tmp_path / "parts"), whole)


def test_a_maker_looks_at_the_network_in_float32(tmp_path) -> None:
    plain = run(method=Static(begin=SNIP(0.3)))
    half = dataclasses.replace(plain, autocast="bfloat16")
    assert train(plain, tmp_path).wiring == train(half, tmp_path).wiring


# ---------------------------------------------------------------------- channels-last


def test_weights_and_images_lie_channels_last() -> None:
    mine = run(channels_last=True, **CONV)
    weights = [p for p in network(mine, (3, 6, 6), 3).parameters() if p.dim() == 4]
    images = [next(batches.epoch(0))[0] for batches in (task(mine).train, task(mine).held_out, task(mine).test)]
    assert len(weights) > 10
    assert all(t.is_contiguous(memory_format=torch.channels_last) for t in (*weights, *images))


@pytest.mark.parametrize("execution", ["masked", "sparse"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("method", ["rigl", "gradual", "snfs", "dnw"])
def test_losses_are_equal_up_to_rounding_and_wirings_are_the_same(method, optimizer, execution, tmp_path) -> None:
    conv = {**CONV, "optimizer": optimizer, "learning_rate": 0.002, "steps": 6}
    plain = run(method=METHODS[method], dtype="float64", execution=execution, history=Every(1), **conv)
    one, other = train(plain, tmp_path), train(dataclasses.replace(plain, channels_last=True), tmp_path)
    assert one.path != other.path
    assert dict(one.history()) == dict(other.history())
    assert losses(one) == pytest.approx(losses(other), rel=1e-9)


def test_channels_last_goes_on_bit_for_bit(tmp_path, monkeypatch) -> None:
    for settings in ({"optimizer": "adamw"}, {"method": METHODS["rigl"]}, {"method": METHODS["dnw"]}):
        mine = run(channels_last=True, autocast="bfloat16", **CONV, **settings)
        whole = train(mine, tmp_path / "whole")
        interrupt(mine, tmp_path / "parts", 7, monkeypatch)
        same_end(train(mine, tmp_path / "parts"), whole)


def test_a_record_gives_back_its_network_whatever_the_layout(tmp_path) -> None:
    record = train(run(channels_last=True, autocast="bfloat16", method=METHODS["set"], **CONV), tmp_path)
    for name, value in record.model().state_dict().items():
        assert torch.equal(value, record.values()[name])


def test_truly_sparse_layers_take_images_that_lie_channels_last() -> None:
    mine = run(method=METHODS["rigl"], execution="sparse", channels_last=True, **CONV)
    net = come_alive(mine, task(mine), 12)
    assert sum(isinstance(module, SparseConv2d) for module in net.model.modules()) == 19


# ---------------------------------------------------------------------- as settings


def test_they_are_part_of_the_identity_only_where_they_are_asked_for() -> None:
    assert Run(autocast="none", channels_last=False).id == Run().id
    asked = Run(autocast="bfloat16"), Run(autocast="float16"), Run(channels_last=True), Run()
    assert len({mine.id for mine in asked}) == 4
    for mine in asked:
        assert Run.from_toml(mine.to_toml()) == mine == Run.from_toml(mine.to_toml(defaults=True))


def test_a_record_from_before_there_were_these_settings_is_found(tmp_path: Path) -> None:
    first = train(run(), tmp_path)
    info = first.folder.read()
    del info["settings"]["autocast"], info["settings"]["channels_last"]
    first.folder.write({k: v for k, v in info.items() if k not in ("format", "version")})
    assert train(run(), tmp_path).path == first.path


@pytest.mark.parametrize(
    "settings, sentence",
    [
        ({"autocast": "half"}, "`autocast` of `Run` must be one of none, bfloat16, float16. Got 'half'."),
        (
            {"autocast": "bfloat16", "dtype": "float64"},
            "`autocast` of `Run` must be 'none' where `dtype` is 'float64'. Got 'bfloat16'.",
        ),
        (
            {"autocast": "float16", "execution": "sparse", "method": METHODS["set"]},
            "`autocast` of `Run` cannot be 'float16' with execution='sparse': sparse storage computes in float32 and "
            "bfloat16. Say 'bfloat16', or run it masked.",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_at_construction(settings, sentence) -> None:
    with pytest.raises(ValueError) as said:
        Run(**settings)
    assert str(said.value) == sentence
    assert Run(autocast="float16", execution="sparse").autocast == "float16"  # without a method it is dense


def test_words_in_toml_are_checked_too() -> None:
    with pytest.raises(SettingsError, match="'none', 'bfloat16' or 'float16'"):
        run(autocast="tf32")
    with pytest.raises(SettingsError, match="channels_last"):
        run(channels_last="maybe")
