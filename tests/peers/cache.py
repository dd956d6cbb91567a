"""Shuffled epochs of cached features: retort's reader beside what people use, on the same samples.

    python tests/peers/cache.py --retort target/release/examples/epoch [--samples 50000] [--rounds 3] [--work FOLDER]

A sample is one vector of 512 and 24 of 384, f16, of length 1, made from a seed. Every contestant writes all samples as
its own documentation says, then hands over shuffled batches of 256 as contiguous NumPy arrays (retort: in the caller's
memory); goes on from half an epoch; reads 1,000 random rows. Each runs in a process of its own, as many rounds as told
(one, if it is slow), and is removed before the next, so that the disk holds the samples and one copy. Files are in the page cache.
Contestants that have loaders with processes run with one process a core and without; the faster counts. Where one has
several ways of reading, likewise. Memory is the most that any of its processes held, added up: mapped files count in.

    retort                compressed, every page checked before it is used
    webdataset            .npz in tar, a buffer of 1,000 samples to shuffle
    mosaic                MDS, uncompressed, StreamingDataset's own shuffle
    litdata               its StreamingDataset and StreamingDataLoader
    huggingface           Arrow memory-mapped, uncompressed, rows by a permutation: with_format("numpy"), and
                          with_format("arrow") with the buffers of its columns viewed by hand
    lance                 fixed-size lists; by a permutation, or shuffled pools of fragments' ranges
    pyarrow lists         Parquet, zstd, fixed-size lists of f16; shuffled pools of row groups
    pyarrow binary        the same with fixed-size binary
    npy                   a memory-mapped .npy: the floor, neither compressed nor checked
"""

import argparse
import importlib.metadata
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import time

import numpy

BATCH, SHARD, POOL = 256, 1000, 4
POOLED, TOKENS, TOKEN = 512, 24, 384
WIDTH = POOLED + TOKENS * TOKEN
CORES = len(os.sched_getaffinity(0))
RANDOM_ROWS = 1000
# Seconds of a round: what is slower runs once.
SLOW = 45


def make_samples(path, samples):
    """Normalised Gaussian vectors: f16 [samples, 512 + 24 x 384]."""
    rng = numpy.random.default_rng(7)
    partial = path.with_suffix(".partial")
    out = numpy.lib.format.open_memmap(partial, mode="w+", dtype=numpy.float16, shape=(samples, WIDTH))
    for first in range(0, samples, SHARD):
        count = min(SHARD, samples - first)
        pooled = rng.standard_normal((count, POOLED), dtype=numpy.float32)
        tokens = rng.standard_normal((count, TOKENS, TOKEN), dtype=numpy.float32)
        out[first:first + count, :POOLED] = pooled / numpy.linalg.norm(pooled, axis=1, keepdims=True)
        tokens /= numpy.linalg.norm(tokens, axis=2, keepdims=True)
        out[first:first + count, POOLED:] = tokens.reshape(count, -1)
    out.flush()
    del out
    partial.rename(path)


def parts(row):
    """Pooled vector and tokens of a sample."""
    return row[:POOLED], row[POOLED:].reshape(TOKENS, TOKEN)


def slices(order, start=0):
    for at in range(start * BATCH, len(order), BATCH):
        yield order[at:at + BATCH]


class Peer:
    """One contestant: what it writes, and its batches of (pooled [b, 512], tokens [b, 24, 384])."""

    ways = ("",)

    def __init__(self, folder, way=""):
        self.folder, self.way = folder, way

    def prepare(self):
        """Before the time of going on from half an epoch begins."""

    def order(self, count):
        return numpy.random.default_rng(1).permutation(count)


