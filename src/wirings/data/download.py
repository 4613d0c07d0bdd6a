"""Fetching a data set on a machine with internet: known addresses, known hashes, written aside and moved into place."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

from wirings.core.errors import DataError
from wirings.data import tiny_imagenet
from wirings.data.load import canonical
from wirings.data.places import roots
from wirings.data.sources import SOURCES, Download, Source

Progress = Callable[[str, int, int | None], None]
"""Called with (file name, bytes so far, bytes in all or None)."""


def download(
    name: str,
    root: str | os.PathLike[str] | None = None,
    *,
    mirror: str | None = None,
    timeout: float = 30.0,
    progress: Progress | None = None,
) -> Path:
    """Fetch what is missing of a data set and return its folder. What is there with the right hash stays.

    Args:
        name: a published data set of `names()`.
        root: where its folder goes; default ``$WIRINGS_DATA``, else the cache's downloads.
        mirror: an address (http, https, file) with the same file names, in place of the known ones.
        timeout: seconds without an answer after which an address is given up.
        progress: told of every piece that arrives.

    Raises:
        DataError: no address answers, a file's hash is wrong, or the folder cannot be written.
    """
    known = canonical(name)
    if known not in SOURCES:
        raise DataError(f"`{known}` ships with wirings: there is nothing to download.")
    if mirror is not None and not mirror.startswith(("http://", "https://", "file://")):
        raise DataError(f"`mirror` of `download` must begin with http://, https:// or file://. Got {mirror!r}.")
    return fetch(SOURCES[known], roots(root)[0], mirror=mirror, timeout=timeout, progress=progress)


def fetch(
    source: Source, root: Path, *, mirror: str | None = None, timeout: float = 30.0, progress: Progress | None = None
) -> Path:
    """Fetch the files of a source into its folder under ``root``."""
    folder = root / source.folders[0]
    if source.kind == "tiny-imagenet":
        with contextlib.suppress(DataError):
            return tiny_imagenet.find(source, (root,))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if source.kind != "tiny-imagenet":
            folder.mkdir(exist_ok=True)
        for item in source.downloads:
            target = (root if source.kind == "tiny-imagenet" else folder) / item.name
            if not _is_right(target, item):
                urls = (f"{mirror.rstrip('/')}/{item.name}",) if mirror else item.urls
                _fetch_file(source, item, urls, target, timeout, progress or (lambda *_: None))
            if source.kind == "tiny-imagenet":
                _unzip(target, folder)
    except OSError as wrong:
        raise DataError(f"`{source.name}` cannot be written to {folder}: {wrong.strerror or wrong}.") from wrong
    return folder


def _fetch_file(
    source: Source, item: Download, urls: tuple[str, ...], target: Path, timeout: float, progress: Progress
) -> None:
    failures = []
    for url in urls:
        descriptor, aside = tempfile.mkstemp(prefix=f".{item.name}-", dir=target.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                got = _copy(url, file.write, item, timeout, progress)
            if got == item.digest:
                os.chmod(aside, 0o644)
                os.replace(aside, target)
                return
            failures.append(f"{url} sent a file with another hash ({got[:19]}... instead of {item.digest[:19]}...)")
        except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as wrong:
            failures.append(f"{url}: {getattr(wrong, 'reason', None) or wrong}")
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(aside)
    raise DataError(
        f"`{item.name}` of `{source.name}` could not be downloaded ({'; '.join(failures)}). Without internet, copy it "
        f"to {target.parent} from a machine that has it, or use `mnist-mini`, which ships with wirings."
    )


def _copy(url: str, write: Callable[[bytes], int], item: Download, timeout: float, progress: Progress) -> str:
    algorithm = item.digest.split(":")[0]
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with urllib.request.urlopen(url, timeout=timeout) as answer:
        length = answer.headers.get("Content-Length")
        done = 0
        while piece := answer.read(1 << 20):
            write(piece)
            digest.update(piece)
            done += len(piece)
            progress(item.name, done, int(length) if length else None)
    return f"{algorithm}:{digest.hexdigest()}"


def _is_right(path: Path, item: Download) -> bool:
    if not path.is_file():
        return False
    algorithm = item.digest.split(":")[0]
    with path.open("rb") as file:
        return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}" == item.digest


def _unzip(archive: Path, folder: Path) -> None:
    """Unpack the one folder of the archive aside, move it into place, and drop the archive."""
    aside = Path(tempfile.mkdtemp(prefix=".aside-", dir=folder.parent))
    try:
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(aside)
        inner = [path.parent for path in aside.rglob("wnids.txt")]
        if not inner:
            raise DataError(f"`{archive}` holds no Tiny ImageNet: there is no wnids.txt in it.")
        os.replace(inner[0], folder)
        archive.unlink()
    except zipfile.BadZipFile as wrong:
        raise DataError(f"`{archive}` cannot be unpacked: {wrong}. Delete it and download it again.") from wrong
    finally:
        shutil.rmtree(aside, ignore_errors=True)
