"""qatlab schemes lists every scheme with what it is."""

from qatlab.__main__ import main
from qatlab.config.weights import SCHEMES


def test_every_scheme_has_a_line(capsys):
    assert main(["schemes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(SCHEMES)
    assert lines[0].endswith("one scale per output channel (weight-only; unsloth's int8 scheme)")
