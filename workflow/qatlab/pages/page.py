"""Pages of studies: their parts, read from a study's files, and their HTML, which loads nothing from an address.

Every text is escaped by Jinja; only Matplotlib's drawings are inserted as markup, without anything that could run or load. The
page's policy allows the one script in `templates/page.js` by its hash, and no connection.
"""

import base64
import hashlib
import platform
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from pydantic import ValidationError

from qatlab.artifact import read_json, readable_bytes
from qatlab.errors import printable
from qatlab.plots.plot import Plot, plots_of
from qatlab.study.record import GRADES, Conclusion, Offer, StudyRecord, StudySummary
from qatlab.tables.labels import FIGURES, FORMULA, main_scores, on_axes
from qatlab.tables.long import scores as long_scores
from qatlab.tables.missing import FAILED, NOT_RUN, OK, Missing, incomplete_runs
from qatlab.tables.names import LINKED, LONG
from qatlab.tables.table import Table, tables_of
from qatlab.tables.wide import scores_by_precision

PAGE, SUMMARY = "index.html", "study.json"
OPEN = ("answers", "published", "qat_minus_ptq", "scores_by_precision")  # tables that are not folded at first
STATE = {"better": "good", "worse": "bad", "not separable": "unsure", FAILED: "bad", NOT_RUN: "unsure", OK: "good"}
PACKAGES = (
    "qatlab", "torch", "transformers", "sentence-transformers", "numpy", "scipy", "faiss-cpu", "onnxruntime", "torchao", "openvino",
    "mteb", "snakemake",
)  # fmt: skip
SVG, XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
DRAWN = (
    "svg",
    "g",
    "defs",
    "path",
    "use",
    "text",
    "tspan",
    "clipPath",
    "rect",
    "image",
    "style",
    "marker",
    "linearGradient",
    "stop",
)
REFERENCE = re.compile(r"url\(#([^)]+)\)")
SPLITTING = re.compile(r"[\s'\"\\]")  # characters by which overrides are split
INTERPRETED = re.compile(r"[\"$`\\!]")  # characters that a shell interprets between double quotes
PIXELS_PER_POINT = 96 / 72
LEAST_SCALE = 0.8  # scale of a drawing below which its box scrolls


@dataclass(frozen=True)
class Cell:
    """Text of a cell, and the class of its colour: good, bad, unsure, or empty."""

    text: str
    state: str


@dataclass(frozen=True)
class ShownTable:
    """A table as the page shows it; `numeric` marks the columns that are aligned to the right."""

    name: str
    title: str
    caption: Markup
    columns: list[str]
    numeric: list[bool]
    rows: list[list[Cell]]
    is_open: bool = False


@dataclass(frozen=True)
class ShownPlot:
    """A plot as the page shows it: its drawing as SVG without ids that another drawing has."""

    name: str
    title: str
    caption: Markup
    drawing: Markup


@dataclass(frozen=True)
class ShownOffer:
    """Offer of a conclusion: the grades that make it, its properties in words by name, and the engine that realizes it in words."""

    grades: list[str]
    offer: Offer
    properties: dict[str, str]
    engine: str


def now() -> str:
    """Return the date and time to the minute, in the time zone of this machine."""
    return datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z").strip()


def study_page(study: StudyRecord, folder: Path, results: Path, missing: Missing, written: str) -> str:
    """Return the page of a study, from the files that its other stages wrote.

    Args:
        study: the study's record.
        folder: the study's folder with tables/, plots/, study.json and, if it has one, conclusion.json.
        results: the folder of artifacts.
        missing: artifacts that are missing.
        written: date and time at which the page is written.
    """
    titles = StudySummary.model_validate(read_json(folder / SUMMARY)).titles
    tables = [
        read_table(folder / "tables" / f"{name}.csv", name, titles.get(name, name), table)
        for name, table in tables_of(study).items()
    ]
    plots = [read_plot(folder / "plots" / f"{name}.svg", name, plot) for name, plot in plots_of(study).items()]
    conclusion = read_conclusion(folder)
    return _rendered(
        study,
        missing,
        written=written,
        refreshed_every=None,
        is_finished=True,
        conclusion=conclusion,
        offers=offers(conclusion) if conclusion else [],
        bounds={grade: share * conclusion.budget for grade, share in GRADES.items()} if conclusion else {},
        tables=tables,
        plots=plots,
        long=[name for name in LONG if (folder / "tables" / name).is_file()],
        devices=devices(folder / "tables" / "cost.csv"),
        configuration=configuration(study, results, missing),
    )


