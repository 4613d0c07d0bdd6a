"""Downloads over a loopback server and from files: right hash or nothing."""

from __future__ import annotations

import functools
import http.server
import io
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made import idx_files, source_of, write

from wirings import data
from wirings.core.errors import DataError
from wirings.data.download import fetch
from wirings.data.load import from_source
from wirings.data.sources import TINY_IMAGENET


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A loopback server of tmp_path/served."""
    (tmp_path / "served").mkdir()
    handler = functools.partial(Quiet, directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


def test_what_is_downloaded_can_be_loaded(tmp_path, server):
    files = idx_files()
    made = source_of(files, "idx")
    write(files, tmp_path / "served", ".gz")
    pieces = []
    folder = fetch(made, tmp_path / "root", mirror=server, progress=lambda *about: pieces.append(about))
    assert folder == tmp_path / "root" / "made"
    assert sorted(p.name for p in folder.iterdir()) == sorted(f"{name}.gz" for name in files)
    assert len(from_source(made, [tmp_path / "root"]).train_images) == 20
    name, done, size = pieces[0]
    assert (name, done) == ("train-images-idx3-ubyte.gz", size)


def test_what_is_there_with_the_right_hash_is_not_fetched_again(tmp_path):
    files = idx_files()
    write(files, tmp_path / "root" / "made", ".gz")
    nowhere = "http://127.0.0.1:9"
    assert fetch(source_of(files, "idx"), tmp_path / "root", mirror=nowhere) == tmp_path / "root" / "made"


def test_a_damaged_file_is_fetched_anew(tmp_path):
    files = idx_files()
    served = write(files, tmp_path / "served", ".gz")
    root = write(files, tmp_path / "root" / "made", ".gz")
    (root / "t10k-labels-idx1-ubyte.gz").write_bytes(b"half")
    fetch(source_of(files, "idx"), tmp_path / "root", mirror=served.as_uri())
    assert (root / "t10k-labels-idx1-ubyte.gz").read_bytes() == (served / "t10k-labels-idx1-ubyte.gz").read_bytes()


def test_a_file_with_a_wrong_hash_is_refused_and_not_kept(tmp_path):
    files = idx_files()
    served = write({**files, "train-images-idx3-ubyte": b"something else"}, tmp_path / "served", ".gz")
    with pytest.raises(DataError, match=r"sent a file with another hash \(sha256:\w{12}\.\.\. instead of sha256:"):
        fetch(source_of(files, "idx"), tmp_path / "root", mirror=served.as_uri())
    assert list((tmp_path / "root" / "made").iterdir()) == []


def test_the_next_address_is_tried_when_one_fails(tmp_path):
    files = idx_files()
    made = source_of(files, "idx")
    served = write(files, tmp_path / "served", ".gz")
    second = tuple(replace(d, urls=(*d.urls, f"{served.as_uri()}/{d.name}")) for d in made.downloads)
    fetch(replace(made, downloads=second), tmp_path / "root", timeout=5)
    assert len(list((tmp_path / "root" / "made").iterdir())) == 4


def test_without_internet_there_is_one_sentence_with_the_way_out(tmp_path):
    with pytest.raises(DataError) as caught:
        fetch(source_of(idx_files(), "idx"), tmp_path, timeout=5)
    said = str(caught.value)
    assert "\n" not in said
    assert said.startswith("`train-images-idx3-ubyte.gz` of `made` could not be downloaded (http://127.0.0.1:9/")
    assert said.endswith(
        f"Without internet, copy it to {tmp_path}/made from a machine that has it, or use `mnist-mini`, which ships "
        "with wirings."
    )


def test_a_page_that_is_not_there_is_reported(tmp_path, server):
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz: Not Found|File not found"):
        fetch(source_of(idx_files(), "idx"), tmp_path / "root", mirror=server)


def test_a_folder_that_cannot_be_made_is_reported(tmp_path):
    (tmp_path / "root").write_text("a file")
    with pytest.raises(DataError, match=r"`made` cannot be written to .*root/made: (Not a directory|File exists)"):
        fetch(source_of(idx_files(), "idx"), tmp_path / "root")


def test_what_ships_with_the_package_is_not_downloaded():
    with pytest.raises(DataError, match="`mnist-mini` ships with wirings: there is nothing to download"):
        data.download("mnist-mini")
    with pytest.raises(DataError, match="There is no data set 'imagenet'"):
        data.download("imagenet")


def test_a_mirror_must_be_an_address():
    with pytest.raises(DataError, match=r"`mirror` of `download` must begin with http://, .* Got 'ftp://x'"):
        data.download("mnist", mirror="ftp://x")


def test_without_a_root_downloads_go_to_the_named_folder_or_the_cache(tmp_path, own_cache, monkeypatch):
    (tmp_path / "served").mkdir()
    with pytest.raises(DataError, match=f"copy it to {own_cache}/downloads/mnist "):
        data.download("mnist", mirror=(tmp_path / "served").as_uri())
    monkeypatch.setenv("WIRINGS_DATA", str(tmp_path / "named"))
    with pytest.raises(DataError, match=f"copy it to {tmp_path}/named/mnist "):
        data.download("mnist", mirror=(tmp_path / "served").as_uri())


class TestTinyImageNet:
    """A generated miniature of its folder: three classes, small JPEGs, one of them grey."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        from PIL import Image

        root = tmp_path / "root" / "tiny-imagenet-200"
        rng = np.random.default_rng(0)

        def jpeg(path: Path, shade: int, mode: str = "RGB") -> None:
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.full((16, 16, 3), shade, np.uint8)
            Image.fromarray(pixels).convert(mode).save(path, "JPEG", quality=95)

        ids = ["n03", "n01", "n02"]
        (root / "val").mkdir(parents=True)
        (root / "wnids.txt").write_text("\n".join(ids) + "\n")
        for place, wnid in enumerate(sorted(ids)):
            for i in range(4):
                jpeg(root / "train" / wnid / "images" / f"{wnid}_{i}.JPEG", 60 * place + i, "L" if i == 0 else "RGB")
        lines = []
        for i in range(6):
            wnid = ids[int(rng.integers(3))]
            jpeg(root / "val" / "images" / f"val_{i}.JPEG", 200 + i)
            lines.append(f"val_{i}.JPEG\t{wnid}\t0\t0\t15\t15")
        (root / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")
        return root

    def test_the_folder_is_read_with_sorted_classes_and_validation_as_test(self, folder):
        got = data.load("tiny-imagenet", folder.parent)
        assert got.train_images.shape == (12, 3, 16, 16)
        assert got.classes == 3
        assert got.train_labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
        assert (
            np.abs(got.train_images[:, 0, 5, 5].astype(int) - [0, 1, 2, 3, 60, 61, 62, 63, 120, 121, 122, 123]).max()
            <= 2
        )
        assert np.abs(got.test_images[:, 1, 0, 0].astype(int) - np.arange(200, 206)).max() <= 2
        notes = [line.split("\t")[1] for line in (folder / "val" / "val_annotations.txt").read_text().splitlines()]
        assert got.test_labels.tolist() == [["n01", "n02", "n03"].index(n) for n in notes]

    def test_it_is_decoded_once(self, folder, monkeypatch):
        first = data.load("tiny-imagenet", folder)
        from wirings.data import tiny_imagenet

        monkeypatch.setattr(tiny_imagenet, "decode", lambda _: pytest.fail("it was decoded again"))
        assert data.load("tiny-imagenet", folder.parent).sha256 == first.sha256

    def test_a_damaged_image_is_named(self, folder):
        (folder / "train" / "n02" / "images" / "n02_1.JPEG").write_bytes(b"no image")
        with pytest.raises(DataError, match=r"n02_1\.JPEG` of `tiny-imagenet` is damaged"):
            data.load("tiny-imagenet", folder)

    def test_an_image_of_another_size_is_named(self, folder):
        from PIL import Image

        Image.new("RGB", (8, 16)).save(folder / "val" / "images" / "val_3.JPEG")
        with pytest.raises(DataError, match=r"val_3\.JPEG` of `tiny-imagenet` must be 16 × 16 pixels .* Got 16 × 8\."):
            data.load("tiny-imagenet", folder)

    def test_missing_parts_are_named(self, folder):
        (folder / "val" / "images" / "val_0.JPEG").unlink()
        with pytest.raises(DataError, match=r"val/images/val_0\.JPEG of class n\d\d is missing"):
            data.load("tiny-imagenet", folder)
        (folder / "val" / "val_annotations.txt").unlink()
        with pytest.raises(DataError, match=r"is incomplete: val/val_annotations\.txt is missing"):
            data.load("tiny-imagenet", folder)
        for path in (folder / "train" / "n01" / "images").iterdir():
            path.unlink()
        with pytest.raises(DataError, match=r"is incomplete: there are no JPEG images in .*n01/images"):
            data.load("tiny-imagenet", folder)

    def test_without_pillow_the_sentence_says_what_to_install(self, folder, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "PIL", None)
        with pytest.raises(DataError, match="needs Pillow: `pip install pillow`"):
            data.load("tiny-imagenet", folder)

    def test_its_archive_is_downloaded_and_unpacked_once(self, folder, tmp_path):
        import hashlib

        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for path in sorted(folder.rglob("*")):
                archive.write(path, path.relative_to(folder.parent))
        (tmp_path / "served").mkdir()
        (tmp_path / "served" / "tiny-imagenet-200.zip").write_bytes(packed.getvalue())
        digest = f"md5:{hashlib.md5(packed.getvalue()).hexdigest()}"
        made = replace(TINY_IMAGENET, downloads=(replace(TINY_IMAGENET.downloads[0], digest=digest),))
        where = tmp_path / "new"
        assert fetch(made, where, mirror=(tmp_path / "served").as_uri()) == where / "tiny-imagenet-200"
        assert [p.name for p in where.iterdir()] == ["tiny-imagenet-200"]
        assert data.load("tiny-imagenet", where).sha256 == data.load("tiny-imagenet", folder).sha256
        assert fetch(made, where, mirror="http://127.0.0.1:9") == where / "tiny-imagenet-200"
