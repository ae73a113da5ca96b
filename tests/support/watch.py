"""Open a checkpoint and see that nothing runs, hangs or escapes as another error than CheckpointError."""

import encodings.cp437  # noqa: F401  zipfile imports it on demand; imports while a file is read would look like an attack
import json
import signal
import sys

from fergan.stylegan.checkpoints import CheckpointError, describe, read_checkpoint

SECONDS = 10

FORBIDDEN = (
    *("exec", "compile", "import", "marshal.loads", "pickle.find_class", "code.__new__", "object.__setattr__"),
    *("os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.putenv", "os.remove", "os.rename"),
    *("os.mkdir", "os.rmdir", "os.chmod", "subprocess.Popen", "socket.", "shutil.", "ctypes.", "urllib.Request"),
)


class Watch:
    """Records what happens while a file is read. Audit hooks cannot be taken back, so it is switched on and off."""

    def __init__(self):
        self.on = False
        self.events = []
        sys.addaudithook(self._hook)

    def _hook(self, event, args):
        if not self.on:
            return
        writes = event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+")
        if writes or event.startswith(FORBIDDEN):
            self.events.append((event, str(args)[:200]))


class Timeout(BaseException):
    """Raised by the timer; no reader's ``except Exception`` catches it."""


def _ring(number, frame):
    raise Timeout


_watch = None


def try_file(path):
    """Open, build and describe a file.

    Returns:
        (outcome, detail): ``refused`` or ``loaded``, or ``ran code``, ``hung``, ``unforeseen`` or ``escaped``.
    """
    global _watch
    _watch = _watch or Watch()
    _watch.events = []
    old = signal.signal(signal.SIGALRM, _ring)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    _watch.on = True
    try:
        checkpoint = read_checkpoint(path)
        _ = checkpoint.generator, checkpoint.discriminator
        json.dumps(describe(path), allow_nan=False)
        outcome, detail = "loaded", ""
    except CheckpointError as error:
        foreseen = error.__cause__ is None and str(path) in str(error)
        outcome, detail = ("refused", str(error)) if foreseen else ("unforeseen", str(error))
    except Timeout:
        outcome, detail = "hung", f"more than {SECONDS} s"
    except BaseException as error:
        outcome, detail = "escaped", repr(error)
    finally:
        _watch.on = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    if _watch.events:
        outcome, detail = "ran code", str(_watch.events[:3])
    return outcome, detail