def unfinished_page(study: StudyRecord, results: Path, missing: Missing, written: str, refreshed_every: int) -> str:
    """Return the page of a running study: the scores that exist, and the runs that are missing; without intervals and plots.

    Args:
        study: the study's record.
        results: the folder of artifacts.
        missing: artifacts that are missing.
        written: date and time at which the page is written.
        refreshed_every: seconds after which a browser loads the page again.
    """
    scores, _ = main_scores(
        on_axes(long_scores(study.name, study.runs, results, missing), study.chosen_axes), study.main_metrics
    )
    tables = []
    if len(scores) and scores["status"].eq(OK).any():
        caption = Markup(
            "Means over the seeds that have finished. Intervals and comparisons follow when all runs are complete."
        )
        table = scores_by_precision(scores, scores["metric"].iloc[0])
        shown = table.astype(object).where(table.notna(), "–").astype(str)
        tables = [as_shown(shown, "scores_by_precision", "Scores so far", caption, True)]
    return _rendered(
        study,
        missing,
        written=written,
        refreshed_every=refreshed_every,
        is_finished=False,
        conclusion=None,
        offers=[],
        bounds={},
        tables=tables,
        plots=[],
        long=[],
        devices=[],
        configuration=configuration(study, results, missing),
    )


def _rendered(study: StudyRecord, missing: Missing, **parts: object) -> str:
    incomplete = {run.run: run for run in incomplete_runs(study.runs, missing)}
    return _template("study.html").render(
        study=study,
        metric_names=study.main_metrics,
        runs=[(run, incomplete.get(run.name)) for run in study.runs],
        varied=list(study.runs[0].varied),
        incomplete=list(incomplete.values()),
        command=command(study),
        versions=versions(),
        platform=platform.platform(),
        **parts,
    )


def studies_page(folders: Sequence[Path]) -> str:
    """Return the page that lists studies, given the folders of those that have tables."""
    return _template("studies.html").render(studies=[_listed(folder) for folder in folders])


