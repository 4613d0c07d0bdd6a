"""Miniature data sets in the published formats, with sources that know their hashes."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import pickle
from pathlib import Path

import numpy as np

from wirings.data.sources import Download, File, Source

IDX_NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def idx_bytes(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.astype(np.uint8).tobytes()


def idx_files(seed: int = 0) -> dict[str, bytes]:
    rng = np.random.default_rng(seed)
    shapes = ((20, 6, 5), (20,), (8, 6, 5), (8,))
    highs = (256, 4, 256, 4)
    return {
        name: idx_bytes(rng.integers(0, high, shape))
        for name, shape, high in zip(IDX_NAMES, shapes, highs, strict=True)
    }


def cifar_files() -> dict[str, bytes]:
    """Batches as Python 2 wrote them: text keys, protocol 2."""
    rng = np.random.default_rng(1)

    def batch(count: int, key: bytes) -> bytes:
        return pickle.dumps(
            {b"data": rng.integers(0, 256, (count, 3072), np.uint8), key: rng.integers(0, 10, count).tolist()},
            protocol=2,
        )

    return {"data_batch_1": batch(6, b"labels"), "data_batch_2": batch(5, b"labels"), "test_batch": batch(4, b"labels")}


def source_of(files: dict[str, bytes], kind: str, *, algorithm: str = "sha256", archive: str | None = None) -> Source:
    """A source named "made" whose published hashes are those of these bytes."""
    return Source(
        name="made",
        title="Made",
        kind=kind,
        classes=10,
        files=tuple(
            File(name=name, digest=f"{algorithm}:{hashlib.new(algorithm, raw).hexdigest()}", size=len(raw))
            for name, raw in files.items()
        ),
        folders=("made", "Made/raw", ""),
        archive=archive,
        downloads=tuple(
            Download(
                name=f"{name}.gz",
                digest=f"sha256:{hashlib.sha256(gzip.compress(raw, mtime=0)).hexdigest()}",
                urls=(f"http://127.0.0.1:9/{name}.gz",),
            )
            for name, raw in files.items()
        ),
    )


def write(files: dict[str, bytes], folder: Path, packing: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, raw in files.items():
        packed = {"": bytes, ".gz": lambda r: gzip.compress(r, mtime=0), ".xz": lzma.compress}[packing](raw)
        (folder / (name + packing)).write_bytes(packed)
    return folder
