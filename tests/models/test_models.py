"""Every model of the zoo: what the papers count, the shapes that come out, names that people can read."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from wirings import models
from wirings.core.errors import SettingsError

MNIST, CIFAR = (1, 28, 28), (3, 32, 32)


def weights(model: nn.Module) -> int:
    """Weights of linear layers and convolutions: what the papers call prunable."""
    return sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d))


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "shape", "classes", "settings", "count"),
    [
        ("lenet-300-100", MNIST, 10, {}, 266_200),
        ("mlp", MNIST, 10, {"hidden": (3000, 100)}, 2_653_000),
        ("mlp", MNIST, 100, {"hidden": (300,), "relu_logits": True}, 265_200),
        ("lenet-5", MNIST, 10, {}, 970_140),
        ("lenet-5", (3, 24, 24), 10, {}, 721_540),
        ("lenet-5-caffe", MNIST, 10, {}, 430_500),
        ("conv-2", CIFAR, 10, {}, 4_300_992),
        ("conv-4", CIFAR, 10, {}, 2_425_024),
        ("conv-6", CIFAR, 10, {}, 2_261_184),
        ("vgg-16", CIFAR, 100, {}, 14_761_664),
        ("resnet-18", CIFAR, 10, {}, 11_164_352),
        ("resnet-20", CIFAR, 10, {}, 268_336),
        ("resnet-20", CIFAR, 10, {"shortcut": "conv"}, 270_896),
    ],
)
def test_a_model_has_exactly_as_many_weights_as_its_paper_counts(name, shape, classes, settings, count):
    model = models.build(name, image_shape=shape, classes=classes, **settings)
    assert weights(model) == count


def test_vgg_16_has_fourteen_prunable_layers_and_resnet_18_twenty_one():
    def layers(name):
        return sum(isinstance(m, nn.Linear | nn.Conv2d) for m in models.build(name, image_shape=CIFAR).modules())

    assert layers("vgg-16") == 14
    assert layers("resnet-18") == 21


def test_resnet_18_layers_have_the_published_sizes():
    model = models.build("resnet-18", image_shape=CIFAR)
    sizes = {n.removesuffix(".weight"): p.numel() for n, p in model.named_parameters() if p.dim() > 1}
    assert sizes["conv1"] == 1728
    assert sizes["layer1.1.conv2"] == 36_864
    assert sizes["layer2.0.conv1"] == 73_728
    assert sizes["layer2.0.shortcut.conv"] == 8_192
    assert sizes["layer4.0.shortcut.conv"] == 131_072
    assert sizes["layer4.1.conv1"] == 2_359_296
    assert sizes["fc"] == 5_120


@pytest.mark.parametrize(
    ("first", "growth", "thousands"),
    [(8, 8, 146), (16, 8, 212), (16, 14, 472), (16, 16, 582), (20, 20, 908), (24, 24, 1310), (36, 36, 2940)],
)
def test_evenly_cascaded_nets_have_the_computed_sizes(first, growth, thousands):
    model = models.build("ecn", image_shape=CIFAR, first=first, growth=growth)
    assert parameters(model) / 1000 == pytest.approx(thousands, rel=0.004)


def test_the_default_evenly_cascaded_net_has_less_than_500_thousand_parameters():
    assert parameters(models.build("ecn", image_shape=CIFAR)) == 471_734


def test_evenly_cascaded_nets_shrink_the_image_as_the_paper_draws_it():
    model = models.build("ecn", image_shape=CIFAR, first=4, growth=2)
    assert [layer.shrunk[0] for layer in model.cascade] == [24, 18, 13, 9, 6, 4]
    x = model.conv1(torch.randn(1, *CIFAR))
    for layer in model.cascade:
        before, x = x, layer.eval()(x)
        assert x.shape[1] == before.shape[1] + 2
        assert tuple(x.shape[2:]) == layer.shrunk


def test_wrn_22_2_has_three_blocks_a_stage_of_32_64_128():
    model = models.build("wrn-22-2", image_shape=CIFAR)
    assert [(len(s), s[-1].conv2.out_channels) for s in (model.layer1, model.layer2, model.layer3)] == [
        (3, 32),
        (3, 64),
        (3, 128),
    ]
    # stem 432; stages 4608+512+5*9216, 18432+2048+5*36864, 73728+8192+5*147456; head 1280
    assert weights(model) == 432 + 51_200 + 204_800 + 819_200 + 1_280


@pytest.mark.parametrize("name", models.names())
@pytest.mark.parametrize("shape", [MNIST, CIFAR, (3, 64, 64)])
def test_every_model_gives_one_logit_a_class_on_every_image_size(name, shape):
    slim = {"hidden": (8,)} if name == "mlp" else {"width": 0.125}
    model = models.build(name, image_shape=shape, classes=7, **slim).eval()
    out = model(torch.randn(2, *shape))
    assert out.shape == (2, 7)
    assert torch.isfinite(out).all()


@pytest.mark.parametrize("name", models.names())
def test_every_weight_of_every_model_gets_a_gradient(name):
    model = models.build(name, image_shape=CIFAR, width=0.25)
    loss = nn.functional.cross_entropy(model(torch.rand(8, *CIFAR)), torch.arange(8))
    loss.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    assert all(m.weight.grad.any() for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d))


@pytest.mark.parametrize("name", models.names())
def test_every_model_can_be_traced_for_whole_network_tools(name):
    model = models.build(name, image_shape=CIFAR, width=0.125).eval()
    traced = torch.fx.symbolic_trace(model)
    x = torch.randn(3, *CIFAR)
    assert torch.equal(traced(x), model(x))


@pytest.mark.parametrize("name", models.names())
def test_every_model_is_made_of_plain_layers_with_readable_names(name):
    model = models.build(name, image_shape=CIFAR, width=0.125)
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            assert type(module) in (nn.Linear, nn.Conv2d)
    heads = {"conv", "bn", "fc", "layer", "cascade", "patch", "position", "blocks", "norm"}
    assert all(key.split(".")[0].rstrip("0123456789") in heads for key in model.state_dict())


def test_width_scales_the_hidden_layers_and_leaves_the_logits():
    model = models.build("lenet-300-100", width=0.1)
    assert [tuple(p.shape) for n, p in model.named_parameters() if "weight" in n] == [(30, 784), (10, 30), (10, 10)]
    wider = models.build("lenet-300-100", first_width=10)
    assert [len(p) for n, p in wider.named_parameters() if "weight" in n] == [3000, 100, 10]
    assert models.build("lenet-5", conv2_width=2).conv2.weight.shape == (100, 20, 5, 5)
    assert models.build("resnet-20", image_shape=CIFAR, width=2).fc.in_features == 128


@pytest.mark.parametrize(
    ("loose", "proper"),
    [
        ("lenet300", "lenet-300-100"),
        ("LeNet_300_100", "lenet-300-100"),
        ("lenet5", "lenet-5"),
        ("resnet20", "resnet-20"),
        ("VGG 16", "vgg-16"),
        ("wrn222", "wrn-22-2"),
        ("conv6", "conv-6"),
    ],
)
def test_names_forgive_case_dashes_and_underscores(loose, proper):
    assert models.canonical(loose) == proper


def test_an_unknown_model_is_answered_with_the_nearest_name():
    with pytest.raises(
        SettingsError, match=r"There is no model 'lenet-500'\. Did you mean 'lenet-5'\? Known: conv-2, "
    ):
        models.build("lenet-500")


def test_an_unknown_setting_is_answered_with_the_known_ones():
    with pytest.raises(SettingsError, match=r"`resnet-20` has no setting `shortcuts`\. Did you mean 'shortcut'\?"):
        models.build("resnet-20", shortcuts="conv")
    with pytest.raises(SettingsError, match=r"`lenet-5-caffe` has no setting `x`\. Known: init, width\."):
        models.build("lenet-5-caffe", x=1)


@pytest.mark.parametrize(
    ("name", "settings", "sentence"),
    [
        ("lenet-300-100", {"width": 0}, "`width` of `mlp` must be a positive number. Got 0."),
        ("lenet-300-100", {"width": float("nan")}, "`width` of `mlp` must be a positive number. Got nan."),
        ("lenet-300-100", {"classes": 0}, "`classes` of `mlp` must be a whole number of at least 1. Got 0."),
        ("lenet-300-100", {"relu_logits": "false"}, "`relu_logits` of `mlp` must be true or false. Got 'false'."),
        ("mlp", {"hidden": "300,100"}, "`hidden` of `mlp` must be a list of widths"),
        ("mlp", {"hidden": (300, -1)}, "`hidden` of `mlp` must be a whole number of at least 1. Got -1."),
        ("lenet-5", {"variant": "svhn"}, "`variant` of `LeNet5` must be one of auto, mnist, cifar10. Got 'svhn'."),
        ("lenet-5", {"image_shape": (28, 28)}, "`image_shape` of `LeNet5` must be (channels, height, width)"),
        ("vgg-16", {"image_shape": (3, 8, 8)}, "`image_shape` of `VGG` must be at least 16 × 16."),
        ("resnet-20", {"shortcut": "none"}, "`shortcut` of `ResNet` must be one of identity, conv. Got 'none'."),
        ("resnet-20", {"init": "kaiming"}, "There is no initialiser 'kaiming'. Did you mean 'kaiming-normal'?"),
        ("ecn", {"scale": 1.0}, "`scale` of `ECN` must be in (0, 1). Got 1.0."),
        ("vit-tiny", {"patch": 5}, "`patch` of `ViT` must divide the image's sides 28 × 28. Got 5."),
        ("vit-tiny", {"features": 30}, "`features` of `ViT` must be a multiple of its 4 heads. Got 30."),
    ],
)
def test_settings_out_of_range_are_refused_in_a_sentence(name, settings, sentence):
    with pytest.raises(SettingsError) as caught:
        models.build(name, **settings)
    assert sentence in str(caught.value)


def test_settings_lists_what_a_model_takes_and_its_defaults():
    assert models.settings("resnet18") == {
        "shortcut": None,
        "width": 1.0,
        "gamma": "ones",
        "affine": True,
        "init": "kaiming-normal",
    }


@pytest.mark.parametrize("name", ["lenet-300-100", "lenet-5"])
def test_relu_logits_cuts_the_logits_at_zero_and_changes_nothing_else(name):
    x = torch.rand(32, *MNIST)
    plain, cut = (models.build(name, relu_logits=on, init="glorot-normal") for on in (False, True))
    assert (plain(x) < 0).any()
    assert torch.equal(cut(x), plain(x).clamp(min=0))


def test_a_halving_identity_shortcut_takes_every_second_pixel_and_pads_channels_with_zeros():
    model = models.build("resnet-20", image_shape=CIFAR)
    x = torch.randn(2, 16, 32, 32)
    out = model.layer2[0].shortcut(x)
    assert torch.equal(out[:, :16], x[:, :, ::2, ::2])
    assert not out[:, 16:].any()
    assert out.shape == (2, 32, 16, 16)


def test_norms_without_scale_and_shift_have_no_parameters():
    model = models.build("resnet-20", image_shape=CIFAR, affine=False)
    assert not [n for n, _ in model.named_parameters() if "bn" in n]


class TestLeNet5TranslatesTensorFlow:
    """Literal, slow references for the two operations that are easily got wrong."""

    @pytest.mark.parametrize(("size", "kernel"), [(28, 2), (14, 2), (7, 2), (24, 3), (12, 3), (32, 3), (25, 3)])
    def test_same_pooling_matches_a_literal_window_by_window_maximum(self, size, kernel):
        from wirings.models.lenet import SamePool

        x = torch.randn(1, 2, size, size, dtype=torch.float64)
        out = -(-size // 2)
        before = max((out - 1) * 2 + kernel - size, 0) // 2
        expected = torch.empty(1, 2, out, out, dtype=torch.float64)
        for row in range(out):
            for column in range(out):
                top, left = row * 2 - before, column * 2 - before
                window = x[:, :, max(top, 0) : top + kernel, max(left, 0) : left + kernel]
                expected[:, :, row, column] = window.amax((2, 3))
        assert torch.equal(SamePool(kernel, 2, (size, size))(x), expected)

    def test_a_pool_of_three_on_24_pads_only_below_and_to_the_right(self):
        from wirings.models.lenet import SamePool

        assert SamePool(3, 2, (24, 24)).padding == (0, 1, 0, 1)
        assert SamePool(2, 2, (28, 28)).padding == (0, 0, 0, 0)

    def test_local_response_norm_sums_nine_channels_without_dividing(self):
        x = torch.rand(2, 20, 3, 3, dtype=torch.float64) * 10
        expected = torch.empty_like(x)
        for c in range(20):
            near = x[:, max(c - 4, 0) : c + 5]
            expected[:, c] = x[:, c] / (1 + 0.001 / 9 * (near**2).sum(1)) ** 0.75
        torch.testing.assert_close(models.build("lenet-5").lrn(x), expected, rtol=1e-12, atol=0)

    def test_the_mnist_form_normalises_before_its_second_pool_and_the_cifar_form_not_at_all(self):
        assert self._order(models.build("lenet-5")) == ["pool1", "lrn", "lrn", "pool2"]
        assert self._order(models.build("lenet-5", image_shape=(3, 24, 24))) == ["pool1", "lrn", "pool2"]

    @staticmethod
    def _order(model: nn.Module) -> list[str]:
        order: list[str] = []

        def note(name):
            return lambda *_: order.append(name)

        for name in ("pool1", "pool2", "lrn"):
            getattr(model, name).register_forward_hook(note(name))
        shape = (1, 1, 28, 28) if model.variant == "mnist" else (1, 3, 24, 24)
        model(torch.rand(shape))
        return order

    def test_the_whole_forward_matches_a_literal_translation(self):
        model = models.build("lenet-5", image_shape=(3, 24, 24), relu_logits=True).double()
        x = torch.rand(2, 3, 24, 24, dtype=torch.float64)

        def pool(x: Tensor) -> Tensor:
            return nn.functional.max_pool2d(nn.functional.pad(x, (0, 1, 0, 1), value=float("-inf")), 3, 2)

        def lrn(x: Tensor) -> Tensor:
            square = nn.functional.pad(x**2, (0, 0, 0, 0, 4, 4))
            total = torch.stack([square[:, i : i + x.shape[1]] for i in range(9)]).sum(0)
            return x / (1 + 0.001 / 9 * total) ** 0.75

        h = lrn(pool(model.conv1(x).relu()))
        h = pool(model.conv2(h).relu())
        h = model.fc1(h.flatten(1)).relu()
        torch.testing.assert_close(model(x), model.fc2(h).relu(), rtol=1e-12, atol=1e-12)
