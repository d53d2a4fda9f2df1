# A study's own files: where they are, what they are made from, and what the report calls them.
import atexit
import shlex
import shutil
import tempfile

from qatlab.tables.names import FORMS, LONG

TABULATED = ("train", "deploy", "encode", "score", "drift", "bit_changes")


def captions_folder():
    """Write what each table and plot says of itself into files, which Snakemake's report reads."""
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
    """The file with what a table or plot says of itself; none is needed where jobs run that another process submitted."""
    return (
        str(CAPTIONS / f"{concept}-{name}.rst")
        if CAPTIONS
        else "../report/long_table.rst"
    )


CAPTIONS = None  # a folder with what the report says of tables and plots, for as long as this process runs
if workflow.is_main_process:
    CAPTIONS = captions_folder()


def rule_name(stage, study):
    """Of a study's own rule: the stage, and where several studies are asked for, whose it is."""
    return stage if len(STUDIES) == 1 else f"{stage}_{study.study}"


def report_subcategory(study):
    """In the report, where several studies are asked for, whose a table or plot is."""
    return None if len(STUDIES) == 1 else study.study


def study_path(study):
    return f"results/studies/{study.study}"


def study_folder(wildcards, output):
    """Also where outputs are copies of what a storage provider keeps, deep in other folders."""
    return str(
        next(path for path in Path(output[0]).parents if path.parent.name == "studies")
    )


def results_folder(wildcards, output):
    return str(Path(study_folder(wildcards, output)).parents[1])


def study_description(study):
    return f"{DESCRIPTIONS}/study/{study.study}.json"


def study_inputs(study, kinds):
    """Input function: the study's artifacts of some kinds."""

    def inputs(wildcards):
        return [
            f"results/{path}" for path in study.jobs if path.partition("/")[0] in kinds
        ]

    return inputs


def study_tables(study):
    folder = study_path(study)
    return [
        whole_tables(study),
        f"{folder}/runs.csv",
        f"{folder}/study.json",
        *(f"{folder}/tables/{name}" for name in LONG),
        *(f"{folder}/tables/{name}.{form}" for name in study.views for form in FORMS),
    ]


def whole_tables(study):
    """Beside the tables, unless they show failed runs (see show_what_is_there)."""
    return f"{study_path(study)}/.tables-are-whole"


def drawn_tables(study):
    """The tables that plots are drawn from."""
    names = ["scores", "search", *study.drawn]
    return [
        whole_tables(study),
        *(f"{study_path(study)}/tables/{name}.csv" for name in names),
    ]


def published_figures(study):
    """The file of others' figures that the study's tables show, if any; it is the project's, whatever stores results."""
    return [local(study.published)] if study.published else []


def published_option(wildcards, input):
    """--input for them."""
    return " ".join(
        f"--input published={shlex.quote(str(path))}" for path in input.published
    )


def study_plots(study):
    return [
        f"{study_path(study)}/plots/{name}.{form}"
        for name in study.plots
        for form in ("svg", "png")
    ]


def study_mteb_results(study):
    return [f"{study_path(study)}/mteb"] if study.has_mteb_results else []


def study_models(study):
    return [f"{study_path(study)}/models"] if study.trained else []


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
