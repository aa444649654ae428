"""The command line's own types and words: durations, options that may stand anywhere, descriptions of events, help."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click
import pytest

from kindasync import events
from kindasync.cli._describe import bytes_text, describe
from kindasync.cli._main import LazyGroup, Settings, cli, main, respelled, split_settings
from kindasync.cli._options import Duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("0s", 0.0),
        ("90s", 90.0),
        ("1m30s", 90.0),
        ("2h", 7200.0),
        ("1h1m1s", 3661.0),
        ("1.5m", 90.0),
        (".5s", 0.5),
        ("5.s", 5.0),
        ("300ms", 0.3),
        ("250us", 0.00025),
        ("250µs", 0.00025),
        ("1000000000ns", 1.0),
        ("1s1m", 61.0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    """As Go's time.ParseDuration reads them, since kind does."""
    assert Duration().convert(text, None, None) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "s", "1x", "1m 30s", "1,5s", "-1s", "1m30", "m30s", "infs", "1.2.3s"])
def test_what_is_no_duration(text: str) -> None:
    """Go wants a unit for all but 0; a negative one would mean nothing here."""
    with pytest.raises(click.BadParameter, match="is not a duration, such as 90s"):
        Duration().convert(text, None, None)


def test_a_default_is_in_seconds_already() -> None:
    """Options have theirs as numbers."""
    assert Duration().convert(120.0, None, None) == 120.0


CREATE = ["create", "cluster"]


@pytest.mark.parametrize(
    ("arguments", "settings", "others"),
    [
        (CREATE, Settings(), CREATE),
        (["-q", *CREATE], Settings(quiet=True), CREATE),
        ([*CREATE, "--quiet"], Settings(quiet=True), CREATE),
        (["create", "-q", "cluster", "--name", "x"], Settings(quiet=True), [*CREATE, "--name", "x"]),
        (["-v", "1", *CREATE], Settings(verbosity=1), CREATE),
        ([*CREATE, "-v=3"], Settings(verbosity=3), CREATE),
        ([*CREATE, "-v3"], Settings(verbosity=3), CREATE),
        ([*CREATE, "--verbosity=-1"], Settings(verbosity=-1), CREATE),
        ([*CREATE, "--verbosity", "2", "-q"], Settings(verbosity=2, quiet=True), CREATE),
        (["--version"], Settings(), ["--version"]),
        (["exec", "node", "--", "ls", "-q", "-v", "x"], Settings(), ["exec", "node", "--", "ls", "-q", "-v", "x"]),
        ([], Settings(), []),
    ],
)
def test_global_options_may_stand_anywhere(arguments: Sequence[str], settings: Settings, others: Sequence[str]) -> None:
    """Before and after the command, in all spellings that kind takes; after "--" they are somebody else's."""
    assert split_settings(arguments) == (settings, others)


@pytest.mark.parametrize("arguments", [["-v"], ["-v", "x"], ["--verbosity="], ["-v", "--5"], ["-v", "²"]])
def test_verbosity_is_a_number(arguments: Sequence[str]) -> None:
    """Anything else is a mistake in the use of the program."""
    with pytest.raises(click.UsageError, match="needs a number"):
        split_settings(arguments)


@pytest.mark.parametrize(
    ("arguments", "plain"),
    [
        (["--retain=true", "--wait=1m"], ["--retain", "--wait=1m"]),
        (["--retain=T", "--quiet=1"], ["--retain", "--quiet"]),
        (["--all=false", "--internal=0"], []),
        (["-n=demo"], ["-n", "demo"]),
        (["--name=true", "--image=a=b"], ["--name=true", "--image=a=b"]),
        (["--retain=perhaps"], ["--retain=perhaps"]),  # click says what is wrong with it
        (["exec", "--", "--all=true", "-n=x"], ["exec", "--", "--all=true", "-n=x"]),
    ],
)
def test_spellings_of_go(arguments: Sequence[str], plain: Sequence[str]) -> None:
    """A script for kind may use any that kind takes; after "--" they are somebody else's."""
    assert respelled(arguments) == plain


