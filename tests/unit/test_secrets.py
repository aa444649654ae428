"""Secrets: no token, key or password is in an event, an error, a log, a repr or the output of a command."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import structlog
import yaml

from kindasync import Cluster, KindasyncError
from kindasync._delivering import delivering
from kindasync.cli._main import main
from kindasync.errors import redacted
from kindasync.events import Bus, structlog_listener
from kindasync.node import PausedNode
from kindasync.testing import FakeContainer, FakeEngine, ProgramResult
from kindasync.testing._api_server import KEY
from tests.unit.recording import Recording

NODE = "demo-control-plane"
PASSWORD = "canary-of-the-registry"
PROXY_PASSWORD = "canary-of-the-proxy"
KEY_LINES = KEY.strip().splitlines()
JWT = "eyJhbGciOiJSUzI1NiIsImtpZCI6Im9uZSJ9.eyJpc3MiOiJrdWJlcm5ldGVzIn0.c2lnbmF0dXJl-_0"


@dataclass
class Heard:
    """Everything that was said in one create, and the secrets there were."""

    token: str = ""
    key_data: str = base64.b64encode(KEY.encode()).decode()
    said: list[str] = field(default_factory=list)

    def assert_discreet(self) -> None:
        assert len(self.token) == 23
        assert self.said != []
        everything = "\n".join(self.said)
        for canary in (self.token, self.token.partition(".")[2], self.key_data, *KEY_LINES[1:-1], PASSWORD, PROXY_PASSWORD):
            assert canary not in everything


async def told_of(fake: FakeEngine, caplog: pytest.LogCaptureFixture, **options: Any) -> Heard:
    """Create, whether it succeeds or not, with every listener there is."""
    heard, seen, bus = Heard(), Recording(), Bus()

    async def hook(node: PausedNode) -> None:
        heard.said.append(repr(node))

    with caplog.at_level(logging.DEBUG), structlog.testing.capture_logs() as logs:
        async with delivering(bus, seen.keep, structlog_listener()):
            try:
                cluster = await Cluster.create("demo", engine=fake.url, on_event=bus, before_boot=[hook], retain=True, **options)
                heard.said += [repr(cluster), repr(cluster.nodes), repr(cluster.engine), str(cluster)]
            except KindasyncError as error:
                chain: BaseException | None = error
                while chain:
                    heard.said += [str(chain), repr(chain), str(vars(chain)), *getattr(chain, "__notes__", ())]
                    chain = chain.__cause__ or chain.__context__
    heard.said += [json.dumps(event.to_json()) for event in seen]
    heard.said += [repr(event) for event in seen]
    heard.said += [str(entry) for entry in logs]
    heard.said += [record.getMessage() for record in caplog.records]
    if NODE in fake.containers:
        documents = yaml.safe_load_all(fake.containers[NODE].files["/kind/kubeadm.conf"])
        (heard.token,) = [each["token"] for document in documents for each in document.get("bootstrapTokens", ())]
        heard.said += [str(fake.containers[NODE].labels)]
        heard.said += [str(request.json["Cmd"]) for request in fake.requests_of("ContainerExec")]
    return heard


def blabs(container: FakeContainer) -> str:
    """What no program should print, and some do: its configuration, its kubeconfig, its key."""
    return "\n".join([container.files["/kind/kubeadm.conf"].decode(), container.files["/etc/kubernetes/admin.conf"].decode(), KEY])


@pytest.fixture
def proxied(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy with a password, as some networks have it."""
    monkeypatch.setenv("HTTPS_PROXY", f"http://somebody:{PROXY_PASSWORD}@proxy.example:3128")


@pytest.mark.anyio
async def test_a_create_that_succeeds(fake: FakeEngine, caplog: pytest.LogCaptureFixture, proxied: None) -> None:
    """Nothing it tells is secret."""
    heard = await told_of(fake, caplog)

    heard.assert_discreet()


