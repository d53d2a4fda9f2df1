"""Card of a trained model that a study has evaluated: its training card, and the results in the study's tables."""

from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from huggingface_hub import EvalResult, ModelCard

from qatlab.cards.training_card import with_front_matter
from qatlab.deployments.onnx import ONNX_FILE
from qatlab.study.record import CONCLUSION_FILE, Offer, RunRecord, StudyRecord, read_conclusion
from qatlab.tables.labels import in_code, in_csv, in_markdown, main_label, markdown_table, on_axes, output_label
from qatlab.tables.loading import ROOT, session_lines
from qatlab.tables.names import TEXT, metric_label
from qatlab.tables.wide import MEAN

# Outputs of the folder's own weights whose results the hub's pages show.
INDEXED = ("float32", "int8", "binary", TEXT)
TASK_TYPES = {
    "retrieval": "information-retrieval",
    "agreement": "information-retrieval",
    "similarity": "semantic-similarity",
    "reranking": "reranking",
    "translation": "translation",
    "language_modelling": "text-generation",
}
DRIFT = ["task", "deploy", "reference", "min", "mean", "mean_distance", "n", "top10_overlap", "integer_kernel"]
NOTHING = "–"


class Shipped(NamedTuple):
    """Content of a model's folder.

    Attributes:
        plain: the deployment that is the folder's own weights in float32, if the study has one.
        onnx: by deployment, the path of its file within the folder.
        notes: by deployment, the condition under which it was evaluated, if it needs one.
    """

    plain: str | None
    onnx: dict[str, str]
    notes: dict[str, str]


def study_card(training: str, run: RunRecord, study: StudyRecord, tables: Path, shipped: Shipped) -> str:
    """Return README.md of a model's folder in a study: its training card, with tables, and the hub's `model-index`.

    Results of the run are those of its own seed; differences are those of its method, over all seeds.

    Args:
        training: the text of the training card.
        run: the run that trained the model.
        study: the study's record, with all its runs.
        tables: the folder of the study's tables; summary tables that it does not have are left out.
        shipped: the content of the model's folder.
    """
    card = ModelCard(training)
    scores = _read_long(tables, "scores")
    card.data.model_name = f"{study.name}-{run.name}"
    card.data.eval_results = _results(scores, run, study, shipped.plain) or None
    if card.data.eval_results is None:
        card.data.model_name = None
    sections = [
        card.text.strip(),
        _files(_read_long(tables, "cost"), run, shipped),
        _introduction(run, study, scores),
        _scores_of_run(scores, run, study),
        _views(run, study, tables),
        _drift(_read_long(tables, "drift"), run),
        _engines(run, tables.parent, shipped),
    ]
    return with_front_matter(card.data, "\n\n".join(section for section in sections if section))


def _read_long(tables: Path, name: str) -> pd.DataFrame:
    """Read a long table, with all values as text exactly as written."""
    return pd.read_csv(tables / f"{name}.csv", dtype=str, keep_default_na=False, na_values=[""])


def _results(scores: pd.DataFrame, run: RunRecord, study: StudyRecord, plain: str | None) -> list[EvalResult]:
    results = []
    for row in _main_rows(scores, run, study).to_dict("records"):
        output = output_label(row)
        if row["deploy"] == plain and row["rotation"] == "none" and output in INDEXED:
            results.append(
                EvalResult(
                    task_type=TASK_TYPES[study.kinds[row["task"]]],
                    dataset_type=row["task"],
                    dataset_name=row["task"],
                    metric_type=row["metric"],
                    metric_name=metric_label(row["metric"]) + ("" if output == TEXT else f", {output} embeddings"),
                    metric_config=output,
                    metric_value=float(row["value"]),
                )
            )
    return results


def _main_rows(scores: pd.DataFrame, run: RunRecord, study: StudyRecord) -> pd.DataFrame:
    """Return the rows of scores.csv for a run, on the axes that the study lists, with each task's main metric."""
    chosen = on_axes(scores, study.chosen_axes)
    return chosen[(chosen["run"] == run.name) & (chosen["metric"] == chosen["task"].map(study.main_metrics))]


