"""What can be checked of the deployment files without a Docker engine."""

import json
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf8"))


def test_compose_has_four_validators_a_database_an_exchange_and_three_holders() -> None:
    names = set(COMPOSE["services"])
    assert {f"validator-{n}" for n in (1, 2, 3, 4)} <= names
    assert {"database", "exchange", "holder-1", "holder-2", "holder-3"} <= names


def test_compose_mounts_and_secrets_are_declared() -> None:
    volumes, secrets = set(COMPOSE["volumes"]), set(COMPOSE["secrets"])
    for name, service in COMPOSE["services"].items():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            assert (ROOT / source).exists() if source.startswith(".") else source in volumes, (name, mount)
        assert set(service.get("secrets", [])) <= secrets, name
        assert set(service.get("depends_on", {})) <= set(COMPOSE["services"]), name


def test_compose_commands_are_commands_of_ours() -> None:
    from typer.main import get_command

    from cli.app import app

    tree = get_command(app)
    for name, service in COMPOSE["services"].items():
        if service.get("build") != ".":
            continue
        command, words = tree, list(service["command"])
        while words and hasattr(command, "commands") and words[0] in command.commands:
            command = command.commands[words.pop(0)]
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options, name


def test_genesis_is_prague_with_four_validators_and_no_known_account() -> None:
    genesis = json.loads((ROOT / "deploy" / "qbft.json").read_text(encoding="utf8"))
    assert genesis["genesis"]["config"]["pragueTime"] == 0
    assert genesis["blockchain"]["nodes"]["count"] == 4
    assert genesis["genesis"]["alloc"] == {}


@pytest.mark.parametrize(
    "name", ["requirements.lock", "requirements-node.lock", "contracts/package-lock.json"]
)
def test_lock_files_carry_no_address(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf8")
    urls = set(re.findall(r"https?://[^\"'\s]+", text))
    assert not [url for url in urls if "sponsors" not in url and "funding" not in url], urls


def test_python_lock_pins_every_package_by_hash() -> None:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf8").splitlines()
    pinned = [i for i, line in enumerate(lines) if re.match(r"^[a-z0-9].*==", line)]
    assert len(pinned) > 50
    assert all("--hash=sha256:" in lines[i + 1] for i in pinned)


def test_readmes_name_the_two_commands() -> None:
    for name in ("README.md", "README.zh-CN.md"):
        text = (ROOT / name).read_text(encoding="utf8")
        assert "./shuyao demo" in text
        assert "./shuyao test" in text


def test_links_of_the_documents_lead_somewhere() -> None:
    for page in [ROOT / "README.md", ROOT / "README.zh-CN.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf8")):
            assert (page.parent / target).exists(), (page.name, target)
