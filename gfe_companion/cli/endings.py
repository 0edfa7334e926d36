"""How a process ends: streams that are closed, signals, what it started and what it left. Standard library only."""

from __future__ import annotations

import fcntl
import os
import select
import shutil
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn, TextIO

from gfe_companion.cli.environment import Exit

AGAIN = "call it again to go on"
GRACE_S = 4.0  # between a signal and the end of this process, whatever it is doing
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGXCPU)

temporary: set[Path] = set()  # folders to be removed however this process ends


class Ended(BaseException):
    """This process was asked to end by a signal, whose number is the one argument."""


# --- streams


def open_streams() -> None:
    """Give a process whose stdin, stdout or stderr was closed the null device in its place.

    Otherwise the next file to be opened would get that number, and what is said there would be written into it.
    """
    for number, mode in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
        try:
            usable = fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE in (mode, os.O_RDWR)
        except OSError:
            usable = False
        if not usable:
            null = os.open(os.devnull, mode)
            os.dup2(null, number)
            if null != number:
                os.close(null)
        os.set_inheritable(number, True)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)


def reader_gone() -> bool:
    """Whether stdout or stderr is a pipe that nobody reads any more, as after `| head`."""
    with suppress(OSError, ValueError, AttributeError):
        poll = select.poll()
        for number in (1, 2):
            poll.register(number, 0)
        return any(event & select.POLLERR for _, event in poll.poll(0))
    return False


def silence() -> None:
    """Flush what was said; where that cannot be, let the interpreter's own last flush go nowhere."""
    for stream, number in ((sys.stdout, 1), (sys.stderr, 2)):
        try:
            stream.flush()
        except (OSError, ValueError):
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), number)


class Quiet:
    """A stream for those who do not expect that nobody reads it: then this process ends, without a word."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, or end."""
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            self._end()

    def flush(self) -> None:
        """Flush, or end."""
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._end()

    def _end(self) -> NoReturn:
        end_children()
        remove_temporary()
        os._exit(Exit.NO_READER)


# --- signals


def listen() -> None:
    """Turn signals into exceptions, so that temporary folders go and locks open; end within seconds in any case.

    What the caller ignores stays ignored: `nohup`, and commands in the background.
    """
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _signalled)


def listen_no_more() -> None:
    """Signals as Python has them from the start."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def _signalled(number: int, _: FrameType | None) -> NoReturn:
    for other in SIGNALS:
        signal.signal(other, signal.SIG_IGN)  # one is enough
    watch = threading.Timer(GRACE_S, _leave, (number,))
    watch.daemon = True
    watch.start()
    end_children()
    raise Ended(number)


def _leave(number: int) -> NoReturn:
    """End now, whatever hangs."""
    end_children()
    remove_temporary()
    with suppress(OSError, ValueError):
        os.write(2, f"{signal.Signals(number).name}; {AGAIN}\n".encode())
    os._exit(128 + number)


def end_children() -> None:
    """Kill every process that this one started, and theirs: kernels and the workers of their grids.

    Resource trackers are left: they end by themselves, when they have removed what the others can no longer.
    """
    try:
        import psutil
    except ImportError:
        return  # before the environment there is only pip, which ends with the call that started it
    with suppress(psutil.Error):
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                if not any("resource_tracker" in part for part in child.cmdline()):
                    child.kill()


def remove_temporary() -> None:
    """Remove this process's temporary folders."""
    while temporary:
        shutil.rmtree(temporary.pop(), ignore_errors=True)
