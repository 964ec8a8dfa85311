"""Makes the HDF5 files beside it, or in the folder given: small predictions as h5py stores them.

Needs requirements.txt beside it. The test h5py makes them anew and reads those.

Value of frame f, class c of clip n: n * 15 + f * 5 + c - 20, a quarter of it (exact in float16).
"""

import pathlib
import sys

import h5py
import numpy as np

FOLDER = pathlib.Path(sys.argv[1]) if sys.argv[1:] else pathlib.Path(__file__).parent
N, FRAMES, CLASSES = 7, 3, 5
LOGITS = ((np.arange(N * FRAMES * CLASSES).reshape(N, FRAMES, CLASSES) - 20) / 4).astype("f4")
NAMES = [f"clip-{n}" for n in range(N - 1)] + ["Straßenlärm_07"]
VLEN = h5py.string_dtype("utf-8")


def write(name, logits=LOGITS, names=NAMES, dtype=VLEN, libver=None, **options):
    with h5py.File(FOLDER / f"{name}.hdf5", "w", libver=libver) as file:
        if logits is not None:
            file.create_dataset("strong_logits", data=logits, **options)
        if names is not None:
            file.create_dataset("filenames", data=names, dtype=dtype)


write("contiguous")
write("v114", libver=("v114", "v114"))
write("gzip", chunks=(2, 3, 5), compression="gzip", shuffle=True)
write("gzip_v114", libver=("v114", "v114"), chunks=(2, 2, 5), compression="gzip", fletcher32=True)
write("lzf", chunks=(1, 3, 5), compression="lzf")
write("resizable", maxshape=(None, 3, 5))
write("float16", LOGITS.astype("f2"))
write("float16_gzip", LOGITS.astype(">f2"), chunks=(2, 3, 5), compression="gzip")
write("float64", LOGITS.astype("f8"))
write("big_endian", LOGITS.astype(">f4"))
write("fixed_names", names=np.array([name.encode() for name in NAMES]), dtype=None)
write("empty", LOGITS[:0], np.array([], dtype=object))
# chunks as only HDF5 2.0 and libver="latest" write them: not read here
write("bad_v200", libver="latest", chunks=(2, 3, 5), compression="gzip")
write("bad_integers", LOGITS.astype("i4"))
write("bad_rank", LOGITS[0])
write("bad_names", names=NAMES[:-1])
write("bad_duplicate", names=["a"] * N)
write("bad_no_names", names=None)
write("bad_no_logits", logits=None)
write("bad_not_utf8", names=[b"\xff\xfe"] + [name.encode() for name in NAMES[1:]])
write("bad_name_type", names=np.arange(N), dtype=None)
