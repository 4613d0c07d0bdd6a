"""Initial draws: repeatable, of the papers' spread, and without a trace in the global random state."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from wirings import models
from wirings.core.streams import stream
from wirings.models.init import truncated_normal

CIFAR = (3, 32, 32)


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {n: t.clone() for n, t in model.state_dict().items()}


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


@pytest.mark.parametrize("name", models.names())
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(name):
    first, again, other = (models.build(name, image_shape=CIFAR, width=0.25, seed=s) for s in (0, 0, 1))
    assert equal(state(first), state(again))
    drawn = [m for m in first.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    assert all(not torch.equal(m.weight, o.weight) for m, o in zip(drawn, _drawn(other), strict=True))


def _drawn(model: nn.Module) -> list[nn.Module]:
    return [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)]


@pytest.mark.parametrize("name", models.names())
def test_building_leaves_the_global_random_state_alone(name):
    torch.manual_seed(123)
    before = torch.get_rng_state()
    models.build(name, image_shape=CIFAR, width=0.25)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", models.names())
def test_nothing_is_left_undrawn(name):
    model = models.build(name, image_shape=CIFAR, width=0.25)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.fill_(float("nan") if tensor.is_floating_point() else -1)
    models.reinitialise(model, stream(0, "init"))
    assert equal(state(model), state(models.build(name, image_shape=CIFAR, width=0.25)))


def test_reinitialising_redraws_every_weight_and_resets_batch_norm_statistics():
    model = models.build("resnet-20", image_shape=CIFAR, width=0.5)
    before = state(model)
    model(torch.rand(4, *CIFAR) * 3)
    assert model.bn1.num_batches_tracked == 1
    models.reinitialise(model, stream(1, "init"))
    after = state(model)
    assert not after["bn1.running_mean"].any()
    assert (after["bn1.running_var"] == 1).all()
    assert after["bn1.num_batches_tracked"] == 0
    assert all(not torch.equal(before[n], after[n]) for n in before if "conv" in n or n == "fc.weight")


def test_a_wrapped_model_in_double_begins_with_the_same_numbers():
    model = models.build("lenet-300-100", seed=3)

    class Wrapper(nn.Module):
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module = module

    double = models.build("lenet-300-100", seed=0).double()
    models.reinitialise(Wrapper(double), stream(3, "init"))
    assert double.fc1.weight.dtype == torch.float64
    assert torch.equal(double.fc1.weight, model.fc1.weight.double())


@pytest.mark.parametrize(
    ("init", "std"),
    [
        ("kaiming-normal", math.sqrt(2 / 784)),
        ("glorot-normal", math.sqrt(2 / 1084)),
        ("glorot-uniform", math.sqrt(2 / 1084)),
        ("caffe-xavier", math.sqrt(1 / 784)),
        ("truncated-normal", 0.04 * 0.8796),
        ("truncated-normal-0.02", 0.02 * 0.8796),
        ("signed-constant", math.sqrt(2 / 784)),
        ("torch", math.sqrt(1 / 784 / 3)),
    ],
)
def test_each_initialiser_has_the_spread_it_promises(init, std):
    weight = models.build("lenet-300-100", init=init).fc1.weight
    assert weight.std().item() == pytest.approx(std, rel=0.01)  # 235,200 draws: 0.15 % is one sigma
    assert abs(weight.mean().item()) < 4 * std / math.sqrt(weight.numel())


def test_every_initialiser_is_covered_by_the_test_of_spreads():
    rows = test_each_initialiser_has_the_spread_it_promises.pytestmark[0].args[1]
    assert {init for init, _ in rows} == set(models.initialisers())


def test_kaiming_normal_counts_the_kernel_in_its_fan():
    model = models.build("vgg-11", image_shape=CIFAR)
    assert model.conv4.weight.std().item() == pytest.approx(math.sqrt(2 / (256 * 9)), rel=0.01)
    assert (model.bn4.weight == 1).all()
    assert not model.bn4.bias.any()
    assert not model.fc.bias.any()


def test_the_seed_study_draws_convolutions_wider_and_gives_linear_layers_a_bias_of_a_tenth():
    model = models.build("lenet-5")
    assert model.conv2.weight.std().item() == pytest.approx(0.05 * 0.8796, rel=0.02)
    assert model.conv2.weight.abs().max() <= 0.1
    assert not model.conv2.bias.any()
    assert torch.equal(model.fc2.bias, torch.full((10,), 0.1))


def test_a_truncated_normal_stays_within_two_sigma_and_reaches_close_to_it():
    values = truncated_normal((200_000,), 0.04, stream(0, "test"))
    assert values.abs().max() <= 0.08
    assert values.abs().max() > 0.0799
    assert values.std().item() == pytest.approx(0.04 * 0.8796, rel=0.01)


def test_signed_constants_have_one_magnitude_and_both_signs():
    weight = models.build("lenet-300-100", init="signed-constant").fc2.weight
    assert torch.unique(weight.abs()).numel() == 1
    assert 0.45 < (weight > 0).float().mean() < 0.55


def test_open_lth_draws_batch_norm_scales_from_zero_to_one():
    model = models.build("resnet-20", image_shape=CIFAR, gamma="uniform")
    scales = torch.cat([m.weight.detach() for m in model.modules() if isinstance(m, nn.BatchNorm2d)])
    assert 0 <= scales.min() < 0.05
    assert 0.95 < scales.max() <= 1
    assert scales.mean().item() == pytest.approx(0.5, abs=0.05)


def test_any_network_of_plain_layers_can_be_drawn_by_naming_an_initialiser():
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    models.reinitialise(model, stream(0, "init"), "kaiming-normal")
    assert not model[0].bias.any()


def test_a_network_that_does_not_say_how_it_begins_is_refused():
    with pytest.raises(ValueError, match=r"`Linear` does not say how its weights begin\. Give `initialiser`, one of: "):
        models.reinitialise(nn.Linear(2, 2), stream(0, "init"))


def test_a_layer_nobody_can_draw_is_refused():
    with pytest.raises(TypeError, match=r"plain Linear, Conv2d and norm layers\. Got a `Bilinear`"):
        models.reinitialise(nn.Bilinear(2, 2, 2), stream(0, "init"), "torch")


def test_an_unknown_initialiser_is_answered_with_the_nearest_name():
    with pytest.raises(ValueError, match=r"There is no initialiser 'glorot-norml'\. Did you mean 'glorot-normal'\?"):
        models.reinitialise(nn.Linear(2, 2), stream(0, "init"), "glorot-norml")
