"""Kubeconfig files: the user's own are changed under client-go's lock, as a whole or not at all, and nothing in them is lost.

Source: client-go's tools/clientcmd/config.go: the lock is `<file>.lock`, created exclusively, with mode 0, and removed.
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import stat
import tempfile
import threading
import traceback
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import yaml

from kindasync.cluster._kubeconfig_file import add, change, check, take_out
from kindasync.errors import KindasyncError
from kindasync.kubeconfig import for_cluster

WRITERS = 8
# Of a user who writes by hand, and of programs that add what kubectl does not know.
USERS_OWN = """\
apiVersion: v1
kind: Config
current-context: work
preferences: {}
clusters:
- name: work
  cluster: {server: https://work, insecure-skip-tls-verify: true}
contexts:
- name: work
  context: {cluster: work, user: me}
users:
- name: me
  user:
    username: on-call
    password: 12:34:56
    auth-provider:
      config: {expiry: 2026-01-02T03:04:05Z, id-token: 0123, issued: 2026-01-02}
extensions:
- name: été
  extension: {version: 1, ratio: 0.5, none: null}
"""


def kubeconfig(cluster: str) -> dict[str, Any]:
    admin_conf = {
        "clusters": [{"name": "x", "cluster": {"server": "https://node:6443"}}],
        "users": [{"name": "x", "user": {"client-key-data": "S0VZ"}}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
    }
    return for_cluster(admin_conf, cluster, "https://127.0.0.1:20001")


def read(path: Path) -> Any:
    """A file with nothing interpreted: every scalar is its text."""
    return yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)


def contexts(path: Path) -> set[str]:
    return {context["name"] for context in read(path)["contexts"]}


@pytest.fixture
def file(home: Path) -> Path:
    """The user's ~/.kube/config."""
    path = home / ".kube" / "config"
    path.parent.mkdir()
    path.write_text(USERS_OWN, encoding="utf-8")
    return path


def test_a_new_file_is_the_users_alone(home: Path) -> None:
    """Mode 0600: it holds a key. Directories above it are made; no lock and no temporary file stays."""
    path = add(kubeconfig("demo"), None, env={}, home=home)

    assert path == home / ".kube" / "config"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read(path)["current-context"] == "kind-demo"
    assert [each.name for each in path.parent.iterdir()] == ["config"]


def test_nothing_of_the_users_is_lost(file: Path, home: Path) -> None:
    """After a cluster came and went, every text, time and number reads as before; the current context is nobody's."""
    before = read(file)

    add(kubeconfig("demo"), None, env={}, home=home)
    between = read(file)
    take_out("demo", None, env={}, home=home)

    assert between["current-context"] == "kind-demo"
    assert {context["name"] for context in between["contexts"]} == {"work", "kind-demo"}
    assert read(file) == {**before, "current-context": ""}


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o400])
def test_the_mode_stays(file: Path, home: Path, mode: int) -> None:
    """Whatever the umask: a group that could read it still can."""
    file.chmod(mode)
    umask = os.umask(0o077)
    try:
        add(kubeconfig("demo"), None, env={}, home=home)
    finally:
        os.umask(umask)

    assert stat.S_IMODE(file.stat().st_mode) == mode


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_owner_stays(file: Path, home: Path) -> None:
    """Under sudo with the user's home, the file does not become root's."""
    os.chown(file, 12345, 12346)

    add(kubeconfig("demo"), None, env={}, home=home)

    assert (file.stat().st_uid, file.stat().st_gid) == (12345, 12346)


@pytest.mark.parametrize("relative", [True, False])
def test_a_link_stays_a_link(file: Path, home: Path, relative: bool) -> None:
    """What it points to is changed, where dotfiles are kept in a repository of their own; the lock is beside the link, as kubectl's."""
    real = home / "dotfiles" / "kubeconfig"
    real.parent.mkdir()
    file.rename(real)
    file.symlink_to(Path("../dotfiles/kubeconfig") if relative else real)
    locks: list[str] = []

    def edit(existing: Mapping[str, Any]) -> Mapping[str, Any]:
        locks.extend(path.name for path in (*file.parent.glob("*.lock"), *real.parent.glob("*.lock")))
        return {**existing, "edited": "yes"}

    change(file, edit)

    assert file.is_symlink()
    assert read(real)["edited"] == "yes"
    assert locks == ["config.lock"]


