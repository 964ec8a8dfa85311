"""Holds a file of predictions against what it should be: check_hdf5.py FILE LOGITS NAMES.

LOGITS: float32 as they lie in memory; NAMES: JSON. Reads as the reference does.
"""

import json
import pathlib
import sys

import h5py
import numpy as np

path, logits, names = sys.argv[1:]
names = json.loads(pathlib.Path(names).read_text(encoding="utf-8"))
with h5py.File(path, "r") as file:
    assert sorted(file) == ["filenames", "strong_logits"], sorted(file)
    found = file["strong_logits"]
    assert found.dtype == np.dtype("<f4") and found.chunks is None, (found.dtype, found.chunks)
    expected = np.fromfile(logits, dtype="<f4").reshape(len(names), 156, 27)
    assert found.shape == expected.shape, found.shape
    assert found[:].tobytes() == expected.tobytes()
    assert found[1].tobytes() == expected[1].tobytes()
    assert h5py.check_string_dtype(file["filenames"].dtype).encoding == "utf-8"
    assert [name.decode("utf-8") for name in file["filenames"]] == names
