# Where jobs have failed, their study's tables and plots show what is there, and the rest as failed or not run.
def outputs_of(jobs):
    """Below results/, also of the jobs of groups."""
    single = [one for job in jobs for one in (job if job.is_group() else [job])]
    return {str(path).removeprefix("results/") for job in single for path in job.output}


def show_what_is_there(plan, unfinished, failed):
    from qatlab.plan.unfinished import missing_artifacts, show

    missing = missing_artifacts(plan, Path("results"), unfinished, failed)
    if f"studies/{plan.study}/runs.csv" not in unfinished or not failed & set(missing):
        return
    # Before they are written: with this output missing, Snakemake makes the tables and what depends on them anew next time.
    Path(whole_tables(plan)).unlink(missing_ok=True)
    asked = {
        "tables": f"studies/{plan.study}/runs.csv",
        "plots": f"studies/{plan.study}/plots/scores.svg",
        "index": "studies/index.md",
    }
    stages = [stage for stage, output in asked.items() if output in unfinished]
    for line in show(plan, Path("results"), missing, stages):
        logger.info(line)


onerror:
    unfinished = outputs_of(workflow.dag.needrun_jobs())
    failed = outputs_of(workflow.scheduler.failed)
    for plan in PLANS:
        show_what_is_there(plan, unfinished, failed)
