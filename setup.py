"""Build step that pyproject.toml cannot express: packing the workflow and its configuration, which `qatlab init` copies, into the wheel."""

import shutil
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "workflow"))

from qatlab.commands.init import copy_project  # noqa: E402


class WithProject(build_py):
    """Packs the workflow into qatlab/project; an editable installation finds it where it is."""

    def run(self) -> None:
        """Build the package, then add the workflow and its configuration."""
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib) / "qatlab" / "project"
            shutil.rmtree(target, ignore_errors=True)
            copy_project(ROOT, target)


setup(cmdclass={"build_py": WithProject})
