"""Terminal output of the logger plugin: short lines, with escaped control characters."""

import logging
import subprocess
import sys

from snakemake_interface_logger_plugins.common import LogEvent

from snakemake_logger_plugin_qatlab import LogHandler


def test_control_characters_in_an_error_are_escaped(capfd):
    handler = LogHandler.__new__(LogHandler)
    handler.__post_init__()
    record = logging.LogRecord("snakemake", logging.ERROR, "", 0, "unknown study 'a\x1b[2Jb'\nsecond line", None, None)
    record.event = LogEvent.ERROR
    handler.emit(record)
    assert capfd.readouterr().err == "error: unknown study 'a\\x1b[2Jb'\nsecond line\n"


def test_it_leaves_the_import_of_qatlab_to_the_snakefile():
    """Otherwise the qatlab of another installation would be imported instead of the project's."""
    code = "import sys, snakemake_logger_plugin_qatlab; sys.exit(any(name.partition('.')[0] == 'qatlab' for name in sys.modules))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_reason_of_an_executor_is_printed_without_its_advice(capfd):
    handler = LogHandler.__new__(LogHandler)
    handler.__post_init__()
    record = logging.LogRecord("snakemake", logging.ERROR, "", 0, "Error in rule train", None, None)
    record.__dict__ |= {
        "event": LogEvent.JOB_ERROR,
        "rule_name": "train",
        "output": ["results/train/x-1"],
        "log": ["a.log", "/b/5.log"],
        "rule_msg": "SLURM-job '5' failed, SLURM status is: 'FAILED'. Detailed failure reason unavailable (status command is not "
        "'sacct').For further error details see the cluster/cloud log and the log files of the involved rule(s)",
    }
    handler.emit(record)
    expected = "failed: train x-1: SLURM-job '5' failed, SLURM status is: 'FAILED' (log: a.log, /b/5.log); results of other jobs stay\n"
    assert capfd.readouterr().err == expected


def test_only_the_page_of_a_running_study_may_exist_before_its_job(capfd):
    """The workflow's main process writes the page while the study runs, so Snakemake's warning is expected."""
    handler = LogHandler.__new__(LogHandler)
    handler.__post_init__()
    text = "Warning: the following output files of rule {} were not present when the DAG was created:\n{{'{}'}}"
    for rule, file in (("page", "results/studies/tiny/index.html"), ("tables", "results/studies/tiny/runs.csv")):
        handler.emit(logging.LogRecord("snakemake", logging.WARNING, "", 0, text.format(rule, file), None, None))
    shown = capfd.readouterr().err
    assert "rule tables" in shown
    assert "rule page" not in shown


def test_the_command_line_may_extend_only_the_projects_own_configuration_without_a_line(capfd):
    """Each command of the documents does that; another file that is extended may be a mistake."""
    handler = LogHandler.__new__(LogHandler)
    handler.__post_init__()
    text = "Config file {} is extended by additional config specified via the command line."
    for file in ("config/config.yaml", "other.yaml"):
        handler.emit(logging.LogRecord("snakemake", logging.INFO, "", 0, text.format(file), None, None))
    assert capfd.readouterr().err == f"{text.format('other.yaml')}\n"
