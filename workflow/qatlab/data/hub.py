"""Data sets of the Hugging Face hub, by id and revision."""

import pandas as pd
from datasets import load_dataset
from datasets.exceptions import DatasetNotFoundError

from qatlab.errors import UserError
from qatlab.models.hub import offline_hint


def load_split(name: str, subset: str | None, split: str, revision: str, kind: str = "data") -> pd.DataFrame:
    """One split as a table; raises UserError for an unknown name, subset, split or revision, or no network."""
    try:
        return load_dataset(name, subset, split=split, revision=revision).to_pandas()
    except DatasetNotFoundError as error:
        raise UserError(f"data set '{name}' (revision {revision}): {str(error).splitlines()[0]}") from None
    except ValueError as error:  # unknown subset or split: the message lists the valid ones
        raise UserError(f"data set '{name}': {' '.join(str(error).split())}") from None
    except (ConnectionError, OSError) as error:
        raise UserError(offline_hint(kind, name, error)) from None
