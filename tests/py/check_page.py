"""Runs the blocks of Python in a page of documentation one after another in the current folder, and compares what each prints
with the block that follows it:

    python3 tests/py/check_page.py docs/python.md
"""

import contextlib
import difflib
import io
import re
import sys

page = open(sys.argv[1], encoding="utf-8").read()
blocks = re.findall(r"^```python\n(.*?)^```\n\n```\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
if len(blocks) != page.count("```python\n"):
    sys.exit("a block of Python has no block behind it that says what it prints")
names = {"__name__": "__main__"}
for number, (code, expected) in enumerate(blocks, 1):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, f"block {number} of {sys.argv[1]}", "exec"), names)
    if printed.getvalue() != expected:
        lines = difflib.unified_diff(expected.splitlines(), printed.getvalue().splitlines(), "page", "printed", lineterm="")
        sys.exit(f"block {number} prints something else:\n" + "\n".join(lines))
print(f"{len(blocks)} blocks")
