"""Made the files beside it, with PyTorch 2.11.0: what `torch.save` writes for small things of every kind."""

import collections
import os
import sys

import torch

folder = sys.argv[1]
t = torch.arange(6, dtype=torch.float32).reshape(2, 3)
state = collections.OrderedDict(
    [("a.w", t), ("b", torch.tensor([1, 2])), ("v", t.t()), ("h", t.half()[:, :1])]
)
lightning = {
    "epoch": 3,
    "pytorch-lightning_version": "2.0",
    "state_dict": collections.OrderedDict([("student.w", torch.nn.Parameter(t)), ("teacher.w", t)]),
    "hyper_parameters": {"lr": 0.1, "name": "x", "l": [1, None, True, (2.5, "a")]},
    "optimizer_states": [
        {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 1e-4, "betas": (0.9, 0.999)}]}
    ],
}


class Evil:
    def __reduce__(self):
        return (os.system, ("true",))


for zipped, suffix in [(True, ""), (False, "_legacy")]:
    old = {"_use_new_zipfile_serialization": zipped}
    torch.save(state, f"{folder}/state{suffix}.pt", **old)
    torch.save(lightning, f"{folder}/lightning{suffix}.ckpt", **old)
    for protocol in (2, 4):
        microsoft = {"cfg": {"a": 1, "big": 2**70}, "model": {"x": t.bfloat16()}}
        torch.save(microsoft, f"{folder}/p{protocol}{suffix}.pt", pickle_protocol=protocol, **old)
torch.save({"x": Evil(), "w": t}, f"{folder}/evil.pt")
