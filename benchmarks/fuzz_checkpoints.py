"""Feed damaged and hostile checkpoints to the readers: nothing may run, hang, eat memory or escape as another error.

    python -m benchmarks.fuzz_checkpoints --n 20000 --seed 0

Small files of every format are made first. Then each round takes one of three kinds: a hostile file, written to attack
a pickle, zip or safetensors reader, with random details; a file of any format, damaged at random; a pickle edited
instruction by instruction, so that the damage reaches deep. Each file is opened, its networks are built and it is
described, while

* an audit hook watches for code that runs, processes, imports, and files opened to write;
* a timer interrupts what takes longer than ten seconds;
* the address space is limited to two gigabytes more than at the start.

A hostile file must end in ``CheckpointError``. A damaged one may also load, where only numbers changed. The table at
the end counts outcomes by kind; the exit code is 1 if anything else happened. Errors that the readers had not foreseen,
and that only the catch-all turned into ``CheckpointError``, are listed too, and counted as failures.
"""

import argparse
import collections
import resource
import sys
import tempfile
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from support.damage import cases, sound_files  # noqa: E402
from support.hostile import MARKER  # noqa: E402
from support.watch import try_file  # noqa: E402

GIGABYTES = 2


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--n", type=int, default=20_000, help="how many files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the files that made something go wrong")
    options = parser.parse_args()

    torch.set_num_threads(1)
    Path(MARKER).unlink(missing_ok=True)
    outcomes = collections.Counter()
    wrong = []
    slowest = (0.0, "")
    with tempfile.TemporaryDirectory() as folder:
        for name in sound_files(folder):  # everything is imported now, so that imports stand out later
            outcome, detail = try_file(Path(folder) / name)
            assert outcome in ("loaded", "ran code"), (name, outcome, detail)
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        address_space = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (address_space + GIGABYTES * 2**30,) * 2)
        path = Path(folder) / "file"
        began = time.perf_counter()
        for index, (kind, name, data, may_load) in zip(range(options.n), cases(options.seed), strict=False):
            path.write_bytes(data)
            start = time.perf_counter()
            outcome, detail = try_file(path)
            slowest = max(slowest, (time.perf_counter() - start, f"{kind}: {name}"))
            if outcome == "loaded" and not may_load:
                outcome = "taken for sound"
            if Path(MARKER).exists():
                outcome = "ran code"
                Path(MARKER).unlink()
            outcomes[kind, outcome] += 1
            if outcome not in ("refused", "loaded"):
                wrong.append((outcome, kind, name, detail))
                if options.keep:
                    options.keep.mkdir(parents=True, exist_ok=True)
                    (options.keep / f"{len(wrong):04d}").write_bytes(data)
            if (index + 1) % 1000 == 0:
                print(f"{index + 1:>7,} files, {time.perf_counter() - began:.0f} s, {len(wrong)} wrong", flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10

    print(f"\n{'kind':<10} {'outcome':<16} files")
    for (kind, outcome), count in sorted(outcomes.items()):
        print(f"{kind:<10} {outcome:<16} {count:>7,}")
    print(f"\nslowest: {slowest[0]:.2f} s ({slowest[1]}); memory at most {peak - used:.0f} MiB above the start")
    distinct = collections.Counter((outcome, kind, name, detail[-160:]) for outcome, kind, name, detail in wrong)
    for item, count in distinct.most_common(20):
        print(count, *item)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
