"""The one place where whatever went wrong becomes a sentence and an exit code. Standard library only.

A cell's own error is told by the notebook that it is in; everything else ends here.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from contextlib import suppress
from pathlib import Path

from gfe_companion.cli.endings import AGAIN, Ended, reader_gone, remove_temporary, silence
from gfe_companion.cli.environment import Exit, Stop
from gfe_companion.cli.said import say

KEPT = "what was finished is kept, so call again to go on"

FULL = f"free some space there; {KEPT}"
REMEDIES = {
    errno.ENOSPC: ("the disk is full", FULL),
    errno.EDQUOT: ("your disk quota is used up", FULL),
    errno.EFBIG: ("a file would be larger than is allowed here", f"raise the limit (ulimit -f); {KEPT}"),
    errno.ENAMETOOLONG: ("a path is longer than this system allows", "let GFE_HOME or TMPDIR name a shorter one"),
    errno.EMFILE: ("too many files are open", f"raise the limit (ulimit -n) or lower --jobs; {KEPT}"),
    errno.ENFILE: ("too many files are open on this machine", f"end other programs; {KEPT}"),
    errno.ENOMEM: ("there is not enough memory", f"lower --jobs, or end other programs; {KEPT}"),
    errno.EAGAIN: ("no more processes can be started", f"raise the limit (ulimit -u) or lower --jobs; {KEPT}"),
    errno.EIO: ("the disk cannot be read or written", f"check it, or let GFE_HOME name a folder elsewhere; {KEPT}"),
    errno.ESTALE: ("a network folder went away", f"mount it again; {KEPT}"),
    errno.ENOLCK: ("files cannot be locked here", "let GFE_HOME name a folder on a local disk"),
}  # fmt: skip
UNWRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS}
IN_THE_WAY = {errno.ENOTDIR, errno.EEXIST, errno.EISDIR}


def explain(error: BaseException) -> str:
    """What went wrong, in one sentence with the remedy; an error that nobody foresaw says where it was raised."""
    if isinstance(error, OSError) and not isinstance(error, TimeoutError | ConnectionError) and error.errno:
        place = f" ({error.filename})" if error.filename else ""
        if error.errno in REMEDIES:
            wrong, remedy = REMEDIES[error.errno]
            return f"{wrong}{place}: {remedy}"
        if error.errno in UNWRITABLE:
            remedy = "make it writable, or let GFE_HOME name a folder that is"
            return f"{error.filename or 'a folder'} cannot be used ({error.strerror}): {remedy}"
        if error.errno in IN_THE_WAY:
            return f"{_blocker(error.filename)} is in the way ({error.strerror}): move it, then call again"
        if error.errno == errno.ENOENT and "temporary directory" in str(error):
            return "there is no folder for temporary files: let TMPDIR name one that can be written"
    if isinstance(error, MemoryError) or _no_room(error):
        wrong, remedy = REMEDIES[errno.ENOMEM]
        return f"{wrong}: {remedy}"
    if isinstance(error, ImportError):
        return f"a package cannot be imported ({' '.join(str(error).split())[:300]}): remove .venv, then call again"
    if isinstance(error, NotImplementedError) and "flock" in str(error):  # as a network folder answers
        wrong, remedy = REMEDIES[errno.ENOLCK]
        return f"{wrong}: {remedy}"
    said = " ".join(str(error).split())[:300] or "no more is known"
    where = traceback.extract_tb(error.__traceback__)[-1:]
    place = f" at {Path(where[0].filename).name}:{where[0].lineno}" if where else ""
    return f"{type(error).__name__}{place}: {said}; {KEPT}, and the whole traceback is in {_log(error)}"


def _no_room(error: BaseException) -> bool:
    """Whether a library could not be loaded for want of memory, as the system's loader says it."""
    return any(said in str(error) for said in ("failed to map segment", "annot allocate memory"))


def _blocker(path: str | None) -> str:
    """What is where a folder should be: ``path``, or the first above it that is no folder."""
    for place in reversed([Path(path), *Path(path).parents]) if isinstance(path, str) else ():
        if os.path.lexists(place) and not place.is_dir():
            return str(place)
    return path if isinstance(path, str) else "something"


def remedy_for(name: str, said: str) -> str:
    """What to do about the error of a cell, of which only its ``name`` and what it ``said`` are known; or nothing."""
    if any(f"[Errno {number}]" in said for number in UNWRITABLE | IN_THE_WAY):
        return "make that place writable, or let GFE_HOME name a folder that is"
    for number, (wrong, remedy) in REMEDIES.items():
        if f"[Errno {number}]" in said or (name == "MemoryError" and number == errno.ENOMEM):
            return f"{wrong}: {remedy}"
    return ""


def _log(error: BaseException) -> str:
    """Write the whole traceback where results go; returns where that is."""
    path = Path(os.environ.get("GFE_HOME") or Path(__file__).resolve().parents[2]) / "build" / "traceback.log"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    except OSError:
        return "no file, as none could be written"
    return str(path)


def tell(name: str, error: BaseException) -> int:
    """Say in one line on stderr why the command ``name`` ends, and return its exit code. Never raises."""
    code, line = _judged(error)
    if reader_gone():
        code, line = Exit.NO_READER, ""
    remove_temporary()
    if line:
        with suppress(OSError, ValueError):
            say(f"{name}: {line}")
    silence()
    return code


def _judged(error: BaseException) -> tuple[int, str]:
    if isinstance(error, SystemExit):
        try:
            sys.stdout.flush()
        except OSError as unsaid:
            return Exit.FAILED, explain(unsaid)
        return (error.code if isinstance(error.code, int) else Exit.DONE if error.code is None else Exit.FAILED), ""
    if isinstance(error, Stop):
        return error.code, str(error)
    if isinstance(error, KeyboardInterrupt) or error.args == (signal.SIGINT,):
        return Exit.INTERRUPTED, f"interrupted; {AGAIN}"
    if isinstance(error, Ended):
        number = int(error.args[0])
        return 128 + number, f"ended by {signal.Signals(number).name}; {AGAIN}"
    damaged = isinstance(error, ImportError) and not _no_room(error)
    return Exit.ENVIRONMENT if damaged else Exit.FAILED, explain(error)
