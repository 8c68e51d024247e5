import argparse
import subprocess
import sys

import pytest

from person_search.command import ending, positive
from person_search.errors import DatasetError


@pytest.mark.parametrize("status, code", [(None, 0), (0, 0), (3, 3)])
def test_the_status_of_the_program_is_its_own(status, code):
    assert ending(lambda: status) == code


def raising(error):
    def main():
        raise error

    return main


@pytest.mark.parametrize(
    "error, code, said",
    [
        (DatasetError("no \x1b file"), 1, "DatasetError: no \\x1b file\n"),
        (OSError(28, "No space left", "x"), 1, "OSError: [Errno 28] No space left: 'x'\n"),
        (KeyboardInterrupt(), 130, "stopped\n"),
    ],
)
def test_a_users_mistake_ends_in_one_line(error, code, said, capsys):
    assert ending(raising(error)) == code
    assert capsys.readouterr().err == said


def test_a_mistake_of_the_program_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        ending(lambda: 1 // 0)


def test_a_closed_pipe_is_no_error():
    program = (
        "from person_search.command import run_program\n"
        "def main():\n"
        "    for _ in range(10000): print('x' * 100)\n"
        "run_program(main)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.readline()
    process.stdout.close()
    assert (process.wait(30), process.stderr.read()) == (0, b"")
    process.stderr.close()


def test_positive_numbers():
    assert positive("12") == 12
    for text in ("0", "-1", "1.5", "x", ""):
        with pytest.raises(argparse.ArgumentTypeError):
            positive(text)
