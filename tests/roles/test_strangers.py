"""Each role in a playbook of another user: other groups, another user, another runtime."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from flambe_ansible.pythons import find_uv
from tests import nvidia_smi
from tests.nvidia_smi import write_script as smi
from tests.roles.examples import join_examples, read_example
from tests.roles.lab_hosts import Site

pytestmark = pytest.mark.lab

RAY = "2.52.0"
RUNTIME: dict[str, Any] = {
    "flambe_root": "/opt/ml ray",
    "flambe_user": "ml",
    "flambe_requirements": [f"ray=={RAY}"],
    "flambe_extra_packages": [],
    "flambe_constraints": ["click<8.2"],
    "flambe_imports": ["ray"],
    "flambe_links": [],
    "flambe_python_version": "3.11",
    "flambe_python_url": "",
}


def playbook(site: Site, role: str, **variables: Any) -> Path:
    play = {"name": "Mine", "hosts": "gpu_boxes", "gather_facts": False}
    path = site.folder / f"{role}.yml"
    path.write_text(yaml.safe_dump([{**play, "roles": [{"role": f"flambe.cluster.{role}", "vars": variables}]}]))
    return path


LISTS = """
- hosts: gpu_boxes
  gather_facts: false
  tasks:
    - ansible.builtin.include_role:
        name: flambe.cluster.setup_cmds
      vars:
        setup_cmds_user: ml
        setup_cmds_state: ~/.local/state/flambe/{{ item }}.json
        setup_cmds_commands: ["echo {{ item }} >> ~/lists"]
      loop: [one, two]
