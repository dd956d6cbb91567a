"""Talks to a program through a terminal of its own: types words, and waits for what should come.

    python3 tests/py/talk.py PROGRAM ARGUMENT... < [["typed", "expected"], ...]

Ends with 0 once all has come and the program has ended with 0; else says what it waited for and what it saw.
"""

import json
import os
import pty
import select
import sys
import time

LONGEST_SECS = 120


def main():
    conversation = json.load(sys.stdin)
    child, terminal = pty.fork()
    if child == 0:
        os.environ["TERM"] = "xterm"
        os.execv(sys.argv[1], sys.argv[1:])
    end = time.monotonic() + LONGEST_SECS
    for typed, expected in conversation:
        os.write(terminal, typed.encode())
        seen = b""
        while expected.encode() not in seen:
            ready, _, _ = select.select([terminal], [], [], max(0, end - time.monotonic()))
            try:
                read = os.read(terminal, 65536) if ready else b""
            except OSError:
                # The other side has gone.
                read = b""
            if not read:
                sys.exit(f"after {typed!r}: waited for {expected!r}, saw {seen.decode(errors='replace')!r}")
            seen += read
    _, status = os.waitpid(child, 0)
    sys.exit(os.waitstatus_to_exitcode(status))


main()