@pytest.mark.anyio
@pytest.mark.parametrize("tail", [1000, 30, 3])
@pytest.mark.usefixtures("nobody_dies")
async def test_a_program_that_prints_secrets_and_fails(
    fake: FakeEngine, caplog: pytest.LogCaptureFixture, proxied: None, tail: int
) -> None:
    """Its last lines are evidence; what they must not say is withheld, wherever the tail begins."""
    plain = fake.node.programs["kubeadm"]

    def kubeadm(container: FakeContainer, argv: Sequence[str], stdin: bytes) -> ProgramResult:
        if not container.booted:
            return plain(container, argv, stdin)
        lines = f"{blabs(container)}\nerror: it has failed".splitlines()[-tail:]
        return ProgramResult(exit_code=1, stderr="\n".join(lines).encode())

    fake.node.programs["kubeadm"] = kubeadm

    heard = await told_of(fake, caplog)

    heard.assert_discreet()
    assert "error: it has failed" in "\n".join(heard.said)


@pytest.mark.anyio
async def test_a_node_that_prints_secrets_and_dies(fake: FakeEngine, caplog: pytest.LogCaptureFixture) -> None:
    """So for its console."""
    fake.node.reaches_runtime = False

    def die() -> None:
        fake.say(NODE, "kindasync: booting\r\n" + blabs(fake.containers[NODE]).replace("\n", "\r\n") + "\r\nits last line\r\n")
        fake.die(NODE)

    fake.on("ContainerKill", die)

    heard = await told_of(fake, caplog)

    heard.assert_discreet()
    assert "its last line" in "\n".join(heard.said)


