"""Errors: one tree; each says what failed, why, and what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

# What programs and Engines may say, and nobody may read in an error or an exported log. Each begins with letters of its own where it can,
# which is what makes it fast. Keys in PEM: whole, be it that each line has something before it; or with an end that was cut off, and ends of
# lines that are "\n" in JSON. Keys in kubeconfigs, passwords in URLs, credentials of registries and APIs, bootstrap tokens.
_SECRETS = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?:[^-]|-(?!----BEGIN)){0,20000}?-----END [A-Z ]*PRIVATE KEY-----", "(withheld)"),
        (r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\sA-Za-z0-9+/=\\]*\Z", "(withheld)"),
        (r"(client-key-data)\W+[A-Za-z0-9+/=]+", r"\1(withheld)"),
        (r"(://)(?<!ssh://)[^/\s]+(?=@)", r"\1(withheld)"),
        (r"eyJ(?<![\w-]eyJ)[\w-]+\.[\w-]+\.[\w-]+", "(withheld)"),
        (r"(earer )(?<=[Bb]earer )\S+", r"\1(withheld)"),
        (r'("auth": ?")[^"]+', r"\1(withheld)"),
        (r"(certificate(?:[- ]key|Key))\W+[0-9a-f]{64}\b", r"\1(withheld)"),
    )
)
# These have none, and are looked for only where their ends are.
_KEY_END = "PRIVATE KEY-----"
_KEY_REST = re.compile(r"(?<![\sA-Za-z0-9+/=\\])[\sA-Za-z0-9+/=\\]*-----END [A-Z ]*PRIVATE KEY-----")
_TOKEN_END = re.compile(r"\.[a-z0-9]{16}\b")
_TOKEN = re.compile(r"\b[a-z0-9]{6}\.[a-z0-9]{16}\b")


def redacted(text: str) -> str:
    """`text` without what looks like a secret."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    if _KEY_END in text:
        text = _KEY_REST.sub("(withheld)", text)
    return _TOKEN.sub("(withheld)", text) if _TOKEN_END.search(text) else text


class KindasyncError(Exception):
    """The base of every error that a public call raises.

    Shape: `what` failed in one line; `why`, in the words of the Engine or program where there are some; `hint`, what to
    do; `evidence`, such as the last lines of output. Any but `what` may be empty. `str()` shows all of them. What looks like
    a token, key or password in them is withheld.
    """

    def __init__(self, what: str, *, why: str = "", hint: str = "", evidence: str = "") -> None:
        super().__init__(redacted(what))
        self.what = redacted(what)
        self.why = redacted(why)
        self.hint = redacted(hint)
        self.evidence = redacted(evidence)

    def __reduce__(self) -> tuple[object, ...]:
        return _restored, (type(self), self.args, self.__dict__)

    def __str__(self) -> str:
        lines = [self.what]
        if self.why:
            lines.append(f"  why: {_indented(self.why)}")
        if self.hint:
            lines.append(f"  try: {_indented(self.hint)}")
        if self.evidence:
            lines.append(f"  seen: {_indented(self.evidence)}")
        return "\n".join(lines)


def _restored(kind: type[KindasyncError], args: tuple[object, ...], state: dict[str, object]) -> KindasyncError:
    """An error that another process has pickled: made without its own constructor, whose parameters are others."""
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


def _indented(text: str) -> str:
    return text.strip().replace("\n", "\n       ")


class EngineError(KindasyncError):
    """Something between us and the Docker Engine, or the Engine itself, failed."""


class EngineUnreachable(EngineError):
    """No connection to the Engine could be made: something is there, but refuses or does not answer.

    Try: start Docker, or see that DOCKER_HOST, or the context of the docker client, names where it is; `docker version` asks the same place.
    """


class EngineMissing(EngineUnreachable):
    """Nothing is where the Engine's socket should be.

    Try: start Docker, or set DOCKER_HOST to where it is.
    """


class EnginePermissionDenied(EngineUnreachable):
    """The Engine's socket is there, and this user may not use it.

    Try: add the user to the group that owns the socket (`usermod -aG docker USER`, then log in again), or use rootless Docker.
    """


class ConnectionLost(EngineError):
    """The Engine closed a connection before its answer was complete.

    Try: see whether the Engine is still running; its log says why it closed the connection.
    """


