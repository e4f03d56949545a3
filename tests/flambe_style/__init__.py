"""A runnable written for flambé, and its copy with other imports."""

from __future__ import annotations

import shutil
from pathlib import Path

SOURCE = Path(__file__).parent
_MODULE = "src/flambe_style/__init__.py"


def write(folder: Path) -> Path:
    """Write the extension with this project's imports, its data and its file; return the file."""
    shutil.copytree(SOURCE, folder / "flambe_style", ignore=lambda *_: ["__pycache__"])
    (folder / "flambe_style/__init__.py").unlink()
    text = (SOURCE / _MODULE).read_text()
    assert text.count("from flambe.") == 5
    (folder / "flambe_style" / _MODULE).write_text(text.replace("from flambe.", "from flambe_ansible."))
    (folder / "numbers").mkdir()
    (folder / "numbers/numbers.txt").write_text("1\n2\n3\n")
    (folder / "numbers/.hidden").touch()
    file = folder / "count.yaml"
    file.write_text(f"flambe_style: flambe_style\n---\n!flambe_style.Count\nname: sum\ndata: {folder}/numbers\n")
    return file