DESCRIBED = [
    (events.ImagePulled(image="node:1", duration_s=1), "pulled the node image node:1"),
    (
        events.NetworkCreated(network="kind", subnets=("10.89.0.0/16", "fc00::/64"), duration_s=1),
        "made the network kind (10.89.0.0/16, fc00::/64)",
    ),
    (events.NetworkRemoved(network="kind"), "removed the network kind"),
    (events.ContainerCreated(image="node:1", duration_s=1), "container created from node:1"),
    (events.ContainerCreated(image="node:1", address="10.89.0.2", duration_s=1), "container created from node:1, address 10.89.0.2"),
    (events.NodeStarted(duration_s=1), "container started"),
    (events.NodePaused(duration_s=1), "paused before its boot"),
    (events.HookEnded(hook="trust_ca", duration_s=1), "hook trust_ca has run"),
    (events.PreloadProgress(subject="app.tar", current=1536, total=1536), "preloaded app.tar (1.5 KiB)"),
    (events.PreloadProgress(subject="app.tar", current=1, total=1536), None),
    (events.FilesPut(duration_s=1), "configuration, certificates and manifests are in place"),
    (events.BootSignalled(attempt=1), "boot signalled"),
    (events.BootSignalled(attempt=2), None),
    (events.NodeBooted(duration_s=1), "booting"),
    (events.RuntimeReady(duration_s=1), "containerd is ready"),
    (events.ApiServerUp(server="https://127.0.0.1:20001", duration_s=1), "the API server answers at https://127.0.0.1:20001"),
    (events.NodeJoined(duration_s=1), "joined the cluster"),
    (events.KubeadmPhase(duration_s=1, phase="certs"), "kubeadm: certs"),
    (events.ControlPlaneUp(duration_s=1), "control plane initialised"),
    (events.ManifestApplied(manifest="default-cni.yaml", duration_s=1), "created the objects of default-cni.yaml"),
    (events.ReadinessObserved(subject="node demo-worker", state="registered"), "node demo-worker: registered"),
    (events.NodeRegistered(duration_s=1), "registered"),
    (events.NodeReady(duration_s=1), "Ready"),
    (events.ClusterReady(cluster="demo", duration_s=12.345), 'cluster "demo" is ready after 12.3 s'),
    (events.NetworkPolicyNotEnforced(), None),  # doctor and docs say so; a terminal would say it every time
    (events.StepFailed(step="boot nodes", error="it died"), "failed to boot nodes"),
    (events.Interrupted(cluster="demo"), "interrupted"),
    (events.RolledBack(duration_s=1), "took back what was made"),
    (events.RegistryStarted(host="localhost:5001", duration_s=1), "takes images as localhost:5001/NAME"),
    (events.RegistryStarted(mirrors=("docker.io", "quay.io"), duration_s=1), "caches docker.io, quay.io"),
    (
        events.RegistryStarted(host="localhost:5001", mirrors=("quay.io",), duration_s=1),
        "takes images as localhost:5001/NAME; caches quay.io",
    ),
    (
        events.RolledBack(left_behind=("container a", "network b"), duration_s=1),
        "took back what was made; left behind: container a, network b",
    ),
    (events.LoadProgress(subject="app:1", current=1, total=2), None),
    (events.NodeLoaded(images=("app:1", "b:2"), duration_s=1), "loaded app:1, b:2"),
    (events.NodeLoaded(images=("app:1",), skipped=True, duration_s=1), "has app:1 already"),
    (events.NodeStopped(cluster="demo", node="demo-worker", duration_s=1), "stopped"),
    (events.ClusterStopped(cluster="demo", duration_s=1.26), 'stopped cluster "demo" in 1.3 s'),
    (events.ClusterParked(cluster="demo", pool="ci", duration_s=1), 'parked in pool "ci"'),
    (
        events.ClusterRestored(cluster="demo", snapshot="created", duration_s=1.23),
        'cluster "demo" is as in snapshot "created" again, after 1.2 s',
    ),
    (events.ClusterClaimed(cluster="demo", pool="ci", duration_s=0.42), 'claimed cluster "demo" in 0.4 s'),
    (events.NodeCordoned(node="demo-worker"), "cordoned: no new pods"),
    (events.PodEvicted(node="demo-worker", pod="default/web"), "evicted pod default/web"),
    (events.NodeDrained(node="demo-worker", duration_s=1), "drained"),
    (events.EtcdMemberRemoved(node="demo-control-plane2", duration_s=1), "left etcd"),
    (events.BalancerReloaded(control_planes=("a", "b"), duration_s=1), "the balancer has a, b"),
    (events.NodeRemoved(cluster="demo", node="demo-worker", duration_s=1), "removed"),
    (events.ClusterDeleted(cluster="demo", duration_s=1.26), 'deleted cluster "demo" in 1.3 s'),
    (events.ClusterDeleted(cluster="demo", duration_s=0.01, existed=False), 'there was no cluster "demo"'),
    (events.LogsExported(cluster="demo", node="demo-worker", duration_s=1), "its logs are there"),
    (events.Warned(message="the disk is slow"), "warning: the disk is slow"),
    (events.BuildStepStarted(step="fetch"), "fetch …"),
    (events.BuildStepEnded(step="fetch", duration_s=61.4), "fetch: done in 61 s"),
    (events.BuildStepEnded(step="fetch", duration_s=0, cached=True), "fetch: as before (cached)"),
    (events.ImagePullProgress(current=1), None),
    (events.BuildOutput(line="Get:1", current=1), None),
]


