"""The search for planted secrets finds them in each form."""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

from tests.e2e.canaries import Canaries, Watch


def test_each_form_is_found() -> None:
    canaries = Canaries(["one", "two"])
    value = canaries["one"]
    forms = [value, f"x{value}y", quote(value, safe=""), value.encode().hex() and f"-e A={value}"]
    for before in ("", "a", "ab", "abc", "user:"):
        text = f"{before}{value}\n".encode()
        forms += [base64.b64encode(text).decode(), base64.urlsafe_b64encode(text).decode()]
        forms.append(quote(base64.b64encode(text).decode(), safe=""))
    assert [canaries.find(form) for form in forms] == [{"one"}] * len(forms)
    assert canaries.find("canary") == set()


def test_files_and_arguments_are_searched(tmp_path: Path) -> None:
    canaries = Canaries(["one", "two"])
    (tmp_path / "log").write_text(canaries["one"])
    assert list(canaries.search(tmp_path)) == [(tmp_path / "log", "one")]
    with Watch(canaries, "none") as watch:
        code = "import time; time.sleep(0.5)"
        subprocess.run([sys.executable, "-c", code, canaries["two"]], check=True)
    assert {name for _, name in watch.arguments} == {"two"}
