"""Stand-ins for the GPU libraries that PyTorch's wheel is linked against and that `.libtorch/` leaves out.

`import torch` loads libtorch_cuda.so, whose symbols must resolve although nothing here computes on a GPU. A stand-in defines
the wanted names and nothing behind them.

    gpu_stubs.py TORCH_FOLDER OUT_FOLDER
"""

import re
import subprocess
import sys
from pathlib import Path

WANTING = ["libtorch_python.so", "libtorch_cuda.so", "libtorch_nvshmem.so"]

# Library -> (what its symbols begin with, the version that stands after their @); from the wheel of torch 2.11.0.
LIBRARIES = {
    "libcublas.so.13": ("", "libcublas.so.13"),
    "libcublasLt.so.13": ("", "libcublasLt.so.13"),
    "libcudnn.so.9": ("", "libcudnn.so.9"),
    "libcufft.so.12": ("", "libcufft.so.12"),
    "libcufile.so.0": ("cuFile", None),
    "libcurand.so.10": ("curand", None),
    "libcusparse.so.12": ("", "libcusparse.so.12"),
    "libcusparseLt.so.0": ("cusparseLt", None),
    "libnccl.so.2": ("nccl", None),
    "libnvshmem_host.so.3": ("", "NVSHMEM"),
}
SECONDS = 60


def wanted(libraries: list[Path]) -> set[str]:
    """`symbol` or `symbol@version` of everything that the libraries do not define themselves."""
    listed = subprocess.run(
        ["nm", "--dynamic", "--undefined-only", *libraries],
        check=True, capture_output=True, text=True, timeout=SECONDS,
    ).stdout
    return {line.split()[-1] for line in listed.splitlines() if re.match(r"\s+[Uw] ", line)}


def write(name: str, prefix: str, version: str | None, symbols: set[str], out: Path) -> None:
    ending = r"(?:@.*)?" if version is None else "@" + re.escape(version)
    form = re.compile(f"({prefix}[A-Za-z_0-9]+){ending}")
    names = sorted(match[1] for symbol in symbols if (match := form.fullmatch(symbol)))
    source = out / f"{name}.c"
    source.write_text("".join(f"char {symbol}[8];\n" for symbol in names))
    command = ["cc", "-shared", "-nostdlib", f"-Wl,-soname,{name}", "-o", out / name]
    if version is not None:
        script = out / f"{name}.map"
        script.write_text(f"{version} {{ global: *; }};\n")
        command.append(f"-Wl,--version-script={script}")
    subprocess.run([*command, source], check=True, timeout=SECONDS)


def main(torch: Path, out: Path) -> None:
    out.mkdir(parents=True)
    libraries = [path for name in WANTING if (path := torch / "lib" / name).exists()]
    if not libraries:
        return  # a PyTorch for CPUs
    symbols = wanted(libraries)
    for name, (prefix, version) in LIBRARIES.items():
        # fetched with --cuda, the library itself is there
        if not list(torch.parent.glob(f"nvidia/*/lib/{name}")):
            write(name, prefix, version, symbols, out)


main(Path(sys.argv[1]), Path(sys.argv[2]))
