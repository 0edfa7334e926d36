"""What the commands say on stderr: a line a sentence, whatever names and values are in it. Standard library only."""

from __future__ import annotations

import re
import sys

CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")  # line breaks, and all that a terminal would obey


def one_line(text: str) -> str:
    """``text`` with its line breaks and other control characters written out, as \\n is."""
    return CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


def say(line: str) -> None:
    """Say one line on stderr at once."""
    print(one_line(line), file=sys.stderr, flush=True)