def _listed(folder: Path) -> dict[str, object]:
    """Return what the page of all studies shows of one."""
    answers = folder / "tables" / "answers.csv"
    return {
        "folder": folder.name,
        "summary": StudySummary.model_validate(read_json(folder / SUMMARY)),
        "has_page": (folder / PAGE).is_file(),
        "conclusion": read_conclusion(folder),
        "answers": as_shown(_as_text(answers), "answers", "", Markup(), True) if answers.is_file() else None,
        "tables": [name for name in LINKED if (folder / "tables" / f"{name}.csv").is_file()],
    }


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("qatlab.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    environment.filters["prose"] = prose
    script = _source("page.js")
    environment.globals["style"], environment.globals["script"] = Markup(_source("page.css")), Markup(script)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment.globals["script_source"] = Markup(f"'sha256-{digest}'")
    return environment


def _template(name: str) -> Any:
    return _environment().get_template(name)


def _source(name: str) -> str:
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")


def read_table(file: Path, name: str, title: str, table: Table) -> ShownTable:
    """Return a wide table of a study as the page shows it."""
    return as_shown(_as_text(file), name, title, in_html(table.caption), name in OPEN)


def _as_text(file: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(file, dtype=str, keep_default_na=False)
    except pd.errors.EmptyDataError:
        return pd.DataFrame()


def as_shown(table: pd.DataFrame, name: str, title: str, caption: Markup, is_open: bool) -> ShownTable:
    """Return a table of texts as the page shows it, with verdicts in colour and numbers aligned to the right."""
    texts = table.map(_without_mark)
    numeric = [_is_numeric(list(texts[column])) for column in texts]
    rows = [[Cell(text, STATE.get(text, "")) for text in row] for row in texts.itertuples(index=False, name=None)]
    return ShownTable(name, title, caption, [_without_mark(str(column)) for column in texts], numeric, rows, is_open)


def _without_mark(text: str) -> str:
    """Remove the apostrophe that marks a text in spreadsheets, which a browser does not need."""
    return text[1:] if text.startswith("'") and FORMULA.match(text[1:]) else text


def _is_numeric(texts: list[str]) -> bool:
    """Return whether the texts of a column are numbers, besides empty cells and those of missing results."""
    others = [text for text in texts if text not in ("", "–", FAILED, NOT_RUN)]
    numbers = (text.replace(",", "").removeprefix("× ").removeprefix("< ") for text in others)
    return bool(others) and all(FIGURES.fullmatch(number) for number in numbers)


def read_plot(file: Path, name: str, plot: Plot) -> ShownPlot:
    """Return a plot of a study as the page shows it."""
    title = plot.title[:1].upper() + plot.title[1:]
    return ShownPlot(name, title, in_html(plot.caption), inline_svg(file.read_text(encoding="utf-8"), name, title))


def inline_svg(text: str, prefix: str, title: str) -> Markup:
    """Return a drawing of Matplotlib as an element of a page.

    Its ids and styles are restricted to this drawing, and elements or attributes that could run or load something are removed.

    Args:
        text: content of the SVG file.
        prefix: prefix of all ids, unique on the page.
        title: the name that screen readers announce.
    """
    root = ElementTree.fromstring(text)
    own = f"plot-{prefix}"
    for parent in root.iter():
        for child in list(parent):
            if child.tag.removeprefix(SVG) not in DRAWN:
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.removeprefix(SVG)
        element.attrib = {
            name.removeprefix(XLINK): REFERENCE.sub(rf"url(#{own}-\1)", value)
            for name, value in element.attrib.items()
            if _is_harmless(name.removeprefix(XLINK), value)
        }
        if "id" in element.attrib:
            element.attrib["id"] = f"{own}-{element.attrib['id']}"
        if element.attrib.get("href", "").startswith("#"):
            element.attrib["href"] = f"#{own}-{element.attrib['href'][1:]}"
        if element.tag == "style":
            element.text = re.sub(r"(^|\})\s*([^{}]+)\{", rf"\1#{own} \2{{", element.text or "")
    width = float(root.attrib.pop("width").removesuffix("pt")) * PIXELS_PER_POINT
    root.attrib.pop("height", None)
    root.attrib |= {
        "id": own,
        "role": "img",
        "aria-label": title,
        "style": f"max-width: {width:.0f}px; min-width: {LEAST_SCALE * width:.0f}px",
    }
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _is_harmless(name: str, value: str) -> bool:
    """Return whether an attribute of a drawing neither runs a script nor loads an address."""
    if name.startswith("on") or name.startswith("{"):
        return False
    return name != "href" or value.startswith(("#", "data:image/png"))


def in_html(text: str) -> Markup:
    """Return a caption as HTML: ``code`` and *emphasis* of reStructuredText as elements, all else escaped."""
    escaped = _unbroken(str(escape(" ".join(text.split()))))
    escaped = re.sub(r"``(.+?)``", r"<code>\1</code>", escaped)
    return Markup(re.sub(r"\*(\S[^*]*)\*", r"<em>\1</em>", escaped))


def prose(text: str) -> Markup:
    """Return a sentence as HTML: `names` between backticks as elements, all else escaped."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", _unbroken(str(escape(printable(text))))))


def _unbroken(text: str) -> str:
    """Join a number and its percent sign by a no-break space."""
    return re.sub(r"(?<=\d) %", "\u00a0%", text)


def read_conclusion(folder: Path) -> Conclusion | None:
    """Return the conclusion of a study; None if it has none, or one of another version."""
    file = folder / "conclusion.json"
    try:
        return Conclusion.model_validate(read_json(file)) if file.is_file() else None
    except ValidationError:
        return None


def offers(conclusion: Conclusion) -> list[ShownOffer]:
    """Return the offers in their order; grades that choose the same form share one."""
    shared: dict[str, list[Offer]] = {}
    for offer in conclusion.offers:
        shared.setdefault(offer.model_dump_json(exclude={"grade"}), []).append(offer)
    return [
        ShownOffer(
            [offer.grade for offer in alike],
            alike[0],
            properties(alike[0], conclusion),
            alike[0].engine.in_words(conclusion.metric) if alike[0].engine else "",
        )
        for alike in shared.values()
    ]


def properties(offer: Offer, conclusion: Conclusion) -> dict[str, str]:
    """Return what an offer is and what it costs, in words by name."""
    speed = offer.texts_per_second
    return {
        "Method": ", ".join(
            [offer.method, *(f"{key.rpartition('.')[2]}={value}" for key, value in offer.varied.items())]
        ),
        "Deployment": offer.deploy,
        "Precision": offer.output,
        **({"Axes": offer.rotation} if offer.rotation != "none" else {}),
        "Scoring": offer.scoring,
        **({"Bytes per document": f"{offer.doc_bytes:,}"} if offer.doc_bytes else {}),
        "Size of the model": readable_bytes(offer.model_bytes) if offer.model_bytes is not None else "–",
        "Texts per second": f"{speed:,.0f}" if speed is not None else "–",
        conclusion.metric: f"{offer.value:.4f}",
        "Loss against float": _number(offer.loss, "{:.4f}"),
        "95 % interval": f"{_number(offer.low, '{:.4f}')} to {_number(offer.high, '{:.4f}')}",
        "Relative loss": _number(100 * offer.relative, "{:.1f} %"),
        "Relative loss, at most": _number(100 * offer.relative_high, "{:.1f} %"),
        "Against float": offer.verdict,
    }


def _number(value: float, form: str) -> str:
    """Return a number with a typographic minus, and without one if it is rounded to 0."""
    text = form.format(value)
    return text.removeprefix("-") if float(text.split()[0]) == 0 else text.replace("-", "−")


def command(study: StudyRecord) -> str:
    """Return the command that makes the page of a study."""
    scale = f" scale={study.scale}" if study.scale != "full" else ""
    given = " ".join(shlex.quote(text) if SPLITTING.search(text) else text for text in study.overrides)
    quoted = shlex.quote(given) if INTERPRETED.search(given) else f'"{given}"'
    overrides = f" overrides={quoted}" if given else ""
    return f"snakemake --cores all --config study={shlex.quote(study.name)}{scale}{overrides}"


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the installed packages that decide results."""
    installed = {"Python": platform.python_version()}
    for package in PACKAGES:
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            continue
    return installed


def devices(cost: Path) -> list[tuple[str, str]]:
    """Return the devices on which the study was trained and its texts were encoded, from cost.csv."""
    table = pd.read_csv(cost, dtype=str)
    purposes = {"train_device": "training", "encode_device": "encoding"}
    return [(purpose, device) for column, purpose in purposes.items() for device in table[column].dropna().unique()]


def configuration(study: StudyRecord, results: Path, missing: Missing) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the keys and values of the first training, the keys in which other trainings differ from it, and of the scoring."""
    sections: list[tuple[str, list[tuple[str, str]]]] = []
    first: dict[str, str] = {}
    for run in study.runs:
        file = results / run.trained / "config.json"
        if not run.trains or missing.status(run.trained) != OK or not file.is_file():
            continue
        own = flat(read_json(file)["config"])
        keys = [key for key in dict.fromkeys([*own, *first]) if own.get(key, "–") != first.get(key, "–")]
        heading = f"Training of {run.name}" + (
            f": differs from {sections[0][0].removeprefix('Training of ')} in" if first else ""
        )
        sections.append((heading, [(key, own.get(key, "–")) for key in keys]))
        first = first or own
    if study.evaluate is not None:
        sections.append(("Scoring", list(flat(study.evaluate.model_dump(mode="json")).items())))
    return sections


def flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return the leaves of nested mappings as texts, by their keys joined with dots."""
    leaves: dict[str, str] = {}
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            leaves |= flat(item, f"{prefix}{key}.")
        else:
            leaves[f"{prefix}{key}"] = "none" if item is None else str(item)
    return leaves
