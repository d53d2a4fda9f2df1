"""Clock, locale, hash seed, working directory, order of jobs and cores change no table and no plot."""

import os

from checkouts import PARTS, plots, snakemake, tables, tiny_study

# Of jobs only: Snakemake compares its clock with the times of files.
ANOTHER_DAY = """
import sys, time
if "qatlab" in sys.orig_argv:
    shift, now = 86400 * 4000.25, time.time
    time.time = lambda: now() + shift
    for name in ("localtime", "gmtime"):
        setattr(time, name, lambda seconds=None, call=getattr(time, name): call(time.time() if seconds is None else seconds))
"""
ELSEWHERE = {
    "LC_ALL": "C",
    "TZ": "Pacific/Kiritimati",
    "PYTHONHASHSEED": "4711",
    "COLUMNS": "40",
    "HOME": "/nonexistent",
}


def test_the_same_tables_and_plots_elsewhere(undisturbed, tiny_model, tiny_files, tmp_path):
    folder = tiny_study(tmp_path / "a path with spaces, ümlauts & more" / "project", tiny_model, tiny_files)
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock" / "sitecustomize.py").write_text(ANOTHER_DAY)
    results = tmp_path / "working directory"
    surroundings = {**ELSEWHERE, "PYTHONPATH": str(tmp_path / "clock"), "MPLCONFIGDIR": str(tmp_path / "matplotlib")}
    one_core = {min(os.sched_getaffinity(0))}
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, one_core)  # what this process starts has the same
    try:
        where = ("--snakefile", str(folder / "Snakefile"), "--directory", str(results))
        first = snakemake(folder.parent, "--cores", "1", *where, "--until", "drift", more=surroundings)
        assert first.returncode == 0, first.stdout
        result = snakemake(folder.parent, "--cores", "1", "--scheduler", "greedy", *where, more=surroundings)
        assert result.returncode == 0, result.stdout
    finally:
        os.sched_setaffinity(0, cores)
    assert sorted(path.name for path in folder.iterdir()) == sorted(PARTS)  # nothing is written beside the code
    assert tables(results) == tables(undisturbed)
    assert plots(results) == plots(undisturbed)
