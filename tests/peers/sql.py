"""The ten nearest of a million vectors, with a filter: retort's `nearest` beside what people use, on the same rows.

    python tests/peers/sql.py --retort target/release/examples/search [--rows 1000000] [--rounds 7] [--work FOLDER]

A row is a vector of 512 floats, as a cache has them (normalised Gaussians about a common mean), and a whole number. Every
contestant answers: which ten rows, of those whose number is below 500 of 1,000, have the greatest cosine to this vector,
exactly, and how great? All use all cores and find their rows warm: in memory, where they have tables in memory, else in
the operating system's cache. Rounds go through the contestants in turn, so that what else the machine does meets all
alike; each contestant is a process of its own that stays. The first round is not counted.

    retort f16, f32, cos:0.999   Parquet of a cache, every page checked before it is used, in each query
    duckdb memory                a table in memory, FLOAT[512], array_cosine_similarity
    duckdb file                  the same table in a file of its own format
    duckdb parquet               Parquet with lists of floats
    datafusion memory            Python's DataFusion: a table in memory, cosine_distance over fixed-size lists
    datafusion parquet           the same over the Parquet file that DuckDB reads
    lance f32, lance f16         its flat scan: nearest with prefilter, without an index

What they find is compared: the same ten rows, of f32 in the same order.
"""

import argparse
import importlib.metadata
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

import numpy

WIDTH, WANTED, BELOW, NUMBERS = 512, 10, 500, 1000
CORES = len(os.sched_getaffinity(0))
PART = 16384


def make_rows(folder, rows):
    rng = numpy.random.default_rng(11)
    mean = rng.standard_normal(WIDTH, dtype=numpy.float32)
    out = numpy.lib.format.open_memmap(folder / "vectors.partial", mode="w+", dtype=numpy.float32, shape=(rows, WIDTH))
    for first in range(0, rows, PART):
        part = rng.standard_normal((min(PART, rows - first), WIDTH), dtype=numpy.float32) + 0.5 * mean
        out[first:first + len(part)] = part / numpy.linalg.norm(part, axis=1, keepdims=True)
    query = rng.standard_normal(WIDTH, dtype=numpy.float32) + 0.5 * mean
    del out
    numpy.save(folder / "numbers.npy", rng.integers(0, NUMBERS, rows, dtype=numpy.uint32))
    numpy.save(folder / "query.npy", query)
    (folder / "vectors.partial").rename(folder / "vectors.npy")


class Peer:
    """One contestant: what it writes, and one question."""

    def __init__(self, options, way):
        self.folder, self.way = options.work, way
        self.query = numpy.load(options.work / "query.npy")

    def rows(self, dtype=numpy.float32):
        """Tables of row number, number and vector, some rows at a time."""
        import pyarrow

        vectors = numpy.load(self.folder / "vectors.npy", mmap_mode="r")
        numbers = numpy.load(self.folder / "numbers.npy")
        for first in range(0, len(vectors), PART):
            part = numpy.ascontiguousarray(vectors[first:first + PART], dtype=dtype).reshape(-1)
            yield pyarrow.record_batch(
                [numpy.arange(first, first + len(part) // WIDTH), numbers[first:first + PART],
                 pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(part), WIDTH)], names=["id", "number", "vector"])

    def write(self):
        pass


class DuckDb(Peer):
    def write(self):
        import duckdb
        import pyarrow.parquet

        if self.way == "memory":
            return
        with pyarrow.parquet.ParquetWriter(self.folder / "lists.parquet", next(self.rows()).schema) as writer:
            for part in self.rows():
                writer.write_batch(part)
        if self.way == "file":
            with duckdb.connect(str(self.folder / "set.duckdb")) as base:
                base.execute(f"CREATE TABLE t AS SELECT id, number, vector::FLOAT[{WIDTH}] AS vector "
                             f"FROM '{self.folder}/lists.parquet'")

    def open(self):
        import duckdb
        import pyarrow

        self.base = duckdb.connect(str(self.folder / "set.duckdb") if self.way == "file" else ":memory:")
        self.base.execute(f"SET threads = {CORES}")
        self.table = f"'{self.folder}/lists.parquet'" if self.way == "parquet" else "t"
        if self.way == "memory":
            reader = pyarrow.RecordBatchReader.from_batches(next(self.rows()).schema, self.rows())
            self.base.register("reader", reader)
            self.base.execute(f"CREATE TABLE t AS SELECT id, number, vector::FLOAT[{WIDTH}] AS vector FROM reader")

    def ask(self):
        found = self.base.execute(
            f"SELECT id, array_cosine_similarity(vector::FLOAT[{WIDTH}], $1::FLOAT[{WIDTH}]) AS score FROM {self.table} "
            f"WHERE number < {BELOW} ORDER BY score DESC LIMIT {WANTED}", [self.query.tolist()])
        return found.fetchall()


