"""Tasks of mteb, chosen by their names there, with their texts as mteb itself loads them."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pandas as pd
from pydantic import Field

from qatlab.config.evaluate import metric_and_cutoff
from qatlab.errors import UserError
from qatlab.evaluation.task import Kind
from qatlab.hub import check_commit, commit_of, hub_errors_explained, unreadable_explained, with_retries
from qatlab.registry import FullLine, Line
from qatlab.tasks.pairs import as_task
from qatlab.tasks.task import TASKS, Loaded, MtebSource, Task

KINDS: dict[str, Kind] = {"Retrieval": "retrieval", "Reranking": "reranking", "STS": "similarity"}
COMMIT = re.compile("[0-9a-f]{40}")


@dataclass(frozen=True)
class Source:
    """Metadata of an evaluated part of an mteb task.

    Attributes:
        name: name of the task in mteb.
        kind: kind of the task in qatlab.
        dataset, revision: id and revision of the data set on the hub.
        split, subset: the part of the data set that is evaluated.
        main_score: name in mteb of the metric that represents the task.
        ignore_identical_ids: whether a document with the id of the query is excluded from the query's results.
    """

    name: str
    kind: Kind
    dataset: str
    revision: str
    split: str
    subset: str
    main_score: str
    ignore_identical_ids: bool

    def as_dict(self) -> dict[str, object]:
        """Return the attributes as a dictionary of builtin values."""
        return asdict(self)


def look_up(name: str, split: str | None = None, subset: str | None = None) -> Source:
    """Return the metadata of a task in the installed mteb, without network access.

    Args:
        name: name of the task in mteb.
        split: evaluation split; may be None if the task has only one.
        subset: subset, such as a language; may be None if the task has only one.

    Raises:
        UserError: for an unknown name, split or subset, or a type of task that qatlab does not score.
    """
    task = _task(name)
    metadata = task.metadata
    kind = KINDS.get(metadata.type)
    if kind is None or list(metadata.modalities) != ["text"]:
        raise UserError(
            f"mteb's task '{name}' is of type {metadata.type} ({', '.join(metadata.modalities)}); "
            f"valid types: {', '.join(KINDS)}, of text"
        )
    return Source(
        name=name,
        kind=kind,
        dataset=metadata.dataset["path"],
        revision=metadata.dataset["revision"],
        split=_choose("split", split, list(task.eval_splits), name),
        subset=_choose("subset", subset, list(task.hf_subsets), name),
        main_score=metadata.main_score,
        ignore_identical_ids=bool(getattr(task, "ignore_identical_ids", False)),
    )


def load(source: Source) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Load documents (id, text), queries (id, text) and judgements (query_id, doc_id, relevance), as mteb reads them.

    Raises:
        UserError: if the hub cannot be reached or does not have the data set.
    """
    import mteb

    task = mteb.get_task(source.name, eval_splits=[source.split], hf_subsets=[source.subset])
    # mteb does not report a missing data set or revision clearly; `commit_of` raises a UserError.
    commit_of("task", source.dataset, source.revision)
    with hub_errors_explained("task", source.dataset, source.revision), unreadable_explained("task", source.dataset):
        try:
            with_retries(task.load_data)
        except ValueError as error:
            raise UserError(f"mteb's task '{source.name}': {' '.join(str(error).split())}") from None
    if source.kind == "similarity":
        pairs = _split(task, source)
        _check(source, pairs)
        return as_task(_pairs(pairs, *task.column_names))
    task.convert_v1_dataset_format_to_v2(num_proc=None)
    tables = _split(task, source)
    _check(source, tables["corpus"], tables["queries"])
    return _documents(tables["corpus"]), _queries(tables["queries"]), _judgements(tables, source.kind)


def mteb_metric(metric: str) -> str | None:
    """Return mteb's name of a metric, or None if it has none.

    'ndcg@10' is 'ndcg_at_10', 'accuracy@1' 'hit_rate_at_1', 'spearman' 'cosine_spearman'.
    """
    if "@" not in metric:
        return f"cosine_{metric}"
    definition, cutoff = metric_and_cutoff(metric)
    return definition.mteb.format(cutoff) if definition.mteb else None


def _task(name: str) -> Any:
    import mteb
    from mteb.get_tasks import _TASKS_REGISTRY

    if name not in _TASKS_REGISTRY:
        near = get_close_matches(name, _TASKS_REGISTRY, n=1, cutoff=0.4)
        hint = f"; did you mean '{near[0]}'?" if near else "; mteb's documentation lists the tasks"
        raise UserError(f"mteb has no task '{name}'{hint}")
    return mteb.get_task(name)


