"""examples/deployment/compose.yaml: what a node knows of its address, what is in its image."""

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
FOUND = yaml.safe_load((ROOT / "examples/deployment/compose.yaml").read_text())
NODES: dict[str, dict[str, Any]] = {
    name: service for name, service in FOUND["services"].items() if "build" in service
}


def test_each_node_listens_on_the_port_at_which_it_is_dialled_and_has_a_name_of_its_own() -> None:
    assert len(NODES) == 3
    for name, service in NODES.items():
        said = dict(re.findall(r"--(\S+) (\S+)", service["command"]))
        port = said["port"]
        assert service["ports"] == [f"127.0.0.1:{port}:{port}"]
        assert service["environment"]["HANSE_NODE"] == f"ws://127.0.0.1:{port}"
        assert {"HANSE_DATABASE", "HANSE_BUS"} < service["environment"].keys()
        assert said["instance"] == name
    assert len({tuple(service["ports"]) for service in NODES.values()}) == 3


def test_the_image_holds_the_package_and_what_builds_it_and_nothing_else() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {"pyproject.toml", "src", project["readme"], *project["license-files"]}
    for service in NODES.values():
        copied = re.findall(r"^COPY (.+) \S+$", service["build"]["dockerfile_inline"], re.M)
        assert {name for line in copied for name in line.split()} == needed
