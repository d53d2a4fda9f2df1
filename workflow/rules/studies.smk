# Files of a study: their paths, their inputs, and their captions in the report.
import atexit
import shlex
import shutil
import tempfile

from qatlab.tables.names import FORMS, LINKED, LONG

TABULATED = ("train", "deploy", "encode", "score", "drift", "bit_changes", "engine")


def captions_folder():
    """Write the caption of each table and plot to a file for Snakemake's report; return their temporary folder."""
    from qatlab.plots.plot import PLOTS
    from qatlab.tables.table import TABLES

    folder = Path(tempfile.mkdtemp(prefix="qatlab-captions-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    names = {name for study in STUDIES for name in (*study.views, *study.plots)}
    for registry in (TABLES, PLOTS):
        for name in names & set(registry.names()):
            caption = folder / f"{registry.concept}-{name}.rst"
            caption.write_text(registry.get(name).caption, encoding="utf-8")
    return folder


def caption_of(concept, name):
    """Return the file with the caption of a table or plot; a constant where `CAPTIONS` is None, as in jobs of another process."""
    return (
        str(CAPTIONS / f"{concept}-{name}.rst")
        if CAPTIONS
        else "../report/long_table.rst"
    )


# The folder with the captions of the report, which exists as long as this process runs. Snakemake joins the paths of captions with the
# address of rules that it reads from a repository; their report has one caption for all tables and plots.
CAPTIONS = None
if workflow.is_main_process and IS_LOCAL:
    CAPTIONS = captions_folder()


def rule_name(stage, study):
    """Return the name of a study's rule: the stage, followed by the study if several are requested."""
    return stage if len(STUDIES) == 1 else f"{stage}_{study.study}"


def report_subcategory(study):
    """Return the study as subcategory of the report if several studies are requested."""
    return None if len(STUDIES) == 1 else study.study


def study_path(study):
    """Return the folder of a study's tables, plots and models."""
    return f"results/studies/{study.study}"


def study_folder(wildcards, output):
    """Return the folder of a study for a rule's output, which a storage provider may keep below other folders."""
    return str(
        next(path for path in Path(output[0]).parents if path.parent.name == "studies")
    )


def results_folder(wildcards, output):
    """Return the folder of all results for a rule's output."""
    return str(Path(study_folder(wildcards, output)).parents[1])


def study_description(study):
    """Return the file with the configuration of a study's tables and plots."""
    return f"{DESCRIPTIONS}/study/{study.study}.json"


def study_inputs(study, kinds):
    """Return an input function that gives the artifacts of a study that are of the given kinds."""

    def inputs(wildcards):
        return [
            f"results/{path}" for path in study.jobs if path.partition("/")[0] in kinds
        ]

    return inputs


# Only those tables are inputs that are read. For each of them, Snakemake compares the paths of all artifacts that the tables show.
def study_tables(study, forms=FORMS):
    """Return the files that the rule tables writes for a study, with wide tables in the given formats."""
    folder = study_path(study)
    return [
        *study_summary(study),
        f"{folder}/runs.csv",
        *(f"{folder}/tables/{name}" for name in LONG),
        *(f"{folder}/tables/{name}.{form}" for name in study.views for form in forms),
    ]


def study_summary(study):
    """Return the files with a study's question and conclusion."""
    return [
        completeness_mark(study),
        f"{study_path(study)}/study.json",
        f"{study_path(study)}/conclusion.json",
    ]


def listed_tables(study):
    """Return the wide tables that the page of all studies shows or links to."""
    return [
        f"{study_path(study)}/tables/{name}.csv"
        for name in ("answers", *LINKED)
        if name in study.views
    ]


def completeness_mark(study):
    """Return the file that exists beside the tables unless they show failed runs (see `show_finished_runs`)."""
    return f"{study_path(study)}/.tables-are-whole"


def drawn_tables(study):
    """Return the tables from which plots are drawn."""
    names = ["scores", "search", *study.drawn]
    return [
        completeness_mark(study),
        *(f"{study_path(study)}/tables/{name}.csv" for name in names),
    ]


def published_results(study):
    """Return the file of published results that the study's tables show, if any; it is local, whatever stores the results."""
    return [local(study.published)] if study.published else []


def published_option(wildcards, input):
    """Return the option --input of the stage tables for the file of published results."""
    return " ".join(
        f"--input published={shlex.quote(str(path))}" for path in input.published
    )


def study_plots(study):
    """Return the files that the rule plots writes for a study."""
    return [
        f"{study_path(study)}/plots/{name}.{form}"
        for name in study.plots
        for form in ("svg", "png")
    ]


def study_page(study):
    """Return the page that the rule page writes for a study."""
    return [f"{study_path(study)}/index.html"]


def study_mteb_results(study):
    """Return the folder of scores in mteb's format, if the study has any."""
    return [f"{study_path(study)}/mteb"] if study.has_mteb_results else []


def study_models(study):
    """Return the folder of trained models with their cards, if the study trains any."""
    return [f"{study_path(study)}/models"] if study.trained else []


# If jobs have failed, the tables, plots and page of their study show the finished runs, and mark the others as failed or not run.
def outputs_of(jobs):
    """Return the outputs of jobs and of groups of jobs, relative to results/."""
    single = [one for job in jobs for one in (job if job.is_group() else [job])]
    return {str(path).removeprefix("results/") for job in single for path in job.output}


def show_finished_runs(plan, unfinished, failed):
    """Write the tables, plots and page of a study with failed jobs.

    Args:
        plan: of the study.
        unfinished: outputs that are missing, relative to results/.
        failed: outputs of failed jobs, relative to results/.
    """
    from qatlab.plan.plan import missing_artifacts, show

    missing = missing_artifacts(plan, Path("results"), unfinished, failed)
    if f"studies/{plan.study}/runs.csv" not in unfinished or not failed & set(missing):
        return
    # Removed first: without this output, Snakemake writes the tables and everything that depends on them again next time.
    Path(completeness_mark(plan)).unlink(missing_ok=True)
    outputs = {
        "tables": f"studies/{plan.study}/runs.csv",
        "plots": f"studies/{plan.study}/plots/scores.svg",
        "page": f"studies/{plan.study}/index.html",
        "index": "studies/index.html",
    }
    stages = [stage for stage, output in outputs.items() if output in unfinished]
    for line in show(plan, Path("results"), missing, stages):
        logger.info(line)


# While studies run, their pages show what is finished.
PROGRESS_PAGES = []


def start_progress_pages():
    """Start to write the pages of the studies while they run, unless a storage provider keeps their results elsewhere."""
    from qatlab.plan.running import ProgressPages

    if workflow.storage_settings.default_storage_provider is None:
        outputs = outputs_of(workflow.dag.needrun_jobs())
        PROGRESS_PAGES.append(ProgressPages(PLANS, Path("results"), outputs))
        PROGRESS_PAGES[-1].start()


onerror:
    for pages in PROGRESS_PAGES:
        pages.stop()
    unfinished = outputs_of(workflow.dag.needrun_jobs())
    failed = outputs_of(workflow.scheduler.failed)
    for plan in PLANS:
        show_finished_runs(plan, unfinished, failed)


onsuccess:
    from qatlab.study.record import terminal_lines

    # Where only single artifacts are requested, an earlier conclusion is not shown.
    requested = outputs_of(workflow.dag.jobs)
    for study in STUDIES:
        if f"studies/{study.study}/conclusion.json" in requested:
            logger.info("\n".join(terminal_lines(Path(study_path(study)))))
