"""One error: what several tasks raised, as the single error that a public call raises."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from kindasync.errors import BootFailed, KindasyncError


@contextmanager
def one_error() -> Iterator[None]:
    """Raise the error that explains the others, where a task group would raise a group.

    A node's death explains why what was done in it failed. The others become notes. Anything that is no KindasyncError (a
    bug, cancellation) is raised as it is.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        leaves = list(_leaves(group))
        foreign = [leaf for leaf in leaves if not isinstance(leaf, KindasyncError)]
        chosen, *others = foreign or sorted(leaves, key=lambda leaf: not _is_death(leaf))
        for other in others:
            if str(other) != str(chosen):
                chosen.add_note(f"at the same time: {other}")
        raise chosen from chosen.__cause__


def _is_death(error: BaseException) -> bool:
    return isinstance(error, BootFailed) or any(isinstance(failure, BootFailed) for failure in getattr(error, "failures", ()))


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
