"""What an operator asks of a task with `--data`, read before anything happens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyinfra.api.exceptions import DeployError

YES = ("yes", "y", "on", "true", "1")
NO = ("no", "n", "off", "false", "0")


class Asked:
    """The data of a task, key by key; what is wrong with it is told all at once.

    ```
    asked = Asked(host.data)
    homes = asked.yes("homes")
    asked.check()
    ```
    """

    def __init__(self, data: Any) -> None:
        """Of `host.data`, or of anything else with a `get`."""
        self.data, self.problems = data, list[str]()

    def yes(self, key: str) -> bool:
        """Whether it is said; not asked for is no."""
        value = self.data.get(key)
        said = str(value).lower()
        if value is not None and said not in YES + NO:
            self.problems.append(f"{key}={value}: say yes or no.")
        return said in YES

    def path(self, key: str) -> Path | None:
        """A file or a directory on this machine; `~` is somebody's home there."""
        value = self.text(key)
        if value is None:
            return None
        try:
            return Path(value).expanduser()
        except RuntimeError:
            self.problems.append(f"{key}={value}: there is no such home on this machine.")
            return None

    def needed_path(self, key: str, otherwise: str) -> Path:
        """The same of one that must be asked for; `check` says so where it is not.

        Args:
            key: of the data.
            otherwise: a sentence.
        """
        if self.data.get(key) in (None, ""):
            self.problems.append(otherwise)
            return Path()
        return self.path(key) or Path()

    def path_on_box(self, key: str) -> str | None:
        """A path on the box, from its root."""
        value = self.text(key)
        if value is not None and not value.startswith("/"):
            self.problems.append(f"{key}={value}: a path on the box begins with a slash.")
        return value

    def text(self, key: str) -> str | None:
        """What is said as it was written; pyinfra has made a number, or more, of what looks so."""
        value = self.data.get(key)
        if value is None:
            return None
        if not isinstance(value, str):
            self.problems.append(f"{key}={value} is no path to pyinfra: write {key}=./{value}.")
        elif not value:
            self.problems.append(f"{key}= is empty: say a path, or leave it out.")
        else:
            return value
        return None

    def not_both(self, one: str, other: str) -> None:
        """Refuse that two keys are asked for that exclude each other."""
        if self.data.get(one) is not None and self.data.get(other) is not None:
            self.problems.append(f"`{one}=` and `{other}=` exclude each other: say one of them.")

    def check(self) -> None:
        """End the task where something is wrong.

        Raises:
            DeployError: with a sentence for each problem.
        """
        if self.problems:
            raise DeployError(" ".join(self.problems))
