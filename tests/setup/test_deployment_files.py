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


SETS_UP = {"genesis", "provision", "publish"}  # run once, and end


def mounts(name: str) -> dict[str, str]:
    """The named volumes of a service, and where it has them."""
    parts = [mount.split(":") for mount in COMPOSE["services"][name].get("volumes", [])]
    return {part[0]: part[1] for part in parts if not part[0].startswith(".")}


def test_no_running_service_of_compose_sees_a_volume_of_another_one() -> None:
    running = {name: mounts(name).keys() - {"network"} for name in COMPOSE["services"].keys() - SETS_UP}
    for name, own in running.items():
        assert own, name
        for other in running.keys() - {name}:
            assert not own & running[other], (name, other)


def test_compose_gives_a_service_no_folder_that_holds_another_party_s() -> None:
    parties = {"exchange": "exchange", **{f"holder-{n}": f"holders/{n}" for n in (1, 2, 3)}}
    for name, folder in parties.items():
        secret = "/state/market/passphrases/" + folder.replace("/", "-")
        assert set(mounts(name).values()) == {f"/state/market/{folder}", secret}, name
    for name in ("provision", "publish"):
        everything = set().union(*(mounts(party).items() for party in parties))
        assert everything <= set(mounts(name).items()), name


def test_the_network_volume_has_no_key_in_it() -> None:
    script = (ROOT / "deploy" / "besu-genesis.sh").read_text(encoding="utf8")
    assert '"$folder/key" "/validators/$number/key"' in script
    for number in (1, 2, 3, 4):
        service = COMPOSE["services"][f"validator-{number}"]
        assert "--node-private-key-file=/data/key" in service["command"]
        assert mounts(f"validator-{number}")[f"validator-{number}"] == "/data"
        assert mounts("genesis")[f"validator-{number}"] == f"/validators/{number}"


def test_the_image_has_every_folder_that_compose_mounts_under_the_account_that_writes_there() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf8").replace("\\\n", " ")
    [made] = re.findall(r"for part in ([^;]*);", lines)
    folders = {f"/state/{part}" for part in made.split()}
    assert "chown --recursive shuyao:shuyao /state" in lines
    for name, service in COMPOSE["services"].items():
        if service.get("build") == ".":
            assert set(mounts(name).values()) <= folders, name


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
