"""How a program of this project ends."""

import argparse
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from .errors import PersonSearchError, printable

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""


def ending(main: Callable[[], int | None], stopped: str = "stopped") -> int:
    """Run a program; a mistake of its user ends in one line on stderr, without a traceback.

    Args:
        main: the program; gives its exit status, None for success.
        stopped: what is said after Ctrl-C.

    Returns:
        The exit status: 1 after a mistake.
    """
    try:
        status = main() or 0
        sys.stdout.flush()  # here, where a closed pipe can still be dealt with
        return status
    except BrokenPipeError:  # the reader has seen enough, as `| head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (PersonSearchError, OSError) as error:
        print(printable(f"{type(error).__name__}: {error}"), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)
        return INTERRUPTED


def run_program(main: Callable[[], int | None]) -> NoReturn:
    """Run a program to its exit, see :func:`ending`."""
    sys.exit(ending(main))


def positive(text: str) -> int:
    """A whole number of at least 1, as the ``type`` of an argument."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return int(text)
