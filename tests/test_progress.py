"""Progress lines of a stage on the terminal and in the log."""

import logging
import os
import subprocess
import sys

import pytest

from qatlab.progress import show_warnings


def test_warnings_of_a_library_are_shown_with_their_subject(capsys):
    logger = logging.getLogger("shown")
    show_warnings("shown", "train first")
    show_warnings("shown", "train second")  # the next training in one process
    logging.getLogger("shown.part").warning("the gradient of %s is weak", "binary")
    logging.getLogger("shown.part").info("nothing to see")
    logger.handlers = []
    assert capsys.readouterr().err == "train second: the gradient of binary is weak\n"


@pytest.mark.slow(10)
def test_a_log_has_no_progress_bars(tiny_model, tmp_path):
    code = (
        "import sys; from pathlib import Path; from qatlab.progress import output_to\n"
        "with output_to(Path(sys.argv[1])):\n"
        "    from qatlab.models.embedding import load_model\n"
        "    load_model(Path(sys.argv[2])).save_pretrained(sys.argv[3])\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "HF_HUB_DISABLE_PROGRESS_BARS"}
    command = [sys.executable, "-c", code, tmp_path / "log", tiny_model, tmp_path / "saved"]
    subprocess.run(command, env=environment, check=True)
    assert "%|" not in (tmp_path / "log").read_text(encoding="utf-8")
    assert (tmp_path / "saved" / "modules.json").is_file()
