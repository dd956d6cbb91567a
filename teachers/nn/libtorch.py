#!/usr/bin/env python3
"""Puts libtorch under the user's cache folder, once per machine, and tells cargo where it is.

    python3 teachers/nn/libtorch.py            install if needed, then write .cargo/config.toml
    python3 teachers/nn/libtorch.py --print    only print the LIBTORCH folder in use

The libraries and headers come out of PyPI's torch wheel; no Python interpreter is involved in running retort, so any
Python 3.8 or later will do. A machine with an NVIDIA GPU gets the full CUDA set, any other the small CPU set
(RETORT_LIBTORCH=cpu or =cuda overrides). A LIBTORCH that is already set wins: nothing is installed then.
"""
import fcntl, os, pathlib, platform, shutil, subprocess, sys, tempfile, zipfile

VERSION = "2.11.0"  # tch 0.24.0 is made for exactly this one
WHEEL_PYTHON = "3.12"  # which wheel is opened; unrelated to the Python that runs this script
CPU_LIBRARIES = ["libc10.so", "libtorch_cpu.so", "libgomp.so.1"]
# libtorch_cpu.so is the same file in CPU and CUDA wheels, and wants these two small ones beside it.
CPU_WHEELS = [f"torch=={VERSION}", "nvidia-cuda-runtime==13.0.*", "nvidia-cuda-cupti==13.0.*"]
ROOT = pathlib.Path(__file__).resolve().parents[2]


def fail(what, *hints):
    print(f"error: {what}", file=sys.stderr)
    for hint in hints:
        print(f"hint: {hint}", file=sys.stderr)
    sys.exit(2)


def cache_folder():
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return pathlib.Path(home) / "retort"


def flavour():
    asked = os.environ.get("RETORT_LIBTORCH")
    if asked in ("cpu", "cuda"):
        return asked
    if asked:
        fail(f"RETORT_LIBTORCH is {asked!r}; expected 'cpu' or 'cuda'")
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, timeout=60)
        return "cuda" if listed.returncode == 0 and b"GPU" in listed.stdout else "cpu"
    except (OSError, subprocess.TimeoutExpired):
        return "cpu"


def pip(*arguments):
    machine = platform.machine()
    if sys.platform != "linux" or machine not in ("x86_64", "aarch64"):
        fail(
            f"no libtorch is known for {sys.platform} on {machine}",
            f"install libtorch {VERSION} yourself and set LIBTORCH to its folder",
            "or build without it: cargo build --no-default-features",
        )
    # Wheels are tagged with the oldest glibc they run on; pip matches each tag exactly.
    tags = ["manylinux2014"] + [f"manylinux_2_{n}" for n in (17, 24, 25, 26, 27, 28)]
    platforms = [word for tag in tags for word in ("--platform", f"{tag}_{machine}")]
    command = [sys.executable, "-m", "pip", *arguments, "--only-binary=:all:", "--no-input", "--no-cache-dir",
               "--disable-pip-version-check", "--python-version", WHEEL_PYTHON, "--implementation", "cp", *platforms]
    probe = subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True)
    if probe.returncode != 0:
        fail(f"{sys.executable} has no pip", "install pip (Debian: apt install python3-pip), or set LIBTORCH to a libtorch "
             f"{VERSION} you already have")
    if subprocess.run(command).returncode != 0:
        fail(
            f"pip could not fetch torch {VERSION}; its own message is above",
            "is the network there, and PyPI or your mirror reachable?",
            "run the same command again: nothing half-finished is kept",
            f"or set LIBTORCH to a libtorch {VERSION} you already have",
        )


def install_cpu(into, scratch):
    wheels = scratch / "wheels"
    pip("download", "--no-deps", "--dest", str(wheels), *CPU_WHEELS)
    print("libtorch: unpacking", file=sys.stderr, flush=True)
    for wheel in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as packed:
            for member in packed.namelist():
                name = pathlib.PurePosixPath(member)
                wanted = (
                    member.startswith("torch/include/")
                    or (member.startswith("torch/lib/") and name.name in CPU_LIBRARIES)
                    or (member.startswith("nvidia/") and ".so" in name.name)
                )
                if wanted:
                    packed.extract(member, into)
    (into / "torch/lib/libtorch.so").symlink_to("libtorch_cpu.so")


def install_cuda(into, scratch):
    pip("install", "--target", str(into), f"torch=={VERSION}")


def install(kind):
    folder = cache_folder() / f"libtorch-{VERSION}-{kind}"
    if not folder.is_dir():
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            fail(f"cannot make {folder.parent}: {error}", "set XDG_CACHE_HOME to a folder you can write to")
        # One at a time; the folder appears whole, by rename, or not at all.
        with open(folder.parent / "libtorch.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.is_dir():
                for leftover in folder.parent.glob("libtorch-partial-*"):
                    shutil.rmtree(leftover, ignore_errors=True)
                size = "about 545 MB" if kind == "cpu" else "about 3 GB"
                print(f"libtorch: fetching {VERSION} ({kind}, {size}) into {folder}", file=sys.stderr, flush=True)
                scratch = pathlib.Path(tempfile.mkdtemp(prefix="libtorch-partial-", dir=folder.parent))
                try:
                    whole = scratch / "libtorch"
                    whole.mkdir()
                    (install_cpu if kind == "cpu" else install_cuda)(whole, scratch)
                    (whole / "torch/build-version").write_text(VERSION + "\n")
                    whole.rename(folder)
                except OSError as error:
                    fail(f"cannot put libtorch under {folder.parent}: {error}", "it needs about 3 GB free while unpacking")
                finally:
                    shutil.rmtree(scratch, ignore_errors=True)
    return folder / "torch"


def tell_cargo(libtorch):
    config = ROOT / ".cargo/config.toml"
    text = (
        "# Written by teachers/nn/libtorch.py. A LIBTORCH in the environment wins over this one.\n"
        f"[env]\nLIBTORCH = {str(libtorch)!r}\n"
    )
    if not config.exists() or config.read_text() != text:
        config.parent.mkdir(exist_ok=True)
        config.write_text(text)


def main():
    if sys.version_info < (3, 8):
        fail(f"Python {platform.python_version()} is too old", "use Python 3.8 or later")
    own = os.environ.get("LIBTORCH")
    if own:
        if not (pathlib.Path(own) / "lib").is_dir():
            fail(f"LIBTORCH is set to {own}, which has no lib folder", "unset it, or point it at an unpacked libtorch")
        libtorch = pathlib.Path(own)
    else:
        libtorch = install(flavour())
        tell_cargo(libtorch)
    if "--print" in sys.argv[1:]:
        print(libtorch)
    else:
        print(f"libtorch: {libtorch}", file=sys.stderr)


if __name__ == "__main__":
    main()