def _files(cost: pd.DataFrame, run: RunRecord, shipped: Shipped) -> str:
    own = cost[cost["run"] == run.name]
    rows = [
        {
            "shipped as": row["deploy"],
            "file": _file(row["deploy"], shipped),
            "bytes on disk": row["bytes_on_disk"],
            "weights quantized": _quantized(row),
        }
        for row in own.to_dict("records")
    ]
    parts = ["## How it ships", pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)]
    if shipped.onnx:
        parts.append(_loading(list(shipped.onnx.values())))
    return "\n\n".join(parts)


def _quantized(row: dict[Any, Any]) -> str:
    """Return how many of the weights of linear layers a deployment quantizes, as text."""
    if pd.isna(row["quantized_weights"]):
        return "none"
    return f"{int(row['quantized_weights']):,} of {int(row['linear_weights']):,}, those of linear layers"


def _file(deployment: str, shipped: Shipped) -> str:
    if deployment == shipped.plain:
        return "this folder"
    if deployment not in shipped.onnx:
        return "made from it in the study, not in this folder"
    note = f" ({shipped.notes[deployment]})" if deployment in shipped.notes else ""
    return f"`{shipped.onnx[deployment]}`{note}"


def _loading(files: list[str]) -> str:
    quantized = [file for file in files if "_qint8_" in file or "_quint8_" in file]
    name = (quantized or files)[0]
    lines = [
        "import onnxruntime",
        "from transformers import AutoTokenizer",
        "",
        *session_lines('"."', f'"{name}"', '  # "." is this folder'),
        'texts = ["a text, after its prompt if the model has one"]',
        'tokens = tokenizer(texts, padding=True, truncation=True, return_tensors="np")',
        "inputs = {key: values for key, values in tokens.items() if key in names}",
        'embeddings = session.run(["sentence_embedding"], inputs)[0]',
    ]
    return (
        "With onnxruntime, pooling and normalization included:\n\n```python\n" + "\n".join(lines) + "\n```\n\n"
        f'`SentenceTransformer(".", backend="onnx", model_kwargs={{"file_name": "{name}"}})` loads it too, where '
        "`sentence-transformers[onnx]` is installed, which keeps transformers below 5."
    )


def _introduction(run: RunRecord, study: StudyRecord, scores: pd.DataFrame) -> str:
    seeds = scores["seed"].nunique()
    resampled = (
        f"queries and {seeds} seeds; ± is the standard deviation over seeds"
        if seeds > 1
        else "queries; there is one seed"
    )
    return (
        "## What the study found\n\n"
        f"Study `{study.name}` ({in_markdown(study.title)}), at scale `{study.scale}`; this model is its run "
        f"`{in_code(run.name)}`. "
        f"Results of this model are of its own seed; differences are of its method, and their 95 % intervals are over {resampled}."
    )


def _scores_of_run(scores: pd.DataFrame, run: RunRecord, study: StudyRecord) -> str:
    rows = _main_rows(scores, run, study)
    rows = rows.assign(output=[output_label(row) for row in rows.to_dict("records")])
    keys = ["task", "deploy"]
    keys += [key for key in ("rotation",) if not rows[key].eq("none").all()]
    keys += [key for key in ("integer_kernel",) if rows[key].notna().any()]
    cells = rows.fillna(dict.fromkeys(keys, NOTHING)).set_index([*keys, "output"])["value"].unstack(sort=False)
    table = cells.astype(object).where(cells.notna(), NOTHING).reset_index()
    label = main_label(study.main_metrics)
    return f"### This model: {label} by output precision (seed {run.seed})\n\n{markdown_table(table)}"