def test_a_file_that_is_a_mount_is_written_in_place(file: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a development container, which gets this one file of its host: nothing can be put in its place."""
    monkeypatch.setattr(os, "replace", Mock(side_effect=OSError(errno.EBUSY, "Device or resource busy")))

    add(kubeconfig("demo"), None, env={}, home=home)

    assert contexts(file) == {"work", "kind-demo"}
    assert [each.name for each in file.parent.iterdir()] == ["config"]


def test_a_device_is_written_to_and_stays_one(home: Path, tmp_path: Path) -> None:
    """As /dev/null, which says that no file is wanted: nothing takes its place, and no lock is beside it."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    check(pipe, home=home)
    with pytest.raises(KindasyncError, match="cannot change"):  # nobody reads
        add(kubeconfig("demo"), pipe, home=home)

    with ThreadPoolExecutor() as pool:
        content = pool.submit(pipe.read_text)
        while True:
            try:
                add(kubeconfig("demo"), pipe, home=home)
                break
            except KindasyncError:  # nobody reads yet
                pass
        assert yaml.safe_load(content.result())["current-context"] == "kind-demo"
    take_out("demo", pipe, home=home)

    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert [*tmp_path.glob("pipe*")] == [pipe]


def test_an_edit_without_effect_writes_nothing(file: Path, home: Path) -> None:
    """Deleting a cluster that is not in the file leaves comments and formatting alone."""
    file.write_text("# mine\n" + USERS_OWN, encoding="utf-8")
    before = file.stat()

    take_out("demo", None, env={}, home=home)

    assert file.read_text(encoding="utf-8") == "# mine\n" + USERS_OWN
    assert file.stat().st_ino == before.st_ino


def test_taking_out_goes_through_all_files(home: Path) -> None:
    """A cluster may be in any file of KUBECONFIG; those that are not there are not made."""
    env = {"KUBECONFIG": ":".join(str(home / name) for name in ("a", "missing", "b"))}
    for name in ("a", "b"):
        add(kubeconfig("demo"), home / name, env={}, home=home)

    take_out("demo", None, env=env, home=home)

    assert [contexts(home / name) for name in ("a", "b")] == [set(), set()]
    assert not (home / "missing").exists()


@pytest.mark.parametrize("content", [b"[a]", b"text", b"{", b"a: \xff", b"\x00"])
def test_what_is_no_kubeconfig_is_not_touched(file: Path, home: Path, content: bytes) -> None:
    """The error names the file; nothing is overwritten, and the lock is gone."""
    file.write_bytes(content)

    with pytest.raises(KindasyncError, match="is not a kubeconfig") as refused:
        add(kubeconfig("demo"), None, env={}, home=home)

    assert str(file) in refused.value.what
    assert file.read_bytes() == content
    assert [path.name for path in file.parent.iterdir()] == ["config"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("clusters: [x]", "clusters[0] is no mapping"),
        ("contexts:\n- name: a\n- [b]", "contexts[1] is no mapping"),
        ("users: {}", "users is no list"),
    ],
)
def test_entries_that_are_none_are_said_to_be(file: Path, home: Path, content: str, why: str) -> None:
    """Before a cluster is made, and when its entries are added or taken out."""
    file.write_text(content)

    for use in (lambda: check(None), lambda: add(kubeconfig("demo"), None), lambda: take_out("demo", None)):
        with pytest.raises(KindasyncError) as refused:
            use()
        assert (refused.value.what, refused.value.why) == (f"{file} is not a kubeconfig", why)

    assert file.read_text() == content


SECRETS = [
    "*s3cret",
    "!s3cret",
    "!s3'cret",
    "!s3\"cr'et",
    "!s3!cret",
    "!!int s3cret",
    "!!bool s3cret",
    "!!timestamp s3cret",
    "s3cret: x",
    "[s3cret",
    "'s3cret",
]


