"""What has changed: this line is new, and pytest-kind is not installed any more."""

pytest_plugins = ["kindasync.pytest_kind"]
