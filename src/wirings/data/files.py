"""Finding a data set's files, unpacking them and checking their hashes."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import tarfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from wirings.core.errors import DataError, reason_of
from wirings.data.sources import SOURCES, File, Source

PACKINGS = ("", ".gz", ".xz")


@dataclass(frozen=True)
class Found:
    """Where a data set's files lie: a path for each, or one archive that holds them all."""

    source: Source
    folder: Path
    paths: tuple[Path, ...]
    archive: Path | None = None

    def key(self) -> str:
        """Hash of the files as they lie on disk: another byte, another key."""
        digest = hashlib.sha256()
        for path in (self.archive,) if self.archive else self.paths:
            try:
                with path.open("rb") as stream:
                    digest.update(hashlib.file_digest(stream, "sha256").digest())
            except OSError as wrong:
                raise DataError(f"`{path}` of `{self.source.name}` cannot be read: {reason_of(wrong)}.") from wrong
        return digest.hexdigest()

    def read(self, name: str) -> bytes:
        """The bytes of one file, unpacked, once their hash is right.

        Raises:
            DataError: the file is truncated, damaged, or not the published one.
        """
        position = [file.name for file in self.source.files].index(name)
        file = self.source.files[position]
        if self.archive:
            path, raw = self.archive, _from_archive(self.archive, file, self.source)
        else:
            path = self.paths[position]
            raw = _unpacked(path, file, self.source)
        _check(raw, file, path, self.source)
        return raw


def find(source: Source, roots: Sequence[Path]) -> Found:
    """The first folder that holds the whole data set, plain, packed file by file, or as its archive.

    Raises:
        DataError: there is none; the sentence says where it was sought and what to do.
    """
    incomplete: tuple[Path, list[str]] | None = None
    for root in roots:
        for folder in (root / name for name in source.folders):
            paths = [_packed_or_plain(folder, file.name) for file in source.files]
            if all(paths):
                return Found(source, folder, tuple(p for p in paths if p))
            if source.archive and (folder / source.archive).is_file():
                return Found(source, folder, (), folder / source.archive)
            if any(paths) and incomplete is None:
                incomplete = folder, [f.name for f, p in zip(source.files, paths, strict=True) if p is None]
    if incomplete:
        folder, lacking = incomplete
        raise DataError(
            f"`{source.name}` in {folder} is incomplete: {_listed(lacking)} missing. Copy what is missing (plain, .gz "
            f"or .xz), or fetch the set with `wirings.data.download({source.name!r})`."
        )
    raise missing(source, roots)


def missing(source: Source, roots: Sequence[Path]) -> DataError:
    """The error for a data set that is nowhere."""
    sought = " or ".join(str(root) for root in roots)
    holds = f"{source.folders[0]}/{source.downloads[0].name}"
    more = f" and {len(source.downloads) - 1} more files" if len(source.downloads) > 1 else ""
    if source.kind == "tiny-imagenet":
        holds, more = f"{source.folders[0]}/wnids.txt", ", train/ and val/"
    return DataError(
        f"`{source.name}` was not found under {sought}. Set WIRINGS_DATA or --data-root to a folder that holds "
        f"{holds}{more}, fetch it with `wirings.data.download({source.name!r})`, or use `mnist-mini`, which ships "
        "with wirings."
    )


def digest_of(raw: bytes, like: str) -> str:
    """The digest of bytes, by the algorithm that ``like`` ("sha256:...", "md5:...") names."""
    algorithm = like.split(":")[0]
    return f"{algorithm}:{hashlib.new(algorithm, raw, usedforsecurity=False).hexdigest()}"


def _packed_or_plain(folder: Path, name: str) -> Path | None:
    for spelling in (name, name.replace("-idx", ".idx")):  # one well-known copy of MNIST writes a dot
        for packing in PACKINGS:
            path = folder / (spelling + packing)
            if path.is_file():
                return path
    return None


def _unpacked(path: Path, file: File, source: Source) -> bytes:
    try:
        with _opened(path) as stream:
            return stream.read(file.size + 1)  # one byte more than published shows that there is more
    except EOFError as wrong:
        raise DataError(_damaged(path, source, "it is truncated")) from wrong
    except (gzip.BadGzipFile, lzma.LZMAError, zlib.error) as wrong:
        raise DataError(_damaged(path, source, f"it cannot be unpacked ({reason_of(wrong)})")) from wrong
    except OSError as wrong:
        raise DataError(f"`{path}` of `{source.name}` cannot be read: {reason_of(wrong)}.") from wrong


def _opened(path: Path) -> IO[bytes] | gzip.GzipFile | lzma.LZMAFile:
    if path.suffix == ".gz":
        return gzip.open(path)
    return lzma.open(path) if path.suffix == ".xz" else path.open("rb")


def _from_archive(path: Path, file: File, source: Source) -> bytes:
    try:
        with tarfile.open(path, "r:*") as archive:
            for member in archive:
                if member.isfile() and Path(member.name).name == file.name:
                    stream = archive.extractfile(member)
                    assert stream is not None  # of a plain file it never is
                    return stream.read(file.size + 1)
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError) as wrong:
        raise DataError(_damaged(path, source, f"it cannot be unpacked ({reason_of(wrong)})")) from wrong
    except OSError as wrong:
        raise DataError(f"`{path}` of `{source.name}` cannot be read: {reason_of(wrong)}.") from wrong
    raise DataError(_damaged(path, source, f"it holds no `{file.name}`"))


def _check(raw: bytes, file: File, path: Path, source: Source) -> None:
    if len(raw) < file.size:
        raise DataError(_damaged(path, source, f"it is truncated ({len(raw):,} of {file.size:,} bytes)"))
    got = digest_of(raw, file.digest)
    if got == file.digest and len(raw) == file.size:
        return
    other = next((s for s in SOURCES.values() for f in s.files if f.digest == got and s.name != source.name), None)
    if other:
        raise DataError(
            f"`{path}` is a file of {other.title}, not of {source.title}. Ask for `{other.name}`, or set WIRINGS_DATA "
            f"or --data-root to the folder above {source.folders[0]}/."
        )
    raise DataError(_damaged(path, source, f"{file.digest[:19]}... was expected, and it has {got[:19]}..."))


def _damaged(path: Path, source: Source, why: str) -> str:
    return (
        f"`{path}` is damaged or not the published file of `{source.name}`: {why}. Delete it and copy it again, or "
        f"fetch it with `wirings.data.download({source.name!r})`."
    )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names)
    return f"{shown} {'is' if len(names) == 1 else 'are'}"
