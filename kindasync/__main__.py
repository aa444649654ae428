"""python -m kindasync: the command."""

from kindasync.cli._main import run

run()
