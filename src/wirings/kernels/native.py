"""The compiled kernels: finding the best library for this processor, loading it once, calling it.

Up to four builds of the same C++ source lie beside this file (``wirings_generic.so``, ``wirings_avx2.so``,
``wirings_avx512.so``, ``wirings_avx512bf16.so``). The generic one is asked what the processor can run.
``WIRINGS_ISA=generic|avx2|avx512|avx512bf16`` forces one of them, ``WIRINGS_ISA=torch`` does without. Nothing is loaded
before the first call.

Their OpenMP runtime is the one that torch has loaded already, so both share one pool of threads.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

LEVELS = ("generic", "avx2", "avx512", "avx512bf16")

# i: int64, d: double, p: pointer. The functions are described where they are written, in cpu/*.cpp.
_SIGNATURES = {
    "forward_panels": "iippppippiiiii",
    "forward": "iippppippiiiii",
    "backward_panels": "iiippppppppppiiiii",
    "backward": "iiippppppppppiiiii",
    "sddmm_panels": "iipppppiiiii",
    "sddmm": "iipppppppiiiii",
    "pack": "ippiiii",
    "unpack": "ippiiii",
    "mask_panels": "ippppiiii",
    "permute": "iipppiii",
    "gather": "iippppippiiii",
    "sell": "iippppppippiiiii",
    "compress": "ipiiipp",
    "transpose": "iiippiippp",
    "conv_transpose": "iiippiiiiiippp",
    "conv_forward": "iipppppiippi",
    "conv_few": "iipppppippiii",
    "conv_input_onto": "iiiippppppppipi",
    "conv_weight": "iipppppipi",
    "to_planes": "ippiiiiiii",
    "from_planes": "ippiiiiiii",
    "norm_forward": "ippppppidipiiiiii",
    "norm_gradients": "ipppppppiidppppiiiiii",
    "pool_forward": "ipppiiiiiiiii",
    "pool_gradient": "ippppiiiiiiiii",
    "top_mask": "ipiiipi",
    "top_index": "ipiiipi",
    "collect": "ipiidpippi",
}
_TYPES: dict[str, type] = {"i": ctypes.c_int64, "d": ctypes.c_double, "p": ctypes.c_void_p}


Argument = Tensor | int | float | ctypes.Array[ctypes.c_int64] | None


class Library:
    """One loaded build. ``call`` runs one of its functions and turns its status into an exception."""

    def __init__(self, isa: str, path: Path) -> None:
        self.isa = isa
        self.path = path
        self._library = ctypes.CDLL(str(path))
        self._functions = {}
        for name, signature in _SIGNATURES.items():
            function = getattr(self._library, f"wirings_{name}")
            function.argtypes = [_TYPES[letter] for letter in signature]
            function.restype = ctypes.c_int64 if name in ("compress", "collect") else ctypes.c_int
            self._functions[name] = function

    def call(self, name: str, *arguments: Argument) -> int:
        """Runs ``wirings_<name>``; tensors go as the address of their first element."""
        status: int = self._functions[name](*[_address(a) if isinstance(a, Tensor) else a for a in arguments])
        if status == -1:
            raise MemoryError(f"the kernel `{name}` could not get its scratch memory.")
        return status

    @property
    def level(self) -> int:
        return int(self._library.wirings_processor_level())

    @property
    def vector_bytes(self) -> int:
        return int(self._library.wirings_vector_bytes())

    @property
    def has_threads(self) -> bool:
        return bool(self._library.wirings_has_threads())


def installed() -> tuple[str, ...]:
    """The builds that lie beside this file and that this processor can run, the plainest first."""
    generic = _load("generic")
    if generic is None:
        return ()
    return tuple(name for name in LEVELS[: generic.level + 1] if _path(name).exists())


def library() -> Library | None:
    """The build in use, or ``None`` where the pure-torch kernels serve."""
    return _forced[-1] if _forced else _chosen()


def available() -> bool:
    """Whether compiled kernels are in use."""
    return library() is not None


def isa() -> str:
    """The instruction set in use, one of `LEVELS`, or ``"torch"`` without compiled kernels."""
    used = library()
    return "torch" if used is None else used.isa


def multiplies_bfloat16() -> bool:
    """Whether the build in use multiplies pairs of bfloat16, and does not widen them first."""
    return isa() == "avx512bf16"


def describe() -> str:
    """One line for people: which kernels run here, and why not better ones."""
    used = library()
    if used is None:
        reason = "WIRINGS_ISA=torch" if installed() else _why_not("generic")
        return f"pure-torch kernels, correct but slow ({reason})"
    team = "shares torch's threads" if used.has_threads else "one thread: built without OpenMP"
    others = ", ".join(name for name in installed() if name != used.isa)
    return (
        f"compiled kernels for {used.isa} ({8 * used.vector_bytes}-bit vectors, {team}; also here: {others or 'none'})"
    )


@contextmanager
def using(name: str) -> Iterator[Library | None]:
    """Runs one build, or ``"torch"`` for none, for the length of a ``with`` block (tests, benchmarks)."""
    _forced.append(_required(name))
    try:
        yield _forced[-1]
    finally:
        _forced.pop()


def threads(work: int) -> int:
    """How many threads ``work`` multiply-adds deserve: one below about 50 us, else all that torch uses."""
    return 1 if work < 1_500_000 else torch.get_num_threads()


_forced: list[Library | None] = []
_refused: dict[str, str] = {}  # build -> what the system's loader said


@cache
def _chosen() -> Library | None:
    wish = os.environ.get("WIRINGS_ISA")
    if wish:
        return _required(wish)
    names = installed()
    return _load(names[-1]) if names else None


def _address(tensor: Tensor) -> int:
    assert tensor.is_contiguous(), "a kernel was about to read a strided tensor"
    return tensor.data_ptr()


def _required(name: str) -> Library | None:
    if name == "torch":
        return None
    if name not in LEVELS:
        raise ValueError(f"`WIRINGS_ISA` must be one of {', '.join((*LEVELS, 'torch'))}. Got {name!r}.")
    if name not in installed():
        raise ValueError(f"the kernels for {name!r} are not here: {_why_not(name)}.")
    return _load(name)


def _why_not(name: str) -> str:
    if not _path("generic").exists():
        return (
            "no C++ compiler was found when wirings was installed; "
            "with GCC 12, Clang or newer, install it again: pip install --force-reinstall --no-deps"
        )
    if _load("generic") is None:
        return f"the compiled ones do not load here: {_refused['generic']}"
    return "this processor cannot run them" if _path(name).exists() else "the compiler could not build them"


def _path(name: str) -> Path:
    return Path(__file__).parent / f"wirings_{name}.so"


@cache
def _load(name: str) -> Library | None:
    path = _path(name)
    try:
        return Library(name, path) if path.exists() else None
    except OSError as error:  # a wheel from another kind of system, say, or no OpenMP runtime where torch brings none
        _refused[name] = str(error)
        return None
