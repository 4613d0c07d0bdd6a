"""The embedded digits, and the made blobs."""

from __future__ import annotations

import importlib.util
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from wirings import data
from wirings.core.errors import DataError
from wirings.data import mini


def test_mnist_mini_is_there_balanced_and_small():
    digits = data.load("mnist-mini")
    assert digits.train_images.shape == (10_000, 1, 28, 28)
    assert digits.test_images.shape == (2_000, 1, 28, 28)
    assert np.bincount(digits.train_labels).tolist() == [1_000] * 10
    assert np.bincount(digits.test_labels).tolist() == [200] * 10
    assert (resources.files("wirings.data") / mini.FILE).stat().st_size < 2_200_000
    assert digits.sha256.startswith("f8cfad58fbf774c3")


def test_mnist_mini_looks_like_digits():
    digits = data.load("mnist-mini")
    assert digits.mean[0] == pytest.approx(0.1307, abs=0.002)
    assert digits.std[0] == pytest.approx(0.3081, abs=0.002)
    ink = [digits.train_images[digits.train_labels == d].mean() for d in range(10)]
    assert np.argmin(ink) == 1  # a one needs the least ink
    assert np.argmax(ink) == 0
    assert not (np.diff(digits.train_labels) >= 0).all()  # in MNIST's own order, not by class


def test_no_digit_is_there_twice():
    digits = data.load("mnist-mini")
    images = np.concatenate([digits.train_images, digits.test_images]).reshape(12_000, -1)
    assert len({image.tobytes() for image in images}) == 12_000


def test_a_damaged_package_is_noticed(monkeypatch):
    monkeypatch.setattr(mini, "SHA256", "0" * 64)
    with pytest.raises(DataError, match=r"`mnist_mini\.xz` in the installed package is damaged. Install wirings again"):
        data.load("mnist-mini")
    monkeypatch.setattr(mini, "FILE", "not_there.xz")
    with pytest.raises(DataError, match=r"`not_there\.xz` is missing from the installed package"):
        data.load("mnist-mini")


def test_packing_and_unpacking_are_inverse(monkeypatch):
    monkeypatch.setattr(mini, "TRAIN", 3)
    monkeypatch.setattr(mini, "TEST", 2)
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (5, 1, 28, 28), np.uint8), rng.integers(0, 10, 5)
    arrays = mini.Arrays(images[:3], labels[:3], images[3:], labels[3:])
    assert all(np.array_equal(a, b) for a, b in zip(mini.unpack(mini.pack(arrays)), arrays, strict=True))


@pytest.mark.real_data
class TestAgainstTheFullSet:
    @pytest.fixture
    def script(self):
        path = Path(__file__).parents[2] / "scripts" / "make_mnist_mini.py"
        spec = importlib.util.spec_from_file_location("make_mnist_mini", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    def test_the_script_makes_the_embedded_file_again_byte_for_byte(self, full_data, script):
        packed = mini.pack(script.chosen(data.load("mnist", full_data)))
        assert packed == (resources.files("wirings.data") / mini.FILE).read_bytes()

    def test_training_digits_come_from_the_training_set_and_test_digits_from_the_test_set(self, full_data):
        full, digits = data.load("mnist", full_data), data.load("mnist-mini")
        for part in ("train", "test"):
            known = {image.tobytes() for image in getattr(full, f"{part}_images")}
            assert all(image.tobytes() in known for image in getattr(digits, f"{part}_images"))


def test_blobs_are_repeatable_balanced_and_separable():
    first, again, other = data.load("gaussian-blobs"), data.blobs(), data.blobs(seed=1)
    assert first.sha256 == again.sha256 != other.sha256
    assert first.image_shape == (1, 8, 8)
    assert np.bincount(first.train_labels).tolist() == [100] * 10
    means = np.stack([first.train_images[first.train_labels == c].mean(0).ravel() for c in range(10)])
    far = ((first.test_images.reshape(200, 1, -1).astype(float) - means[None]) ** 2).sum(2)
    assert (far.argmin(1) == first.test_labels).mean() > 0.9
    assert data.blobs(train=30, test=6, classes=3, side=12, channels=2).train_images.shape == (30, 2, 12, 12)