class DataFusion(Peer):
    def open(self):
        import datafusion

        config = datafusion.SessionConfig().with_target_partitions(CORES)
        self.context = datafusion.SessionContext(config)
        if self.way == "parquet":
            self.context.register_parquet("t", str(self.folder / "lists.parquet"))
            return
        batches = list(self.rows())
        each = -(-len(batches) // CORES)
        self.context.register_record_batches("t", [batches[at:at + each] for at in range(0, len(batches), each)])

    def ask(self):
        words = ", ".join(f"CAST({x!r} AS FLOAT)" for x in self.query.tolist())
        found = self.context.sql(
            f"SELECT id, 1 - cosine_distance(vector, make_array({words})) AS score FROM t WHERE number < {BELOW} "
            f"ORDER BY score DESC LIMIT {WANTED}")
        return [(row["id"], row["score"]) for batch in found.collect() for row in batch.to_pylist()]


class Lance(Peer):
    def write(self):
        import lance

        parts = self.rows(numpy.dtype(self.way))
        first = next(parts)

        def all_rows():
            yield first
            yield from parts

        lance.write_dataset(all_rows(), str(self.folder / f"set.{self.way}.lance"), schema=first.schema)

    def open(self):
        import lance

        self.data = lance.dataset(str(self.folder / f"set.{self.way}.lance"))

    def ask(self):
        nearest = {"column": "vector", "q": self.query.astype(self.way), "k": WANTED, "metric": "cosine",
                   "use_index": False}
        found = self.data.to_table(columns=["id", "_distance"], nearest=nearest, filter=f"number < {BELOW}",
                                   prefilter=True)
        return [(row["id"], 1 - row["_distance"]) for row in found.to_pylist()]


PEERS = {"duckdb": DuckDb, "datafusion": DataFusion, "lance": Lance}


def serve(options):
    """A contestant in a process of its own: answers once for each line of stdin."""
    peer = PEERS[options.peer](options, options.way)
    peer.open()
    for _ in sys.stdin:
        began = time.perf_counter()
        answer = peer.ask()
        print(json.dumps({"answer": answer, "secs": time.perf_counter() - began}), flush=True)


class Contestant:
    """A process that answers a line with a line."""

    def __init__(self, name, command):
        self.name, self.secs, self.answer = name, [], None
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.name} has ended")
        found = json.loads(line)
        self.answer = found["answer"]
        return found["secs"]

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def main(options):
    options.work.mkdir(parents=True, exist_ok=True)
    if not (options.work / "vectors.npy").exists():
        make_rows(options.work, options.rows)
    query = json.dumps(numpy.load(options.work / "query.npy").tolist())
    contestants = []
    for store in options.stores:
        folder = options.work / f"retort-{store.replace(':', '-')}"
        if not folder.exists():
            subprocess.run([options.retort, "write", options.work / "vectors.npy", options.work / "numbers.npy", folder,
                            store], check=True)
        sql = f"SELECT id, score FROM nearest('clip.images', {query}, {WANTED}, 'width < {BELOW}')"
        contestants.append((f"retort {store}", [options.retort, "ask", folder, sql]))
    for name in options.peers:
        peer, _, way = name.partition(" ")
        PEERS[peer](options, way)
        mark = options.work / f"{name.replace(' ', '-')}.written"
        if not mark.exists():
            PEERS[peer](options, way).write()
            mark.touch()
        command = [sys.executable, __file__, "--work", options.work, "--peer", peer, "--way", way]
        contestants.append((name, command))
    measured = {}
    # As many at a time as memory holds; retort takes part in each group, so that ratios are of the same minutes.
    ours = [one for one in contestants if one[0].startswith("retort")]
    for name, command in [one for one in contestants if one not in ours] or [(None, None)]:
        group = [Contestant(*one) for one in ours + ([(name, command)] if name else [])]
        for turn in range(options.rounds + 1):
            for one in group:
                secs = one.ask()
                if turn:
                    one.secs.append(secs)
        first = group[0]
        for one in group:
            ids = [int(str(row["id"]), 16) if isinstance(row, dict) else row[0] for row in one.answer]
            ratio = statistics.median(b / a for a, b in zip(first.secs, one.secs, strict=True))
            measured.setdefault(one.name, []).append((statistics.median(one.secs), ratio))
            print(f"{one.name:20} {statistics.median(one.secs):8.3f} s  {ratio:7.2f} x {first.name}  {ids}", flush=True)
            one.end()
    print(f"\n{platform.processor() or platform.machine()}, {CORES} cores, Python {platform.python_version()}, "
          + ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ["duckdb", "datafusion", "pylance"]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--retort", type=pathlib.Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--stores", nargs="*", default=["f16", "f32", "cos:0.999"])
    parser.add_argument("--peers", nargs="*", default=["duckdb memory", "duckdb file", "duckdb parquet", "datafusion memory",
                                                       "datafusion parquet", "lance float32", "lance float16"])
    parser.add_argument("--peer")
    parser.add_argument("--way", default="")
    options = parser.parse_args()
    serve(options) if options.peer else main(options)
