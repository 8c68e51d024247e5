"""How a program of this project ends, and what it may print."""

import argparse
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from .errors import PersonSearchError

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""


def printable(text: object) -> str:
    """A text without control characters, which could steer a terminal: they are shown as ``\\x1b``.

    Names of files, cameras and persons come from anywhere. Line breaks are escaped too.
    """
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(text))


def run_program(main: Callable[[], int | None]) -> NoReturn:
    """Run a program to its exit: a mistake of its user ends in one line, without a traceback.

    Args:
        main: the program; gives the exit status, None for success.
    """
    try:
        status = main()
        sys.stdout.flush()  # here, where a closed pipe can still be dealt with
        sys.exit(status)
    except PersonSearchError as error:
        sys.exit(printable(f"{type(error).__name__}: {error}"))
    except BrokenPipeError:  # the reader has seen enough, as `| head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        sys.exit(printable(f"{type(error).__name__}: {error}"))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def positive(text: str) -> int:
    """A whole number of at least 1, as the ``type`` of an argument."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return int(text)