"""


def converge_twice(site: Site, path: Path, **variables: Any) -> None:
    """Run in check mode, twice for real, and in check mode again."""
    assert set(site.play(path, "--check", **variables).assert_ok().changed) == {"box-a", "box-b"}
    assert set(site.play(path, **variables).assert_ok().changed) == {"box-a", "box-b"}
    site.play(path, **variables).assert_unchanged()
    site.play(path, "--check", "--diff", **variables).assert_unchanged()


def test_setup_cmds(strangers: Site) -> None:
    converge_twice(
        strangers, playbook(strangers, "setup_cmds", setup_cmds_user="ml", setup_cmds_commands=["id -un > ~/who"])
    )
    assert strangers.ssh("box-a", "sudo cat /home/ml/who") == "ml\n"


def test_the_connecting_user_behind_su_and_the_python_that_is_discovered(strangers: Site) -> None:
    """The play becomes another user with su, and the common variables are set."""
    roles = {
        "setup_cmds": {"setup_cmds_commands": ["id -un > ~/who"]},
        "cluster_runner": {"runner_stop_grace": 20},
        "ray_jobs": {"ray_jobs_folder": "~/jobs of mine"},
        "idle_shutdown": {},
    }
    play = {
        "hosts": "gpu_boxes",
        "gather_facts": False,
        "become": True,
        "become_user": "ml",
        "become_method": "su",
        "vars": {"ansible_python_interpreter": "auto_silent", "flambe_cluster_root": "/srv/my cluster"},
        "roles": [{"role": f"flambe.cluster.{name}", "vars": given} for name, given in roles.items()],
    }
    path = strangers.folder / "su.yml"
    path.write_text(yaml.safe_dump([play]))
    for box in ("box-a", "box-b"):
        strangers.ssh(box, "echo root:secret | sudo chpasswd")
    converge_twice(strangers, path, ansible_become_password="secret")
    assert strangers.ssh("box-a", "cat /home/ubuntu/who; sudo ls /root/who 2>/dev/null; :") == "ubuntu\n"
    state = json.loads(strangers.ssh("box-a", "'/srv/my cluster/bin/flambe-run' state"))
    assert state["state"] == "none"
    assert json.loads(strangers.ssh("box-b", "'/srv/my cluster/bin/ray-jobs' running"))["running"] == []
    show = "'/srv/my cluster-idle-shutdown/bin/idle-shutdown' show"
    assert json.loads(strangers.ssh("box-a", f"sudo systemctl start flambe-idle-shutdown && {show}"))["timeout"] == -1
    units = strangers.ssh("box-a", "systemctl cat flambe-run flambe-ray-jobs flambe-idle-shutdown")
    assert re.findall(r"^ExecStart=(\S+)", units, re.MULTILINE) == ["/usr/bin/python3"] * 3
    assert units.count("User=ubuntu") == 2
    strangers.play(path, ansible_become_password="secret", idle_shutdown_enabled=False).assert_ok()
    assert strangers.ssh("box-a", "ls -d /srv/*; sudo passwd --quiet --lock root") == "/srv/my cluster\n"


def test_lists_of_setup_commands_with_a_file_each_run_once(strangers: Site) -> None:
    path = strangers.folder / "lists.yml"
    path.write_text(LISTS)
    assert set(strangers.play(path).assert_ok().changed) == {"box-a", "box-b"}
    strangers.play(path).assert_unchanged()
    assert strangers.ssh("box-b", "sudo sort /home/ml/lists") == "one\ntwo\n"


def test_the_examples_in_the_readmes(strangers: Site) -> None:
    """The examples of roles that need no runtime; roles of a runtime have tests of their own."""
    folder = strangers.folder / "examples"
    (folder / ".flambe").mkdir(parents=True)
    (folder / ".flambe/secrets.ini").write_text("[SERVICES]\na = 1\n[OTHER]\nb = 2\n")
    boxes = strangers.groups["gpu_boxes"]
    groups = {"workers": boxes, "gpu_boxes": boxes, "head": boxes[:1]}
    site = Site(folder, strangers.key, groups, home=folder)
    for box in ("box-a", "box-b"):
        site.ssh(box, "sudo mkdir /data && sudo mount -t tmpfs none /data")  # no file server in the lab
    path = folder / "example.yml"
    path.write_text(join_examples("setup_cmds", "cluster_secrets", "cluster_runner", "idle_shutdown", "tensorboard"))
    converge_twice(site, path)
    assert site.ssh("box-b", "cat ~/note") == "{{ not a template }}\n"
    assert site.ssh("box-a", "cat ~/secrets.ini") == "[SERVICES]\na = 1\n"
    assert site.ssh("box-a", "systemctl is-active flambe-tensorboard; /opt/flambe/bin/flambe-run state") != ""
    assert json.loads(site.ssh("box-a", "cat /opt/flambe/lib/flambe-run.json"))["lost_timeout"] == 7200
    assert json.loads(site.ssh("box-b", "cat /opt/flambe-idle-shutdown/settings.json"))["timeout"] == 7200
    path.write_text(read_example("idle_shutdown"))
    site.play(path, idle_shutdown_enabled=False).assert_ok()
    site.ssh("box-a", "sudo systemctl disable --quiet --now flambe-tensorboard")


def test_cluster_gpu(strangers: Site) -> None:
    """The example of the README, on hosts with a program in place of nvidia-smi, one GPU and eight."""
    path = strangers.folder / "gpu.yml"
    path.write_text(read_example("cluster_gpu"))
    for box, query in (("box-a", nvidia_smi.IDLE), ("box-b", nvidia_smi.write_eight())):
        strangers.ssh(box, f"sudo install -m 755 /dev/stdin /usr/bin/nvidia-smi <<'EOF'\n{smi(query)}EOF\n")
    converge_twice(strangers, path)
    mismatch = "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 535.161\n"
    broken = smi(mismatch, code=18)
    strangers.ssh("box-b", f"sudo install -m 755 /dev/stdin /usr/bin/nvidia-smi <<'EOF'\n{broken}EOF\n")
    run = strangers.play(path)
    assert (run.returncode != 0, dict(run.failed)) == (True, {"box-b": 1})
    assert "its libraries have version 535.161: reboot the host" in run.output
    for box in ("box-a", "box-b"):
        strangers.ssh(box, f"sudo rm /usr/bin/nvidia-smi {nvidia_smi.MODE}")
    strangers.play(path).assert_unchanged()


def test_cluster_keys(strangers: Site) -> None:
    strangers.ssh(
        "box-a", "sudo -u ml mkdir -m 700 /home/ml/.ssh; echo '# mine' | sudo -u ml tee /home/ml/.ssh/known_hosts"
    )
    converge_twice(strangers, playbook(strangers, "cluster_keys", cluster_keys_user="ml"))
    ssh = "sudo -u ml ssh -i /home/ml/ray_bootstrap_key.pem -o BatchMode=yes -o StrictHostKeyChecking=yes"
    assert strangers.ssh("box-a", f"{ssh} box-b id -un") == "ml\n"
    assert strangers.ssh("box-a", "sudo stat -c '%U %a' /home/ml/ray_bootstrap_key.pem") == "ml 600\n"
    assert "# mine\n" in strangers.ssh("box-a", "sudo cat /home/ml/.ssh/known_hosts")


def test_a_rebuilt_host_gets_the_key_of_the_cluster_and_is_trusted_again(strangers: Site) -> None:
    path = playbook(strangers, "cluster_keys", cluster_keys_user="ml")
    before = strangers.ssh("box-b", "sudo cat /home/ml/ray_bootstrap_key.pub")
    # box-a is the source: as if it had been rebuilt.
    strangers.ssh("box-a", "sudo rm -r /home/ml/.ssh /home/ml/ray_bootstrap_key.pem /home/ml/ray_bootstrap_key.pub")
    strangers.ssh(
        "box-a", "sudo sh -c 'rm /etc/ssh/ssh_host_rsa_key*; ssh-keygen -q -t rsa -N \"\" -f /etc/ssh/ssh_host_rsa_key'"
    )
    strangers.play(path).assert_ok()
    assert strangers.ssh("box-a", "sudo cat /home/ml/ray_bootstrap_key.pub") == before
    fresh = strangers.ssh("box-a", "cut -d' ' -f2 /etc/ssh/ssh_host_rsa_key.pub").strip()
    known = strangers.ssh("box-b", "sudo cat /home/ml/.ssh/known_hosts")
    assert known.count(fresh) == 1
    assert known.count("ssh-rsa") == 2


def test_secrets(strangers: Site) -> None:
    source = strangers.folder / "mine.ini"
    source.write_text("[A]\nx = 1\n")
    converge_twice(
        strangers, playbook(strangers, "cluster_secrets", cluster_secrets_user="ml", cluster_secrets_src=str(source))
    )
    assert strangers.ssh("box-b", "sudo stat -c '%U %a' /home/ml/secrets.ini") == "ml 600\n"


def test_another_runtime_with_uv_from_the_package_index(strangers: Site) -> None:
    path = playbook(strangers, "flambe", **RUNTIME)
    converge_twice(strangers, path)
    for box in ("box-a", "box-b"):
        python = "'/opt/ml ray/venv/bin/python'"
        assert strangers.ssh(box, f"sudo -u ml {python} -c 'import ray; print(ray.__version__)'") == f"{RAY}\n"
        assert strangers.ssh(box, "stat -c %U '/opt/ml ray/venv' '/opt/ml ray/bin/uv'") == "ml\nroot\n"


def test_another_version_of_ray(strangers: Site) -> None:
    root = RUNTIME["flambe_root"]
    names = {"ray_node_runtime": f"{root}/venv", "ray_node_root": root, "ray_node_unit": "my-ray.service"}
    path = playbook(strangers, "ray_node", ray_node_user="ml", ray_node_port=6390, ray_node_head="box-b", **names)
    converge_twice(strangers, path)
    answer = json.loads(strangers.ssh("box-a", f"sudo -u ml '{root}/bin/ray-nodes'"))
    expected = {host.address: True for _, host in strangers.groups["gpu_boxes"]}
    assert answer["ray_version"] == RAY
    assert {node["address"]: node["alive"] for node in answer["nodes"]} == expected
    listening = strangers.ssh(
        "box-b", "ss -tlnH | grep -c ':8265 ' || true; ss -tlnH | grep ':8265 ' | grep -vc 127.0.0.1 || true"
    )
    assert listening.split()[-1] == "0"
    strangers.ssh("box-a", "sudo systemctl disable --quiet --now my-ray")
    strangers.ssh("box-b", "sudo systemctl disable --quiet --now my-ray")


def test_the_examples_of_current_ray_in_the_readmes(strangers: Site) -> None:
    """The examples of the roles python_env and ray_jobs."""
    (strangers.folder / "workers").mkdir()
    workers = Site(strangers.folder / "workers", strangers.key, {"workers": strangers.groups["gpu_boxes"]})
    path = workers.folder / "example.yml"
    path.write_text(read_example("python_env"))
    # As a Ray of another user leaves it.
    left = "/tmp/ray/ray_current_cluster"
    workers.ssh("box-a", f"mkdir -m 777 -p /tmp/ray; sudo sh -c 'echo 10.9.9.9:6379 > {left}; chown ml {left}'")
    converge_twice(workers, path)
    answer = json.loads(workers.ssh("box-a", "/opt/ray/bin/ray-nodes"))
    expected = {host.address: True for _, host in workers.groups["workers"]}
    assert {node["address"]: node["alive"] for node in answer["nodes"]} == expected
    assert len({workers.ssh(box, "cat ~/.ray/auth_token") for box in ("box-a", "box-b")}) == 1
    locks = json.loads(workers.ssh("box-a", "cat /opt/ray/lock.json"))["locks"]
    assert f"ray=={answer['ray_version']}" in locks["x86_64-cpu"]
    path.write_text(read_example("ray_jobs"))
    converge_twice(workers, path)
    output = workers.ssh("box-a", read_example("ray_jobs", "sh"))
    assert output.endswith("hello 3\n"), output
    for box in ("box-a", "box-b"):
        assert "flambe_ray" in workers.ssh(box, "sudo nft list tables")
        workers.ssh(box, "sudo systemctl disable --quiet --now flambe-ray")
        assert "flambe_ray" not in workers.ssh(box, "sudo nft list tables")


def test_ray_jobs(strangers: Site) -> None:
    path = playbook(
        strangers, "ray_jobs", ray_jobs_user="ml", ray_jobs_root="/opt/ml jobs", ray_jobs_unit="ml-jobs.service"
    )
    converge_twice(strangers, path)
    program = "sudo -u ml '/opt/ml jobs/bin/ray-jobs'"
    assert json.loads(strangers.ssh("box-a", f"{program} running"))["running"] == []
    strangers.ssh("box-a", 'sudo systemctl start ml-jobs && test "$(systemctl is-enabled ml-jobs)" = enabled')
    question = """'{"command": ["no-such-tool"], "source": "here"}'"""
    assert "command not found: no-such-tool" in strangers.ssh("box-b", f"echo {question} | {program} prepare; :")


def test_an_installation_that_was_interrupted_converges(strangers: Site) -> None:
    venv = f"{RUNTIME['flambe_root']}/venv"
    strangers.ssh(
        "box-a", f"sudo rm '{venv}/flambe-runtime.json'; sudo rm -r '{venv}/lib/python3.11/site-packages/ray'"
    )
    run = strangers.play(playbook(strangers, "flambe", **RUNTIME)).assert_ok()
    assert set(run.changed) == {"box-a"}
    strangers.play(playbook(strangers, "flambe", **RUNTIME)).assert_unchanged()


SERVE = """
set -e
mkdir -p /tmp/build/python/install
cp -a /opt/python3.7/bin /opt/python3.7/lib /tmp/build/python/install/
cd /tmp/build/python/install
mv bin/python3.7 bin/python3.7.real
printf '#!/bin/bash\\nhere=$(dirname "$(readlink -f "$0")")\\nexport LD_LIBRARY_PATH=$here/../lib\\n' > bin/python3.7
printf 'exec -a "$0" "$here/python3.7.real" "$@"\\n' >> bin/python3.7
chmod +x bin/python3.7
rm -r lib/python3.7/test lib/python3.7/site-packages
tar -czf /tmp/cpython-3.7.16-test.tar.gz -C /tmp/build --exclude __pycache__ --exclude '*.a' python
sudo systemd-run --quiet --unit=archive python3 -m http.server --bind 127.0.0.1 --directory /tmp 8099
sudo mount -t tmpfs none /opt/python3.7
sha256sum /tmp/cpython-3.7.16-test.tar.gz | cut -d' ' -f1
"""


# What breaks the environment -> what the role does.
DAMAGES = {
    "sudo mv python moved": "install again: its Python does not start: ",
    "sudo rm venv/pyvenv.cfg": "install again: its Python ignores it",
    "sudo rm -r venv/lib/python3.7/site-packages": "repair six",
}


@pytest.mark.long
def test_a_standalone_python_if_the_host_has_none(strangers: Site) -> None:
    sha256 = strangers.ssh("box-a", SERVE).strip()
    path = playbook(strangers, "flambe")
    variables: dict[str, Any] = {
        "flambe_root": "/opt/standalone",
        "flambe_requirements": ["six==1.16.0"],
        "flambe_extra_packages": [],
        "flambe_imports": ["six", "ssl"],
        "flambe_links": [],
        "flambe_uv_src": str(find_uv()),
        "flambe_python_url": "http://127.0.0.1:8099/cpython-3.7.16-test.tar.gz",
        "flambe_python_sha256": sha256,
    }
    wrong = strangers.play(path, "--limit", "box-a", **{**variables, "flambe_python_sha256": "0" * 64})
    assert wrong.returncode == 2
    assert "ash mismatch" in wrong.output
    strangers.play(path, "--limit", "box-a", **variables).assert_ok()
    strangers.play(path, "--limit", "box-a", **variables).assert_unchanged()
    for damage, expected in DAMAGES.items():
        strangers.ssh("box-a", f"cd /opt/standalone && {damage}")
        run = strangers.play(path, "--limit", "box-a", **variables).assert_ok()
        assert run.results["Install the runtime", "box-a"]["msg"].startswith(expected)
    strangers.play(path, "--limit", "box-a", **variables).assert_unchanged()
    where = strangers.ssh(
        "box-a", "/opt/standalone/venv/bin/python -c 'import six, sys; print(sys.version[:6], sys.base_prefix)'"
    )
    assert where.startswith("3.7.16 /opt/standalone/python/")


REGISTRY = """
import base64, http.server

