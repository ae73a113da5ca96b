"""Feed damaged and hostile classifiers to the readers: nothing may run, hang, eat memory or escape as another error.

    python -m benchmarks.fuzz_models --n 20000 --seed 0 --log FILE.jsonl

Small Keras 3, HDF5 and ONNX files are made first. Then each round takes one of three kinds: one of them damaged at
random; one edited where it counts (the configuration, the weights in HDF5, the zip's members, the protobuf's fields),
so that the damage reaches deep; a hostile file, written to attack its reader. A seed and a number make a file. Each is
opened as ``fergan classify --model`` opens it, in a child process within its limits first, and judges four pictures,
while

* an audit hook watches for code that runs, processes, connections and files written elsewhere, in this process and in
  the child;
* a timer interrupts what takes longer than twenty seconds.

A file must load, or end in ``DataError`` or ``UsageError``; a hostile one must not load. Each file's outcome is a line
in the log; the same command again goes on where it ended. The table at the end counts the outcomes in the log by kind,
and says how much memory this process and the largest child took. The exit code is 1 if anything else happened, or a
process took 1 GiB more than at the start.
"""

import argparse
import collections
import json
import os
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from fergan.classify.classifier import load_classifier
from fergan.runtime.errors import DataError, UsageError

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from support.hostile_models import case  # noqa: E402
from support.models import sound_files  # noqa: E402
from support.watch import Timeout  # noqa: E402

SECONDS = 20
MOST_MEMORY = 2**10
"""MiB."""
LABELS = ["a", "b", "c"]
FACES = np.arange(4 * 48 * 48, dtype=np.uint32).reshape(4, 48, 48).astype(np.uint8)
FORBIDDEN = (
    *("os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "socket.connect", "socket.bind"),
    *("marshal.loads", "pickle.find_class", "code.__new__", "os.chmod", "urllib.Request"),
)


class Watch:
    """Fills the folder ``marker`` when what no model may cause happens: with folders, which a child can make."""

    def __init__(self, marker):
        self.on = False
        self.marker = marker
        sys.addaudithook(self._hook)

    def _hook(self, event, args):
        if not self.on or (event == "marshal.loads" and "importlib" in sys._getframe(1).f_code.co_filename):
            return
        written = event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+")
        inside = written and str(args[0]).startswith((tempfile.gettempdir(), "/dev/null"))
        if (written and not inside) or event.startswith(FORBIDDEN):
            self.on = False
            os.makedirs(self.marker / f"{event} {args}".replace("/", "_")[:200], exist_ok=True)

    def seen(self):
        """The events since the last call."""
        if not self.marker.exists():
            return None
        events = [place.name for place in self.marker.iterdir()]
        for place in self.marker.iterdir():
            place.rmdir()
        self.marker.rmdir()
        return str(events)


def _ring(number, frame):
    raise Timeout


def try_file(path, watch):
    """(outcome, detail): ``refused`` or ``loaded``; or ``ran code``, ``hung``, ``escaped``."""
    old = signal.signal(signal.SIGALRM, _ring)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    watch.on = True
    try:
        said = load_classifier(path, "cpu", labels=LABELS, input_range=(0, 255)).predict(FACES)
        outcome = ("loaded", "") if np.isfinite(said).all() else ("escaped", "says NaN")
    except (DataError, UsageError) as error:
        outcome = "refused", str(error)
    except Timeout:
        outcome = "hung", f"more than {SECONDS} s"
    except BaseException as error:
        outcome = "escaped", repr(error)
    finally:
        watch.on = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    seen = watch.seen()
    return ("ran code", seen) if seen else outcome


def campaign(options, log):
    """Try the files that the log does not have; one line each."""
    done = {(line["seed"], line["number"]) for line in _lines(options.log)}
    with tempfile.TemporaryDirectory() as folder:
        watch = Watch(Path(folder) / "marker")
        sound = sound_files(folder)
        for name in sound:
            for _ in range(2):  # everything is imported after the first time
                said = try_file(Path(folder) / name, watch)
            assert said[0] == "loaded", (name, said)
        before, began, tried = _peaks(), time.perf_counter(), 0
        for number in range(options.n):
            if (options.seed, number) in done:
                continue
            if time.perf_counter() - began > 60 * options.minutes:
                break
            kind, name, data, may_load = case(options.seed, number, sound, watch.marker)
            path = Path(folder) / f"model{Path(name).suffix}"
            path.write_bytes(data)
            start = time.perf_counter()
            outcome, detail = try_file(path, watch)
            seconds, tried = time.perf_counter() - start, tried + 1
            if outcome == "loaded" and not may_load:
                outcome = "taken for sound"
            if outcome not in ("refused", "loaded") and options.keep:
                options.keep.mkdir(parents=True, exist_ok=True)
                (options.keep / f"{options.seed}-{number}-{name}").write_bytes(data)
            line = {"seed": options.seed, "number": number, "kind": kind, "name": name, "outcome": outcome}
            line |= {"detail": detail.replace(folder, "")[-200:], "seconds": round(seconds, 3)}
            line["MiB"] = [after - start for after, start in zip(_peaks(), before, strict=True)]
            print(json.dumps(line), file=log, flush=True)
        print(f"{tried:,} files in {time.perf_counter() - began:.0f} s")


def _lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _peaks():
    """MiB that this process, and the largest of its children, had in memory at most."""
    return [resource.getrusage(who).ru_maxrss // 2**10 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]


def summary(lines):
    """Print the table; returns the exit code."""
    outcomes = collections.Counter((line["kind"], line["outcome"]) for line in lines)
    print(f"{'kind':<20} {'outcome':<16} files")
    for (kind, outcome), count in sorted(outcomes.items()):
        print(f"{kind:<20} {outcome:<16} {count:>7,}")
    slowest = max(lines, key=lambda line: line["seconds"])
    here, child = (max(line["MiB"][which] for line in lines) for which in (0, 1))
    print(
        f"\n{len(lines):,} files; slowest: {slowest['seconds']:.2f} s ({slowest['kind']}: {slowest['name']}); ", end=""
    )
    print(f"here and in a child at most {here} and {child} MiB more")
    wrong = [line for line in lines if line["outcome"] not in ("refused", "loaded")]
    for line in wrong[:20]:
        print(
            line["outcome"], line["kind"], line["name"], f"seed {line['seed']}, number {line['number']}", line["detail"]
        )
    return 1 if wrong or max(here, child) > MOST_MEMORY else 0


def use_large_pages():
    """Start this program again with its memory in huge pages.

    A fork copies the table of its parent's pages, of which half a gigabyte has 125,000: most of the work for a small
    file. In huge pages it takes half the time.
    """
    if "GLIBC_TUNABLES" not in os.environ:
        os.environ.update(PYTHONMALLOC="malloc", GLIBC_TUNABLES="glibc.malloc.hugetlb=1")
        os.execv(sys.executable, [sys.executable, "-m", "benchmarks.fuzz_models", *sys.argv[1:]])


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--n", type=int, default=20_000, help="how many files of this seed")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after so long")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", type=Path, default=Path("fuzz_models.jsonl"), help="outcomes, one a line")
    parser.add_argument("--keep", type=Path, help="folder for the files that made something go wrong")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.log.parent.mkdir(parents=True, exist_ok=True)
    with open(options.log, "a") as log:
        campaign(options, log)
    return summary(_lines(options.log))


if __name__ == "__main__":
    use_large_pages()
    sys.exit(main())
