"""What pyproject.toml cannot say: the wheel carries `data/`, without its makers, and the pins.

A checkout reads the folder where it stands; `sft_helpers.town.data_dir` knows both places.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class WithData(build_py):
    """Build the package, with `data` in it as `sft_helpers/data`."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            leave = shutil.ignore_patterns("make", "__pycache__", ".*")
            inside = Path(self.build_lib) / "sft_helpers" / "data"
            shutil.rmtree(inside, ignore_errors=True)  # what an earlier build left
            shutil.copytree("data", inside, ignore=leave)
            shutil.copy("constraints.txt", inside)  # doctor compares with them


setup(cmdclass={"build_py": WithData})
