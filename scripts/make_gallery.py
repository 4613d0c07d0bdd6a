"""Take the wirings of finished runs into the package's gallery: ``python scripts/make_gallery.py RUNS``.

Of every method and sparsity the run with seed 0 is taken; the runs are those of docs/results.md.
"""

from __future__ import annotations

import sys

from wirings.core.wiring import Wiring
from wirings.gallery import ENDING, HOME
from wirings.training import find

SHORT = {"lenet-300-100": "lenet300"}


def main(root: str) -> None:
    """Write ``<network>-<data>-<method>-<percent sparse>-s<seed>`` for each."""
    for record in find(root):
        if not record.finished or record.seed != 0 or record.density > 0.5 or record.run.small_dense is not None:
            continue
        model, percent = SHORT.get(record.run.model, record.run.model), round(100 * (1 - record.density))
        name = f"{model}-{record.run.data}-{record.method}-{percent}-s{record.seed}"
        Wiring(dict(record.wiring)).save(HOME / f"{name}{ENDING}")
        print(name, record.wiring.nnz, record.wiring.fingerprint)


if __name__ == "__main__":
    main(sys.argv[1])
