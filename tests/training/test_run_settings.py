"""Runs as data: TOML and back, identities that stay, and sentences for what cannot be."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_run import run

from wirings.core.budgets import uniform
from wirings.core.errors import SettingsError
from wirings.core.schedules import Cubic, Every
from wirings.core.settings import to_plain
from wirings.core.topology import Topology
from wirings.core.wiring import Wiring
from wirings.data import CropFlip, Distort
from wirings.makers.random import ErdosRenyi
from wirings.methods.dnw import DNW
from wirings.methods.drop_grow import SET, RigL
from wirings.methods.gradual import GradualMagnitude
from wirings.methods.static import Static
from wirings.training import SGD, AdamW, Run, Values, equal_parameters
from wirings.training.build import build_model, shapes_of
from wirings.training.rates import Rate
from wirings.training.settings import identity

RUNS = [
    Run(),
    Run(method=RigL(begin=ErdosRenyi(0.05)), seed=3),
    Run(method=SET(begin=ErdosRenyi(0.02, budget=uniform), when=Every(50)), optimizer=AdamW(weight_decay=0.1)),
    Run(method=DNW(density=0.1, freeze_at=0.2), epochs=7, warmup=0.05),
    Run(method=GradualMagnitude(density=Cubic(final=0.05)), augment=CropFlip(mode="reflect"), except_=("fc3",)),
    Run(augment=Distort(), normalise="per-image", fixed_order=True, drop_last=True, protocol="paper"),
    Run(small_dense=0.05, streams={"init": 5}, model_settings={"hidden": [30, 10], "width": 2.0}),
    Run(values=Values(path="a.safetensors", sha256="00ff", step=7), snapshot=0.1, clip_norm=1.0, label="mine"),
]

PINNED = [
    "lenet-300-100-mnist-mini-dense-44136fa355-s0",
    "lenet-300-100-mnist-mini-rigl-d2a98e2258-s3",
    "lenet-300-100-mnist-mini-set-44e2c5b624-s0",
    "lenet-300-100-mnist-mini-dnw-f821ff2a49-s0",
    "lenet-300-100-mnist-mini-gradual-d62af9e494-s0",
    "lenet-300-100-mnist-mini-dense-6003745288-s0",
    "lenet-300-100-mnist-mini-small-dense-a3e6172b75-s0",
    "lenet-300-100-mnist-mini-mine-b948737b8b-s0",
]


@pytest.mark.parametrize("mine", RUNS, ids=lambda mine: mine.id)
@pytest.mark.parametrize("defaults", [False, True])
def test_a_run_goes_to_toml_and_back_equal(mine: Run, defaults: bool) -> None:
    again = Run.from_toml(mine.to_toml(defaults=defaults))
    assert again == mine
    assert again.id == mine.id


@settings(max_examples=50, deadline=None)
@given(
    rate=st.floats(0, 10),
    size=st.integers(1, 10_000),
    seed=st.integers(-(2**62), 2**62),
    milestones=st.lists(st.floats(0.01, 1), unique=True, max_size=3).map(sorted).map(tuple),
    warmup=st.one_of(st.integers(0, 100), st.floats(0.01, 1)),
)
def test_numbers_survive_toml(rate: float, size: int, seed: int, milestones: tuple[float, ...], warmup: float) -> None:
    mine = Run(learning_rate=rate, batch_size=size, seed=seed, milestones=milestones, warmup=warmup)
    assert Run.from_toml(mine.to_toml()) == mine


def test_identities_are_pinned() -> None:
    # Finished runs are found by these names: a change here orphans every archive.
    assert [mine.id for mine in RUNS] == PINNED


def test_a_run_that_says_its_defaults_is_the_run_that_does_not() -> None:
    assert Run(learning_rate=0.1, batch_size=128, optimizer=SGD(momentum=0.9)).id == Run().id


def test_paths_threads_and_device_do_not_count(tmp_path) -> None:
    wiring = Wiring({"fc.weight": Topology.at((2, 3), [0, 4])})
    here, there = (Static(begin=Wiring(dict(wiring), path=wiring.save(tmp_path / name))) for name in ("a", "b"))
    assert Run(method=here, threads=4, device="cuda").id == Run(method=there, checkpoint=1.0).id
    assert Run(method=here).id != Run(method=Static(begin=ErdosRenyi(0.1))).id
    values = [Values(path=path, sha256="00") for path in ("a", "b")]
    assert Run(values=values[0]).id == Run(values=values[1]).id != Run().id


def test_seeds_share_a_group_and_labels_are_seen() -> None:
    assert Run(seed=0).group == Run(seed=1).group
    assert Run(seed=1).id == f"{Run().group}-s1"
    assert Run(label="Ticket 3").id.startswith("lenet-300-100-mnist-mini-ticket-3-")
    assert Run(small_dense=0.1).method_name == "small-dense"
    assert Run(model="my_pkg.nets:Net", data="my_pkg:loaders").id.startswith("my-pkg.nets-net-my-pkg-loaders-dense-")


def test_equal_identity_means_equal_settings() -> None:
    assert identity(to_plain(Run(threads=2))) == identity(to_plain(Run()))
    assert identity(to_plain(Run(seed=1))) != identity(to_plain(Run()))


@pytest.mark.parametrize(
    "settings, sentence",
    [
        ({"batch_size": 0}, "`batch_size` of `Run` must be an integer of at least 1. Got 0."),
        ({"learning_rate": math.nan}, "`learning_rate` of `Run` must be in [0, 1e+06]. Got nan."),
        ({"milestones": (0.75, 0.5)}, "`milestones` of `Run` must ascend. Got (0.75, 0.5)."),
        ({"small_dense": 1.5}, "`small_dense` of `Run` must be in (0, 1]. Got 1.5."),
        ({"small_dense": 0.5, "method": RigL()}, "`small_dense` of `Run` is a dense network: leave `method` out."),
        ({"held_out": 0}, "at least 1 under the protocol 'held-out'. Got 0; to choose on the test set as papers do"),
        ({"streams": {"augment": 1}}, "`streams` of `Run` must be one of init, order, wiring. Got 'augment'."),
        ({"schedule": "linear"}, "`schedule` of `Run` must be one of cosine, constant, steps. Got 'linear'."),
        ({"clip_norm": 0.0}, "`clip_norm` of `Run` must be in (0, 1e+09]. Got 0.0."),
        ({"seed": 1.5}, "`seed` of `Run` must be an integer. Got 1.5."),
    ],
)
def test_impossible_settings_are_refused_in_a_sentence(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError) as error:
        Run(**settings)  # type: ignore[arg-type]
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("epoch = 3", "`run` (Run) has no setting `epoch`. Did you mean 'epochs'?"),
        ("method = 'rigel'", "`run.method` must be a known method. Got 'rigel'. Did you mean 'rigl'?"),
        ("epochs = 'many'", "`epochs` of `Run`: Input should be a valid integer"),
        ("[method]\nkind = 'rigl'\nfractoin = 0.3", "has no setting `fractoin`. Did you mean 'fraction'?"),
        ("learning_rate = inf", "`learning_rate` of `Run`: Input should be a finite number"),
        ("[optimizer]\nkind = 'sgdd'", "`run.optimizer` must be a known optimizer. Got 'sgdd'. Did you mean 'sgd'?"),
        ("epochs = = 3", "This is not TOML:"),
    ],
)
def test_broken_toml_is_refused_in_a_sentence(text: str, sentence: str, tmp_path) -> None:
    (tmp_path / "run.toml").write_text(text)
    with pytest.raises(SettingsError) as error:
        Run.load(tmp_path / "run.toml")
    assert sentence in str(error.value)
    assert str(tmp_path / "run.toml") in str(error.value)


def test_a_missing_toml_is_named(tmp_path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere.toml cannot be read"):
        Run.load(tmp_path / "nowhere.toml")


def test_augmentation_may_be_told_by_name() -> None:
    assert Run.from_toml("augment = 'crop-flip'").augment == CropFlip()


# ---------------------------------------------------------------------- learning rates


def test_cosine_starts_full_and_ends_near_zero() -> None:
    rate = Rate(Run(learning_rate=0.2), steps=100)
    assert rate(1) == 0.2
    assert rate(51) == pytest.approx(0.1)
    assert 0 < rate(100) < 1e-3


def test_milestones_multiply_after_their_share() -> None:
    rate = Rate(Run(learning_rate=1.0, schedule="steps", milestones=(0.5, 0.75), factor=0.1), steps=8)
    assert [rate(n) for n in range(1, 9)] == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01])


def test_warmup_is_linear_then_the_schedule_begins_at_its_top() -> None:
    rate = Rate(Run(learning_rate=0.4, schedule="constant", warmup=0.4), steps=10)
    assert [round(rate(n), 6) for n in range(1, 7)] == [0.1, 0.2, 0.3, 0.4, 0.4, 0.4]


def test_steps_follow_from_epochs_and_images() -> None:
    assert Run(epochs=3, batch_size=32).total_steps(100) == 12
    assert Run(epochs=3, batch_size=32, drop_last=True).total_steps(100) == 9
    assert Run(epochs=3, steps=5).total_steps(100) == 5


# ---------------------------------------------------------------------- equal parameters


@pytest.mark.parametrize("density", [0.02, 0.05, 0.1, 0.5, 1.0])
def test_a_small_dense_network_has_as_many_weights_as_its_units_allow(density: float) -> None:
    shape, classes = (1, 28, 28), 10
    width = equal_parameters("lenet-300-100", density, image_shape=shape, classes=classes)
    model = build_model("lenet-300-100", {"width": width}, shape, classes, 0)
    count = sum(math.prod(s) for s in shapes_of(model).values())
    assert abs(count - density * 266_200) <= (784 + 10) / 2 + 60  # half a unit of the first layer, and rounding below


def test_small_dense_works_with_the_users_own_network() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    width = equal_parameters("small_run:Net", 0.3, image_shape=(1, 6, 6), classes=3)
    assert torch.equal(torch.get_rng_state(), before)
    hidden = round(20 * width)
    assert hidden == 6


def test_a_network_without_a_width_is_refused() -> None:
    with pytest.raises(SettingsError, match="A small dense network needs a model with a `width`"):
        equal_parameters("small_run:Mortal", 0.3, image_shape=(1, 6, 6), classes=3)


def test_a_density_below_one_unit_is_refused() -> None:
    with pytest.raises(SettingsError, match="out of reach for `lenet-300-100`: even one unit a layer makes 795"):
        equal_parameters("lenet-300-100", 0.001, image_shape=(1, 28, 28), classes=10)


def test_settings_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        run().epochs = 3  # type: ignore[misc]
