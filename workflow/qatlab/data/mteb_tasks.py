"""Tasks of mteb, by the names that it gives them: what they are, and their texts as mteb itself loads them."""

import re
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import Any

import pandas as pd
from huggingface_hub.constants import HF_HUB_OFFLINE

from qatlab.config.kind import Kind
from qatlab.data.hub import check_commit, unreadable_explained
from qatlab.data.similarity_pairs import as_task
from qatlab.errors import UserError
from qatlab.hub import commit_of, hub_errors_explained, patiently

KINDS: dict[str, Kind] = {"Retrieval": "retrieval", "Reranking": "reranking", "STS": "similarity"}
COMMIT = re.compile("[0-9a-f]{40}")
METRICS = {"ndcg": "ndcg_at_{}", "mrr": "mrr_at_{}", "recall": "recall_at_{}", "accuracy": "hit_rate_at_{}"}


@dataclass(frozen=True)
class Source:
    """Where mteb takes a task from.

    Attributes:
        name: as mteb calls it.
        kind: what is asked in it.
        dataset, revision: of the hub.
        split, subset: which part is evaluated.
        main_score: the figure that stands for it, as mteb calls it.
        ignore_identical_ids: whether a document of the query's own name is no answer.
    """

    name: str
    kind: Kind
    dataset: str
    revision: str
    split: str
    subset: str
    main_score: str
    ignore_identical_ids: bool

    def as_dict(self) -> dict[str, Any]:
        """Builtin values."""
        return asdict(self)


def look_up(name: str, split: str | None = None, subset: str | None = None) -> Source:
    """What mteb says of a task, without network.

    Raises:
        UserError: for a name, split or subset that it does not know, or a kind of task that is not scored here.
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
        split=_one("split", split, list(task.eval_splits), name),
        subset=_one("subset", subset, list(task.hf_subsets), name),
        main_score=metadata.main_score,
        ignore_identical_ids=bool(getattr(task, "ignore_identical_ids", False)),
    )


def load(source: Source) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Documents and queries (id, text) and judgements (query_id, doc_id, relevance), as mteb reads them.

    Raises:
        UserError: for a hub that cannot be reached, or a data set that is not there.
    """
    import mteb

    task = mteb.get_task(source.name, eval_splits=[source.split], hf_subsets=[source.subset])
    commit_of(
        "task", source.dataset, source.revision
    )  # says whether data set and revision are there, which mteb does not
    with hub_errors_explained("task", source.dataset, source.revision), unreadable_explained("task", source.dataset):
        try:
            patiently(task.load_data)
        except ValueError as error:
            raise UserError(f"mteb's task '{source.name}': {' '.join(str(error).split())}") from None
    if source.kind == "similarity":
        pairs = _split(task, source)
        _check(source, pairs)
        return as_task(_pairs(pairs, *task.column_names))
    task.convert_v1_dataset_format_to_v2(num_proc=None)
    found = _split(task, source)
    _check(source, found["corpus"], found["queries"])
    return _documents(found["corpus"]), _queries(found["queries"]), _judgements(found, source.kind)


def mteb_metric(metric: str) -> str:
    """What mteb calls a figure of ours: 'ndcg@10' is 'ndcg_at_10', 'accuracy@1' 'hit_rate_at_1', 'spearman' 'cosine_spearman'."""
    name, at, cutoff = metric.partition("@")
    return METRICS[name].format(cutoff) if at else f"cosine_{metric}"


def _task(name: str) -> Any:
    import mteb
    from mteb.get_tasks import _TASKS_REGISTRY

    if name not in _TASKS_REGISTRY:
        near = get_close_matches(name, _TASKS_REGISTRY, n=1, cutoff=0.4)
        hint = f"; did you mean '{near[0]}'?" if near else "; its documentation lists them"
        raise UserError(f"mteb knows no task '{name}'{hint}")
    return mteb.get_task(name)


def _one(what: str, asked: str | None, there: list[str], name: str) -> str:
    if asked is None and len(there) == 1:
        return there[0]
    if asked not in there:
        given = f"no {what} '{asked}'" if asked else f"several {what}s"
        raise UserError(f"mteb's task '{name}' has {given}; valid: {', '.join(there)} (task.NAME.{what}=…)")
    return asked


def _split(task: Any, source: Source) -> Any:
    by_split = task.dataset if source.split in task.dataset else task.dataset[source.subset]
    return by_split[source.split]


def _check(source: Source, *tables: Any) -> None:
    """`load_dataset`, which mteb calls, takes another commit from the cache where the hub fails."""
    if COMMIT.fullmatch(source.revision) and not HF_HUB_OFFLINE:
        with hub_errors_explained("task", source.dataset, source.revision):
            for table in tables:
                check_commit(table, source.revision)


def _pairs(table: Any, first: str, second: str) -> pd.DataFrame:
    rows = table.to_pandas()
    return pd.DataFrame({"first": rows[first], "second": rows[second], "score": rows["score"].astype(float)})


def _documents(corpus: Any) -> pd.DataFrame:
    """The title before the text, where there is one."""
    table = corpus.to_pandas()
    titles = table["title"].fillna("") if "title" in table else ""
    return pd.DataFrame({"id": table["id"].astype(str), "text": (titles + " " + table["text"]).str.strip()})


def _queries(queries: Any) -> pd.DataFrame:
    """An instruction behind the query, where there is one."""
    table = queries.to_pandas()
    instructions = table["instruction"].fillna("") if "instruction" in table else ""
    return pd.DataFrame({"id": table["id"].astype(str), "text": (table["text"] + " " + instructions).str.strip()})


def _judgements(found: Any, kind: Kind) -> pd.DataFrame:
    """Relevant documents; of reranking, all candidates."""
    candidates = found["top_ranked"] if kind == "reranking" else None
    judged = found["relevant_docs"]
    rows = [
        (query, document, int(grade))
        for query, grades in judged.items()
        for document, grade in (
            grades if candidates is None else {name: grades.get(name, 0) for name in candidates.get(query, [])}
        ).items()
    ]
    return pd.DataFrame(rows, columns=["query_id", "doc_id", "relevance"])
