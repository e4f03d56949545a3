"""The wheel and the collection are built, installed in clean environments, and used from another folder."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
ROLES = sorted(path.parents[1].name for path in (REPO / "roles").glob("*/meta/argument_specs.yml"))  # no former names
MODULES = sorted(path.stem for path in (REPO / "plugins/modules").glob("*.py"))
PLAYBOOKS = sorted(path.name for path in (REPO / "playbooks").glob("*.yml"))
PUBLISHED = (":(glob)docs/*.md", "meta", ":(glob)playbooks/*.yml", "plugins", "roles")
PRIVATE = "-----BEGIN OPENSSH PRIVATE KEY-----"
STRAYS = (
    ".env", "hosts.ini", "key.pem", "id_rsa", "secrets.ini", "notes.txt", "flambe-cluster-0.0.1.tar.gz",
    "docs/key.pem", "docs/picture.png", "playbooks/hosts.ini", "playbooks/.vault.yml", "plugins/modules/key.pem",
    "roles/flambe/files/id_rsa", "roles/flambe/vars/.main.yml.swp", "roles/flambe/.main.yml", "inventory/prod.ini",
    "group_vars/all.yml", "plugins/modules/__pycache__/ray_node.cpython-311.pyc",
)  # fmt: skip
INVENTORY = "[orchestrator]\na ansible_connection=local private_ip=127.0.0.1\n[factories]\nb ansible_connection=local\n"


def call(*argv: str | Path, cwd: Path, code: int = 0, **environment: str) -> str:
    """Run a program in a folder and return its output."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "PYTHONPATH"))}
    done = subprocess.run(
        [str(word) for word in argv],
        cwd=cwd,
        env={**kept, "ANSIBLE_NOCOLOR": "1", **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder outside of the checkout."""
    return tmp_path_factory.mktemp("elsewhere")


@pytest.fixture(scope="module")
def wheel(folder: Path) -> Path:
    """Build the wheel."""
    call(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder / "dist", REPO, cwd=folder)
    (built,) = (folder / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def scripts(wheel: Path, folder: Path) -> Path:
    """Return the bin folder of a virtual environment with only the wheel and its dependencies."""
    venv = folder / "venv"
    call(sys.executable, "-m", "venv", venv, cwd=folder)
    call(venv / "bin/pip", "install", "--quiet", "--disable-pip-version-check", wheel, cwd=folder)
    return venv / "bin"


@pytest.fixture(scope="module")
def checkout(folder: Path) -> Path:
    """Return a Git repository with the tracked files, and files that lie about; ansible-test accepts its path."""
    target = folder / "checkout/ansible_collections/flambe/cluster"
    names = call("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=REPO).split("\0")
    for name in filter(None, names):
        if os.path.lexists(REPO / name):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPO / name, target / name, follow_symlinks=False)
    call("git", "init", "--quiet", ".", cwd=target)
    call("git", "add", ".", cwd=target)
    author = ("-c", "user.name=T", "-c", "user.email=t@example.com")
    call("git", *author, "commit", "--quiet", "--no-verify", "-m", "Copy", cwd=target)
    for name in STRAYS:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_text(PRIVATE)
    return target


@pytest.fixture(scope="module")
def artifact(checkout: Path, folder: Path) -> Path:
    """Build the collection; with the developer's Ansible, because that needs distlib."""
    galaxy = Path(sys.executable).parent / "ansible-galaxy"
    call(galaxy, "collection", "build", checkout, "--output-path", folder / "built", cwd=folder)
    (built,) = (folder / "built").glob("*.tar.gz")
    return built


@pytest.fixture(scope="module")
def collections(folder: Path, scripts: Path, artifact: Path) -> Path:
    """Return a folder with the built and installed collection."""
    target = folder / "collections"
    call(scripts / "ansible-galaxy", "collection", "install", artifact, "--collections-path", target, cwd=folder)
    return target


def test_the_wheel_requires_no_runtime_and_no_lab(scripts: Path, folder: Path) -> None:
    installed = call(scripts / "pip", "list", "--format", "freeze", cwd=folder).lower()
    names = {line.partition("==")[0] for line in installed.splitlines()}
    assert {"flambe-ansible", "awscrt"} <= names  # botocore needs awscrt for profiles of `aws login`
    assert not names & {"ray", "torch", "tensorboard", "moto", "flambe"}


def test_the_wheel_contains_the_collection_and_no_tests(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    inside = "flambe_ansible/collections/ansible_collections/flambe/cluster"
    for role in ROLES:
        assert f"{inside}/roles/{role}/tasks/main.yml" in names
    for module in MODULES:
        assert f"{inside}/plugins/modules/{module}.py" in names
    assert {f"{inside}/playbooks/{playbook}" for playbook in PLAYBOOKS} <= names
    assert f"{inside}/plugins/inventory/flambe.py" in names
    assert not [name for name in names if name.startswith(("tests/", "scripts/", "docs/")) or "__pycache__" in name]


def test_the_command_works_from_any_folder(scripts: Path, folder: Path) -> None:
    assert re.fullmatch(r"flambe-ans, version \S+\n", call(scripts / "flambe-ans", "--version", cwd=folder))
    assert "launch" in call(scripts / "flambe-ans", "--help", cwd=folder)
    (folder / "bad.yaml").write_text("!AWSCluster\nnaem: demo\n")
    output = call(scripts / "flambe-ans", "launch", "bad.yaml", "--yes", cwd=folder, code=3)
    assert "bad.yaml:2:1: " in output
    assert "did you mean name?" in output


def test_the_installed_package_finds_its_playbooks(scripts: Path, folder: Path) -> None:
    ask = "from flambe_ansible import paths; print(paths.collections_root())"
    root = call(scripts / "python", "-c", ask, cwd=folder).strip()
    assert Path(root).is_relative_to(folder)
    (folder / "hosts.ini").write_text(INVENTORY)
    playbook = f"{root}/ansible_collections/flambe/cluster/playbooks/site.yml"
    argv = [scripts / "ansible-playbook", "-i", "hosts.ini", "--syntax-check", playbook]
    call(*argv, cwd=folder, ANSIBLE_COLLECTIONS_PATH=root)


def test_the_installed_package_rebuilds_its_wheel(scripts: Path, wheel: Path, folder: Path) -> None:
    ask = "from flambe_ansible.sources import rebuild_wheel; print(rebuild_wheel('flambe-ansible').path)"
    rebuilt = Path(call(scripts / "python", "-c", ask, cwd=folder, FLAMBE_ANS_STATE=str(folder / "state")).strip())
    with zipfile.ZipFile(wheel) as first, zipfile.ZipFile(rebuilt) as second:
        expected = {name for name in first.namelist() if ".dist-info/" not in name}
        assert expected <= set(second.namelist())
        assert all(first.read(name) == second.read(name) for name in expected)
    call(scripts / "pip", "install", "--no-deps", "--no-index", "--target", folder / "again", rebuilt, cwd=folder)
    shown = call(folder / "again/bin/flambe-ans", "--version", cwd=folder, PYTHONPATH=str(folder / "again"))
    assert shown.startswith("flambe-ans, version ")


def test_the_roles_work_by_their_full_names(scripts: Path, folder: Path, collections: Path) -> None:
    (folder / "hosts.ini").write_text(INVENTORY)
    play = folder / "roles.yml"
    play.write_text("".join(f"- hosts: all\n  roles: [flambe.cluster.{role}]\n" for role in ROLES))
    environment = {"ANSIBLE_COLLECTIONS_PATH": str(collections)}
    call(scripts / "ansible-playbook", "-i", "hosts.ini", "--syntax-check", play, cwd=folder, **environment)
    names = [f"flambe.cluster.{role}" for role in ROLES]
    documented = json.loads(call(scripts / "ansible-doc", "-t", "role", "--json", *names, cwd=folder, **environment))
    assert documented.keys() == set(names)
    for role, name in zip(ROLES, names, strict=True):
        options = documented[name]["entry_points"]["main"]["options"]
        assert options
        assert all(option.startswith(f"{role}_") for option in options)


def test_the_playbook_works_by_its_full_name(scripts: Path, folder: Path, collections: Path) -> None:
    (folder / "hosts.ini").write_text(INVENTORY)
    output = call(
        scripts / "ansible-playbook", "-i", "hosts.ini", "--list-tasks", "flambe.cluster.site",
        cwd=folder, ANSIBLE_COLLECTIONS_PATH=str(collections),
    )  # fmt: skip
    assert "flambe.cluster.ray_node" in output


def list_filters() -> list[str]:
    """Return the names of all filters."""
    names: list[str] = []
    for path in (REPO / "plugins/filter").glob("*.py"):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        names += module.FilterModule().filters()
    return sorted(names)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("module", MODULES),
        ("filter", list_filters()),
        ("lookup", [path.stem for path in (REPO / "plugins/lookup").glob("*.py")]),
        ("inventory", ["flambe"]),
    ],
)
def test_every_plugin_is_documented(
    scripts: Path, folder: Path, collections: Path, kind: str, names: list[str]
) -> None:
    full = [f"flambe.cluster.{name}" for name in names]
    environment = {"ANSIBLE_COLLECTIONS_PATH": str(collections)}
    documented = json.loads(call(scripts / "ansible-doc", "-t", kind, "--json", *full, cwd=folder, **environment))
    assert documented.keys() == set(full)
    for plugin, found in documented.items():
        assert found["doc"]["short_description"], plugin
        assert found["examples"].strip(), plugin
        assert found["return"] or kind in ("inventory", "module"), plugin  # some modules return nothing
    listed = json.loads(
        call(scripts / "ansible-doc", "-t", kind, "--list", "--json", "flambe.cluster", cwd=folder, **environment)
    )
    assert set(listed) == set(full)
    assert "UNDOCUMENTED" not in listed.values()


def test_the_inventory_plugin_reads_a_cluster(scripts: Path, folder: Path, collections: Path) -> None:
    (folder / "bad.yaml").write_text("!AWSCluster\nnaem: demo\n")
    (folder / "bad.flambe.yml").write_text("plugin: flambe.cluster.flambe\ncluster: bad.yaml\n")
    output = call(
        scripts / "ansible-inventory", "-i", "bad.flambe.yml", "--list", cwd=folder,
        ANSIBLE_COLLECTIONS_PATH=str(collections), ANSIBLE_INVENTORY_ENABLED="flambe.cluster.flambe",
        ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED="1", code=1,
    )  # fmt: skip
    assert "bad.yaml:2:1" in "".join(output.split())


def test_the_collection_contains_what_galaxy_yml_lists_and_nothing_else(artifact: Path) -> None:
    with tarfile.open(artifact) as archive:
        files = {member.name for member in archive.getmembers() if member.isfile()}
        content = b"".join(archive.extractfile(name).read() for name in files)  # type: ignore[union-attr]
    tracked = call("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *PUBLISHED, cwd=REPO).split(
        "\0"
    )
    expected = {name for name in tracked if name and not (REPO / name).is_symlink()}
    published = expected | {"README.md", "LICENSE", "CHANGELOG.md", "MANIFEST.json", "FILES.json"}
    assert files == published
    assert PRIVATE.encode() not in content


def test_the_collection_names_its_pages(artifact: Path) -> None:
    with tarfile.open(artifact) as archive:
        manifest = archive.extractfile("MANIFEST.json")
        assert manifest
        information = json.load(manifest)["collection_info"]
    assert all(
        information[name].startswith("https://") for name in ("repository", "homepage", "documentation", "issues")
    )
    page = information["documentation"].partition("/main/")[2]
    assert (REPO / page).is_file()


def test_the_collection_is_installed_from_requirements_and_from_git(
    checkout: Path, artifact: Path, folder: Path
) -> None:
    galaxy = Path(sys.executable).parent / "ansible-galaxy"
    for name, source in (
        ("tarball", f"name: {artifact}"),
        ("git", f"name: git+file://{checkout}\n    type: git\n    version: HEAD"),
    ):
        (folder / "requirements.yml").write_text(f"collections:\n  - {source}\n")
        target = folder / name
        argv = ["collection", "install", "-r", "requirements.yml", "--collections-path", target]
        call(galaxy, *argv, cwd=folder)
        inside = target / "ansible_collections/flambe/cluster"
        assert (inside / "playbooks/site.yml").is_file()
        assert not (inside / "tests").exists()


def test_ansible_test_has_no_findings() -> None:
    # scripts/sanity without arguments runs all tests; the others take minutes, or repeat what ruff finds.
    tests = ("validate-modules", "yamllint", "symlinks", "shebang", "empty-init", "no-smart-quotes", "line-endings")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    call(REPO / "scripts/sanity", *(word for name in tests for word in ("--test", name)), cwd=REPO, PATH=path)