class EngineTimeout(EngineError):
    """The Engine did not answer one operation in time.

    Try: see the Engine's log and the load of its host.
    """


class StreamFailed(EngineError):
    """The Engine reported a failure inside a stream that had begun with success.

    Try: see what the Engine says in `why`; for a pull, see that the name is right, and that the Engine reaches the registry.
    """


class ApiError(EngineError):
    """The Engine refused an operation.

    Shape: `operation` is the Engine API's operationId, `subject` what it was about ("container demo-control-plane"),
    `status` the HTTP status, `message` the Engine's own words.
    Try: do what `hint` says; it depends on the Engine's words.
    """

    def __init__(self, operation: str, subject: str, status: int, message: str, *, hint: str = "") -> None:
        super().__init__(
            f"{_spoken(operation)} failed" + (f" for {subject}" if subject else ""),
            why=f'{operation} replied {status}, "{message}"',
            hint=hint,
        )
        self.operation = operation
        self.subject = subject
        self.status = status
        self.message = redacted(message)


class NotFound(ApiError):
    """The Engine knows no such object (404).

    Try: see whether something else removes or renames containers here; `kindasync get nodes` shows those there are.
    """


class Conflict(ApiError):
    """The object is in a state, or has a name, that forbids the operation (409).

    Try: the same again, when what else works on the object has ended.
    """


def _spoken(operation: str) -> str:
    """ContainerCreate -> container create."""
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in operation).strip()


class NodeError(KindasyncError):
    """Something in one node, or in the image it is made of, failed."""


class ImageUnusable(NodeError):
    """The image is not there and cannot be pulled, is not a node image, or is of another architecture.

    Try: name another image (`image=`, `--image`), or build one: `kindasync build node-image`.
    """


class ExecFailed(NodeError):
    """A program in a node, or in a pod, ended with another exit code than 0.

    Shape: `argv` as it was run, `exit_code`, `output_tail` its last lines.
    Try: see what the last lines say. `check=False` gives the result instead of the error.
    """

    def __init__(self, name: str, argv: Sequence[str], exit_code: int, output_tail: str, *, hint: str = "", kind: str = "node") -> None:
        super().__init__(
            f'"{" ".join(argv)}" failed in {kind} {name}',
            why=f"it ended with exit code {exit_code}",
            hint=hint,
            evidence=output_tail,
        )
        self.argv = tuple(argv)
        self.exit_code = exit_code
        self.output_tail = self.evidence


class BootFailed(NodeError):
    """A node died, or did not reach the next line of the boot protocol in time.

    Try: `kindasync doctor`: it looks at what usually is the cause. `evidence` has the last lines of the node's console; `retain` keeps the node.
    """


class ClusterError(KindasyncError):
    """Something about a whole cluster failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong in a configuration: where (`path`, such as "nodes[1].extraPortMappings[0].hostPort"), and what (`message`)."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class ConfigInvalid(ClusterError):
    """The configuration has `problems`; nothing was created.

    Try: mend all that is listed; `kindasync config schema` lets editors point at it.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        noun = "problem" if len(problems) == 1 else "problems"
        super().__init__(
            f"the cluster configuration has {len(problems)} {noun}",
            why="\n".join(str(problem) for problem in problems),
            hint="mend what is listed; nothing was created",
        )
        self.problems = tuple(problems)


class AlreadyExists(ClusterError):
    """A cluster of that name is there already, or being made by someone else.

    Try: another name, or `kindasync delete cluster --name NAME`; `kindasync gc` removes what a killed process has left.
    """


class ClusterNotFound(ClusterError):
    """No container of the Engine belongs to a cluster of that name.

    Try: `kindasync get clusters`; another Engine may be meant (DOCKER_HOST, docker context).
    """


class PoolEmpty(ClusterError):
    """No cluster is parked in the pool.

    Try: `kindasync pool fill POOL --size N`, or a cluster that is made now: `kindasync create cluster`.
    """


