"""The floors of the house are held by a test, not by hope."""

import subprocess
import sys
from pathlib import Path

HOUSE = Path(__file__).resolve().parent.parent
WALLS = ["integrations", "storage"]


def test_every_import_points_down():
    """A process of its own: the checker sets up logging and paths for all that runs beside it."""
    check = "import sys; from importlinter.cli import lint_imports_command; lint_imports_command(['--no-cache', '--no-logo'])"
    script = f"import sys; sys.path[:0] = {[str(HOUSE), *(str(HOUSE / wall) for wall in WALLS)]!r}; {check}"
    checked = subprocess.run([sys.executable, "-c", script], cwd=HOUSE, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "0 broken" in checked.stdout
