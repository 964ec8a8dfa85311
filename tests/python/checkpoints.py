"""Writes checkpoints as trainers do, each beside a safetensors file of the tensors that must be found in it.

    checkpoints.py FOLDER

The tensors' names are their places in the nested containers, joined by "/"; plain values that must be found stand in the
safetensors file's metadata.
"""

import argparse
import collections
import pathlib
import sys

import numpy
import torch
from safetensors.torch import save_file

DTYPES = [
    torch.float32, torch.float64, torch.float16, torch.bfloat16,
    torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
]


def tensors_in(value, name=""):
    """(name, tensor) of everything below `value`."""
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, dict):
        for key, below in value.items():
            yield from tensors_in(below, f"{name}/{key}" if name else str(key))
    elif isinstance(value, (list, tuple)):
        for index, below in enumerate(value):
            yield from tensors_in(below, f"{name}/{index}" if name else str(index))


def save(folder, name, value, plain=None, **how):
    torch.save(value, folder / name, **how)
    expected = {name: tensor.detach().clone().contiguous() for name, tensor in tensors_in(value)}
    assert expected
    save_file(expected, folder / f"{name}.expected", metadata=plain or {})


def network():
    return torch.nn.Sequential(collections.OrderedDict(
        cnn=torch.nn.Conv2d(1, 3, 3),
        batchnorm=torch.nn.BatchNorm2d(3),
        rnn=torch.nn.GRU(4, 2, bidirectional=True),
        dense=torch.nn.Linear(4, 2),
    ))


def trained():
    """A small network and its optimizer after one step."""
    net = network()
    optimizer = torch.optim.AdamW(
        [{"params": net.cnn.parameters(), "lr": 1e-4}, {"params": net.dense.parameters()}], lr=1e-3, weight_decay=0.01,
    )
    (net.batchnorm(net.cnn(torch.randn(2, 1, 5, 5))).sum() + net.dense(torch.randn(3, 4)).sum()).backward()
    optimizer.step()
    return net, optimizer


def lightning():
    """What PyTorch Lightning's ModelCheckpoint writes."""
    student, optimizer = trained()
    teacher = network()
    state = collections.OrderedDict()
    for prefix, net in [("student.", student), ("teacher.", teacher)]:
        for key, tensor in net.state_dict().items():
            state[prefix + key] = tensor
    state.update({"mel.spectrogram.window": torch.hann_window(16), "scaler.mean": torch.tensor(0.25)})
    monitor = "ModelCheckpoint{'monitor': 'val/obj_metric', 'mode': 'max', 'every_n_epochs': 1}"
    value = {
        "epoch": 7,
        "global_step": 1234,
        "pytorch-lightning_version": "1.9.4",
        "state_dict": state,
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 8, "completed": 7}, "current": (1, None)}}},
        "callbacks": {
            monitor: {
                "monitor": "val/obj_metric", "best_model_score": torch.tensor(1.0625), "best_model_path": "exp/v_1/epoch=7.ckpt",
                "best_k_models": {"exp/v_1/epoch=7.ckpt": torch.tensor(1.0625)}, "kth_value": torch.tensor(0.5), "dirpath": None,
            },
        },
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [{"last_epoch": 12, "_last_lr": [0.5, 0.25], "lambda": None}],
        "hparams_name": "hparams",
        "hyper_parameters": {
            "pretrained": "atst", "n_epochs": 200, "ema_factor": 0.999, "use_mixup": True, "net": {"nb_filters": [16, 32, 64], "dim": None},
        },
    }
    plain = {
        "epoch": "7",
        "pytorch-lightning_version": "1.9.4",
        "loops/fit_loop/epoch_progress/total/completed": "7",
        "loops/fit_loop/epoch_progress/current/1": "None",
        f"callbacks/{monitor}/best_model_path": "exp/v_1/epoch=7.ckpt",
        "optimizer_states/0/param_groups/0/betas/1": "0.999",
        "lr_schedulers/0/_last_lr/1": "0.25",
        "hyper_parameters/ema_factor": "0.999",
        "hyper_parameters/use_mixup": "True",
        "hyper_parameters/net/nb_filters/2": "64",
    }
    return value, plain


