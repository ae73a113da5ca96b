"""Read the data out of a pickle without running anything that it asks for.

A pickle is a program for a small stack machine, and two of its instructions import any Python object and call it.
This module is that machine without the two: a name is looked up in a table of our own functions, which build inert
records (see :mod:`.stand_ins`), and a name that is not in the table ends the reading. Nothing is imported, no attribute
is looked up, no class of the file's choosing is made.

The instructions are those of protocols 2 to 5 that checkpoints use; Python's ``Lib/pickletools.py`` describes each.
What the machine makes is bounded by the size of the file: instructions are counted, byte strings are views of the file,
copies are accounted for, and dictionary keys are text or machine integers, which hash fast.
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from .errors import CheckpointError

MAX_INSTRUCTIONS = 400_000  # a 1024 px checkpoint of three networks needs about 60,000

Builder = Callable[..., Any]
"""Called with the machine and the arguments that the pickle gives."""

Table = Mapping[tuple[str, str], Builder | None]
"""(module, name) -> what to call in its place; None for names that are only ever mentioned."""


@dataclass(frozen=True)
class Global:
    """A Python object that a pickle named and that the table knows."""

    module: str
    name: str
    build: Builder | None


class Record:
    """Base of the inert objects that stand in for those of the pickle."""

    def set_state(self, state: Any) -> None:
        """Take the argument of a BUILD instruction."""
        refuse("state given to something that takes none")


def refuse(what: str) -> NoReturn:
    """End the reading of a file that no program of good will has written."""
    raise CheckpointError(f"the file is damaged or was made to mislead ({what}); get a fresh copy from where it came")


def brief(value: Any) -> str:
    """A value of unknown origin, fit for an error message."""
    text = repr(value) if type(value) in (str, int, float, bool, type(None)) else f"a {type(value).__name__}"
    return text if len(text) <= 80 else text[:77] + "..."


class Machine:
    """Reads pickles that lie one after the other in ``data``, from ``position`` on.

    Args:
        data: the file, or the part of it that holds the pickles.
        table: the Python names that may occur.
        find_storage: makes an object of the tuple in a persistent id; None = there must be none.
        parent: the machine that met these pickles inside a byte string; they share one allowance.
    """

    def __init__(
        self,
        data: memoryview,
        table: Table,
        find_storage: Callable[[tuple[Any, ...]], Any] | None = None,
        parent: "Machine | None" = None,
    ) -> None:
        self.data, self.table, self.find_storage = data, table, find_storage
        self.position = 0
        self.nesting: int = 0 if parent is None else parent.nesting + 1
        # Copies are of text and of byte strings spelt as text, each at most twice: four times the file is ample.
        fresh = {"instructions": MAX_INSTRUCTIONS, "bytes": 4 * len(data)}
        self.allowance: dict[str, int] = fresh if parent is None else parent.allowance
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []  # the stacks below each MARK
        self.memo: dict[int, Any] = {}

    def read(self) -> Any:
        """The object that the next pickle describes; ``position`` is then behind it."""
        self.stack, self.marks, self.memo = [], [], {}
        start = self.position
        try:
            if self.take(1) != b"\x80" or not 2 <= self.take(1)[0] <= 5:
                refuse(f"no pickle of protocol 2 to 5 at byte {start}")
            while True:
                self.spend("instructions", 1)
                opcode = self.take(1)[0]
                if opcode == STOP:
                    return self.stack.pop()
                if opcode not in INSTRUCTIONS:
                    refuse(f"unknown instruction {opcode:#04x} at byte {self.position - 1}")
                INSTRUCTIONS[opcode](self)
        except (IndexError, KeyError, TypeError, ValueError, OverflowError) as error:
            # An empty stack, an unknown memo entry, text that is not UTF-8, a call with too few arguments ...
            refuse(f"{type(error).__name__} at byte {self.position}")

    def key(self, value: Any) -> Any:
        """``value``, if it may be the key of a dictionary: hashing a nest of shared tuples could take for ever."""
        if value is None or type(value) in (str, bool) or (type(value) is int and -(2**63) <= value < 2**64):
            return value
        refuse("a dictionary key that is neither text nor a number")

    def spend(self, what: str, count: int) -> None:
        """Count instructions, or ``bytes`` copied, against what a file of this size may need."""
        self.allowance[what] -= count
        if self.allowance[what] < 0:
            refuse(f"more {what} than a checkpoint of this size needs")

    def take(self, count: int) -> memoryview:
        """The next bytes, as a view."""
        if not 0 <= count <= len(self.data) - self.position:
            raise CheckpointError("the file ends in the middle: it was cut short or damaged; get a fresh copy")
        self.position += count
        return self.data[self.position - count : self.position]

    def integer(self, layout: str) -> Any:
        """The next number, in :mod:`struct`'s notation."""
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def text(self, count: int, encoding: str) -> str:
        raw = self.take(count)
        self.spend("bytes", count)
        return str(raw, encoding, "surrogatepass" if encoding == "utf-8" else "strict")

    def line(self) -> str:
        rest = bytes(self.data[self.position : self.position + 256])
        text = str(self.take(rest.index(b"\n")), "utf-8")
        self.take(1)
        return text

    def long(self, count: int) -> int:
        if count > 16:
            refuse("an integer of more than 128 bits")
        return int.from_bytes(self.take(count), "little", signed=True)

    def push_mark(self) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def pop_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def pop(self, count: int) -> list[Any]:
        if count > len(self.stack):
            refuse("an empty stack")
        items = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return items

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict or len(items) % 2:
            refuse("items set on something that is not a dictionary")
        for i in range(0, len(items), 2):
            target[self.key(items[i])] = items[i + 1]

    def append_items(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            refuse("items appended to something that is not a list")
        self.stack[-1].extend(items)

    def add_items(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not set:
            refuse("items added to something that is not a set")
        self.stack[-1].update(self.key(item) for item in items)

    def name(self, module: Any, name: Any) -> None:
        """GLOBAL and STACK_GLOBAL: where other readers import."""
        if type(module) is not str or type(name) is not str:
            refuse("a Python name that is not text")
        if (module, name) not in self.table:
            raise CheckpointError(
                f"it asks for the Python object {brief(f'{module}.{name}')}, which no generator needs, so it is of "
                "another kind or not to be trusted. Nothing of it was run; do not open it with pickle or torch.load"
            )
        self.stack.append(Global(module, name, self.table[module, name]))

    def call(self) -> None:
        """REDUCE and NEWOBJ: where other readers call what the file wants."""
        function, args = self.pop(2)
        if type(function) is not Global or function.build is None or type(args) is not tuple:
            refuse("a call of something that cannot be called")
        self.stack.append(function.build(self, *args))

    def build(self) -> None:
        """BUILD: where other readers call ``__setstate__`` or set attributes."""
        target, state = self.stack[-2], self.stack.pop()
        if isinstance(target, Record):
            target.set_state(state)
        elif type(target) is not dict or type(state) is not dict:
            refuse("state given to something that takes none")
        # else: attributes beside the items, like the _metadata of a state dict; nobody needs them

    def persistent_id(self) -> None:
        (reference,) = self.pop(1)
        if self.find_storage is None or type(reference) is not tuple:
            refuse("a reference to something outside the file")
        self.stack.append(self.find_storage(reference))

    def put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]


STOP = ord(".")


def _push(value: Builder) -> Builder:
    return lambda m: m.stack.append(value(m))


INSTRUCTIONS: dict[int, Builder] = {
    ord("("): Machine.push_mark,
    ord("0"): lambda m: m.pop(1),
    ord("1"): Machine.pop_mark,
    ord("2"): _push(lambda m: m.stack[-1]),
    # plain values
    ord("N"): _push(lambda m: None),
    0x88: _push(lambda m: True),
    0x89: _push(lambda m: False),
    ord("J"): _push(lambda m: m.integer("<i")),
    ord("K"): _push(lambda m: m.integer("<B")),
    ord("M"): _push(lambda m: m.integer("<H")),
    0x8A: _push(lambda m: m.long(m.integer("<B"))),
    0x8B: _push(lambda m: m.long(m.integer("<i"))),
    ord("G"): _push(lambda m: m.integer(">d")),
    ord("X"): _push(lambda m: m.text(m.integer("<I"), "utf-8")),
    0x8C: _push(lambda m: m.text(m.integer("<B"), "utf-8")),
    0x8D: _push(lambda m: m.text(m.integer("<Q"), "utf-8")),
    ord("T"): _push(lambda m: m.text(m.integer("<I"), "latin-1")),
    ord("U"): _push(lambda m: m.text(m.integer("<B"), "latin-1")),
    ord("B"): _push(lambda m: m.take(m.integer("<I"))),
    ord("C"): _push(lambda m: m.take(m.integer("<B"))),
    0x8E: _push(lambda m: m.take(m.integer("<Q"))),
    0x96: _push(lambda m: m.take(m.integer("<Q"))),
    # containers
    ord(")"): _push(lambda m: ()),
    ord("t"): lambda m: (items := m.pop_mark(), m.stack.append(tuple(items))),
    0x85: _push(lambda m: tuple(m.pop(1))),
    0x86: _push(lambda m: tuple(m.pop(2))),
    0x87: _push(lambda m: tuple(m.pop(3))),
    ord("]"): _push(lambda m: []),
    ord("a"): lambda m: m.append_items(m.pop(1)),
    ord("e"): lambda m: m.append_items(m.pop_mark()),
    ord("}"): _push(lambda m: {}),
    ord("s"): lambda m: m.set_items(m.pop(2)),
    ord("u"): lambda m: m.set_items(m.pop_mark()),
    0x8F: _push(lambda m: set()),
    0x90: lambda m: m.add_items(m.pop_mark()),
    # memo
    ord("q"): lambda m: m.put(m.integer("<B")),
    ord("r"): lambda m: m.put(m.integer("<I")),
    0x94: lambda m: m.put(len(m.memo)),
    ord("h"): _push(lambda m: m.memo[m.integer("<B")]),
    ord("j"): _push(lambda m: m.memo[m.integer("<I")]),
    # objects
    ord("c"): lambda m: m.name(m.line(), m.line()),
    0x93: lambda m: m.name(*m.pop(2)),
    ord("R"): Machine.call,
    0x81: Machine.call,
    ord("b"): Machine.build,
    ord("Q"): Machine.persistent_id,
    0x95: lambda m: m.take(8),  # FRAME, a hint on how much to read at once
}
