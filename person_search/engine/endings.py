"""How a run ends early: in one line and with a status, whoever or whatever ended it."""

import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from torch.multiprocessing import ProcessExitedException, ProcessRaisedException

from person_search.errors import PersonSearchError, printable


class Terminated(KeyboardInterrupt):
    """SIGTERM, as schedulers and ``kill`` send it."""


STATUS = {KeyboardInterrupt: 130, Terminated: 143}
"""Exit statuses, as shells have them: 128 and the number of the signal."""


@contextmanager
def one_line_endings() -> Iterator[None]:
    """Let what is no programming error end the program (``SystemExit``) in one line.

    Covers mistakes of the user, a full disk, Ctrl-C and SIGTERM, here and in processes that were
    launched from here.
    """
    raise_exceptions = logging.raiseExceptions
    logging.raiseExceptions = False  # a log that cannot be written is no reason for tracebacks
    handler = _terminate_once() if threading.current_thread() is threading.main_thread() else None
    try:
        yield
    except ProcessExitedException as error:
        sys.exit(
            f"{error}, and the others were ended. Mostly the system was out of memory: fewer "
            "DATALOADER.NUM_WORKERS, or a larger SOLVER.ACCUMULATE, take less. --resume goes on "
            "from the last checkpoint"
        )
    except (PersonSearchError, ProcessRaisedException) as error:
        if not (message := _message(error)):
            raise
        sys.exit(message)
    except OSError as error:
        sys.exit(printable(f"{type(error).__name__}: {error}"))
    except KeyboardInterrupt as stop:
        print(printable(str(stop) or "stopped"), file=sys.stderr)
        sys.exit(STATUS[type(stop)])
    finally:
        logging.raiseExceptions = raise_exceptions
        if handler is not None:
            signal.signal(signal.SIGTERM, handler)


def _terminate_once():
    """Let the first SIGTERM raise :class:`Terminated`; returns the handler before."""

    def handle(number, frame):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise Terminated

    return signal.signal(signal.SIGTERM, handle)


def _message(error: Exception) -> str:
    """What the user needs of an error; "" if it is a programming error of another process.

    The message of another process (a loader's worker, a rank) is its whole traceback.
    """
    kind = type(error)
    text = f"{kind.__module__}.{kind.__name__}: {error}"
    _, found, message = text.rpartition(f"{PersonSearchError.__module__}.")
    return "\n".join(map(printable, message.strip().splitlines())) if found else ""
