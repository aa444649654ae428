"""Go: which toolchain builds the node image's programs. Those of this machine, and apt, are small scripts here."""

from __future__ import annotations

from pathlib import Path

import pytest

from kindasync.build import _debian
from kindasync.build._go import environment, needed
from kindasync.build._pins import Pins, read
from kindasync.build._sources import directory
from kindasync.build._steps import Cache
from kindasync.errors import BuildFailed

pytestmark = pytest.mark.anyio

SWITCH = {"GOTOOLCHAIN": "auto"}


@pytest.fixture
def pins() -> Pins:
    return read(directory(), minor=None, architecture="amd64")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory of PATH: a shell, and apt with Debian's key and mirror; no Go. What apt does is told in `ran`."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("sh", "mkdir"):
        (programs / name).symlink_to(f"/bin/{name}")
    script(programs / "mmdebstrap", "echo 'deb http://m.example/debian trixie main'")
    script(programs / "apt-get", f'echo "$*" >>{tmp_path}/ran\nif [ "$1" = download ]; then shift 2; for name; do : >"$name.deb"; done; fi')
    script(programs / "dpkg-deb", 'mkdir -p "$3/usr/lib/go-1.24/bin"; echo "#!/bin/sh" >"$3/usr/lib/go-1.24/bin/go"')
    (tmp_path / "key.gpg").touch()
    monkeypatch.setattr(_debian, "KEYRING", tmp_path / "key.gpg")
    monkeypatch.setenv("PATH", str(programs))
    return programs


def script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def ran(programs: Path) -> list[str]:
    path = programs.parent / "ran"
    return path.read_text().splitlines() if path.exists() else []


def test_what_the_modules_ask_for(tmp_path: Path) -> None:
    """The newest of all modules, of each Kubernetes minor; by number, not by letter."""
    for path, text in {
        "kube/go.mod": "module kube\n\ngo 1.26.0\n",
        "kube/go.1.35.mod": "module kube\n\ngo 1.9\n",
        "containerd/go.mod": "module containerd\n\nrequire example.com/go v1.99.0\n\ngo 1.25.6\n\ntoolchain go1.27.1\n",
        "base/none.mod": "module none\n",
    }.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)

    assert needed(tmp_path) == (1, 26)


@pytest.mark.parametrize("version", ["go version go1.26.8 linux/amd64", "go version go1.21rc2 linux/arm64", "go version devel go1.28-a7b8"])
async def test_go_of_this_machine(programs: Path, cache: Cache, pins: Pins, version: str) -> None:
    """Builds, if it can fetch the version that a go.mod asks for: it is told to, for it may have been told not to."""
    script(programs / "go", f"echo {version}")

    assert await environment(cache, pins, on_line=print) == SWITCH
    assert ran(programs) == []


@pytest.mark.parametrize("text", [None, "echo go version go1.19.8 linux/amd64", "echo broken >&2; exit 1"], ids=["none", "old", "broken"])
async def test_without_such_a_go_it_is_debians(programs: Path, cache: Cache, pins: Pins, text: str | None) -> None:
    """Unpacked, not installed, and once: it stays in the cache. It stands before the one of this machine, and fetches newer ones, too."""
    if text:
        script(programs / "go", text)

    first = await environment(cache, pins, on_line=print)
    second = await environment(cache, pins, on_line=print)

    debians = next(cache.root.glob("golang-*/usr/lib/go-1.24/bin"))
    assert first == second == SWITCH | {"PATH": f"{debians}:{programs}"}
    assert ran(programs) == ["update -qq", f"download -qq {' '.join(pins.go_packages)}"]


async def test_no_go_and_none_to_be_had(programs: Path, cache: Cache, pins: Pins) -> None:
    """Says what failed, in apt's words, and keeps no half of it."""
    script(programs / "apt-get", "echo 'E: Failed to fetch http://m.example/debian'; exit 100")

    with pytest.raises(BuildFailed, match="get packages of Debian trixie") as raised:
        await environment(cache, pins, on_line=print)

    assert raised.value.why == "apt-get ended with exit code 100"
    assert "Failed to fetch" in raised.value.evidence
    assert list(cache.root.iterdir()) == []
