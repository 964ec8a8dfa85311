"""Reads what Tutti wrote with the authors' reader, and writes the same as a trainer would.

    read_back.py FOLDER

For every NAME.safetensors in FOLDER, NAME.json lists [name, element type, shape] in the order in which NAME.bytes holds the
values, row by row, little-endian. Names, types, shapes and bits must agree. The tensors then go into NAME.ckpt.
"""

import json
import pathlib
import sys

import torch
from safetensors import safe_open
from safetensors.torch import load_file

DTYPES = {"Float": torch.float32, "Int64": torch.int64, "Half": torch.float16, "BFloat16": torch.bfloat16, "Bool": torch.bool}


def check(path):
    loaded = load_file(path)
    listed = json.loads(path.with_suffix(".json").read_text())
    values = path.with_suffix(".bytes").read_bytes()
    assert sorted(loaded) == sorted(name for name, *_ in listed), set(loaded) ^ {name for name, *_ in listed}
    place = 0
    for name, kind, shape in listed:
        tensor = loaded[name]
        assert (tensor.dtype, list(tensor.shape)) == (DTYPES[kind], shape), f"{name}: {tensor.dtype} {tensor.shape}"
        length = tensor.numel() * tensor.element_size()
        bits = tensor.contiguous().reshape(-1).view(torch.uint8)
        want = torch.frombuffer(bytearray(values[place : place + length]), dtype=torch.uint8)
        assert torch.equal(bits, want), f"{name}: other values"
        place += length
    assert place == len(values)
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"written by": "Tutti \"ü\""}, file.metadata()
    return loaded


def main(folder):
    checked = 0
    for path in sorted(folder.glob("*.safetensors")):
        loaded = check(path)
        teacher = {name.replace("student.", "teacher.", 1): tensor for name, tensor in loaded.items()}
        torch.save({"epoch": 1, "state_dict": {**loaded, **teacher}}, path.with_suffix(".ckpt"))
        checked += len(loaded)
    print(f"{checked} tensors")


main(pathlib.Path(sys.argv[1]))