def _choose(key: str, requested: str | None, available: list[str], name: str) -> str:
    if requested is None and len(available) == 1:
        return available[0]
    if requested not in available:
        problem = f"no {key} '{requested}'" if requested else f"several {key}s"
        raise UserError(f"mteb's task '{name}' has {problem}; valid: {', '.join(available)} (task.NAME.{key}=…)")
    return requested


def _split(task: Any, source: Source) -> Any:
    by_split = task.dataset if source.split in task.dataset else task.dataset[source.subset]
    return by_split[source.split]


def _check(source: Source, *tables: Any) -> None:
    """Check the commit of tables, because `load_dataset`, which mteb calls, reads any commit from the cache if a download fails."""
    from huggingface_hub.constants import HF_HUB_OFFLINE

    if COMMIT.fullmatch(source.revision) and not HF_HUB_OFFLINE:
        with hub_errors_explained("task", source.dataset, source.revision):
            for table in tables:
                check_commit(table, source.revision)


def _pairs(table: Any, first: str, second: str) -> pd.DataFrame:
    rows = table.to_pandas()
    return pd.DataFrame({"first": rows[first], "second": rows[second], "score": rows["score"].astype(float)})


def _documents(corpus: Any) -> pd.DataFrame:
    """Return the columns id and text, where the text starts with the title if there is one."""
    table = corpus.to_pandas()
    titles = table["title"].fillna("") if "title" in table else ""
    return pd.DataFrame({"id": table["id"].astype(str), "text": (titles + " " + table["text"]).str.strip()})


def _queries(queries: Any) -> pd.DataFrame:
    """Return the columns id and text, where the instruction, if there is one, follows the query."""
    table = queries.to_pandas()
    instructions = table["instruction"].fillna("") if "instruction" in table else ""
    return pd.DataFrame({"id": table["id"].astype(str), "text": (table["text"] + " " + instructions).str.strip()})


def _judgements(tables: Any, kind: Kind) -> pd.DataFrame:
    """Return the judged documents; for reranking, all candidates, with grade 0 if they are not judged."""
    candidates = tables["top_ranked"] if kind == "reranking" else None
    judged = tables["relevant_docs"]
    rows = [
        (query, document, int(grade))
        for query, grades in judged.items()
        for document, grade in (
            grades if candidates is None else {name: grades.get(name, 0) for name in candidates.get(query, [])}
        ).items()
    ]
    return pd.DataFrame(rows, columns=["query_id", "doc_id", "relevance"])


@TASKS.register("mteb")
class MtebTask(Task):
    """Retrieval, reranking or STS task of mteb, chosen by its name in mteb and at the data set revision that mteb pins."""

    judges_missing_texts: ClassVar[bool] = True

    source: Literal["mteb"]
    name: Annotated[FullLine, Field(description="Name of the task in mteb, such as SciFact.")]
    split: Annotated[
        Line | None, Field(description="Evaluation split; null is valid for a task that has only one.")
    ] = None
    subset: Annotated[
        Line | None, Field(description="Subset, such as a language; null is valid for a task that has only one.")
    ] = None

    def origin(self) -> dict[str, object]:
        """Return the metadata that mteb has for the task."""
        return look_up(self.name, self.split, self.subset).as_dict()

    def on_hub(self, origin: Any) -> tuple[str, str] | None:
        """Return the data set id and revision that mteb pins."""
        return origin["dataset"], origin["revision"]

    def kind_of(self, origin: Any) -> Kind:
        """Return the kind of the task, as its type in mteb determines it."""
        kind: Kind = origin["kind"]
        return kind

    def load(self, name: str, model: Path | None) -> Loaded:
        """Return the texts and judgements that mteb loads, with the task's metadata for the manifest."""
        task = look_up(self.name, self.split, self.subset)
        more = {"mteb": task.as_dict(), "ignore_identical_ids": task.ignore_identical_ids}
        return Loaded(task.kind, *load(task), more)

    def in_mteb(self, kind: Kind) -> bool:
        """Return False for reranking, which mteb scores by ranks among all candidates, and qatlab by the best-ranked positive."""
        return kind != "reranking"

    def mteb_source(self, manifest: Mapping[str, Any]) -> MtebSource:
        """Return the names that mteb had for the task when it was read, from the manifest."""
        known = manifest["mteb"]
        return MtebSource(known["name"], known["revision"], known["split"], known["subset"])
