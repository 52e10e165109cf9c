"""Another implementation reads our log: the Go checksum database's packages, when Go and they are installed."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.ledger.log.logs import ORIGIN, SIGNER, items, make_log

GOPATH = Path("/usr/share/gocode")
PROGRAM = Path(__file__).parent / "go" / "main.go"


@pytest.fixture(scope="module")
def go_reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("go") is None or not (GOPATH / "src/golang.org/x/mod/sumdb/tlog").is_dir():
        pytest.skip("Go and its x/mod sources are not installed (Debian: golang-go, golang-golang-x-mod-dev)")
    folder = tmp_path_factory.mktemp("go")
    environment = {
        **os.environ,
        "GO111MODULE": "off",
        "GOPATH": str(GOPATH),
        "GOCACHE": str(folder / "cache"),
        "GOFLAGS": "",
    }
    subprocess.run(
        ["go", "build", "-o", str(folder / "reader"), str(PROGRAM)], env=environment, check=True, timeout=240
    )
    return folder / "reader"


def read(go_reader: Path, public: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(go_reader), str(public), SIGNER.key.to_text(), ORIGIN],
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("sizes", [(1,), (255, 1), (256, 1), (3, 700), (600, 130, 1)])
def test_go_verifies_every_record_and_tree(go_reader: Path, tmp_path: Path, sizes: tuple[int, ...]) -> None:
    size = 0
    with make_log(tmp_path / "log") as log:
        for count in sizes:
            log.append(items(size, size + count))
            size += count
    answer = read(go_reader, tmp_path / "log" / "public")
    assert (answer.returncode, answer.stdout) == (0, f"verified {size} records\n"), answer.stderr


@pytest.mark.parametrize("path", ["checkpoint", "tile/0/000", "tile/1/000.p/1", "tile/entries/000"])
def test_go_refuses_a_log_with_one_bit_changed(go_reader: Path, tmp_path: Path, path: str) -> None:
    make_log(tmp_path / "log", 300).close()
    public = tmp_path / "log" / "public"
    data = bytearray((public / path).read_bytes())
    data[len(data) // 2] ^= 1
    (public / path).write_bytes(data)
    assert read(go_reader, public).returncode == 1
