"""What was found wrong with values, and where each value came from. Problems are gathered, sorted and raised together."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.errors import UserError


@dataclass(frozen=True)
class Origin:
    """Where a value came from: a place in a file, an option of the command line, or neither (a default).

    `file` is the path as the user gave it, `line` counts from 1, `flag` is the option as written, such as `--network_dim`; `name` is what
    the file calls the setting, where that is not its key: `$lr`. `unset` is what a value is called that nobody set and that is not
    our default.
    """

    file: str = ""
    line: int = 0
    flag: str = ""
    name: str = ""
    unset: str = ""

    @property
    def given(self) -> bool:
        """Whether the user set the value."""
        return bool(self.file or self.flag)

    def __str__(self) -> str:
        if self.file:
            return f"{self.file}:{self.line}" if self.line else self.file
        return self.flag or self.unset or "default"

    def place(self, key: str) -> str:
        """The beginning of a message about `key`: where the reader finds it.

        >>> Origin("a.toml", 3).place("seed"), Origin(flag="--seed").place("seed"), Origin().place("seed")
        ('a.toml:3  seed', 'command line  --seed', 'settings  seed')
        """
        if self.file:
            shown = self.name or key
            return f"{self}  {shown}" if shown else str(self)
        return f"command line  {self.flag}" if self.flag else f"{self.unset or 'settings'}  {key}"


DEFAULT = Origin()


@dataclass(frozen=True)
class Problem:
    """One thing to mend. Its text is one line."""

    origin: Origin
    key: str
    message: str

    def __str__(self) -> str:
        return f"{self.origin.place(self.key)}: {self.message}"


class ConfigError(UserError):
    """Every problem of the settings, a line each; files first, in the order of their lines."""

    def __init__(self, problems: list[Problem], where: str = "in the settings") -> None:
        ordered = sorted(problems, key=lambda problem: (not problem.origin.file, problem.origin.file, problem.origin.line))
        self.problems = tuple(dict.fromkeys(ordered))
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        super().__init__("\n".join([f"{count} {where}", *(f"  {problem}" for problem in self.problems)]))


@dataclass
class Findings:
    """Problems and notices gathered while settings are read.

    `broken` holds the keys whose values could not be read; `unread` is true where a whole file, or a word of the command line, could not
    be: it may hold any key.
    """

    problems: list[Problem] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)
    unread: bool = False

    def problem(self, origin: Origin, key: str, message: str) -> None:
        """Note a problem; the run will not start."""
        self.problems.append(Problem(origin, key, message))

    def unreadable(self, origin: Origin, key: str, message: str) -> None:
        """Note that the key's value could not be read, so that no rule judges the default in its place."""
        self.problem(origin, key, message)
        self.broken.add(key)

    def notice(self, origin: Origin, key: str, message: str) -> None:
        """Note something the user should know; the run starts."""
        self.notices.append(f"{origin.place(key)}: {message}")
