"""The Ansible role: Ansible parses it, and the programs concerned accept the files that it writes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from unittest import mock

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


def play(playbook: Path, *arguments: str, cwd: Path) -> str:
    program = Path(sys.executable).with_name("ansible-playbook")
    environment = {"HOME": str(cwd), "PATH": os.defpath, "LC_ALL": "C.UTF-8"}
    command = [program, "-i", "localhost,", "-c", "local", playbook, *arguments]
    ran = subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_ansible_can_read_it(tmp_path: Path) -> None:
    play(ANSIBLE / "playbook.yml", "--syntax-check", cwd=tmp_path)


def rendered(directory: Path) -> dict[str, str]:
    """The role's templates by name, without `.j2`."""
    variables = yaml.safe_load((ROLE / "defaults/main.yml").read_text("utf-8"))
    variables |= {"role_path": str(ROLE), "gischat_settings": SETTINGS, "ansible_python_interpreter": sys.executable}
    templates = (ROLE / "templates").iterdir()
    shows = {path.stem: f"{{{{ lookup('ansible.builtin.template', '{path}') }}}}" for path in templates}
    tasks = [{"ansible.builtin.debug": {"msg": shows}}]
    about = {"hosts": "localhost", "gather_facts": False, "vars": variables, "tasks": tasks}
    (directory / "playbook.yml").write_text(yaml.safe_dump([about]))
    found = re.search(r"=> (\{.*?^\})", play(directory / "playbook.yml", cwd=directory), re.DOTALL | re.MULTILINE)
    assert found
    return dict(json.loads(found[1])["msg"])


def test_its_files_have_the_settings_unchanged_and_the_roles_paths(tmp_path: Path) -> None:
    files = rendered(tmp_path)

    # The settings are read as they were given
    (tmp_path / "gischat.env").write_text(files["gischat.env"], "utf-8")
    with mock.patch.dict(os.environ, clear=True):
        settings = load(tmp_path / "gischat.env")
    assert settings.channels == ("QGIS", "Où ça")
    assert settings.rules == SETTINGS["RULES"]
    assert (settings.max_image_size, settings.require_registration) == (900, True)
    assert settings.state_dir == "/var/lib/gischat"

    # The unit has the role's paths
    unit = files["gischat.service"]
    for line in (
        "ExecStart=/opt/gischat/bin/python -m gischat up",
        "Environment=ENV_FILE=/etc/gischat/gischat.env",
        "WorkingDirectory=/var/lib/gischat",
        "ReadWritePaths=/var/lib/gischat",
    ):
        assert f"\n{line}\n" in unit
    assert "/srv/" not in unit
