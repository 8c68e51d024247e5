import argparse
import subprocess
import sys

import pytest

from person_search.command import positive, printable, run_program
from person_search.errors import DatasetError


def test_control_characters_are_shown_and_all_else_stays():
    assert printable("a\x1b[2Jb\nc\x7f") == "a\\x1b[2Jb\\nc\\x7f"
    assert printable("Zoë — 人 🙂") == "Zoë — 人 🙂"
    assert printable("‮gnp.exe") == "\\u202egnp.exe"  # turns the direction of writing around


@pytest.mark.parametrize("status, code", [(None, None), (0, 0), (3, 3)])
def test_the_status_of_the_program_is_its_own(status, code):
    with pytest.raises(SystemExit) as end:
        run_program(lambda: status)
    assert end.value.code == code


def raising(error):
    def main():
        raise error

    return main


@pytest.mark.parametrize(
    "error, code",
    [
        (DatasetError("no \x1b file"), "DatasetError: no \\x1b file"),
        (OSError(28, "No space left", "x"), "OSError: [Errno 28] No space left: 'x'"),
        (KeyboardInterrupt(), 130),
    ],
)
def test_a_users_mistake_ends_in_one_line(error, code):
    with pytest.raises(SystemExit) as end:
        run_program(raising(error))
    assert end.value.code == code


def test_a_mistake_of_the_program_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run_program(lambda: 1 // 0)


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