class Npy(Peer):
    def write(self, samples):
        (self.folder / "samples.npy").symlink_to(samples)

    def open(self):
        return numpy.load(self.folder / "samples.npy", mmap_mode="r")

    def batches(self, half):
        data = self.open()
        order = self.order(len(data))
        for rows in slices(order, len(order) // BATCH // 2 if half else 0):
            batch = data[rows]
            yield batch[:, :POOLED], batch[:, POOLED:].reshape(-1, TOKENS, TOKEN)

    def take(self, data, rows):
        return data[rows]


class Parquet(Peer):
    ways = ("lists", "binary")

    def write(self, samples):
        import pyarrow
        import pyarrow.parquet

        data = numpy.load(samples, mmap_mode="r")
        kinds = {"lists": lambda width: pyarrow.list_(pyarrow.float16(), width),
                 "binary": lambda width: pyarrow.binary(2 * width)}
        names, widths = ("pooled", "tokens"), (POOLED, TOKENS * TOKEN)
        kind = kinds[self.way]
        schema = pyarrow.schema(list(zip(names, map(kind, widths), strict=True)))
        with pyarrow.parquet.ParquetWriter(self.folder / "set.parquet", schema, compression="zstd",
                                           use_dictionary=False, write_statistics=False) as writer:
            for first in range(0, len(data), SHARD):
                part = data[first:first + SHARD]
                writer.write_table(pyarrow.table([self.column(part[:, :POOLED]), self.column(part[:, POOLED:])],
                                                 schema=schema), row_group_size=SHARD)

    def column(self, values):
        import pyarrow

        values = numpy.ascontiguousarray(values)
        if self.way == "lists":
            return pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(values.reshape(-1)), values.shape[1])
        kind = pyarrow.binary(2 * values.shape[1])
        return pyarrow.FixedSizeBinaryArray.from_buffers(kind, len(values), [None, pyarrow.py_buffer(values)])

    def open(self):
        import pyarrow.parquet

        return pyarrow.parquet.ParquetFile(self.folder / "set.parquet", memory_map=True)

    def floats(self, column, width):
        column = column.combine_chunks()
        if self.way == "lists":
            return column.flatten().to_numpy(zero_copy_only=True).reshape(-1, width)
        return numpy.frombuffer(column.buffers()[1], numpy.float16).reshape(-1, width)

    def groups(self, file, groups):
        table = file.read_row_groups(groups, use_threads=True)
        return self.floats(table.column(0), POOLED), self.floats(table.column(1), TOKENS * TOKEN)

    def batches(self, half):
        file = self.open()
        order = self.order(file.num_row_groups)
        skip = file.metadata.num_rows // BATCH // 2 * BATCH if half else 0
        first = skip // (SHARD * POOL)
        rng = numpy.random.default_rng(2)
        left = skip - first * SHARD * POOL
        for at in range(first * POOL, len(order), POOL):
            pooled, tokens = self.groups(file, list(map(int, order[at:at + POOL])))
            for rows in slices(rng.permutation(len(pooled))[left:]):
                yield pooled[rows], tokens[rows].reshape(-1, TOKENS, TOKEN)
            left = 0

    def take(self, file, rows):
        rows = numpy.asarray(rows)
        out = numpy.empty((len(rows), WIDTH), numpy.float16)
        for group in numpy.unique(rows // SHARD):
            pooled, tokens = self.groups(file, [int(group)])
            mine = numpy.flatnonzero(rows // SHARD == group)
            out[mine, :POOLED], out[mine, POOLED:] = pooled[rows[mine] % SHARD], tokens[rows[mine] % SHARD]
        return out


class HuggingFace(Peer):
    ways = ("numpy", "arrow")

    def write(self, samples):
        import datasets

        data = numpy.load(samples, mmap_mode="r")
        features = datasets.Features({"pooled": datasets.Sequence(datasets.Value("float16"), length=POOLED),
                                      "tokens": datasets.Sequence(datasets.Value("float16"), length=TOKENS * TOKEN)})
        import pyarrow
        from datasets.arrow_writer import ArrowWriter

        column = Parquet(self.folder, "lists").column
        with ArrowWriter(path=str(self.folder / "set.arrow"), features=features) as writer:
            for first in range(0, len(data), SHARD):
                part = data[first:first + SHARD]
                writer.write_table(pyarrow.table([column(part[:, :POOLED]), column(part[:, POOLED:])],
                                                 schema=features.arrow_schema))
            writer.finalize()

    def open(self):
        import datasets

        return datasets.Dataset.from_file(str(self.folder / "set.arrow")).with_format(self.way)

    def floats(self, table):
        if self.way == "numpy":
            return table["pooled"], table["tokens"].reshape(-1, TOKENS, TOKEN)

        def flat(name, width):
            column = table.column(name).combine_chunks()
            return column.flatten().to_numpy(zero_copy_only=True).reshape(-1, width)

        return flat("pooled", POOLED), flat("tokens", TOKENS * TOKEN).reshape(-1, TOKENS, TOKEN)

    def batches(self, half):
        data = self.open()
        order = self.order(len(data))
        for rows in slices(order, len(order) // BATCH // 2 if half else 0):
            yield self.floats(data[rows])

    def take(self, data, rows):
        return self.floats(data[rows])


class Lance(Peer):
    ways = ("rows", "pools")

    def write(self, samples):
        import lance
        import pyarrow

        data = numpy.load(samples, mmap_mode="r")
        column = Parquet(self.folder, "lists").column
        kinds = [pyarrow.list_(pyarrow.float16(), width) for width in (POOLED, TOKENS * TOKEN)]
        schema = pyarrow.schema(list(zip(("pooled", "tokens"), kinds, strict=True)))

        def parts():
            for first in range(0, len(data), SHARD):
                part = data[first:first + SHARD]
                columns = [column(part[:, :POOLED]), column(part[:, POOLED:])]
                yield pyarrow.record_batch(columns, schema=schema)

        lance.write_dataset(parts(), str(self.folder / "set.lance"), schema=schema)

    def open(self):
        import lance

        return lance.dataset(str(self.folder / "set.lance"))

    def floats(self, table):
        def flat(name, width):
            column = table.column(name).combine_chunks()
            return column.flatten().to_numpy(zero_copy_only=True).reshape(-1, width)

        return flat("pooled", POOLED), flat("tokens", TOKENS * TOKEN).reshape(-1, TOKENS, TOKEN)

    def batches(self, half):
        data = self.open()
        count = data.count_rows()
        start = count // BATCH // 2 if half else 0
        if self.way == "rows":
            for rows in slices(self.order(count), start):
                yield self.floats(data.take(rows))
            return
        rng = numpy.random.default_rng(2)
        order = self.order(count // SHARD)
        for at in range(start * BATCH // (SHARD * POOL) * POOL, len(order), POOL):
            parts = [data.to_table(offset=int(shard) * SHARD, limit=SHARD) for shard in order[at:at + POOL]]
            pooled, tokens = zip(*map(self.floats, parts), strict=True)
            pooled, tokens = numpy.concatenate(pooled), numpy.concatenate(tokens)
            for rows in slices(rng.permutation(len(pooled))):
                yield pooled[rows], tokens[rows]

    def take(self, data, rows):
        return self.floats(data.take(rows))


def stack(samples):
    """Batches of numpy arrays, where a loader would make tensors one by one."""
    return tuple(numpy.stack(column) for column in zip(*samples, strict=True))


class WebDataset(Peer):
    ways = ("0", f"{CORES}")

    def write(self, samples):
        import webdataset

        data = numpy.load(samples, mmap_mode="r")
        with webdataset.ShardWriter(str(self.folder / "%05d.tar"), maxcount=SHARD, verbose=0) as writer:
            for at, row in enumerate(data):
                pooled, tokens = parts(row)
                writer.write({"__key__": f"{at:06}", "npz": {"pooled": pooled, "tokens": tokens}})

    def batches(self, half):
        import webdataset

        shards = [str(path) for path in sorted(self.folder.glob("*.tar"))]
        data = webdataset.WebDataset(shards, shardshuffle=len(shards), seed=1)
        data = data.shuffle(1000).decode().map(lambda sample: (sample["npz"]["pooled"], sample["npz"]["tokens"]))
        workers = int(self.way)
        loader = webdataset.WebLoader(data.batched(BATCH, collation_fn=stack), batch_size=None, num_workers=workers)
        # It has no state: going on from half an epoch is reading half an epoch.
        skip = len(shards) * SHARD // BATCH // 2 if half else 0
        for at, batch in enumerate(loader):
            if at >= skip:
                yield batch

    take = None


class Mosaic(Peer):
    ways = ("0", f"{CORES}")

    def write(self, samples):
        from streaming import MDSWriter

        data = numpy.load(samples, mmap_mode="r")
        columns = {"pooled": f"ndarray:float16:{POOLED}", "tokens": f"ndarray:float16:{TOKENS},{TOKEN}"}
        with MDSWriter(out=str(self.folder / "mds"), columns=columns) as writer:
            for row in data:
                pooled, tokens = parts(row)
                writer.write({"pooled": pooled, "tokens": tokens})

    def open(self):
        from streaming import StreamingDataset

        return StreamingDataset(local=str(self.folder / "mds"), shuffle=True, shuffle_seed=1, batch_size=BATCH)

    def batches(self, half):
        from streaming import StreamingDataLoader

        def collate(samples):
            return stack([(sample["pooled"], sample["tokens"]) for sample in samples])

        data = self.open()
        loader = StreamingDataLoader(data, batch_size=BATCH, num_workers=int(self.way), collate_fn=collate)
        if half:
            state = data.state_dict(len(data) // BATCH // 2 * BATCH, False)
            loader.load_state_dict(state)
        yield from loader

    def take(self, data, rows):
        return stack([(sample["pooled"], sample["tokens"]) for sample in (data[int(row)] for row in rows)])


class LitData(Peer):
    ways = ("0", f"{CORES}")

    def write(self, samples):
        from litdata.streaming.writer import BinaryWriter

        data = numpy.load(samples, mmap_mode="r")
        folder = self.folder / "lit"
        folder.mkdir()
        writer = BinaryWriter(str(folder), chunk_bytes="64MB")
        for at, row in enumerate(data):
            pooled, tokens = parts(row)
            writer[at] = {"pooled": numpy.array(pooled), "tokens": numpy.array(tokens)}
        writer.done()
        writer.merge()

    def open(self, shuffle=True):
        from litdata import StreamingDataset

        return StreamingDataset(str(self.folder / "lit"), shuffle=shuffle, seed=1)

    def batches(self, half):
        from litdata import StreamingDataLoader

        def collate(samples):
            return stack([(sample["pooled"], sample["tokens"]) for sample in samples])

        loader = StreamingDataLoader(self.open(), batch_size=BATCH, num_workers=int(self.way), collate_fn=collate)
        if half:
            loader.load_state_dict(self.state)
        yield from loader

    def prepare(self):
        """What a run writes down at half an epoch."""
        from litdata import StreamingDataLoader

        loader = StreamingDataLoader(self.open(), batch_size=BATCH, num_workers=int(self.way), collate_fn=list)
        for at, _ in enumerate(loader):
            if at == len(loader) // 2:
                self.state = loader.state_dict()
                break

    def take(self, data, rows):
        return stack([(sample["pooled"], sample["tokens"]) for sample in (data[int(row)] for row in rows)])


PEERS = {"npy": Npy, "huggingface": HuggingFace, "lance": Lance, "pyarrow": Parquet, "litdata": LitData,
         "mosaic": Mosaic, "webdataset": WebDataset}


def held():
    """Most memory of this process and its children, in MB."""
    def peak(pid):
        try:
            lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
        except OSError:
            return 0
        return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)

    me = os.getpid()
    children = pathlib.Path(f"/proc/{me}/task/{me}/children").read_text().split()
    return sum(map(peak, [me, *children])) // 1024


def epoch(peer):
    began = time.perf_counter()
    first, samples, most = None, 0, 0
    for at, (pooled, tokens) in enumerate(peer.batches(False)):
        first = first or time.perf_counter() - began
        assert pooled.shape[1:] == (POOLED,) and tokens.shape[1:] == (TOKENS, TOKEN), (pooled.shape, tokens.shape)
        samples += len(pooled)
        if at % 32 == 31:
            most = max(most, held())
    secs = time.perf_counter() - began
    return {"samples_per_s": samples / secs, "first_s": first, "rss_mb": most, "samples": samples}


def resume(peer):
    peer.prepare()
    began = time.perf_counter()
    next(iter(peer.batches(True)))
    return {"resume_first_s": time.perf_counter() - began}


def take(peer, samples):
    if peer.take is None:
        return {}
    data = peer.open(shuffle=False) if isinstance(peer, LitData) else peer.open()
    rng = numpy.random.default_rng(3)
    peer.take(data, rng.integers(0, samples, 10))
    rows = rng.integers(0, samples, RANDOM_ROWS)
    began = time.perf_counter()
    peer.take(data, rows)
    return {"take_s": time.perf_counter() - began}


def step(options):
    """One step of one contestant, in a process of its own; prints JSON."""
    peer = PEERS[options.peer](options.folder, options.way)
    # A library is loaded before the time begins, as in a long run.
    if options.step != "write":
        for module in {"HuggingFace": ["datasets"], "Lance": ["lance"], "Parquet": ["pyarrow.parquet"],
                       "LitData": ["litdata"], "Mosaic": ["streaming"], "WebDataset": ["webdataset"]}.get(
                           type(peer).__name__, []):
            __import__(module)
    steps = {"write": lambda: peer.write(options.samples_file), "epoch": lambda: epoch(peer),
             "resume": lambda: resume(peer), "take": lambda: take(peer, options.samples)}
    found = steps[options.step]()
    print("RESULT " + json.dumps(found or {}), flush=True)
    # Some loaders leave threads that never end.
    os._exit(0)


def call(options, peer, way, name, folder):
    command = [sys.executable, __file__, "--step", name, "--peer", peer, "--way", way, "--folder", str(folder),
               "--samples-file", str(options.samples_file), "--samples", str(options.samples)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=600)
    lines = [line for line in ran.stdout.splitlines() if line.startswith("RESULT ")]
    if not lines:
        print(f"{peer} {way}: {name} failed:\n{ran.stdout[-500:]}{ran.stderr[-1500:]}", file=sys.stderr)
        return {}
    return json.loads(lines[-1].removeprefix("RESULT "))


def size(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def run_peer(options, peer):
    """Medians of all rounds by way."""
    results = {}
    shared = PEERS[peer] not in (Parquet,)
    folder = options.work / peer
    for way in PEERS[peer].ways:
        if not shared or not folder.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            call(options, peer, way, "write", folder)
        rounds = []
        for _ in range(options.rounds):
            found, began = {}, time.perf_counter()
            for name in ("epoch", "resume", "take"):
                found |= call(options, peer, way, name, folder)
            rounds.append(found)
            print(f"{peer} {way}: {found}", file=sys.stderr)
            if time.perf_counter() - began > SLOW:
                break
        results[way] = medians(rounds) | {"mb": size(folder)}
    shutil.rmtree(folder, ignore_errors=True)
    return results


def run_retort(options):
    folder = options.work / "retort"
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([options.retort, "write", options.samples_file, folder, str(SHARD)], check=True, capture_output=True)
    rounds = []
    for _ in range(options.rounds):
        ran = subprocess.run([options.retort, "read", folder, str(CORES), str(POOL), str(BATCH)], check=True,
                             capture_output=True, text=True)
        rounds.append(json.loads(ran.stdout))
        print(f"retort: {rounds[-1]}", file=sys.stderr)
    found = medians(rounds) | {"mb": size(folder / "cache")}
    shutil.rmtree(folder, ignore_errors=True)
    return {"": found}


def medians(rounds):
    names = {name for found in rounds for name in found}
    return {name: statistics.median(found[name] for found in rounds if name in found) for name in names}


def table(results):
    def cell(found, name, form):
        return form.format(found[name]) if found.get(name) is not None else "-"

    columns = {"samples/s": ("samples_per_s", "{:,.0f}"), "MB on disk": ("mb", "{:,.0f}"), "MB held": ("rss_mb", "{:,.0f}"),
               "first batch, ms": ("first_s", "{:.1f}"), "first batch at half an epoch, ms": ("resume_first_s", "{:.1f}"),
               "1,000 random rows, ms": ("take_s", "{:.1f}")}
    lines = ["| | " + " | ".join(columns) + " |", "|---|" + "---:|" * len(columns)]
    for name, found in results.items():
        found = {key: value for key, value in found.items() if value is not None}
        scaled = {key: value * 1000 if key.endswith("_s") and key != "samples_per_s" else value
                  for key, value in found.items()}
        lines.append(f"| {name} | " + " | ".join(cell(scaled, *column) for column in columns.values()) + " |")
    return "\n".join(lines)


def processor():
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines() if sys.platform == "linux" else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--retort", help="the release example `epoch` of the cache")
    arguments.add_argument("--work", type=pathlib.Path, default=pathlib.Path("target/bench-cache"))
    arguments.add_argument("--samples", type=int, default=50_000)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--only", nargs="*", help="these contestants alone")
    arguments.add_argument("--step", choices=["write", "epoch", "resume", "take"], help=argparse.SUPPRESS)
    arguments.add_argument("--peer", help=argparse.SUPPRESS)
    arguments.add_argument("--way", default="", help=argparse.SUPPRESS)
    arguments.add_argument("--folder", type=pathlib.Path, help=argparse.SUPPRESS)
    arguments.add_argument("--samples-file", type=pathlib.Path, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.step:
        return step(options)

    options.work = options.work.resolve()
    options.work.mkdir(parents=True, exist_ok=True)
    options.samples_file = options.work / "samples.npy"
    if not options.samples_file.exists():
        make_samples(options.samples_file, options.samples)
    packages = ("webdataset", "mosaicml-streaming", "litdata", "datasets", "pylance", "pyarrow", "numpy")
    print(f"{processor()}, {CORES} cores; " + ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages))
    results = {}
    if options.retort:
        results["retort"] = run_retort(options)[""]
        print(f"retort stands at half an epoch, ready to read, after {1000 * results['retort']['resume_s']:.1f} ms")
    for peer in options.only or PEERS:
        found = run_peer(options, peer)
        if peer in ("pyarrow", "huggingface"):
            results |= {f"{peer} {way}": way_found for way, way_found in found.items()}
            continue
        best = max(found, key=lambda way: found[way].get("samples_per_s", 0))
        # Each number from the way that is best at it; what a way lacks it does not have.
        chosen = dict(found[best])
        for name in ("first_s", "resume_first_s", "take_s"):
            chosen[name] = min((way[name] for way in found.values() if way.get(name) is not None), default=None)
        results[peer] = chosen
    print("\n" + table(results), flush=True)
    return None


if __name__ == "__main__":
    main()
