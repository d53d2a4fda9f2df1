"""What a person sees while a stage runs."""

import logging

from qatlab.progress import show_warnings


def test_warnings_of_a_library_are_shown_with_what_they_are_about(capsys):
    logger = logging.getLogger("shown")
    show_warnings("shown", "train first")
    show_warnings("shown", "train second")  # the next training in one process
    logging.getLogger("shown.part").warning("the gradient of %s is weak", "binary")
    logging.getLogger("shown.part").info("nothing to see")
    logger.handlers = []
    assert capsys.readouterr().err == "train second: the gradient of binary is weak\n"
