"""The Ansible role: Ansible parses it, and the programs concerned accept the files that it writes."""

import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
import yaml

from gischat.settings import load
from tests.deploy.deployment import ROOT

ANSIBLE = ROOT / "deploy/ansible"
ROLE = ANSIBLE / "roles/gischat"

SETTINGS = {
    "CHANNELS": "QGIS,Où ça",
    "RULES": 'Be "kind" # always',
    "MAX_IMAGE_SIZE": 900,
    "REQUIRE_REGISTRATION": True,
}


def play(playbook: Path, *arguments: str, cwd: Path) -> None:
    program = Path(sys.executable).with_name("ansible-playbook")
    environment = {"HOME": str(cwd), "PATH": os.defpath, "LC_ALL": "C.UTF-8"}
    command = [program, "-i", "localhost,", "-c", "local", playbook, *arguments]
    ran = subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_ansible_can_read_it(tmp_path: Path) -> None:
    play(ANSIBLE / "playbook.yml", "--syntax-check", cwd=tmp_path)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the rendered templates of the role."""
    directory = tmp_path_factory.mktemp("host")
    writes = [
        {"ansible.builtin.template": {"src": str(path), "dest": str(directory / path.stem), "mode": "0600"}}
        for path in (ROLE / "templates").iterdir()
    ]
    variables = yaml.safe_load((ROLE / "defaults/main.yml").read_text("utf-8"))
    variables |= {"role_path": str(ROLE), "gischat_settings": SETTINGS, "ansible_python_interpreter": sys.executable}
    about = {"hosts": "localhost", "gather_facts": False, "vars": variables, "tasks": writes}
    (directory / "playbook.yml").write_text(yaml.safe_dump([about]))
    play(directory / "playbook.yml", cwd=directory)
    return directory


def test_the_settings_are_read_unchanged(host: Path) -> None:
    with mock.patch.dict(os.environ, clear=True):
        settings = load(host / "gischat.env")
    assert settings.channels == ("QGIS", "Où ça")
    assert settings.rules == SETTINGS["RULES"]
    assert (settings.max_image_size, settings.require_registration) == (900, True)
    assert settings.state_dir == "/var/lib/gischat"


def test_the_unit_has_the_roles_paths(host: Path) -> None:
    unit = (host / "gischat.service").read_text("utf-8")
    for line in (
        "ExecStart=/opt/gischat/bin/python -m gischat up",
        "Environment=ENV_FILE=/etc/gischat/gischat.env",
        "WorkingDirectory=/var/lib/gischat",
        "ReadWritePaths=/var/lib/gischat",
    ):
        assert f"\n{line}\n" in unit
    assert "/srv/" not in unit
