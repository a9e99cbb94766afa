"""Measures with other numbers of rounds and operations, or only some rows: see `--help`."""

from __future__ import annotations

import argparse

from .measuring import measure_all, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1, help="how many operations, times ours")
    parser.add_argument("--only", default="", help="rows with this in their title")
    options = parser.parse_args()
    if options.only:
        measure_all(options.rounds, options.scale, options.only)
    else:
        run(options.rounds, options.scale)


if __name__ == "__main__":
    main()
