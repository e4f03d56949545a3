"""Lists of Python packages for hosts."""

from __future__ import annotations

from pathlib import Path

import pytest

from flambe_ansible.errors import SourceError
from flambe_ansible.sources import read_requirements

WHEEL = "demo-1.0-py3-none-any.whl"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    return write(tmp_path / "wheels" / WHEEL, "zip")


def test_requirements_txt(tmp_path: Path, wheel: Path) -> None:
    write(tmp_path / "more/base.txt", "numpy>=1.26  # a comment\n-c limits.txt\n")
    write(tmp_path / "more/limits.txt", "numpy<3\n")
    file = write(
        tmp_path / "requirements.txt",
        "# packages\n-r more/base.txt\n\ntorch==2.13.0 \\\n  --hash=sha256:00 \\\n  --hash=sha256:01\n"
        f"./wheels/{WHEEL}\nhttpx @ https://example.org/httpx-1.0.tar.gz#egg=httpx\n"
        "six ; python_version < '3.13'\n",
    )
    found = read_requirements(file)
    assert found.lines == (
        "numpy>=1.26",
        "torch==2.13.0",
        "httpx @ https://example.org/httpx-1.0.tar.gz#egg=httpx",
        'six; python_version < "3.13"',
    )
    assert (found.constraints, found.wheels) == (("numpy<3",), (wheel,))
    torch = found.find("Torch")
    assert torch is not None
    assert str(torch.specifier) == "==2.13.0"
    assert found.find("ray") is None


@pytest.mark.parametrize(
    "form", ["./wheels/{}", "wheels/{}", "demo @ ./wheels/{}", "demo[x] @ file://{folder}/wheels/{}"]
)
def test_forms_of_a_local_wheel(tmp_path: Path, wheel: Path, form: str) -> None:
    file = write(tmp_path / "requirements.txt", form.format(WHEEL, folder=tmp_path) + "\n")
    assert read_requirements(file).wheels == (wheel,)


def test_a_list_of_packages(wheel: Path) -> None:
    found = read_requirements(None, ["torch", str(wheel)])
    assert (found.lines, found.wheels) == (("torch",), (wheel,))


def test_a_folder_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = 'from setuptools import setup\nsetup(name="tiny", version="1.0", py_modules=["tiny"])\n'
    write(tmp_path / "tiny/setup.py", project)
    write(tmp_path / "tiny/tiny.py", "x = 1\n")
    file = write(tmp_path / "requirements.txt", "-e ./tiny\n")
    [built] = read_requirements(file).wheels
    assert built.name.startswith("tiny-1.0+content.")
    assert read_requirements(file).wheels == (built,)


def test_pyproject(tmp_path: Path, wheel: Path) -> None:
    sources = f'[tool.uv.sources]\ndemo = {{path = "wheels/{WHEEL}"}}\n'
    file = write(tmp_path / "pyproject.toml", f'[project]\nname = "p"\ndependencies = ["torch>=2", "demo"]\n{sources}')
    found = read_requirements(file)
    assert (found.lines, found.wheels) == (("torch>=2",), (wheel,))


def test_pylock(tmp_path: Path, wheel: Path) -> None:
    file = write(
        tmp_path / "pylock.toml",
        'lock-version = "1.0"\n[[packages]]\nname = "six"\nversion = "1.16.0"\nmarker = "python_version < \'4\'"\n'
        f'[[packages]]\nname = "demo"\n[packages.archive]\npath = "wheels/{WHEEL}"\n',
    )
    found = read_requirements(file)
    assert (found.lines, found.wheels) == (('six==1.16.0; python_version < "4"',), (wheel,))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("r.txt", "torch\n\n--extra-index-url https://x.org/simple\n", "r.txt:3: --extra-index-url is not supported"),
        ("r.txt", "--find-links=wheels\n", "r.txt:1: --find-links is not supported"),
        ("r.txt", "--upgrade\n", "r.txt:1: unknown option --upgrade"),
        ("r.txt", "six\ntorch=2.13\n", "r.txt:2: not a requirement"),
        ("r.txt", "-r none.txt\n", "none.txt cannot be read: No such file or directory"),
        ("r.txt", "./none-1.0-py3-none-any.whl\n", "r.txt:1: there is no file"),
        ("r.txt", "./none\n", "is neither a wheel nor a folder"),
        ("pyproject.toml", '[project]\ndynamic = ["dependencies"]\n', "its dependencies are dynamic"),
        ("pyproject.toml", "[project\n", "not TOML"),
        ("pyproject.toml", "[tool]\n", "neither a project nor a lock"),
        (
            "pyproject.toml",
            '[project]\ndependencies = ["a"]\n[tool.uv.sources]\na = {git = "https://x.org/a"}\n',
            "the source of a in [tool.uv.sources] is not a path",
        ),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(SourceError) as caught:
        read_requirements(write(tmp_path / name, text))
    assert message in caught.value.message
    assert str(tmp_path) in caught.value.message


def test_uv_lock(tmp_path: Path) -> None:
    write(
        tmp_path / "pyproject.toml",
        '[project]\nname = "p"\nversion = "1"\nrequires-python = ">=3.10"\ndependencies = ["six"]\n',
    )
    file = write(
        tmp_path / "uv.lock",
        'version = 1\nrevision = 3\nrequires-python = ">=3.10"\n'
        '[[package]]\nname = "p"\nversion = "1"\nsource = { virtual = "." }\ndependencies = [{ name = "six" }]\n'
        '[package.metadata]\nrequires-dist = [{ name = "six" }]\n'
        '[[package]]\nname = "six"\nversion = "1.16.0"\nsource = { registry = "https://pypi.org/simple" }\n'
        'wheels = [{ url = "https://files.pythonhosted.org/packages/six-1.16.0-py2.py3-none-any.whl", hash = "sha256:'
        + "0" * 64
        + '" }]\n',
    )
    assert read_requirements(file).lines == ("six==1.16.0",)
