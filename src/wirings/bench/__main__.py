"""``python -m wirings.bench attach [--rounds N] [--threads N] [--json PATH]``."""

from __future__ import annotations

import argparse
import sys

from wirings.bench import attach
from wirings.bench.protocol import save

BENCHES = {"attach": attach}


def main(arguments: list[str] | None = None) -> int:
    """Run one benchmark and write its table to standard output."""
    parser = argparse.ArgumentParser(prog="python -m wirings.bench")
    parser.add_argument("bench", choices=sorted(BENCHES))
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", metavar="PATH")
    asked = parser.parse_args(arguments)
    bench = BENCHES[asked.bench]
    result = bench.run(rounds=asked.rounds, threads=asked.threads)
    sys.stdout.write("\n".join(bench.lines(result)) + "\n")
    if asked.json:
        save(result, asked.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
