"""One network of a file: described, and every tensor accounted for.

The description comes from the shapes. Errors name tensors as the user's file does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.errors import UserError
from engine.models import blueprint, keymap
from engine.models.keymap import Kind, Renaming
from engine.models.refusals import few
from engine.models.specs import Shapes, Spec, Unfit

_INCOMPLETE = "the file is incomplete or a variant that is not supported: download it again, or give another model"


@dataclass(frozen=True)
class FileNetwork:
    """The tensors of one network, as a file or folder has them, and how they are renamed."""

    what: str  # for messages: "Stable Diffusion 1.x unet"
    path: Path
    prefix: str
    kind: Kind
    renaming: Renaming
    renamed: Shapes  # in diffusers' names

    @classmethod
    def of_file(cls, what: str, path: Path, prefix: str, kind: Kind, shapes: Shapes) -> FileNetwork:
        """A network in the original layout; `shapes` without the prefix."""
        renaming = keymap.to_diffusers(kind, shapes)
        return cls(what, path, prefix, kind, renaming, renaming.shapes(shapes))

    @classmethod
    def of_folder(cls, what: str, path: Path, prefix: str, kind: Kind, shapes: Shapes) -> FileNetwork:
        """A network in diffusers' names."""
        renaming = keymap.in_folder(kind, shapes)
        return cls(what, path, prefix, kind, renaming, renaming.shapes(shapes))

    def described(self, describe: Callable[[Shapes], Spec]) -> Spec:
        """What `describe` makes of the shapes. Raises UserError where they fit no rule."""
        try:
            return describe(self.renamed)
        except Unfit as error:
            name = self._in_file([error.name], {**self.renamed, error.name: ()})[0]
            raise UserError(f"`{name}` of the {self.what} {error.message}", _INCOMPLETE, where=str(self.path)) from error

    def account(self, spec: Spec) -> None:
        """Nothing missing, nothing extra, every shape right. Raises UserError with the first few names and how many there are."""
        expected = blueprint.tensors(spec)
        there = {name: shape for name, shape in self.renamed.items() if name != keymap.LOGIT_SCALE}
        missing = self._in_file([name for name in expected if name not in there], expected)
        if missing:
            raise UserError(f"the {self.what} misses {_tensors(len(missing))}: {few(missing)}", _INCOMPLETE, where=str(self.path))
        leftovers = [f"{self.prefix}{name}" for name in self.renaming.leftovers]
        extra = leftovers + self._in_file([name for name in there if name not in expected], there)
        if extra:
            raise extra_tensors(extra, self.what, self.path)
        for name, shape in expected.items():
            if there[name] != shape:
                own = self._in_file([name], expected)[0]
                raise UserError(
                    f"`{own}` of the {self.what} is {list(there[name])}; its other tensors need {list(shape)}",
                    "this is a variant that is not supported",
                    where=str(self.path),
                )

    def _in_file(self, names: Sequence[str], shapes: Shapes) -> list[str]:
        """Diffusers names -> the names that the user's file has, or would have; joined tensors once."""
        table = {target: move.sources[0] for move in self.renaming.moves for target in move.targets}
        if self.prefix and any(name not in table for name in names):
            table = {source: move.targets[0] for move in keymap.to_original(self.kind, shapes).moves for source in move.sources} | table
        return list(dict.fromkeys(f"{self.prefix}{table.get(name, name)}" for name in names))


def extra_tensors(names: Sequence[str], what: str, path: Path) -> UserError:
    """The error for tensors that no network has."""
    return UserError(
        f"the file has {_tensors(len(names))} that a {what} does not have: {few(names)}",
        "this is a variant that is not supported, or other things were saved into the file; give the model without them",
        where=str(path),
    )


def _tensors(number: int) -> str:
    return "1 tensor" if number == 1 else f"{number:,} tensors"