@pytest.mark.anyio
async def test_a_registry_that_repeats_the_password(fake: FakeEngine, home: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The Engine's words are passed on, without what they hold of it."""
    (home / ".docker").mkdir()
    auth = base64.b64encode(f"somebody:{PASSWORD}".encode()).decode()
    (home / ".docker/config.json").write_text(json.dumps({"auths": {"registry.example": {"auth": auth}}}))
    fake.fail("ImageCreate", message=f"Get https://somebody:{PASSWORD}@registry.example/v2/: unauthorized")

    heard = await told_of(fake, caplog, image="registry.example/node:1")

    everything = "\n".join(heard.said)
    assert "registry.example/v2/: unauthorized" in everything
    assert PASSWORD not in everything
    assert auth not in everything


@pytest.mark.parametrize("verbosity", ["0", "1"])
@pytest.mark.usefixtures("nobody_dies")
def test_the_commands(
    fake: FakeEngine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, proxied: None, verbosity: str
) -> None:
    """Events, progress, errors and stack traces; a kubeconfig is printed where that was asked for, and only there."""
    monkeypatch.setenv("DOCKER_HOST", fake.url)
    plain = fake.node.programs["kubeadm"]

    def kubeadm(container: FakeContainer, argv: Sequence[str], stdin: bytes) -> ProgramResult:
        fails = container.booted and "--print-manifest" not in argv
        return ProgramResult(exit_code=1, stderr=blabs(container).encode()) if fails else plain(container, argv, stdin)

    def run(*arguments: str) -> None:
        main([*arguments, "-v", verbosity])

    commands: list[Callable[[], None]] = [
        lambda: run("create", "cluster", "--name", "good", "--events", "json"),
        lambda: fake.node.programs.update(kubeadm=kubeadm),
        lambda: run("create", "cluster", "--name", "demo", "--retain", "--events", "json"),
        lambda: run("create", "cluster", "--name", "plain"),
        lambda: run("get", "clusters"),
        lambda: run("get", "nodes", "-A", "-o", "json"),
        lambda: run("export", "kubeconfig", "--name", "good"),
        lambda: run("doctor"),
        lambda: run("version", "-o", "json"),
        lambda: run("delete", "clusters", "--all", "--events", "json"),
    ]
    heard = Heard()
    for command in commands:
        command()
        if NODE in fake.containers and not heard.token:
            documents = yaml.safe_load_all(fake.containers[NODE].files["/kind/kubeadm.conf"])
            (heard.token,) = [each["token"] for document in documents for each in document.get("bootstrapTokens", ())]
    heard.said += [*capsys.readouterr()]

    heard.assert_discreet()
    assert "failed to initialise the control plane" in heard.said[1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("token: abcdef.0123456789abcdef.", "token: (withheld)."),
        ("/kind/kubeadm.conf and demo.control-plane", "/kind/kubeadm.conf and demo.control-plane"),
        ('"client-key-data": "LS0t+/=="', '"client-key-data(withheld)"'),
        (f"before\n{KEY}after", "before\n(withheld)\nafter"),
        ("\n".join(KEY_LINES[2:]) + "\nafter", "(withheld)\nafter"),
        ("Get https://me:secret@registry.example/v2/", "Get https://(withheld)@registry.example/v2/"),
        ("https://registry.example:5000/v2/@sha256:0", "https://registry.example:5000/v2/@sha256:0"),
        ("https://token@registry.example/v2/", "https://(withheld)@registry.example/v2/"),
        ("http://me:p@ss@proxy:3128 and http://proxy:3128", "http://(withheld)@proxy:3128 and http://proxy:3128"),
        ("ssh://me@host is no endpoint", "ssh://me@host is no endpoint"),
        ("me@example.com", "me@example.com"),
        ("before: \n" + "\n".join(KEY_LINES[:-1]), "before: \n(withheld)"),  # its end was cut off
        ("before: \n" + "\n".join(KEY_LINES[:2]) + "\n", "before: \n(withheld)"),
        (KEY.replace("PRIVATE", "RSA PRIVATE") + ": " + KEY, "(withheld)\n: (withheld)\n"),
        (
            "".join(f"2026-11-27T08:00:00Z stdout F {line}\n" for line in [*KEY_LINES, "after"]),
            "2026-11-27T08:00:00Z stdout F (withheld)\n2026-11-27T08:00:00Z stdout F after\n",
        ),
        (json.dumps({"tls.key": KEY}), '{"tls.key": "(withheld)\\n"}'),  # its ends of lines are written as "\\n"
        (json.dumps(KEY)[40:], '(withheld)\\n"'),
        (f"Bearer x\n{KEY}", "Bearer (withheld)\n(withheld)\n"),
        ("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"),
        (f"token {JWT}: expired", "token (withheld): expired"),
        (f"Authorization: Bearer {JWT}", "Authorization: Bearer (withheld)"),
        ("authorization: bearer opaque-0123", "authorization: bearer (withheld)"),
        (f"kubeadm join --certificate-key {'0f' * 32} --v 5", "kubeadm join --certificate-key(withheld) --v 5"),
        (f"Using certificate key:\n{'0f' * 32}\n", "Using certificate key(withheld)\n"),
        (f"certificateKey: {'0f' * 32}", "certificateKey(withheld)"),
        (f"sha256:{'0f' * 32}", f"sha256:{'0f' * 32}"),
        ('{"auths":{"r.example":{"auth":"bWU6cGFzcw=="}}}', '{"auths":{"r.example":{"auth":"(withheld)"}}}'),
        ('{"auths": {"r.example": {"auth": "bWU6cGFzcw=="}}}', '{"auths": {"r.example": {"auth": "(withheld)"}}}'),
    ],
)
def test_what_is_withheld(text: str, expected: str) -> None:
    """Tokens, keys, also those whose beginning or end was cut off, and passwords in URLs; nothing else."""
    assert redacted(text) == expected


@pytest.mark.parametrize(
    "text", ["x", "word ", "\n", "MIIB\n", "://a", "-----BEGIN PRIVATE KEY-----\n", "-----BEGIN ", "Bearer ", "-eyJ", "eyJa."]
)
def test_withholding_takes_no_time(text: str) -> None:
    """However much a program has printed: what grows with the square of that would take minutes here."""
    redacted(text * (500_000 // len(text)))
