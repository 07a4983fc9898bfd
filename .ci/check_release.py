"""Check what `make release` built in dist/: its contents, and the wheel in an empty environment.

The README's example must run there as it stands.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    (wheel,) = (ROOT / "dist").glob("*.whl")
    (sdist,) = (ROOT / "dist").glob("*.tar.gz")
    check_contents(wheel, sdist)
    with tempfile.TemporaryDirectory() as folder:
        python = Path(folder) / "venv" / "bin" / "python"
        venv.create(Path(folder) / "venv", with_pip=True)
        pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "-q"]
        run(*pip, "-c", ROOT / "constraints.txt", wheel, cwd=folder)
        (Path(folder) / "example.py").write_text(readme_example())
        run(python, "example.py", cwd=folder)
    print(f"{wheel.name} and {sdist.name} are good")


def check_contents(wheel: Path, sdist: Path) -> None:
    """Both have every source file; the wheel has nothing outside gfn_gym."""
    sources = {
        path.relative_to(ROOT)
        for folder in ("gfn_gym", "agents")
        for path in (ROOT / folder).rglob("*.py")
    }
    with zipfile.ZipFile(wheel) as file:
        in_wheel = set(file.namelist())
    with tarfile.open(sdist) as file:
        in_sdist = {name.partition("/")[2] for name in file.getnames()}
    installed = {re.sub("^agents/", "gfn_gym/agents/", path.as_posix()) for path in sources}
    problems = [f"the wheel lacks {name}" for name in sorted(installed - in_wheel)]
    problems += [f"the wheel has {n}" for n in in_wheel if not re.match(r"gfn_gym[/-]", n)]
    needed = {path.as_posix() for path in sources} | {"README.md", "LICENSE", "setup.cfg"}
    problems += [f"the sdist lacks {name}" for name in sorted(needed - in_sdist)]
    if problems:
        sys.exit("\n".join(problems))


def readme_example() -> str:
    return re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]


def run(*command: object, cwd: str) -> None:
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}  # faster for a network this small
    subprocess.run([str(part) for part in command], cwd=cwd, env=one_thread, check=True)


if __name__ == "__main__":
    main()
