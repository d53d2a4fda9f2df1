"""Missing artifacts of a study whose workflow ended with failed jobs, and its tables and plots of existing results."""

import os
import subprocess
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

from qatlab.artifact import write_json
from qatlab.config.evaluate import EvaluateConfig
from qatlab.evaluation.scores_file import ScoreRow, planned_scores
from qatlab.evaluation.task import Kind
from qatlab.plan.artifacts import Artifact
from qatlab.plan.plan import Plan
from qatlab.progress import read_mark
from qatlab.tables.missing import ARTIFACTS, FAILED, NOT_RUN, SHOWN, Missing, MissingArtifact, incomplete_runs

REASONS = 8  # maximum number of printed reasons
UNKNOWN_REASON = "its job ended without an error message (killed, or out of memory?)"


def missing_artifacts(
    plan: Plan, results: Path, unfinished: Collection[str], failed: Collection[str]
) -> dict[str, MissingArtifact]:
    """Return the status, the reason and, for scores, the missing rows of each missing artifact, by path.

    An artifact that is made from a failed one has also failed, for the same reason, even if an earlier workflow left a result.

    Args:
        plan: plan of the study.
        results: folder of artifacts, in which failed jobs have recorded the reason.
        unfinished: paths of the artifacts that the workflow should have made but did not.
        failed: paths of the artifacts whose jobs failed.
    """
    missing: dict[str, MissingArtifact] = {}
    kinds = {path: run.kinds[task] for run in plan.runs for (_, task), path in run.scored.items()}
    for path, artifact in plan.artifacts.items():  # inputs come before the artifacts that are made from them
        if path not in unfinished:
            continue
        causes = [missing[source] for source in artifact.inputs.values() if source in missing]
        cause = next((cause for cause in causes if cause.status == FAILED), None)
        own = read_mark(results / path) if path in failed else None
        reason = (
            f"{artifact.kind} {artifact.label}: {own.reason if own else UNKNOWN_REASON}" if path in failed else None
        )
        missing[path] = MissingArtifact(
            status=FAILED if cause or path in failed else NOT_RUN,
            reason=reason or (cause.reason if cause else None),
            kind=kinds.get(path),
            figures=tuple(_planned(artifact, kinds[path])) if path in kinds else (),
        )
    return missing


def _planned(artifact: Artifact, kind: Kind) -> list[ScoreRow]:
    """Return the rows that a score artifact would have."""
    return planned_scores(artifact.config if isinstance(artifact.config, EvaluateConfig) else None, kind)


def show(plan: Plan, results: Path, missing: dict[str, MissingArtifact], stages: list[str]) -> Iterator[str]:
    """Write a study's tables, plots or the page of studies with the stages' commands, and yield messages for the terminal.

    Args:
        plan: plan of the study.
        results: folder of artifacts.
        missing: result of `missing_artifacts`.
        stages: "tables", "plots" and "index", or some of them, in this order.
    """
    folder, lacks = results / "studies" / plan.study, results / "plan" / "missing" / f"{plan.study}.json"
    lacks.parent.mkdir(parents=True, exist_ok=True)
    write_json(lacks, ARTIFACTS.dump_python(missing, mode="json", exclude_defaults=True))
    given = {
        "tables": [
            f"results={results}",
            *([f"published={os.path.relpath(plan.published.file)}"] if plan.published else []),
        ],
        "plots": [f"results={results}", f"tables={folder / 'tables'}"],
        "index": [f"studies={results / 'studies'}"],
    }
    for stage in stages:
        inputs = [*given[stage], *([f"missing={lacks}"] if stage != "index" else [])]
        log = results / "logs" / (f"{stage}.log" if stage == "index" else f"{stage}/{plan.study}.log")
        command = [sys.executable, "-m", "qatlab", stage, "--config", f"{results / 'plan' / 'study' / plan.study}.json"]
        command += [part for pair in inputs for part in ("--input", pair)]
        command += ["--output", str(folder.parent if stage == "index" else folder), "--log", str(log)]
        if subprocess.run(command, check=False).returncode != 0:
            yield f"{plan.study}: {stage} of the existing results could not be made; those in {folder} are from an earlier workflow"
            return
    yield from summary(plan, missing)


def summary(plan: Plan, missing: dict[str, MissingArtifact]) -> Iterator[str]:
    """Yield a line such as 'tiny: tables show 1 of 12 runs as failed (ste-seed=1); …', and one line per cause."""
    runs = plan.record().runs
    incomplete = incomplete_runs(runs, Missing(missing))
    counts = []
    for status in (FAILED, NOT_RUN):
        names = [run.run for run in incomplete if run.status == status]
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        if names:
            counts.append(f"{len(names)} of {len(runs)} runs as {status} ({', '.join(names[:SHOWN])}{more})")
    yield f"{plan.study}: tables show {', '.join(counts)}; correct the causes, and run the same command again to complete them"
    reasons = list(dict.fromkeys(lack.reason for lack in missing.values() if lack.status == FAILED and lack.reason))
    for reason in reasons[:REASONS]:
        yield f"{plan.study}: {reason}"
    if len(reasons) > REASONS:
        yield f"{plan.study}: {len(reasons) - REASONS} more reasons in its runs.csv"
