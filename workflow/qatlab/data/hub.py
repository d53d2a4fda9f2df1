"""Data sets of the Hugging Face hub, by id and revision."""

import pandas as pd
from datasets import load_dataset
from datasets.exceptions import DatasetNotFoundError

from qatlab.errors import UserError
from qatlab.hub import hub_errors_explained


def load_split(name: str, subset: str | None, split: str, revision: str, kind: str = "data") -> pd.DataFrame:
    """One split as a table; raises UserError for an unknown name, subset, split or revision, or no network."""
    with hub_errors_explained(kind, name, revision):
        try:
            return load_dataset(name, subset, split=split, revision=revision).to_pandas()
        except DatasetNotFoundError as error:
            raise UserError(f"{kind} '{name}' (revision {revision}): {' '.join(str(error).split())}") from None
        except ValueError as error:  # unknown subset or split: the message lists the valid ones
            raise UserError(f"{kind} '{name}': {' '.join(str(error).split())}") from None