@pytest.mark.parametrize("value", SECRETS)
def test_what_is_wrong_is_said_without_the_text(file: Path, home: Path, value: str) -> None:
    """The line may hold a token or a password, also as what YAML takes for an alias or a tag."""
    file.write_text(f"users:\n- user:\n    token: {value}\n")

    with pytest.raises(KindasyncError, match="not YAML") as refused:
        check(None)

    shown = "".join(traceback.format_exception(refused.value))
    assert "cret" not in shown


def test_where_it_is_wrong_is_said(file: Path, home: Path) -> None:
    """In the parser's words, with line and column."""
    file.write_text("users:\n\t- name: me\n")

    with pytest.raises(KindasyncError) as refused:
        check(None)

    assert refused.value.why == "not YAML: found character '\\t' that cannot start any token, in line 2, column 1"


@pytest.mark.parametrize(
    "word", ["on", "off", "yes", "No", "y", "n", "0123", "0o17", "0x1F", "1_000", "1e3", "12:34", "2026-01-02", "=", ".inf"]
)
def test_plain_words_stay_what_they_say(file: Path, home: Path, word: str) -> None:
    """`name: on` is not written as `name: true`; and what is written is a text for readers of YAML 1.1 and 1.2: it has quotes."""
    file.write_text(f"clusters:\n- name: {word}\n")

    add(kubeconfig("demo"), None)

    assert f"- name: '{word}'\n" in file.read_text()


@pytest.mark.parametrize(("word", "truth"), [("yes", "true"), ("Off", "false"), ("true", "true")])
def test_what_is_true_or_false_stays_so(file: Path, home: Path, word: str, truth: str) -> None:
    """kubectl takes no text for it."""
    file.write_text(f"clusters:\n- name: other\n  cluster:\n    insecure-skip-tls-verify: {word}\n")

    add(kubeconfig("demo"), None)

    assert f"    insecure-skip-tls-verify: {truth}\n" in file.read_text()


@pytest.mark.parametrize("plain", ["true", "False", "12", "-1", "0.5", "null"])
def test_what_is_the_same_to_all_stays_plain(file: Path, home: Path, plain: str) -> None:
    """Truths, decimal numbers and null."""
    file.write_text(f"preferences:\n  a: {plain}\n")

    add(kubeconfig("demo"), None)

    assert f"  a: {plain.lower()}\n" in file.read_text()


@pytest.mark.parametrize("content", ["", "# only a comment\n"])
def test_an_empty_file_is_as_good_as_none(file: Path, home: Path, content: str) -> None:
    """kind leaves one behind when the last cluster goes."""
    file.write_text(content)

    add(kubeconfig("demo"), None, env={}, home=home)

    assert contexts(file) == {"kind-demo"}


def test_a_failed_edit_changes_nothing(file: Path) -> None:
    """The file is as it was, the lock is gone, and no temporary file stays."""

    def edit(_: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"a": object()}  # which YAML cannot say

    with pytest.raises(yaml.YAMLError):
        change(file, edit)

    assert file.read_text(encoding="utf-8") == USERS_OWN
    assert [path.name for path in file.parent.iterdir()] == ["config"]


def test_a_reader_never_sees_half_a_file(file: Path) -> None:
    """A new file takes the place of the old one; whoever has that open reads on in it."""
    with file.open(encoding="utf-8") as reader:
        change(file, lambda existing: {**existing, "edited": "yes"})

        assert reader.read() == USERS_OWN
    assert read(file)["edited"] == "yes"


def test_what_a_dead_process_left_is_no_obstacle(file: Path, home: Path) -> None:
    """A temporary file of the same process ID, as in a container, where all programs are number 7."""
    (file.parent / f".config.{os.getpid()}").write_text("half")

    add(kubeconfig("demo"), None, env={}, home=home)

    assert contexts(file) == {"work", "kind-demo"}
    assert [path.name for path in file.parent.iterdir()] == ["config"]


