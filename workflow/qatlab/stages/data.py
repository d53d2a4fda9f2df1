"""data: training rows, from wherever they come, as Parquet with a manifest."""

from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import TypeAdapter

from qatlab.artifact import sha256_of, write_json
from qatlab.config.data import (
    AnyData,
    DataConfig,
    DocstringData,
    LocalData,
    NumeralData,
    PackageTextData,
    ParallelData,
)
from qatlab.data.sample import check_count, kept_rows


def run(description: dict[str, Any], inputs: dict[str, Path], output: Path, threads: int | None) -> None:
    """Writes train.parquet (one text column per role) and manifest.json (source, rows, SHA-256)."""
    config: AnyData = TypeAdapter(DataConfig).validate_python(description["config"])
    table, commit = _load(config)
    check_count(config.name, len(table), config.rows)
    table = table.iloc[kept_rows(len(table), config.shuffle_seed, config.rows)].reset_index(drop=True)
    table.to_parquet(output / "train.parquet", index=False)
    manifest = {
        "source": config.source,
        "name": config.name,
        "origin": description["origin"],
        "rows": len(table),
        "columns": list(table.columns),
    } | ({"commit": commit} if commit else {})
    write_json(output / "manifest.json", {**manifest, "sha256": sha256_of(output / "train.parquet")})


def _load(config: AnyData) -> tuple[pd.DataFrame, str | None]:
    """The rows and, of the hub, the commit that they are of."""
    if isinstance(config, DocstringData):
        return _docstring_pairs(config), None
    if isinstance(config, LocalData):
        from qatlab.data.local import read_columns

        return read_columns(Path(config.path).expanduser(), config.columns), None
    if isinstance(config, NumeralData):
        from qatlab.data.numerals import pairs

        return pd.DataFrame(pairs("train", config.shuffle_seed, config.rows), columns=config.columns), None
    if isinstance(config, ParallelData):
        from qatlab.data.parallel import load

        return load(config, "data"), None
    if isinstance(config, PackageTextData):
        from qatlab.data.package_texts import extract_all

        return pd.DataFrame({config.columns[0]: extract_all(config.packages, config.held_out)}), None
    from qatlab.data.hub import load_texts

    return load_texts(config.name, config.subset, config.split, config.revision, config.columns)


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
    return pd.DataFrame(rows, columns=config.columns)
