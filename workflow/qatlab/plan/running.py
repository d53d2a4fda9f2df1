"""Pages of running studies: a thread of the workflow's main process writes them again whenever another run is complete.

A job per run would cost a second each and a core while texts per second are measured. The thread looks at the files of scores and
writes a page without intervals in a fraction of a second. It ends with the workflow; the rules `tables`, `plots` and `page` replace
its page by the one of the finished study.
"""

import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from qatlab.errors import UserError
from qatlab.pages.page import PAGE, SUMMARY, now, unfinished_page
from qatlab.plan.plan import Plan, missing_artifacts
from qatlab.progress import mark_file
from qatlab.tables.missing import Missing, own_bit_changes, run_paths

POLL_SECONDS = 2.0
SHARE = 0.02  # largest share of the time that the thread computes
REFRESHED_EVERY = 30  # seconds after which a browser loads the page of a running study again

State = tuple[int, int] | None
"""Identity of a file or folder: its inode and time of change; None if it does not exist."""


def state(path: Path) -> State:
    """Return the identity of a file or folder, which another one of the same name does not have."""
    with suppress(OSError):
        status = path.stat()
        return status.st_ino, status.st_mtime_ns
    return None


@dataclass
class Artifacts:
    """Artifacts of a study that a workflow makes, and their states before it started.

    An artifact exists when its folder does, because stages rename complete folders. Those of an earlier workflow, which Snakemake
    removes before it makes them again, do not count.
    """

    results: Path
    folders: dict[str, State]
    marks: dict[str, State]

    @classmethod
    def before(cls, results: Path, paths: Iterable[str]) -> "Artifacts":
        """Record the states of artifacts before the first job."""
        folders = {path: state(results / path) for path in paths}
        return cls(results, folders, {path: state(mark_file(results / path)) for path in folders})

    def unfinished(self) -> set[str]:
        """Return the artifacts that do not exist yet."""
        return {path for path, before in self.folders.items() if state(self.results / path) in (None, before)}

    def failed(self) -> set[str]:
        """Return the artifacts whose jobs have failed in this workflow."""
        return {
            path for path, before in self.marks.items() if state(mark_file(self.results / path)) not in (None, before)
        }


class StudyProgress:
    """Page of one running study.

    Args:
        plan: plan of the study.
        results: folder of artifacts.
        outputs: paths below `results` that the workflow will write.
    """

    def __init__(self, plan: Plan, results: Path, outputs: Iterable[str]) -> None:
        self.plan, self.results = plan, results
        self.artifacts = Artifacts.before(results, [path for path in outputs if path in plan.artifacts])
        self.study = plan.record()
        self.paths = {run.name: run_paths(run) for run in self.study.runs}
        self.folder = results / "studies" / self.study.name
        self.tables = state(self.folder / SUMMARY)
        self.shown: tuple[int, int] | None = None  # numbers of complete runs and of failed artifacts on the last page

    def refresh(self) -> bool:
        """Write the page if another run is complete or another job has failed; return whether the page was written.

        Once the stage `tables` has replaced its summary, nothing is written: the page of the finished study comes after it.
        """
        unfinished, failed = self.artifacts.unfinished(), self.artifacts.failed()
        complete = self._complete_runs(unfinished)
        if self.shown == (complete, len(failed)) or self._has_tables():
            return False
        missing = Missing(missing_artifacts(self.plan, self.results, unfinished | failed, failed))
        text = unfinished_page(self.study, self.results, missing, now(), REFRESHED_EVERY)
        self.folder.mkdir(parents=True, exist_ok=True)
        new = self.folder / f".{PAGE}.new"
        new.write_text(text, encoding="utf-8")
        if self._has_tables():
            new.unlink()
            return False
        new.replace(self.folder / PAGE)
        self.shown = (complete, len(failed))
        return True

    def _complete_runs(self, unfinished: set[str]) -> int:
        """Count the runs that lack nothing, as the page does: comparisons with runs that lack something are not counted."""
        lacking = {run.name for run in self.study.runs if not unfinished.isdisjoint(self.paths[run.name])}
        return sum(
            run.name not in lacking
            and not any(path in unfinished for e in run.evaluations for path in own_bit_changes(e, lacking))
            for run in self.study.runs
        )

    def _has_tables(self) -> bool:
        return state(self.folder / SUMMARY) != self.tables


class ProgressPages:
    """Thread that refreshes the pages of all studies of a workflow until it is stopped.

    Args:
        plans: plans of the studies.
        results: folder of artifacts.
        outputs: paths below `results` that the workflow will write.
    """

    def __init__(self, plans: Iterable[Plan], results: Path, outputs: Iterable[str]) -> None:
        written = list(outputs)
        studies = [StudyProgress(plan, results, written) for plan in plans]
        self.studies = [study for study in studies if study.artifacts.folders]
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress-pages", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread, and wait until it has written its last page."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        pause = 0.0
        while not self._stopped.wait(pause):
            begin = time.perf_counter()
            for study in self.studies:
                # An artifact may be removed or replaced while it is read, and the disk may be full: the next attempt is soon.
                with suppress(OSError, ValueError, KeyError, UserError):
                    study.refresh()
            pause = max(POLL_SECONDS, (time.perf_counter() - begin) / SHARE)
