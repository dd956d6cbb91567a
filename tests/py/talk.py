"""Talks to a line editor through a terminal of its own: types a line, and waits for what should come of it.

    python3 tests/py/talk.py PROGRAM ARGUMENT... < [["typed", "expected", "stopped"?], ...]

A line editor drops what was typed ahead while it was busy with the line before. So the next line is typed once it
reads again, which it says by asking for bracketed paste; and what comes while it still edits is echo, not an answer.
Where a third word is given, Ctrl-C is typed as soon as the
second comes, and the third should come of that. The last line ends the program. Ends with 0 once all has come and the program has ended with 0; else says what it waited
for and what it saw.
"""

import json
import os
import pty
import select
import sys
import time

LONGEST_SECS = 120
CTRL_C = b"\x03"
# Bracketed paste, asked for by a line editor when it begins to read a line, and given up when the line is there.
READS, HAS_READ = b"\x1b[?2004h", b"\x1b[?2004l"


def is_answered(seen, typed, expected, goes_on):
    answer = seen.partition(HAS_READ)[2] if typed else seen
    comes = answer.find(expected.encode())
    return comes >= 0 and (goes_on or READS in answer[comes:])


def wait(terminal, typed, expected, end, goes_on):
    seen = b""
    while not is_answered(seen, typed, expected, goes_on):
        ready, _, _ = select.select([terminal], [], [], max(0, end - time.monotonic()))
        try:
            read = os.read(terminal, 65536) if ready else b""
        except OSError:
            # The other side has gone.
            read = b""
        if not read:
            sys.exit(f"after {typed!r}: waited for {expected!r}, saw {seen[-2000:].decode(errors='replace')!r}")
        seen += read


def main():
    conversation = json.load(sys.stdin)
    child, terminal = pty.fork()
    if child == 0:
        os.environ["TERM"] = "xterm"
        os.execv(sys.argv[1], sys.argv[1:])
    end = time.monotonic() + LONGEST_SECS
    for at, (typed, expected, *stopped) in enumerate(conversation, 1):
        os.write(terminal, typed.encode())
        wait(terminal, typed, expected, end, goes_on=stopped or at == len(conversation))
        for words in stopped:
            os.write(terminal, CTRL_C)
            wait(terminal, "", words, end, goes_on=False)
    _, status = os.waitpid(child, 0)
    sys.exit(os.waitstatus_to_exitcode(status))


main()
