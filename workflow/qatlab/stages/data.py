"""Stage data: training rows of any source as Parquet with a manifest."""

from pathlib import Path

from qatlab.artifact import sha256_of, write_json
from qatlab.job import JobDescription
from qatlab.sources.source import SOURCES, check_count, kept_rows


def run(description: JobDescription, inputs: dict[str, Path], output: Path, threads: int | None) -> None:
    """Write train.parquet (one text column per role) and manifest.json (source, rows, SHA-256)."""
    config = SOURCES.read(description.config)
    table, commit = config.load()
    check_count(config.name, len(table), config.rows, config.skip)
    kept = kept_rows(len(table), config.shuffle_seed, config.rows, config.skip)
    table = table.iloc[kept].reset_index(drop=True)
    table.to_parquet(output / "train.parquet", index=False)
    manifest = {
        "source": config.source,
        "name": config.name,
        "origin": description.origin,
        "rows": len(table),
        "columns": list(table.columns),
    } | ({"commit": commit} if commit else {})
    write_json(output / "manifest.json", {**manifest, "sha256": sha256_of(output / "train.parquet")})
