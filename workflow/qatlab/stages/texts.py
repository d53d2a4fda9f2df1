"""Stage texts: a set of texts of any source as Parquet with a manifest."""

from pathlib import Path

import pandas as pd

from qatlab.artifact import sha256_of, write_json
from qatlab.errors import UserError
from qatlab.job import JobDescription
from qatlab.text_sets import TEXT_SETS


def run(description: JobDescription, inputs: dict[str, Path], output: Path, threads: int | None) -> None:
    """Write documents.parquet (id, text), in the source's order, and manifest.json."""
    values = dict(description.config)
    name = values.pop("texts")
    config = TEXT_SETS.read(values)
    texts, commit = config.load(name)
    texts = texts[: config.rows]
    if not texts or (config.rows is not None and len(texts) < config.rows):
        raise UserError(f"texts '{name}' are {len(texts)}, fewer than texts.{name}.rows={config.rows}")
    table = pd.DataFrame({"id": [str(index) for index in range(len(texts))], "text": texts})
    table.to_parquet(output / "documents.parquet", index=False)
    write_json(
        output / "manifest.json",
        {
            "name": name,
            "source": config.source,
            "origin": description.origin,
            "rows": len(texts),
            "sha256": sha256_of(output / "documents.parquet"),
            **({"commit": commit} if commit else {}),
        },
    )
