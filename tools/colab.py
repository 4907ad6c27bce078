"""Install the kit beside Colab's own packages; a notebook's third cell runs this with `%run`.

Colab brings a torch for its GPU, ipywidgets 7 and a running kernel that has NumPy and others
loaded. Nothing of that may change, or the session breaks until it is restarted. So what the kit
needs and Colab lacks goes into a folder of its own (`kit/.venv`), which the kernel then reads
first. docs/colab.md says what was tried.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# What pip may not touch: Colab's torch, its widgets, and what its kernel has loaded already.
KEPT = (
    *("torch", "numpy", "pandas", "matplotlib", "pillow", "scipy"),
    *("ipython", "ipykernel", "ipywidgets", "jupyter-client", "pyzmq", "tornado", "traitlets"),
)
# Of these the versions that the kit's tests ran with, so that a notebook says the same here.
TESTED = ("accelerate", "bitsandbytes", "datasets", "peft", "transformers", "trl")


def install(root: Path) -> Path:
    """Install the kit's dependencies into `root/.venv`; return its site-packages."""
    venv = root / ".venv"
    # Without pip, because Colab's Python lacks ensurepip; Colab's own pip installs into it.
    subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", venv], check=True)
    [site] = venv.glob("lib/python*/site-packages")
    # It sees what the kernel sees; pip neither installs that again nor removes it.
    seen = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    (site / "colab.pth").write_text("\n".join(seen) + "\n", "utf-8")
    there = {name: [found.version for found in distributions(name=name)] for name in KEPT}
    pins = [f"{name}=={found[0].split('+')[0]}" for name, found in there.items() if found]
    tested = (root / "constraints.txt").read_text("utf-8").splitlines()
    pins += [line for line in tested if line.split("==")[0] in TESTED]
    keep = venv / "keep.txt"
    keep.write_text("\n".join(pins), "utf-8")
    pip = [sys.executable, "-m", "pip", "--python", str(venv / "bin" / "python"), "install", "-q"]
    pip += ["--no-warn-conflicts", "-c", str(keep), "-e", str(root)]
    if subprocess.run(pip).returncode:
        sys.exit("pip could not install the kit beside Colab's packages: see its words above.")
    return site


def use(root: Path, site: Path) -> None:
    """Make this process, and those that it starts, read `root` and `site` first."""
    paths = [str(root), str(site)]
    sys.path[:0] = paths
    os.environ["PYTHONPATH"] = os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")])
    os.environ["PATH"] = os.pathsep.join([str(root / ".venv" / "bin"), os.environ["PATH"]])
    # pandas has loaded Colab's pyarrow, and `datasets` needs a newer one: let it load that.
    if (site / "pyarrow").is_dir():
        for name in [name for name in sys.modules if name.split(".")[0] == "pyarrow"]:
            del sys.modules[name]


if __name__ == "__main__":
    print("Installing the kit beside Colab's own packages, a minute or two ...", flush=True)
    use(ROOT, install(ROOT))
    print(f"The kit is there ({ROOT}); Colab's own packages are as they were.")
