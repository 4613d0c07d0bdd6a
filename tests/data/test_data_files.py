"""Files as people keep them: found, unpacked, checked; and one clear sentence where something is wrong."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from made import IDX_NAMES, cifar_files, idx_bytes, idx_files, source_of, write

from wirings import data
from wirings.core.errors import DataError
from wirings.data import cifar, idx, sources
from wirings.data.files import find
from wirings.data.load import from_source


@pytest.mark.parametrize("packing", ["", ".gz", ".xz"])
@pytest.mark.parametrize("folder", ["made", "Made/raw", "."])
def test_idx_files_are_found_packed_or_plain_in_the_usual_folders(tmp_path, packing, folder):
    files = idx_files()
    write(files, tmp_path / "root" / folder, packing)
    got = from_source(source_of(files, "idx"), [tmp_path / "root"])
    assert got.train_images.shape == (20, 1, 6, 5)
    assert got.train_images.dtype == np.uint8
    assert got.test_labels.dtype == np.int64
    assert got.test_images.tobytes() == files[IDX_NAMES[2]][16:]
    assert got.train_labels.tolist() == list(files[IDX_NAMES[1]][8:])


def test_the_content_hash_does_not_depend_on_the_packing(tmp_path):
    files = idx_files()
    made = source_of(files, "idx")
    hashes = set()
    for packing in ("", ".gz", ".xz"):
        root = tmp_path / f"root{packing}"
        write(files, root / "made", packing)
        hashes.add(from_source(made, [root]).sha256)
    assert len(hashes) == 1


def test_a_later_folder_is_used_where_the_first_has_nothing(tmp_path):
    files = idx_files()
    (tmp_path / "empty").mkdir()
    write(files, tmp_path / "full" / "made")
    assert len(from_source(source_of(files, "idx"), [tmp_path / "empty", tmp_path / "full"]).test_images) == 8


def test_mean_and_deviation_are_those_of_the_training_pixels(tmp_path):
    files = cifar_files()
    write(files, tmp_path / "made")
    got = from_source(source_of(files, "cifar"), [tmp_path])
    pixels = got.train_images.astype(np.float64).transpose(1, 0, 2, 3).reshape(3, -1) / 255
    assert got.mean == pytest.approx(pixels.mean(1))
    assert got.std == pytest.approx(pixels.std(1))


@pytest.mark.parametrize("packing", ["", ".gz", ".xz"])
def test_cifar_batches_are_read_in_order_when_their_hash_is_right(tmp_path, packing):
    files = cifar_files()
    write(files, tmp_path / "made", packing)
    got = from_source(source_of(files, "cifar", algorithm="md5"), [tmp_path])
    first = pickle.loads(files["data_batch_1"])  # noqa: S301 - made above
    second = pickle.loads(files["data_batch_2"])  # noqa: S301 - made above
    assert got.train_images.shape == (11, 3, 32, 32)
    assert np.array_equal(got.train_images[:6].reshape(6, -1), first[b"data"])
    assert got.train_labels[6:].tolist() == second[b"labels"]
    assert len(got.test_images) == 4


def test_cifar_is_read_from_its_official_archive(tmp_path):
    files = cifar_files()
    root = tmp_path / "root" / "made"
    root.mkdir(parents=True)
    with tarfile.open(root / "made.tar.gz", "w:gz") as archive:
        for name, raw in files.items():
            about = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            about.size = len(raw)
            archive.addfile(about, io.BytesIO(raw))
    got = from_source(source_of(files, "cifar", archive="made.tar.gz"), [tmp_path / "root"])
    assert len(got.train_images) == 11


def test_an_archive_without_a_batch_is_refused(tmp_path):
    with tarfile.open(tmp_path / "made.tar.gz", "w:gz"):
        pass
    with pytest.raises(DataError, match=r"made\.tar\.gz` is damaged or not the .* of `made`: it holds no `data_b"):
        from_source(source_of(cifar_files(), "cifar", archive="made.tar.gz"), [tmp_path])


def test_a_truncated_archive_is_refused(tmp_path):
    files = cifar_files()
    with tarfile.open(tmp_path / "made.tar.gz", "w:gz") as archive:
        for name, raw in files.items():
            about = tarfile.TarInfo(name)
            about.size = len(raw)
            archive.addfile(about, io.BytesIO(raw))
    whole = (tmp_path / "made.tar.gz").read_bytes()
    (tmp_path / "made.tar.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"made\.tar\.gz` is damaged .* cannot be unpacked"):
        from_source(source_of(files, "cifar", archive="made.tar.gz"), [tmp_path])


class TestRefusals:
    def test_a_missing_data_set_says_where_it_was_sought_and_the_way_out(self, tmp_path, monkeypatch):
        monkeypatch.setenv("WIRINGS_DATA", str(tmp_path / "here"))
        with pytest.raises(DataError) as caught:
            data.load("mnist")
        assert str(caught.value) == (
            f"`mnist` was not found under {tmp_path}/here or {tmp_path}/cache/downloads. Set WIRINGS_DATA or "
            "--data-root to a folder that holds mnist/train-images-idx3-ubyte.gz and 3 more files, fetch it with "
            "`wirings.data.download('mnist')`, or use `mnist-mini`, which ships with wirings."
        )

    def test_a_named_root_is_the_only_place_that_is_sought(self, tmp_path, monkeypatch):
        monkeypatch.setenv("WIRINGS_DATA", str(tmp_path / "elsewhere"))
        with pytest.raises(DataError, match=f"`cifar10` was not found under {tmp_path}/there. Set") as caught:
            data.load("cifar10", tmp_path / "there")
        assert "elsewhere" not in str(caught.value)

    @pytest.mark.parametrize("name", sorted(sources.SOURCES))
    def test_every_published_set_has_such_a_sentence(self, name, tmp_path):
        with pytest.raises(DataError, match=f"`{name}` was not found under {tmp_path}. .* or use `mnist-mini`"):
            data.load(name, tmp_path)

    def test_an_incomplete_set_names_what_is_missing(self, tmp_path):
        files = idx_files()
        write(files, tmp_path / "made", ".gz")
        (tmp_path / "made" / f"{IDX_NAMES[3]}.gz").unlink()
        with pytest.raises(DataError, match=r"`made` in .*made is incomplete: `t10k-labels-idx1-ubyte` is missing\."):
            from_source(source_of(files, "idx"), [tmp_path])

    @pytest.mark.parametrize("packing", ["", ".gz", ".xz"])
    def test_a_truncated_file_is_refused(self, tmp_path, packing):
        files = idx_files()
        write(files, tmp_path / "made", packing)
        path = tmp_path / "made" / (IDX_NAMES[0] + packing)
        path.write_bytes(path.read_bytes()[:-40])
        with pytest.raises(DataError, match=r"train-images.*is damaged or not the published file.*it is truncated"):
            from_source(source_of(files, "idx"), [tmp_path])

    @pytest.mark.parametrize("packing", [".gz", ".xz"])
    def test_a_file_that_only_claims_to_be_packed_is_refused(self, tmp_path, packing):
        files = idx_files()
        write(files, tmp_path / "made", packing)
        (tmp_path / "made" / (IDX_NAMES[0] + packing)).write_bytes(b"<html>not found</html>")
        with pytest.raises(DataError, match="it cannot be unpacked"):
            from_source(source_of(files, "idx"), [tmp_path])

    @pytest.mark.parametrize("packing", ["", ".gz", ".xz"])
    def test_one_changed_byte_is_refused(self, tmp_path, packing):
        files = idx_files()
        changed = dict(files)
        raw = bytearray(changed[IDX_NAMES[0]])
        raw[100] ^= 1
        changed[IDX_NAMES[0]] = bytes(raw)
        write(changed, tmp_path / "made", packing)
        with pytest.raises(
            DataError, match=r"sha256:\w{12}\.\.\. was expected, and it has sha256:\w{12}\.\.\.\. Delete"
        ):
            from_source(source_of(files, "idx"), [tmp_path])

    def test_a_file_with_something_behind_it_is_refused(self, tmp_path):
        files = idx_files()
        write({**files, IDX_NAMES[1]: files[IDX_NAMES[1]] + b"more"}, tmp_path / "made")
        with pytest.raises(DataError, match=r"train-labels.* is damaged or not the published file"):
            from_source(source_of(files, "idx"), [tmp_path])

    def test_a_file_of_another_data_set_is_called_by_its_name(self, tmp_path, monkeypatch):
        files, others = idx_files(0), idx_files(1)
        monkeypatch.setitem(sources.SOURCES, "mnist", source_of(others, "idx"))
        object.__setattr__(sources.SOURCES["mnist"], "name", "mnist")
        write(others, tmp_path / "made")
        with pytest.raises(DataError, match=r"is a file of Made, not of Made\. Ask for `mnist`, or set WIRINGS_DATA"):
            from_source(source_of(files, "idx"), [tmp_path])

    def test_a_file_that_cannot_be_read_is_named(self, tmp_path, monkeypatch):
        files = idx_files()
        write(files, tmp_path / "made")
        found = find(source_of(files, "idx"), [tmp_path])

        def refuse(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", refuse)
        for attempt in (found.key, lambda: found.read(IDX_NAMES[0])):
            with pytest.raises(
                DataError, match=r"train-images-idx3-ubyte` of `made` cannot be read: Permission denied\."
            ):
                attempt()

    def test_a_wrong_magic_number_is_refused(self):
        with pytest.raises(
            DataError, match=r"`labels` is not an IDX file of bytes: it must begin with 00000801\. Got 00"
        ):
            idx.parse(idx_bytes(np.zeros((2, 2))), dimensions=1, what="labels")

    def test_an_idx_file_whose_head_promises_more_is_refused(self):
        raw = idx_bytes(np.zeros((3, 2, 2)))
        with pytest.raises(DataError, match=r"truncated or too long: its head says 3 × 2 × 2 bytes\. Got 11\."):
            idx.parse(raw[:-1], dimensions=3, what="images")
        with pytest.raises(DataError, match="is not an IDX file"):
            idx.parse(raw[:7], dimensions=3, what="images")

    def test_an_unknown_data_set_is_answered_with_the_nearest_name(self):
        with pytest.raises(DataError, match=r"There is no data set 'minst'\. Did you mean 'mnist'\? Known: cifar10, "):
            data.load("minst")


class TestPickles:
    """A pickle can run code; these must not."""

    def test_a_batch_that_wants_to_run_something_is_refused_before_it_does(self, tmp_path):
        class Evil:
            def __reduce__(self):
                return os.mkdir, (str(tmp_path / "owned"),)

        raw = pickle.dumps({b"data": Evil()}, protocol=2)
        with pytest.raises(DataError, match=r"not a plain batch of images: its pickle asks for `posix\.mkdir`"):
            cifar.batch(raw, "data_batch_1")
        assert not (tmp_path / "owned").exists()

    def test_a_batch_with_a_wrong_hash_is_not_unpickled_at_all(self, tmp_path, monkeypatch):
        files = cifar_files()
        made = source_of(files, "cifar")
        write({**files, "data_batch_1": files["data_batch_1"][:-1] + b"!"}, tmp_path / "made")
        monkeypatch.setattr(cifar, "restricted_load", lambda *_: pytest.fail("it was unpickled"))
        with pytest.raises(DataError, match="is damaged or not the published file"):
            from_source(made, [tmp_path])

    def test_a_broken_pickle_is_refused(self):
        with pytest.raises(DataError, match="`data_batch_1` cannot be unpickled"):
            cifar.batch(b"\x80\x02broken", "data_batch_1")

    def test_a_pickle_of_something_else_is_refused(self):
        with pytest.raises(DataError, match="`test_batch` is not a batch of CIFAR images"):
            cifar.batch(pickle.dumps({b"labels": [1]}, protocol=2), "test_batch")
        raw = pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [1]}, protocol=2)
        with pytest.raises(DataError, match="images and labels do not fit together"):
            cifar.batch(raw, "test_batch")

    def test_arrays_pickled_by_old_and_new_numpy_are_both_read(self):
        array = np.arange(3072, dtype=np.uint8).reshape(1, 3072)
        raw = pickle.dumps({b"data": array, b"fine_labels": [7]}, protocol=2)
        assert b"numpy._core.multiarray" in raw
        old = raw.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
        for version in (raw, old):
            images, labels = cifar.batch(version, "train")
            assert np.array_equal(images.reshape(1, -1), array)
            assert labels.tolist() == [7]


@pytest.mark.parametrize(
    ("loose", "proper"),
    [
        ("CIFAR-10", "cifar10"),
        ("cifar_100", "cifar100"),
        ("FashionMNIST", "fashion-mnist"),
        ("mnist_mini", "mnist-mini"),
        ("tiny-imagenet-200", "tiny-imagenet"),
    ],
)
def test_names_forgive_case_dashes_and_underscores(loose, proper):
    assert data.canonical(loose) == proper


def test_all_names_are_listed_with_those_that_are_always_there_first():
    assert data.names() == (
        "mnist-mini",
        "gaussian-blobs",
        "mnist",
        "fashion-mnist",
        "cifar10",
        "cifar100",
        "tiny-imagenet",
    )


def test_locate_tells_the_folder_of_a_set(tmp_path, monkeypatch):
    assert data.locate("mnist-mini") is None
    for name in IDX_NAMES:
        (tmp_path / "MNIST" / "raw").mkdir(parents=True, exist_ok=True)
        (tmp_path / "MNIST" / "raw" / f"{name}.gz").touch()
    assert data.locate("mnist", tmp_path) == tmp_path / "MNIST" / "raw"


@pytest.mark.real_data
class TestRealFiles:
    """The published files themselves, from WIRINGS_DATA."""

    @pytest.mark.parametrize(
        ("name", "shape", "mean", "std", "sha256"),
        [
            ("mnist", (1, 28, 28), (0.1307,), (0.3081,), "f03f67b1b8911ec4"),
            ("fashion-mnist", (1, 28, 28), (0.2860,), (0.3530,), "4534a8a413eff65a"),
            ("cifar10", (3, 32, 32), (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), "5e5e71ed4630d506"),
        ],
    )
    def test_a_published_set_is_read_with_the_known_statistics(self, full_data, name, shape, mean, std, sha256):
        got = data.load(name, full_data)
        assert got.image_shape == shape
        assert (len(got.train_images), len(got.test_images)) == (50_000 if name == "cifar10" else 60_000, 10_000)
        assert got.mean == pytest.approx(mean, abs=6e-5)
        assert got.std == pytest.approx(std, abs=6e-5)
        assert got.sha256[:16] == sha256
        if "mnist" not in name or "fashion" in name:
            assert np.bincount(got.test_labels).tolist() == [1000] * 10

    def test_mnist_is_read_from_plain_files_and_from_one_packed_anew(self, full_data, tmp_path):
        folder = Path(tmp_path / "root" / "MNIST" / "raw")
        folder.mkdir(parents=True)
        for name in IDX_NAMES:
            raw = gzip.decompress((full_data / "mnist" / f"{name}.gz").read_bytes())
            if "labels" in name:
                (folder / f"{name}.xz").write_bytes(lzma.compress(raw, preset=0))
            else:
                (folder / name).write_bytes(raw)
        assert data.load("mnist", tmp_path / "root").sha256.startswith("f03f67b1b8911ec4")

    def test_fashion_files_are_not_taken_for_digits(self, full_data):
        with pytest.raises(DataError, match=r"is a file of Fashion-MNIST, not of MNIST\. Ask for `fashion-mnist`, or"):
            data.load("mnist", full_data / "fashion-mnist")
