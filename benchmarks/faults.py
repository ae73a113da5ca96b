"""Runs that are killed, starved and damaged: ``python -m benchmarks.faults --rounds 5`` prints a Markdown table.

Each round begins a run, does one of the faults below to it at a random moment, and gives the same command again where
the run did not survive. A round is good if the run ends complete, without duplicates and with the labels (their
SHA-256) of an undisturbed one. The exit code is 1 if any round is not.

The faults are those of ``tests/support/faults.py``, of which the suite does a round. Full and read-only disks are small
tmpfs mounts, for which one must be root; where one is not, they are left out.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from support.faults import FAULTS, MOUNTS, Round, Wrong, can_mount, try_fault, undisturbed  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--n", type=int, default=1024, help="faces of a run")
    parser.add_argument("--rounds", type=int, default=1, help="of each fault")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--only", metavar="LIST", help=f"of: {', '.join(FAULTS)}")
    options = parser.parse_args()
    chosen = options.only.split(",") if options.only else list(FAULTS)
    left_out = [] if can_mount() else [name for name in chosen if name in MOUNTS]
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        reference, seconds = undisturbed(Path(folder), options.n)
    print(f"{options.n} faces a run, undisturbed {seconds:.1f} s, labels {reference[:12]}\n")
    print("| fault | rounds | complete, same labels | starts a round |\n|---|---|---|---|", flush=True)
    for name in chosen:
        what = FAULTS[name].__doc__
        if name in left_out:
            print(f"| {what} | 0 | not tried: mounting is not allowed here | |")
            continue
        good, starts, wrong = 0, 0, ""
        for turn in range(options.rounds):
            with tempfile.TemporaryDirectory() as folder:
                rng = random.Random(f"{options.seed}/{name}/{turn}")
                this = Round(Path(folder), options.n, rng, reference, seconds)
                try:
                    try_fault(name, this)
                    good += 1
                except Wrong as error:
                    wrong = f" {error}"
                starts += this.starts
        failed = failed or good < options.rounds
        print(f"| {what} | {options.rounds} | {good}{wrong} | {starts / options.rounds:g} |", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