def microsoft():
    """What BEATs is published as: settings beside a state dict, whose positional convolution has a weight norm."""
    convolution = torch.nn.utils.weight_norm(torch.nn.Conv1d(8, 8, 4, padding=2, groups=2), name="weight", dim=2)
    model = {f"encoder.pos_conv.0.{key}": tensor for key, tensor in convolution.state_dict().items()}
    assert {"encoder.pos_conv.0.weight_g", "encoder.pos_conv.0.weight_v"} <= set(model)
    bias = torch.randn(320, 4)
    for layer in range(3):  # one table that stands under every layer
        model[f"encoder.layers.{layer}.self_attn.relative_attention_bias.weight"] = bias
        model[f"encoder.layers.{layer}.self_attn.grep_a"] = torch.randn(1, 4, 1, 1)
    cfg = {
        "encoder_layers": 3, "encoder_embed_dim": 8, "activation_fn": "gelu", "dropout": 0.0, "deep_norm": True,
        "finetuned_model": False, "input_patch_size": 16,
    }
    return {"cfg": cfg, "model": model}, {f"cfg/{key}": str(value) for key, value in cfg.items()}


def odd():
    """Layouts and types that a reader may get wrong."""
    grid = torch.arange(60, dtype=torch.float32).reshape(3, 4, 5)
    special = torch.tensor([float("nan"), float("inf"), -float("inf"), -0.0, 1e-45])
    bits = torch.randint(0, 256, (48,), dtype=torch.uint8)
    value = {
        "types": {str(dtype): (torch.randn(3, 2) * 50).to(dtype) for dtype in DTYPES},
        "scalars": [torch.tensor(1.5, dtype=torch.bfloat16), torch.tensor(True), torch.tensor(-3)],
        "special": {str(dtype): special.to(dtype) for dtype in DTYPES[:4]},
        "any bits": {str(dtype): bits.clone().view(dtype) for dtype in DTYPES[:4]},
        "transposed": grid.permute(2, 0, 1),
        "inner": grid[1:, 1:3, ::2],
        "column": grid[:, 2, 3],
        "diagonal": torch.arange(25.0).reshape(5, 5).diagonal(),
        "windows": torch.arange(9).unfold(0, 4, 2),
        "repeated": torch.arange(3.0)[:, None].expand(3, 4),
        "channels last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "half view": torch.arange(10, dtype=torch.float16)[3:8],
        "shared": [grid, grid, grid.view(60)[7:9]],
        "empty": [torch.empty(0), torch.empty(0, 3), torch.empty(2, 0, 4, dtype=torch.float16), grid[2:2]],
        "parameters": [torch.nn.Parameter(torch.randn(2, 3)), torch.nn.Parameter(torch.randn(4, 3).t(), requires_grad=False)],
        "list": torch.nn.ParameterList([torch.randn(2)]).state_dict(),
        "with gradient": torch.ones(2, requires_grad=True),
        "deep": {"a": [{"b": ({"c": torch.ones(1)},)}]},
        "ordered": collections.OrderedDict([("ü", torch.ones(1)), (3, torch.zeros(1)), ("", torch.ones(2))]),
        "counts": collections.defaultdict(int, {"x": torch.ones(1)}),
        "kind": int, "kinds": [str, float, dict],
        "name": "ünïcode \u2028 'quoted'", "long": 2**40, "negative": -70000, "size": torch.Size([2, 3]), "dtype": torch.float16,
        "device": torch.device("cpu"), "set": {5}, "bytes": b"\x00\xff", "no": False, "nothing": None, "path": pathlib.PurePosixPath("a/b"),
        "number": numpy.float64(0.5), "arguments": argparse.Namespace(lr=0.5),
    }
    plain = {
        "name": "ünïcode \u2028 'quoted'", "long": str(2**40), "negative": "-70000", "size/1": "3", "dtype": "torch.float16",
        "no": "False", "nothing": "None", "set/0": "5", "kind": "builtins.int", "kinds/0": "builtins.str",
    }
    return value, plain


def main(folder):
    torch.manual_seed(0)
    legacy = {"_use_new_zipfile_serialization": False}
    value, plain = lightning()
    save(folder, "lightning.ckpt", value, plain)
    save(folder, "lightning_legacy.ckpt", value, plain, **legacy)
    value, plain = microsoft()
    save(folder, "microsoft.pt", value, plain)
    save(folder, "microsoft_legacy.pt", value, plain, **legacy)
    value, plain = odd()
    for protocol in [2, 3, 4, 5]:
        save(folder, f"odd_{protocol}.pt", value, plain, pickle_protocol=protocol)
        save(folder, f"odd_legacy_{protocol}.pt", value, plain, pickle_protocol=protocol, **legacy)
    save(folder, "bare_state_dict.pth", network().state_dict())
    save(folder, "bare_list.pt", [torch.ones(2), torch.zeros(1)])
    # a safetensors file of the authors' writer, under test itself
    save_file({"b": torch.ones(2, dtype=torch.bfloat16), "a": torch.arange(6).reshape(2, 3)}, folder / "plain.safetensors")
    save_file({"b": torch.ones(2, dtype=torch.bfloat16), "a": torch.arange(6).reshape(2, 3)}, folder / "plain.safetensors.expected")


main(pathlib.Path(sys.argv[1]))
