"""Logger plugin of Snakemake that prints one line per job and one per error; `--logger qatlab` (profiles/default) enables it.

The complete log is in .snakemake/log/. Without this plugin (`--workflow-profile none`), Snakemake prints its own output.
"""

import logging
import re
import sys
from typing import Any

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

REASON_LENGTH = 140
# Messages of Snakemake between jobs and after an error, which repeat the lines of this plugin.
NOISE = re.compile(
    r"Execute \d+ jobs|Select jobs to execute|Assuming unrestricted|Using shell|Provided |Rules claiming|Building DAG|host: |"
    r"Shutting down, this might|Exiting because a job execution failed|Removing output files of failed job|Complete log|"
    r"This was a dry-run|Using workflow specific profile|Conda environments: ignored|Removing temporary|Touching output|"
    r"Trying to restart|Reasons:|Warning: the following output files of rule page were not present|"
    r"At least one job did not complete|The following output files|Will exit after finishing|"
    r"Config file config/config\.yaml is extended by additional config"
)
EXIT_STATUS = re.compile(r"returned non-zero exit status|died with <Signals")
TRACE = re.compile(r"\s*File \"[^\n]+\", line \d+")
FILE_AND_LINE = re.compile(r"^(\w+(?:Error|Exception))(?: in (?:file|rule) [^\n]*)?:\n", re.MULTILINE)

LOCKED = re.compile(r"Error: Directory cannot be locked\..*", re.DOTALL)
IN_USE = (
    "another workflow writes the same files in this folder; wait for it, or stop it and start again "
    "(if none runs, on any machine: snakemake --unlock)"
)

# Text that Snakemake puts around the message of a WorkflowError of an input function.
REFUSAL = re.compile(r"^Error:\n\s*WorkflowError:\n\s*(?P<message>[^\n]+)\nWildcards:.*", re.DOTALL)


class LogHandler(LogHandlerBase):
    """Log handler that prints short lines to stderr."""

    def __post_init__(self) -> None:
        self.done = 0
        self.total = 0
        self.failed: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Print the line of a log record, if it has one."""
        line = self._line(getattr(record, "event", None), record)
        if line:  # may contain line breaks; each part may quote a file of the user
            print("\n".join(map(_printable, line.split("\n"))), file=sys.stderr, flush=True)

    def _line(self, event: LogEvent | None, record: logging.LogRecord) -> str | None:
        """Return the text for a log record, or None if nothing is printed."""
        fields: dict[str, Any] = record.__dict__
        if event == LogEvent.RUN_INFO:
            return self._job_counts(dict(fields["stats"]))
        if event == LogEvent.PROGRESS:
            self.done, self.total = fields["done"], fields["total"]
            return f"{self.done} of {self.total} jobs done" if self.done == self.total else None
        if event == LogEvent.JOB_INFO:
            return self._job(fields)
        if event == LogEvent.JOB_ERROR:
            self.failed.append(_name(fields))
            logs = ", ".join(fields["log"]) or "none"
            return f"failed: {_name(fields)}{_executors_reason(fields)} (log: {logs}); results of other jobs stay"
        if event == LogEvent.ERROR:
            lines = FILE_AND_LINE.sub("", record.getMessage()).splitlines()
            message = "\n".join(line for line in lines if not TRACE.match(line)).strip()
            message = LOCKED.sub(IN_USE, REFUSAL.sub(r"\g<message>", message))
            # The failed job has printed the reason, and JOB_ERROR the path of its log.
            return None if self.failed or EXIT_STATUS.search(message) else f"error: {message}"
        if event is None:
            message = record.getMessage().strip()
            if record.levelno >= logging.ERROR and self.failed:
                return None
            return message if message and not NOISE.match(message) else None
        return None

    def _job_counts(self, stats: dict[str, int]) -> str | None:
        """Return the number of jobs per rule at the first call only, because a dry run sends them before and after its jobs."""
        announced, self.total = self.total, stats.pop("total", 0)
        counts = ", ".join(f"{count} {rule}" for rule, count in stats.items())
        return f"{self.total} jobs: {counts}" if self.total and not announced else None

    def _job(self, fields: dict[str, Any]) -> str | None:
        """Return the line of a job that starts, or in a dry run, its name and the reason why it would run."""
        if fields["rule_name"] == "all":
            return None
        if self.common_settings.dryrun:
            reason = " ".join(fields["reason"].split())
            return f"{_name(fields)}  ← {reason[:REASON_LENGTH]}{'…' if len(reason) > REASON_LENGTH else ''}"
        return f"[{self.done} of {self.total} done] {_name(fields)}"

    writes_to_stream = True
    writes_to_file = False
    has_filter = True
    has_formatter = True
    needs_rulegraph = False


def _printable(line: str) -> str:
    """Escape control characters, so that the terminal shows them and does not interpret them.

    This repeats `qatlab.errors.printable`: the plugin must not import qatlab, so that the Snakefile imports the project's own.
    """
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in line)


def _executors_reason(fields: dict[str, Any]) -> str:
    """Return the reason that an executor reports for a job that failed on another machine, such as Slurm's OUT_OF_MEMORY."""
    reason = " ".join(str(fields.get("rule_msg") or "").split())
    reason = re.split("Detailed failure reason unavailable|For further error details", reason)[0].strip(" .")
    return f": {reason}" if reason else ""


def _name(fields: dict[str, Any]) -> str:
    """Return the rule of a job, followed by its wildcards."""
    wildcards = fields.get("wildcards") or {}
    if wildcards:
        return f"{fields['rule_name']} {' '.join(map(str, wildcards.values()))}"
    # An error record has outputs instead of wildcards.
    outputs = fields.get("output") or [""]
    folder = re.search(r"results/\w+/([\w.-]+)$", str(outputs[0]))
    return f"{fields['rule_name']} {folder.group(1)}" if folder else str(fields["rule_name"])
