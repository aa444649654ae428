"""Debian: which of a machine's package sources is a mirror of the whole archive."""

from __future__ import annotations

from pathlib import Path

import pytest

from kindasync.build._debian import _default_mirror, mirror
from kindasync.errors import BuildFailed

KEY = "/usr/share/keyrings/debian-archive-keyring.gpg"


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("sources.list", "deb http://m.example/debian bookworm main contrib", "http://m.example/debian"),
        ("sources.list", f"deb [arch=amd64 signed-by={KEY}] https://m.example/pub/debian/ stable main", "https://m.example/pub/debian/"),
        ("sources.list", "# deb http://old.example/debian bookworm main\ndeb-src http://src.example/debian bookworm main", None),
        ("sources.list", "deb http://m.example/debian-security bookworm-security main\ndeb http://m.example/ubuntu noble main", None),
        ("docker.list", "deb [arch=amd64 signed-by=/etc/apt/keyrings/docker.asc] https://m.example/linux/debian bookworm stable", None),
        ("docker.list", "deb https://m.example/linux/debian stable stable", None),
        ("zabbix.list", "deb [signed-by=/etc/apt/keyrings/zabbix.gpg] https://m.example/zabbix/7.0/debian bookworm main", None),
        ("sources.list", "deb mirror+file:/etc/apt/mirrors/debian bookworm main", None),
        ("sources.list", "deb http://m.example/debian buster main", None),  # archived: it does not have newer suites
        ("sources.list.save", "deb http://m.example/debian bookworm main", None),  # apt does not read it, either
    ],
)
def test_a_mirror_by_one_line_entries(file: str, text: str, expected: str | None, tmp_path: Path) -> None:
    """Debian's own main archive counts; security, others' archives and lists of mirrors are passed over."""
    path = tmp_path / file
    path.write_text(text + "\n")

    assert mirror([path]) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            f"""\
Types: deb deb-src
# a comment does not end the paragraph
URIs: mirror+file:/etc/apt/mirrors/debian.list
 http://m.example/debian
Suites: bookworm bookworm-updates
Components: contrib main
Signed-By: {KEY}
""",
            "http://m.example/debian",
        ),
        ("Types: deb\nURIs: http://m.example/debian\nSuites: bookworm\nComponents: main\nEnabled: no\n", None),
        ("Types: deb-src\nURIs: http://m.example/debian\nSuites: bookworm\nComponents: main\n", None),
        ("Types: deb\nURIs: http://m.example/ubuntu\nSuites: noble noble-updates\nComponents: main universe\n", None),
        (
            """\
Types: deb
URIs: https://m.example/linux/debian
Suites: bookworm
Components: stable

types: deb
uris: http://m.example/debian
suites: trixie
components: main
""",
            "http://m.example/debian",
        ),
    ],
)
def test_a_mirror_by_deb822_entries(text: str, expected: str | None, tmp_path: Path) -> None:
    """Each paragraph is judged by its own fields, whose names have no case; a field may have several values and lines."""
    path = tmp_path / "debian.sources"
    path.write_text(text)

    assert mirror([path]) == expected


def test_all_files_are_read(tmp_path: Path) -> None:
    """An Ubuntu list in the first does not hide a mirror in the second; a file that is not there is none."""
    (tmp_path / "ubuntu.list").write_text("deb http://m.example/ubuntu noble main\n")
    (tmp_path / "debian.list").write_text("deb http://m.example/debian trixie main\n")

    assert mirror([tmp_path / "sources.list", tmp_path / "ubuntu.list", tmp_path / "debian.list"]) == "http://m.example/debian"


@pytest.mark.anyio
async def test_where_no_mirror_is_named_mmdebstrap_knows_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked, whatever else it prints, and that it ends with a failure is what we made it do."""
    program = tmp_path / "mmdebstrap"
    program.write_text(
        "#!/bin/sh\necho 'deb [signed-by=\"/k.gpg\"] http://m.example/debian trixie main' >&2\necho 'E: command failed' >&2\nexit 25\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    assert await _default_mirror("get packages", "trixie") == "http://m.example/debian"


@pytest.mark.anyio
async def test_without_mmdebstrap_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is tried."""
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(BuildFailed) as failed:
        await _default_mirror("get packages", "trixie")

    assert "mmdebstrap" in failed.value.hint
