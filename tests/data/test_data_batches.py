"""Splits, batches and augmentation: exact, repeatable, and resumable anywhere."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wirings import data
from wirings.core.streams import stream
from wirings.data import Batches, CentreCrop, CropFlip, Distort, in_order, split

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (50, 3, 9, 8), dtype=np.uint8)
LABELS = RNG.integers(0, 5, 50)


class TestSplit:
    def test_by_default_5000_of_60000_and_a_tenth_of_fewer_than_50000_are_held_out(self):
        assert [len(part) for part in split(np.zeros(60_000, int))] == [55_000, 5_000]
        assert [len(part) for part in split(np.zeros(50_000, int))] == [45_000, 5_000]
        assert [len(part) for part in split(np.zeros(10_000, int))] == [9_000, 1_000]

    @settings(max_examples=40, deadline=None)
    @given(labels=st.lists(st.integers(0, 4), min_size=2, max_size=60), share=st.floats(0, 0.7), seed=st.integers(0, 9))
    def test_the_parts_are_disjoint_whole_and_each_class_has_its_share(self, labels, share, seed):
        labels = np.array(labels)
        train, out = split(labels, share, seed)
        assert len(out) == round(len(labels) * share)
        assert sorted([*train, *out]) == list(range(len(labels)))
        for c in np.unique(labels):
            exact = (labels == c).sum() * len(out) / len(labels)
            assert abs((labels[out] == c).sum() - exact) < 1

    def test_the_same_seed_gives_the_same_split_and_another_seed_another(self):
        labels = np.arange(100) % 10
        assert np.array_equal(split(labels, 20, 3)[1], split(labels, 20, 3)[1])
        assert not np.array_equal(split(labels, 20, 3)[1], split(labels, 20, 4)[1])

    def test_zero_holds_nothing_out(self):
        train, out = split(np.arange(10) % 2, 0)
        assert len(out) == 0
        assert train.tolist() == list(range(10))

    @pytest.mark.parametrize("held_out", [-1, 10, 1.0, 0.99, 30.0, float("nan"), True, "5"])
    def test_a_split_that_leaves_nothing_is_refused(self, held_out):
        with pytest.raises(ValueError, match="`held_out` of `split` must "):
            split(np.arange(10) % 2, held_out)


class TestBatches:
    def test_an_epoch_visits_every_image_once(self):
        seen = torch.cat([y for _, y in Batches(IMAGES, np.arange(50), batch_size=8, seed=1).epoch(0)])
        assert sorted(seen.tolist()) == list(range(50))
        assert seen.tolist() != list(range(50))

    def test_epochs_and_seeds_have_orders_of_their_own(self):
        one, two = (Batches(IMAGES, LABELS, batch_size=8, seed=s) for s in (1, 2))
        assert len({one.order_hash(0), one.order_hash(1), two.order_hash(0)}) == 3

    def test_the_order_is_the_same_after_a_restart_and_whatever_was_drawn_before(self):
        first = Batches(IMAGES, LABELS, batch_size=8, seed=1)
        list(first.epoch(0))
        torch.manual_seed(77)
        again = Batches(IMAGES, LABELS, batch_size=16, seed=1, augment=CropFlip(pad=1))
        assert first.order_hash(3) == again.order_hash(3)
        assert first.order(3).tolist() == torch.randperm(50, generator=stream(1, "order", 3)).tolist()

    def test_the_order_hash_is_that_of_the_places_as_little_endian_integers(self):
        fixed = Batches(IMAGES, LABELS, batch_size=8, fixed_order=True)
        assert fixed.order_hash(5) == hashlib.sha256(np.arange(50).astype("<i8").tobytes()).hexdigest()[:16]

    def test_orders_are_pinned_so_that_a_torch_that_draws_otherwise_is_noticed(self):
        assert Batches(IMAGES, LABELS, batch_size=8, seed=0).order(0)[:8].tolist() == [18, 10, 43, 0, 27, 21, 22, 20]

    @pytest.mark.parametrize("augment", [None, CropFlip(pad=2), CropFlip(pad=2, mode="reflect"), Distort(size=6)])
    @pytest.mark.parametrize("start", [0, 3, 6, 7])
    def test_an_epoch_resumed_in_the_middle_continues_bit_by_bit(self, augment, start):
        def made() -> Batches:
            return Batches(IMAGES, LABELS, batch_size=8, seed=1, augment=augment, normalise=((0.5,) * 3, (0.2,) * 3))

        whole = list(made().epoch(2))
        rest = list(made().epoch(2, start))
        assert len(rest) == 7 - start
        for (x, y), (a, b) in zip(whole[start:], rest, strict=True):
            assert torch.equal(x, a)
            assert torch.equal(y, b)

    def test_batches_leave_the_global_random_state_alone(self):
        torch.manual_seed(1)
        before = torch.get_rng_state()
        list(Batches(IMAGES, LABELS, batch_size=8, augment=CropFlip()).epoch(0))
        split(LABELS)
        assert torch.equal(torch.get_rng_state(), before)

    @pytest.mark.parametrize("normalise", [None, "per-image"])
    def test_channels_last_are_the_same_images_in_another_layout(self, normalise):
        plain, last = (
            Batches(IMAGES, LABELS, batch_size=20, augment=CropFlip(), normalise=normalise, memory_format=layout)
            for layout in (torch.preserve_format, torch.channels_last)
        )
        for (a, _), (b, _) in zip(plain.epoch(1), last.epoch(1), strict=True):
            assert a.is_contiguous()
            assert b.is_contiguous(memory_format=torch.channels_last)
            assert torch.equal(a, b)

    @pytest.mark.parametrize("device", ["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
    @pytest.mark.parametrize("augment", [CropFlip(pad=2), CropFlip(pad=2, mode="reflect"), Distort(size=6)])
    def test_every_device_sees_the_same_batches(self, device, augment):
        here = Batches(IMAGES, LABELS, batch_size=20, augment=augment)
        there = Batches(IMAGES, LABELS, batch_size=20, augment=augment, device=device)
        for (x, y), (a, b) in zip(here.epoch(1), there.epoch(1), strict=True):
            assert a.device.type == b.device.type == device
            torch.testing.assert_close(a.cpu(), x, rtol=1e-5, atol=1e-5)
            assert torch.equal(b.cpu(), y)

    def test_the_last_batch_is_smaller_or_left_out(self):
        assert [len(y) for _, y in Batches(IMAGES, LABELS, batch_size=20).epoch(0)] == [20, 20, 10]
        dropping = Batches(IMAGES, LABELS, batch_size=20, drop_last=True)
        assert [len(y) for _, y in dropping.epoch(0)] == [20, 20]
        assert len(dropping) == 2

    def test_a_fixed_order_is_the_stored_one_in_every_epoch(self):
        batches = Batches(IMAGES, LABELS, batch_size=20, fixed_order=True)
        for e in (0, 4):
            assert torch.cat([y for _, y in batches.epoch(e)]).tolist() == LABELS.tolist()

    def test_only_the_images_of_the_index_are_used(self):
        train, out = split(LABELS, 10, 0)
        batches = Batches(IMAGES, np.arange(50), batch_size=7, index=train)
        assert sorted(torch.cat([y for _, y in batches.epoch(0)]).tolist()) == train.tolist()
        evaluated = in_order(IMAGES, np.arange(50), index=out)
        assert torch.cat([y for _, y in evaluated.epoch(0)]).tolist() == out.tolist()

    def test_images_are_normalised_a_channel_each(self):
        mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
        ((x, _),) = in_order(IMAGES, LABELS, normalise=(mean, std), dtype=torch.float64).epoch(0)
        expected = (IMAGES / 255 - np.array(mean)[:, None, None]) / np.array(std)[:, None, None]
        torch.testing.assert_close(x, torch.from_numpy(expected), rtol=1e-12, atol=1e-12)
        ((plain, _),) = in_order(IMAGES, LABELS).epoch(0)
        assert plain.dtype == torch.float32
        torch.testing.assert_close(plain, torch.from_numpy(IMAGES / 255).float())

    def test_per_image_standardisation_gives_each_image_mean_0_and_deviation_1(self):
        flat = IMAGES.copy()
        flat[7] = 130
        ((x, _),) = in_order(flat, LABELS, normalise="per-image", dtype=torch.float64).epoch(0)
        others = [i for i in range(50) if i != 7]
        torch.testing.assert_close(x.mean((1, 2, 3)), torch.zeros(50, dtype=torch.float64), atol=1e-12, rtol=0)
        torch.testing.assert_close(x.flatten(1).std(1, correction=0)[others], torch.ones(49, dtype=torch.float64))
        assert x[7].abs().max() < 1e-12

    def test_the_images_stay_bytes_and_a_writable_array_is_shared(self):
        images = IMAGES.copy()
        batches = Batches(images, LABELS, batch_size=8)
        assert batches.images.dtype == torch.uint8
        assert batches.images.data_ptr() == images.ctypes.data
        before = images.copy()
        list(Batches(images, LABELS, batch_size=8, augment=CropFlip(), normalise="per-image").epoch(0))
        assert np.array_equal(images, before)

    def test_an_array_that_cannot_be_written_is_copied(self):
        images = IMAGES.copy()
        images.setflags(write=False)
        assert torch.equal(Batches(images, LABELS, batch_size=8).images, torch.from_numpy(IMAGES))

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            ({"images": IMAGES.astype(np.float32)}, "`images` of `Batches` must be uint8"),
            ({"images": IMAGES[0]}, "`images` of `Batches` must be uint8 of shape"),
            ({"labels": LABELS[:-1]}, "`labels` of `Batches` must be 50, one an image"),
            ({"batch_size": 0}, "`batch_size` of `Batches` must be a whole number of at least 1"),
            ({"batch_size": 60, "drop_last": True}, "`Batches` has no batch: 50 images make none of 60"),
            ({"normalise": ((0.5,), (0.5,))}, "must give a mean and a positive std for each of 3 channels"),
            ({"normalise": ((0.5,) * 3, (0.0,) * 3)}, "must give a mean and a positive std for each of 3 channels"),
            ({"normalise": "imagenet"}, r"must be \(mean, std\), 'per-image' or None. Got 'imagenet'"),
        ],
    )
    def test_bad_arguments_are_refused_in_a_sentence(self, change, sentence):
        given = {"images": IMAGES, "labels": LABELS, "batch_size": 8, **change}
        with pytest.raises(ValueError, match=sentence):
            Batches(given.pop("images"), given.pop("labels"), **given)

    def test_a_batch_beyond_the_epoch_is_refused(self):
        with pytest.raises(IndexError, match=r"`i` of `batch` must be in \[0, 7\)\. Got 7\."):
            Batches(IMAGES, LABELS, batch_size=8).batch(0, 7)

    def test_a_memory_map_and_the_embedded_digits_can_be_batched(self):
        digits = data.load("mnist-mini")
        batches = Batches(digits.train_images, digits.train_labels, batch_size=100, normalise=digits.normalise, seed=0)
        x = torch.cat([x for x, _ in batches.epoch(0)])
        assert x.shape == (10_000, 1, 28, 28)
        assert x.mean().item() == pytest.approx(0, abs=1e-4)
        assert x.std().item() == pytest.approx(1, abs=1e-3)


class TestAugmentation:
    @pytest.mark.parametrize("mode", ["zeros", "reflect"])
    @pytest.mark.parametrize(("pad", "size"), [(0, None), (3, None), (2, 6), (0, 5)])
    def test_crop_and_flip_match_a_loop_over_images(self, mode, pad, size):
        x = torch.from_numpy(IMAGES)
        got = CropFlip(pad=pad, mode=mode, size=size)(x, stream(5, "augment", 0, 0))
        rng = stream(5, "augment", 0, 0)
        high, wide = (size, size) if size else (9, 8)
        tops = torch.randint(9 + 2 * pad - high + 1, (50,), generator=rng)
        lefts = torch.randint(8 + 2 * pad - wide + 1, (50,), generator=rng)
        flips = torch.randint(2, (50, 1, 1, 1), generator=rng, dtype=torch.bool).flatten()
        for i in range(50):
            around = [(0, 0), (pad, pad), (pad, pad)]
            padded = np.pad(IMAGES[i], around, mode="reflect" if mode == "reflect" else "constant")
            cut = padded[:, tops[i] : tops[i] + high, lefts[i] : lefts[i] + wide]
            assert np.array_equal(got[i].numpy(), cut[:, :, ::-1] if flips[i] else cut)
        assert 5 < flips.sum() < 45
        assert got.dtype == torch.uint8

    def test_without_flips_no_image_is_mirrored(self):
        x = torch.arange(8, dtype=torch.uint8).expand(30, 1, 8, 8).contiguous()
        assert torch.equal(CropFlip(pad=0, flip=False)(x, stream(0, "a")), x)

    def test_every_offset_is_reached(self):
        x = torch.zeros(2000, 1, 5, 5, dtype=torch.uint8)
        x[:, :, 2, 2] = 1
        places = CropFlip(pad=2)(x, stream(0, "a")).flatten(1).argmax(1)
        assert set(places.tolist()) == set(range(25))

    def test_distort_matches_a_loop_over_images(self):
        x = torch.from_numpy(IMAGES)
        got = Distort(size=6)(x, stream(5, "augment", 0, 0))
        rng = stream(5, "augment", 0, 0)
        tops, lefts = torch.randint(4, (50,), generator=rng), torch.randint(3, (50,), generator=rng)
        flips = torch.randint(2, (50, 1, 1, 1), generator=rng, dtype=torch.bool).flatten()
        draws = torch.rand(2, 50, 1, 1, 1, generator=rng).flatten(1)
        for i in range(50):
            cut = IMAGES[i][:, tops[i] : tops[i] + 6, lefts[i] : lefts[i] + 6].astype(np.float64)
            cut = (cut[:, :, ::-1] if flips[i] else cut) + (draws[0, i].item() * 2 - 1) * 63
            mean = cut.mean((1, 2), keepdims=True)
            expected = (cut - mean) * (0.2 + draws[1, i].item() * 1.6) + mean
            np.testing.assert_allclose(got[i].numpy(), expected, rtol=1e-4, atol=1e-3)

    def test_a_centre_crop_takes_the_middle(self):
        x = torch.from_numpy(IMAGES)
        assert torch.equal(CentreCrop(size=4)(x, stream(0, "a")), x[:, :, 2:6, 2:6])

    def test_other_augmentations_can_be_brought_along(self):
        def invert(images: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
            return 255 - images

        ((x, _),) = in_order(IMAGES, LABELS, augment=invert).epoch(0)
        torch.testing.assert_close(x, torch.from_numpy(1 - IMAGES / 255).float())

    @pytest.mark.parametrize(
        ("make", "sentence"),
        [
            (lambda: CropFlip(pad=-1), "`pad` of `CropFlip` must be a whole number of at least 0. Got -1."),
            (lambda: CropFlip(mode="wrap"), "`mode` of `CropFlip` must be zeros or reflect. Got 'wrap'."),
            (lambda: CropFlip(size=0), "`size` of `CropFlip` must be a whole number of at least 1. Got 0."),
            (lambda: Distort(brightness=float("nan")), "`brightness` of `Distort` must be at least 0. Got nan."),
            (lambda: Distort(contrast=(2.0, 1.0)), r"`contrast` of `Distort` must be a range 0 ≤ low ≤ high"),
            (lambda: CropFlip(size=40)(torch.from_numpy(IMAGES), stream(0)), "`size` of a crop must not exceed"),
            (lambda: CentreCrop(size=40)(torch.from_numpy(IMAGES), stream(0)), "`size` of a crop must not exceed"),
            (
                lambda: CropFlip(pad=8, mode="reflect")(torch.from_numpy(IMAGES), stream(0)),
                "`pad` of `CropFlip` must be below the image's side 8 to reflect it. Got 8.",
            ),
        ],
    )
    def test_bad_arguments_are_refused_in_a_sentence(self, make, sentence):
        with pytest.raises(ValueError, match=sentence):
            make()
