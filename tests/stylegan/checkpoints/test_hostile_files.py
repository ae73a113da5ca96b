"""Checkpoints are data, never programs: whatever a file holds, nothing runs, hangs, or fails in an unforeseen way.

The long run of the same generators of files is ``python -m benchmarks.fuzz_checkpoints``.
"""

import itertools
import pickle
import random
from pathlib import Path

import pytest
from fergan.stylegan.checkpoints import CheckpointError, read_checkpoint, restricted_pickle
from fergan.stylegan.checkpoints.restricted_pickle import Machine
from fergan.stylegan.checkpoints.stand_ins import STAND_INS

from ...support import damage
from ...support.hostile import MARKER, hostile
from ...support.pickles import Calls, pickled
from ...support.watch import try_file

FINE = ("refused", "loaded")


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    files = damage.sound_files(folder)
    for name in files:
        try_file(folder / name)  # imports what is imported on first use, which would look like an attack later
        assert try_file(folder / name) == ("loaded", ""), name
    return files


def test_hostile_files_are_refused_and_run_nothing(sound, tmp_path):
    rng = random.Random(0)
    for _ in range(120):
        tries, data = hostile(rng)
        (tmp_path / "file").write_bytes(data)
        outcome, detail = try_file(tmp_path / "file")
        assert outcome == "refused", (tries, outcome, detail)
        assert not Path(MARKER).exists(), tries


def test_damaged_files_are_refused_or_harmless(sound, tmp_path):
    for kind, name, data, may_load in itertools.islice(damage.cases(seed=1), 180):
        (tmp_path / "file").write_bytes(data)
        outcome, detail = try_file(tmp_path / "file")
        assert outcome in (FINE if may_load else FINE[:1]), (kind, name, outcome, detail)


def test_files_cut_short_anywhere_are_refused(sound, tmp_path):
    for name, data in sound.items():
        for length in range(0, len(data), len(data) // 25):
            (tmp_path / "file").write_bytes(data[:length])
            outcome, detail = try_file(tmp_path / "file")
            assert outcome == "refused", (name, length, detail)


def test_embedded_source_code_is_not_looked_at(sound, layouts, tmp_path):
    """A sound file whose source code would do harm, if it were run, simply loads."""
    code = f"open({MARKER!r}, 'w')\nraise SystemExit\n"
    layouts.write_ada(tmp_path / "file", layouts.tiny_generator(), module_src=code)
    assert try_file(tmp_path / "file")[0] == "loaded"
    assert not Path(MARKER).exists()


def test_messages_say_what_was_found_and_what_to_do(tmp_path, monkeypatch):
    file = tmp_path / "innocent.pkl"
    file.write_bytes(pickled({"G_ema": Calls("os.system", "echo")}))
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(file)
    message = str(caught.value)
    assert str(file) in message and "'os.system'" in message and "Nothing of it was run" in message
    monkeypatch.setattr(restricted_pickle, "MAX_INSTRUCTIONS", 1000)
    file.write_bytes(b"\x80\x04" + b"]" * 2000)
    with pytest.raises(CheckpointError, match="more instructions"):
        read_checkpoint(file)


def test_the_machine_reads_plain_pickles_as_python_does():
    item = {"a": [1, -1, 2**40, -(2**70), 1.5, None, True], "b": ((), (1,), (1, 2), (1, 2, 3, 4)), "ü": "x" * 300}
    item["again"] = item["a"]
    for protocol in range(2, 6):
        found = Machine(memoryview(pickle.dumps(item, protocol)), STAND_INS).read()
        assert found == item and found["again"] is found["a"]
