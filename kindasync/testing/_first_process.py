"""First process of a container of the fake: what comes of it at a start, a signal and a stop."""

from __future__ import annotations

import signal

from kindasync.testing._nodes import Behaviour, program_of, signalled, started
from kindasync.testing._refused import Refused
from kindasync.testing._state import FakeContainer, State

_KILLED = 128 + signal.SIGKILL.value
_PROGRAM_MISSING = 127
_REAL_TIME = {"SIGRTMIN+3": signal.SIGRTMIN + 3}  # systemd's order to halt


def start(state: State, container: FakeContainer, behaviour: Behaviour) -> bool:
    """Start the container; False if it runs already. An image whose program the fake does not know just runs."""
    program = program_of(container.command, behaviour) if container.command else None
    if container.command and not program:
        why = f'exec: "{container.command[0]}": executable file not found in $PATH: unknown'
        container.error = f"failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: {why}"
        container.exit_code = _PROGRAM_MISSING
        raise Refused(400, container.error)
    if not state.start(container):
        return False
    if program:
        result = program(container, container.command, b"")
        container.on_signal = result.on_signal
        container.print(result.stdout + result.stderr)
        if not result.hangs:
            state.end(container, result.exit_code)
    else:
        started(container, behaviour)
    return True


def kill(state: State, container: FakeContainer, name: str, behaviour: Behaviour) -> None:
    """Send a signal, by name or number."""
    name, number = _signal(name)
    state.emit_of(container, "kill", signal=str(number))
    if number == signal.SIGKILL:
        state.end(container, _KILLED)
        return
    container.signals.append(name)
    if not container.command:
        signalled(container, name, behaviour)
    elif name in container.on_signal:
        result = container.on_signal[name]
        container.print(result.stdout + result.stderr)
        if not result.hangs:
            state.end(container, result.exit_code)


def stop(state: State, container: FakeContainer, behaviour: Behaviour) -> bool:
    """The image's stop signal, then SIGKILL; False if it does not run. A node halts at once."""
    if not container.running:
        return False
    if container.command:
        kill(state, container, container.image.stop_signal, behaviour)
        if container.running:
            kill(state, container, "SIGKILL", behaviour)
    else:
        state.emit_of(container, "kill", signal=str(_signal(container.image.stop_signal)[1]))
        state.end(container, 0)
    state.emit_of(container, "stop")
    return True


def restart(state: State, container: FakeContainer, behaviour: Behaviour) -> None:
    stop(state, container, behaviour)
    start(state, container, behaviour)
    state.emit_of(container, "restart")


def _signal(name: str) -> tuple[str, int]:
    if name.isdecimal() and int(name) in set(signal.Signals):
        return signal.Signals(int(name)).name, int(name)
    full = name.upper() if name.upper().startswith("SIG") else f"SIG{name.upper()}"
    if full in _REAL_TIME:
        return full, _REAL_TIME[full]
    if full in signal.Signals.__members__:
        return full, signal.Signals[full].value
    raise Refused(400, f"invalid signal: {name}")
