"""Lines of Snakemake's on the terminal: control characters that they quote are shown, not obeyed."""

import logging
import subprocess
import sys

from snakemake_interface_logger_plugins.common import LogEvent

from snakemake_logger_plugin_qatlab import LogHandler


def test_what_an_error_quotes_is_shown(capfd):
    handler = LogHandler.__new__(LogHandler)
    handler.__post_init__()
    record = logging.LogRecord("snakemake", logging.ERROR, "", 0, "unknown study 'a\x1b[2Jb'\nsecond line", None, None)
    record.event = LogEvent.ERROR
    handler.emit(record)
    assert capfd.readouterr().err == "error: unknown study 'a\\x1b[2Jb'\nsecond line\n"


def test_it_leaves_the_import_of_qatlab_to_the_snakefile():
    """Or another installation's would be the one whose code and configuration are looked at."""
    code = "import sys, snakemake_logger_plugin_qatlab; sys.exit(any(name.partition('.')[0] == 'qatlab' for name in sys.modules))"
    subprocess.run([sys.executable, "-c", code], check=True)
