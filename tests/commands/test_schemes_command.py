"""qatlab schemes lists every scheme with what it is."""

import os
import signal
import subprocess
import sys

from qatlab.__main__ import main
from qatlab.config.weights import SCHEMES


def test_every_scheme_has_a_line(capsys):
    assert main(["schemes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(SCHEMES)
    assert lines[0].endswith("one scale per output channel (weight-only; unsloth's int8 scheme)")


def test_it_ends_without_a_traceback_if_the_reader_of_its_output_has_ended():
    """Close the pipe before the command writes, as `qatlab schemes | head -1` can."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "qatlab", "schemes"]
    result = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (result.returncode, result.stderr) == (128 + signal.SIGPIPE, "")
