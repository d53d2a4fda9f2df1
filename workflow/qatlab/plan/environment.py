"""Environment variables that the jobs of a workflow inherit."""

import os
import sys
from pathlib import Path


def use_this_python(library: Path) -> None:
    """Make jobs run the current Python and import from `library`, whether or not its environment is activated."""
    _prepend("PATH", str(Path(sys.executable).parent))
    _prepend("PYTHONPATH", str(library))


def _prepend(variable: str, folder: str) -> None:
    before = os.environ.get(variable)
    os.environ[variable] = os.pathsep.join([folder, before] if before else [folder])