@pytest.mark.parametrize(("event", "text"), DESCRIBED)
def test_descriptions(event: events.Event, text: str | None) -> None:
    """What happened, in a short line; nothing about steps in between, which a bar shows."""
    assert describe(event) == text


def test_every_event_is_described_or_known_to_be_silent() -> None:
    """A new event needs words, or a decision that it has none."""
    facts = {each for each in vars(events).values() if isinstance(each, type) and issubclass(each, events.Event)}

    assert {type(event) for event, _ in DESCRIBED} == facts - {events.Event, events.Timed, events.Progress}


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (1024**2, "1.0 MiB"),
        (5 * 1024**3, "5.0 GiB"),
        (2048 * 1024**3, "2048.0 GiB"),  # the largest unit
    ],
)
def test_bytes(count: int, text: str) -> None:
    """In units of 1024, by their names."""
    assert bytes_text(count) == text


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """All groups and commands, each with the arguments that lead to it."""
    yield path, group
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, f"{' '.join((*path, name))} leads nowhere"
        yield from commands(command, (*path, name)) if isinstance(command, click.Group) else [((*path, name), command)]


COMMANDS = [*commands(cli)]


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=[" ".join(path) or "kindasync" for path, _ in COMMANDS])
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help(path: tuple[str, ...], command: click.Command, flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command has it, and says in it what it does; a group's lists every command with a summary."""
    assert main([*path, flag]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(" ".join(("Usage: kindasync", *path)))
    assert command.help
    assert command.help.splitlines()[0] in " ".join(" ".join(lines).split())
    if isinstance(command, LazyGroup):
        summaries = {words[0]: words[1:] for line in lines[lines.index("Commands:") + 1 :] if (words := line.split())}
        listed = command.list_commands(click.Context(command))
        assert summaries.keys() >= set(listed)
        assert all(summaries[name] for name in listed)


@pytest.mark.parametrize("path", [path for path, command in COMMANDS if path and isinstance(command, click.Group)])
def test_a_group_alone_prints_its_help_and_fails(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """As for kind: nothing was done, so it is no success."""
    assert main(path) == 1
    assert "Commands:" in "".join(capsys.readouterr())


@pytest.mark.parametrize("arguments", [["nonsense"], ["create", "nonsense"], ["get", "clusters", "--nonsense"], ["-v", "x"]])
def test_a_mistake_exits_with_1(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """kind's exit code for any error; on stderr, with nothing on stdout."""
    assert main(arguments) == 1

    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("ERROR: ")