def _views(run: RunRecord, study: StudyRecord, tables: Path) -> str:
    """Return the rows of the run's method in the study's summary tables, below their titles."""
    headings = {
        "scores_by_precision": "Its method: mean of the tasks",
        "against_baseline": f"Its method against `{study.baseline}`",
        "against_float": "What shipping costs its method",
    }
    parts = []
    for name, heading in headings.items():
        table = _of_method(tables, name, run) if name in study.views else None
        if table is not None and len(table):
            title = (tables / f"{name}.md").read_text(encoding="utf-8").partition("\n")[0]
            parts.append(f"### {heading}\n\n{title}\n\n{markdown_table(table)}")
    if run.method == study.baseline:
        parts.append(f"Other methods of the study are compared with this one, `{study.baseline}`.")
    return "\n\n".join(parts)


def _of_method(tables: Path, name: str, run: RunRecord) -> pd.DataFrame:
    """Return the rows of a summary table for the run's method and cell of the matrix.

    Of `scores_by_precision`, only the columns with means of the tasks remain.
    """
    table = pd.read_csv(tables / f"{name}.csv", dtype=str, keep_default_na=False)
    cell = {"method": run.method, **run.varied}
    for column, value in cell.items():
        if column in table:
            table = table[table[column] == (NOTHING if value is None else in_csv(str(value)))]
    table = table.drop(columns=[column for column in cell if column in table])
    if name != "scores_by_precision":
        return table
    by_task = [column for column in table.columns if " · " in column and not column.startswith(f"{MEAN} · ")]
    return table.drop(columns=by_task).rename(columns=lambda column: column.removeprefix(f"{MEAN} · "))


def _drift(drift: pd.DataFrame, run: RunRecord) -> str:
    own = drift.loc[drift["run"] == run.name, DRIFT].dropna(axis="columns", how="all")
    if own.empty:
        return ""
    references = "`simulated:SCHEME` is the forward pass that it was trained in"
    note = f"; {references}" if own["reference"].str.startswith("simulated:").any() else ""
    shown = own.fillna(NOTHING).rename(columns=lambda column: column.replace("_", " "))
    return (
        f"### This model: cosine similarity to a reference's embeddings, text by text\n\n{markdown_table(shown)}\n\n"
        f"Mean distance is the mean of 1 − cosine{note}."
    )


def _engines(run: RunRecord, study: Path, shipped: Shipped) -> str:
    """Return the engine configurations that realize the study's offers of this run, with code that runs in the model's folder."""
    if not (study / CONCLUSION_FILE).is_file():
        return ""
    conclusion = read_conclusion(study)
    parts: dict[str, str] = {}  # by what is shipped, because several grades may offer the same
    for offer in conclusion.offers:
        if offer.run == run.name and offer.deploy in run.deployed and offer.engine is not None:
            heading = f"{offer.output} embeddings of `{offer.deploy}` in {offer.engine.engine}"
            sentence = f"{in_markdown(offer.engine.in_words(conclusion.metric))}."
            blocks = [f"```yaml\n{offer.engine.configuration.strip()}\n```"]
            if offer.engine.search is not None:
                code = _in_folder(offer, run.deployed[offer.deploy], shipped)
                before = "" if code else "After the code in the study's conclusion.json that loads the model:\n\n"
                blocks.append(f"{before}```python\n{code or ''}{offer.engine.search}\n```")
            parts[heading] = "\n\n".join([f"### {heading}", sentence, *blocks])
    return "\n\n".join(["## In a search engine", *parts.values()]) if parts else ""


def _in_folder(offer: Offer, deployed: str, shipped: Shipped) -> str:
    """Return the code that loads an offer from the model's folder; empty if it needs files that this folder does not have."""
    if offer.deploy != shipped.plain and offer.deploy not in shipped.onnx:
        return ""
    folder = f"{ROOT}/{deployed}/model"
    file = shipped.onnx.get(offer.deploy, "")
    code = offer.load.replace(f"{folder}/{ONNX_FILE}", file).replace(folder, ".")
    return "" if f"{ROOT}/" in code else f"{code}\n\n"
