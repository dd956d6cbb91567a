"""What a data set holds: `retort summary` beside DuckDB's SUMMARIZE.

    python tests/peers/summary.py --retort target/release/retort --shards target/release/examples/shards
        [--rows 10000000] [--rounds 11] [--dataset FOLDER ...] [--work FOLDER]

Two questions, each a process from its start to its end:

    simulated   the manifests of a data set of so many images, and of a teacher that has seen all of it, in shards of 1,024, with an
                empty file for each table of each: `retort summary` alone, as there is nothing for others to read
    real        each data set given: `retort summary`, and DuckDB, which is told to SUMMARIZE every table over all of its Parquet
                files (minimum, maximum, approximate quantiles and distinct values, nulls of each column)

They do not tell the same: DuckDB reads the columns, and knows nothing of vectors; retort reads what was noted when they were
written. DuckDB's own time, without Python's start and its import, is told beside the whole. Rounds go through the contestants
in turn, the first is not counted, and files are in the page cache.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

SHARD = 1024
ASK = """
import json, sys, time, duckdb
tables = json.loads(sys.argv[1])
began = time.perf_counter()
with duckdb.connect() as db:
    rows = 0
    for files in tables:
        told = db.execute("SUMMARIZE SELECT * FROM read_parquet(" + json.dumps(files).replace('"', "'") + ")").fetchall()
        rows += told[0][10] if told else 0
print(json.dumps({"secs": time.perf_counter() - began, "rows": rows, "version": duckdb.__version__}))
"""


def tables_of(dataset):
    """The files of each table of a data set and of its teachers, as their manifests' folders have them."""
    folders = [folder for folder in sorted(dataset.glob("*/")) + sorted(dataset.glob("cache/*/*/"))
               if folder.name != "cache" and folder.name != "manifest"]
    tables = [sorted(str(file) for file in folder.glob("*.parquet")) for folder in folders]
    return [files for files in tables if files]


def run(command):
    """Seconds of a process, and what it said."""
    began = time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return time.perf_counter() - began, done.stdout


def tell(name, secs, note=""):
    middle = statistics.median(secs)
    print(f"{name:44} {1e3 * middle:9.1f} ms  ({1e3 * min(secs):.1f} to {1e3 * max(secs):.1f}){note}", flush=True)


def simulated(options):
    shards = -(-options.rows // SHARD)
    folder = options.work / f"listed-{shards}"
    if not folder.exists():
        new = options.work / "simulated.new"
        subprocess.run([options.shards, "write", str(shards), new], check=True)
        new.rename(folder)
    for form in ["table", "json"]:
        taken = [run([options.retort, "summary", folder, "--format", form]) for _ in range(options.rounds + 1)]
        tell(f"simulated, {shards * SHARD:,} images, {form}", [secs for secs, _ in taken[1:]])
    told = json.loads(taken[-1][1])
    vectors = sum(table["rows"] for table in told["teachers"][0]["tables"])
    assert not any(table["gone"]["files"] for table in told["tables"] + told["teachers"][0]["tables"]), told
    assert told["splits"][0]["images"] == shards * SHARD and vectors == 2 * shards * SHARD, told
    assert all(table["norm_quantiles"]["embedding"] for table in told["teachers"][0]["tables"]), "not of manifests alone"


def real(options, dataset):
    tables = tables_of(dataset)
    ours, whole, own = [], [], []
    for turn in range(options.rounds + 1):
        secs, text = run([options.retort, "summary", dataset, "--format", "json"])
        theirs, said = run([sys.executable, "-c", ASK, json.dumps(tables)])
        if turn:
            ours.append(secs)
            whole.append(theirs)
            own.append(json.loads(said)["secs"])
    told, said = json.loads(text), json.loads(said)
    everything = told["tables"] + [table for teacher in told["teachers"] for table in teacher["tables"]]
    rows, size = sum(table["rows"] for table in everything), sum(table["bytes"] for table in everything)
    assert said["rows"] == rows, f"DuckDB found {said['rows']} rows, retort {rows}"
    print(f"\n{dataset.name}: {rows:,} rows of {len(tables)} tables, {size / 1e6:.1f} MB; DuckDB {said['version']}")
    tell("retort summary", ours)
    for name, theirs in [("duckdb SUMMARIZE, its own time", own), ("duckdb SUMMARIZE, with Python's start", whole)]:
        tell(name, theirs, f"  {statistics.median(b / a for a, b in zip(ours, theirs, strict=True)):.1f} x")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--retort", type=pathlib.Path, required=True)
    parser.add_argument("--shards", type=pathlib.Path, required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--dataset", type=pathlib.Path, nargs="*", default=[])
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    simulated(options)
    for dataset in options.dataset:
        real(options, dataset)
    print(f"\n{platform.processor() or platform.machine()}, {len(os.sched_getaffinity(0))} cores")


if __name__ == "__main__":
    main()