class StepFailed(ClusterError):
    """One step of an operation failed, in one node or several.

    Shape: `step`, a verb phrase such as "start nodes"; `failures`, the errors of the nodes, first one first.
    Try: do what `hint` says, which is that of the first failure; each of `failures` has its own.
    """

    def __init__(self, step: str, cluster: str, failures: Sequence[KindasyncError]) -> None:
        first = failures[0]
        others = "".join(f"\n{failure.what}: {failure.why}" for failure in failures[1:])
        super().__init__(
            f'cannot {step} of cluster "{cluster}": {first.what}',
            why=first.why + others,
            hint=first.hint,
            evidence=first.evidence,
        )
        self.step = step
        self.failures = tuple(failures)


class NotReady(ClusterError):
    """A wait expired.

    Shape: `awaited`, what was waited for; `last_state`, what was seen last.
    Try: a longer wait (`wait_s`, `timeout_s`, `--wait`) on a busy machine; `retain` keeps the nodes of a create, to look at them.
    """

    def __init__(self, awaited: str, last_state: str, *, after_s: float, hint: str = "") -> None:
        super().__init__(f"waited {after_s:g} s in vain for {awaited}", why=f"last seen: {last_state}", hint=hint)
        self.awaited = awaited
        self.last_state = last_state

    def add_evidence(self, text: str) -> None:
        """Show `text`, such as the log of what was waited for, with the error."""
        self.evidence = redacted(text)


class ApiRefused(ClusterError):
    """The cluster's API server refused a request.

    Shape: `status` of HTTP; `reason`, that of the Status object, such as "NotFound"; its message is in `why`.
    Try: what `why` says; for objects, `kindasync kubectl explain KIND`.
    Source: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/.
    """

    def __init__(self, method: str, path: str, status: int, body: str) -> None:
        try:
            document = json.loads(body)
            message, self.reason = str(document.get("message", body)), str(document.get("reason", ""))
        except (ValueError, AttributeError):
            message, self.reason = body, ""
        super().__init__(f"the API server refused {method} {path}", why=f"{status} {self.reason}: {message}")
        self.status = status


class ApiUnreachable(ClusterError):
    """No connection to the cluster's API server could be made, or it was lost.

    Try: `kindasync get nodes -o wide`: is the cluster stopped, or restarting? A remote Engine's host has to let the API server's port through.
    """


class KindUnknown(ClusterError):
    """The cluster's API server serves no such kind of objects.

    Try: the plural's spelling, with its group: "widgets.example.com"; or apply the kind's CustomResourceDefinition first.
    """

    def __init__(self, kind: str, api_version: str = "") -> None:
        super().__init__(
            f'the cluster knows no kind "{kind}"' + (f" in {api_version}" if api_version else ""),
            hint="is its CustomResourceDefinition there?",
        )


class LeftBehind(ClusterError):
    """An operation could not remove all that it had to.

    Shape: `objects`, such as "container demo-control-plane".
    Try: the same again; or remove what `objects` names.
    """

    def __init__(self, what: str, objects: Sequence[str], *, why: str) -> None:
        super().__init__(what, why=why, hint="run the same again, or remove them: " + ", ".join(objects))
        self.objects = tuple(objects)


class BuildFailed(KindasyncError):
    """A step of an image build failed.

    Shape: `step`; `evidence` holds the last lines that it printed.
    Try: see what the last lines say; the same again goes on with the step that failed.
    """

    def __init__(self, step: str, why: str, output_tail: str, *, hint: str = "") -> None:
        super().__init__(f"cannot {step}", why=why, hint=hint, evidence=output_tail)
        self.step = step


@contextmanager
def one_error() -> Iterator[None]:
    """Raise the error that explains the others, where a task group would raise a group.

    A node's death explains why what was done in it failed. The others become notes. Anything that is no KindasyncError (a
    bug, cancellation) is raised as it is.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        chosen, *others = sorted(leaves(group), key=lambda leaf: (isinstance(leaf, KindasyncError), not _is_death(leaf)))
        for other in others:
            if str(other) != str(chosen):
                chosen.add_note(f"at the same time: {other}")
        raise chosen from chosen.__cause__


def _is_death(error: BaseException) -> bool:
    return isinstance(error, BootFailed) or any(isinstance(failure, BootFailed) for failure in getattr(error, "failures", ()))


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors of a group, and of groups in it; else `error` itself."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from leaves(each)
    else:
        yield error