def lock_as_client_go(file: Path) -> Path:
    lock = Path(f"{file}.lock")
    os.close(os.open(lock, os.O_CREAT | os.O_EXCL, 0))
    return lock


@pytest.fixture
def shared(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A kubeconfig in a directory of the mode asked for. Root's rights are laid aside: modes do not bind root."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(getattr(request, "param", 0o777))
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            yield Path(directory) / "config"
        finally:
            if root:
                os.seteuid(0)


def test_a_lock_of_kubectl_is_waited_for(shared: Path) -> None:
    """Until it is gone; its mode 0 is no reason to give up."""
    lock = lock_as_client_go(shared)
    unlock = threading.Timer(0.1, lock.unlink)
    unlock.start()

    add(kubeconfig("demo"), shared)
    unlock.join()

    assert contexts(shared) == {"kind-demo"}
    assert not lock.exists()


def test_a_lock_that_stays_is_an_error(shared: Path) -> None:
    """After the deadline; it is named, with what to do, and not broken: its owner may be alive."""
    lock = lock_as_client_go(shared)

    with pytest.raises(KindasyncError) as locked:
        change(shared, lambda existing: {**existing, "edited": "yes"}, lock_s=0.1)

    assert str(lock) in locked.value.why
    assert f"remove {lock}" in locked.value.hint
    assert lock.exists()
    assert not shared.exists()


@pytest.mark.parametrize("shared", [0o555], indirect=True)
def test_a_directory_that_cannot_be_written_is_an_error_at_once(shared: Path) -> None:
    """No lock is in the way: waiting would be in vain. It is seen before a cluster is made."""
    for use in (lambda: check(shared), lambda: add(kubeconfig("demo"), shared)):
        with pytest.raises(KindasyncError, match=f"cannot change {shared}\n  why: Permission denied"):
            use()


def test_a_check_makes_nothing(home: Path) -> None:
    """Neither the file, nor a directory for it, nor a lock."""
    check(None)
    check(home / "not" / "there")

    assert list(home.iterdir()) == []


def test_a_file_that_is_a_directory(home: Path) -> None:
    """Is an error in the form of all errors, whatever is asked of it."""
    path = home / "directory"
    path.mkdir()

    for use in (lambda: check(path), lambda: add(kubeconfig("demo"), path), lambda: take_out("demo", path)):
        with pytest.raises(KindasyncError, match=f"cannot change {path}\n  why: Is a directory"):
            use()


class Enough(Exception):
    pass


def test_the_wait_for_a_lock_can_be_ended(shared: Path) -> None:
    """By what its waiter asks again and again; then nothing was changed."""
    lock = lock_as_client_go(shared)
    asked = []

    def ask() -> None:
        asked.append(1)
        if len(asked) == 3:
            raise Enough

    with pytest.raises(Enough):
        add(kubeconfig("demo"), shared, while_waiting=ask)

    assert lock.exists()
    assert not shared.exists()


def test_the_lock_is_held_while_editing(file: Path) -> None:
    """kubectl, which does not wait, is refused then, rather than overwritten."""
    seen = []

    def edit(existing: Mapping[str, Any]) -> Mapping[str, Any]:
        with pytest.raises(FileExistsError):
            lock_as_client_go(file)
        seen.append(existing["current-context"])
        return existing

    change(file, edit)

    assert seen == ["work"]
    assert not Path(f"{file}.lock").exists()


def write_one(path: str, index: int) -> None:
    add(kubeconfig(f"cluster-{index}"), Path(path))


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_writers_at_once_lose_nothing(file: Path, kind: str) -> None:
    """All that was added is there, whoever came first: kind's, which does not wait, loses some (kind#3781)."""
    fresh = multiprocessing.get_context("forkserver")
    with ThreadPoolExecutor(WRITERS) if kind == "threads" else ProcessPoolExecutor(4, mp_context=fresh) as pool:
        list(pool.map(write_one, [str(file)] * WRITERS, range(WRITERS)))

    assert contexts(file) == {"work", *(f"kind-cluster-{index}" for index in range(WRITERS))}
    assert [path.name for path in file.parent.iterdir()] == ["config"]