class Registry(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        known = self.headers.get("Authorization") == "Basic " + base64.b64encode(b"me:{password}").decode()
        self.send_response(200 if known else 401)
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        if not known:
            self.send_header("WWW-Authenticate", 'Basic realm="registry"')
        self.send_header("Content-Length", "0")
        self.end_headers()

http.server.HTTPServer(("127.0.0.1", 5000), Registry).serve_forever()
"""


def test_cluster_containers(strangers: Site) -> None:
    """The engine is that of the distribution; the registry is a program on the hosts that only checks logins."""
    password = "s3cret-{{ registry }} %x"
    for box in ("box-a", "box-b"):
        strangers.ssh(box, "sudo mkdir -p /etc/docker /srv/registry")
        strangers.ssh(box, f"sudo tee /srv/registry/run.py <<'END'\n{REGISTRY.format(password=password)}\nEND")
        strangers.ssh(box, "sudo systemd-run --unit registry python3 /srv/registry/run.py")
        mine = '{"debug": true, "log-opts": {"labels": "mine"}}'
        strangers.ssh(box, f"echo '{mine}' | sudo tee /etc/docker/daemon.json")
    secrets = strangers.folder / "secrets.ini"
    secrets.write_text(f"[DOCKER here]\nregistry = 127.0.0.1:5000\nusername = me\npassword = {password}\n[X]\na = b\n")
    example = strangers.folder / "containers.yml"
    example.write_text(read_example("cluster_containers"))
    converge_twice(strangers, example)
    path = playbook(
        strangers, "cluster_containers", cluster_containers_user="ml", cluster_containers_logins_src=str(secrets)
    )
    strangers.play(path).assert_ok()
    strangers.play(path, "--check").assert_unchanged()
    settings = json.loads(strangers.ssh("box-a", "cat /etc/docker/daemon.json"))
    options = {"labels": "mine", "max-size": "50m", "max-file": "5"}
    assert settings.pop("registry-mirrors") == ["https://mirror.example.com"]
    assert settings == {"debug": True, "live-restore": True, "log-driver": "json-file", "log-opts": options}
    assert strangers.ssh("box-a", "sudo stat -c '%U %a' /home/ml/.docker/config.json") == "ml 600\n"
    assert strangers.ssh("box-a", "sudo -u ml docker ps --quiet; systemctl is-enabled docker") == "enabled\n"

    wrong = strangers.play(path, "--limit", "box-a", cluster_containers_settings={"debug": "no boolean"})
    assert wrong.returncode == 2
    reason = (
        "the container engine does not start: unable to configure the Docker daemon with file /etc/docker/daemon.json"
    )
    assert reason in wrong.output
    assert "/etc/docker/daemon.json is as before" in wrong.output
    assert strangers.ssh("box-a", "systemctl is-active docker") == "active\n"
    assert json.loads(strangers.ssh("box-a", "cat /etc/docker/daemon.json"))["debug"] is True

    secrets.write_text(secrets.read_text().replace("password = ", "password = other-"))
    refused = strangers.play(path, "-vvv", "--diff", "--limit", "box-b")
    assert "the login to 127.0.0.1:5000 as me failed: " in refused.output
    assert password not in refused.output
    assert strangers.ssh("box-b", "sudo journalctl --no-pager | grep -c 's3cret-{{'; :").strip() == "0"
