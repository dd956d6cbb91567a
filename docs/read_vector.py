"""Reads one vector of a retort cache with pyarrow and numpy: python docs/read_vector.py FILE.parquet COLUMN ROW"""
import sys
import numpy as np
import pyarrow.parquet as parquet

file, name, row = sys.argv[1], sys.argv[2], int(sys.argv[3])
column = parquet.read_table(file)
notes = column.schema.field(name).metadata
dtype, width = notes[b"retort:dtype"].decode(), int(notes[b"retort:width"])
stored = np.frombuffer(column[name][row].as_py(), {"f16": "<f2", "f32": "<f4", "bf16": "<u2", "i8": "i1", "i16": "<i2"}[dtype])
vector = (stored.astype("<u4") << 16).view("<f4") if dtype == "bf16" else stored  # bf16: the upper half of an f32
if b"retort:scale" in notes:  # codes: one scale a vector makes floats of them
    vector = stored * np.float32(column[notes[b"retort:scale"].decode()][row].as_py())
assert len(vector) == width
print(width, dtype, vector[:5])
