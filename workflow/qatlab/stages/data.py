"""data: training rows, from wherever they come, as Parquet with a manifest."""

import random
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import TypeAdapter

from qatlab.artifact import sha256_of, write_json
from qatlab.config.data import DataConfig, DocstringData, HubData, LocalData
from qatlab.errors import UserError


def run(description: dict[str, Any], inputs: dict[str, Path], output: Path, threads: int | None) -> None:
    """Writes train.parquet (one text column per role) and manifest.json (source, rows, SHA-256)."""
    config: DocstringData | LocalData | HubData = TypeAdapter(DataConfig).validate_python(description["config"])
    table, commit = _load(config)
    if table.empty:
        raise UserError(f"data '{config.name}' has no rows")
    table = table.iloc[_shuffled(len(table), config.shuffle_seed, config.rows)].reset_index(drop=True)
    if config.rows is not None and len(table) < config.rows:
        raise UserError(f"data '{config.name}' has {len(table)} rows, fewer than data.rows={config.rows}")
    table.to_parquet(output / "train.parquet", index=False)
    manifest = {
        "source": config.source,
        "name": config.name,
        "origin": description["origin"],
        "rows": len(table),
        "columns": list(table.columns),
    } | ({"commit": commit} if commit else {})
    write_json(output / "manifest.json", {**manifest, "sha256": sha256_of(output / "train.parquet")})


def _load(config: DocstringData | LocalData | HubData) -> tuple[pd.DataFrame, str | None]:
    """The rows and, of the hub, the commit that they are of."""
    if isinstance(config, DocstringData):
        return _docstring_pairs(config), None
    if isinstance(config, LocalData):
        from qatlab.data.local import read_columns

        return read_columns(Path(config.path).expanduser(), config.columns), None
    from qatlab.data.hub import load_split

    table, commit = load_split(config.name, config.subset, config.split, config.revision)
    missing = [column for column in config.columns if column not in table.columns]
    if missing:
        raise UserError(f"data set '{config.name}' has no column '{missing[0]}'; it has: {', '.join(table.columns)}")
    return table[config.columns], commit


def _docstring_pairs(config: DocstringData) -> pd.DataFrame:
    """Pairs of the training packages, without those that stand in a held-out package too."""
    from qatlab.data.docstrings import extract

    held_out = [pair for package in config.held_out for pair in extract(package)]
    seen_summaries, seen_codes = {pair.summary for pair in held_out}, {pair.code for pair in held_out}
    rows = []
    for package in config.packages:
        for pair in extract(package):
            if pair.summary not in seen_summaries and pair.code not in seen_codes:
                seen_summaries.add(pair.summary)
                seen_codes.add(pair.code)
                rows.append((pair.summary, pair.code))
    return pd.DataFrame(rows, columns=["anchor", "positive"])


def _shuffled(count: int, seed: int, kept: int | None) -> list[int]:
    order = list(range(count))
    random.Random(seed).shuffle(order)
    return order[:kept]
