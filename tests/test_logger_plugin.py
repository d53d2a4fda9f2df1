"""Lines of Snakemake's on the terminal: control characters that they quote are shown, not obeyed."""

import logging

from snakemake_interface_logger_plugins.common import LogEvent

from snakemake_logger_plugin_qatlab import LogHandler


def test_what_an_error_quotes_is_shown(capfd):
    handler = LogHandler.__new__(LogHandler)
    handler.__post_init__()
    record = logging.LogRecord("snakemake", logging.ERROR, "", 0, "unknown study 'a\x1b[2Jb'\nsecond line", None, None)
    record.event = LogEvent.ERROR
    handler.emit(record)
    assert capfd.readouterr().err == "error: unknown study 'a\\x1b[2Jb'\nsecond line\n"
