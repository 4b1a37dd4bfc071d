"""A run under way: what happens after each step, on Ctrl-C, and at the end."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from engine import allocation, cuda_errors, files
from engine.adapters.base import Diverged, NothingLearned
from engine.console import Meter
from engine.cuda_errors import CardError
from engine.data.batches import Batch
from engine.errors import UserError, plural
from engine.optimization.optimizers import find_optimizer
from engine.training import facts, loop, memory
from engine.training.assembly import Networks
from engine.training.export import Exporter, due
from engine.training.loop import Interrupted, Update
from engine.training.metadata import Facts
from engine.training.metrics import Sums
from engine.training.optim import Optimization
from engine.training.previews import Previews, RunningPreviews
from engine.training.progress import Log, Progress
from engine.training.run import Run
from engine.training.runfolder import RunFolder
from engine.training.step import Step
from engine.training.stop import Stop
from engine.vram import less


@dataclass(frozen=True)
class Result:
    """What a run leaves behind. `losses` holds the mean loss of each log interval by the step it ended with."""

    file: Path
    step: int
    losses: dict[int, float]
    interrupted: bool


_CONTINUES = "the training continues"
_SPACE = f"{_CONTINUES}; free some space before its end"


class Session:
    """Trains, previews and saves, and says at the end what there is and how to use it."""

    def __init__(self, run: Run, folder: RunFolder, networks: Networks, optimization: Optimization, previews: Previews, stop: Stop) -> None:
        self._run = run
        self._folder = folder
        self._networks = networks
        self._optimization = optimization
        self._previews = previews
        self._pictures: RunningPreviews | None = None
        config, plan = run.config, run.plan
        self._exporter = Exporter(folder, networks.methods, config, _facts(run, folder.name, optimization))
        self._sums = Sums(run.compute.device)
        self.size = self._exporter.size(plan.epochs, plan.total_steps)  # bytes of the file to come
        self._stop = stop
        self._less = less.for_steps(config, on_card=run.compute.device.type == "cuda")
        self._memory = memory.Watch(run.compute.device, self._less)
        self._meter = Meter(run.reporter, plan.total_steps, plan.epochs)
        self._progress = Progress(
            self._meter,
            self._sums,
            optimization.names,
            every=config.log.log_every_n_steps,
            total=plan.total_steps,
            window=max(plan.order.steps_in(1), 100),
            device=run.compute.device,
            log=_log(run, folder.name),
            skips=optimization.skips,
        )
        self._at = Update(0, 1, (), 0, False)
        self._saved: Path | None = None  # the file of the last step, at the end or where an error ended the run

    def train(self, step: Step, batches: Iterator[Batch]) -> Result:
        """Run all steps. An interruption saves what was trained, and so does an error that is none of the training's own."""
        self._stop.gently()
        try:
            files.require_space(self._folder.path, self.size)
            return self._finished() if self._steps(step, batches) else self._interrupted()
        except BaseException as error:
            self._leave(error)
            if isinstance(error, Diverged):
                raise UserError(f"{error.message}; {self._told_of_files()}", error.hint, where=error.where) from error
            card = cuda_errors.explained(error, self._less, on_card=self._run.compute.device.type == "cuda")
            if card is not None:
                self._run.reporter.record("".join(traceback.format_exception(error)))  # the screen shows the message alone
                raise CardError(card.kind, f"{card.message}; {self._told_of_files()}", card.hint) from error
            raise
        finally:
            self._progress.close()

    def _steps(self, step: Step, batches: Iterator[Batch]) -> bool:
        """The base model's pictures and all steps; False where the user stopped them."""
        with self._meter.shown(0):
            try:
                with self._progress.aside():
                    self._pictures = self._previews.start(self._networks, self._folder, self._drawing)
                loop.run(
                    self._run.plan.updates(),
                    batches,
                    step,
                    self._optimization,
                    self._networks.methods,
                    self._sums,
                    self._after,
                    self._stop,
                )
            except Interrupted:
                return self._at.step == self._run.plan.total_steps
            except Diverged:
                raise
            except Exception as error:
                self._rescue(error)
                raise
        return True

    def _drawing(self, picture: int, pictures: int, step: int, steps: int) -> None:
        """A sample picture is under way. Raises Interrupted where the user asked to stop."""
        if self._stop():
            raise Interrupted
        self._meter.meanwhile(f"sample picture {picture} of {pictures}, step {step} of {steps}")

    def _after(self, update: Update) -> None:
        self._at = update
        self._progress.after(update, self._optimization.rates(update.step - 1))
        if update.step % self._run.config.log.log_every_n_steps == 0 and (told := self._memory.look()):
            self._run.reporter.notice(told)
        if update.step == self._run.plan.total_steps:
            return  # the end saves and previews by itself
        save, now = self._run.config.save, (update.epoch, update.step)
        with self._progress.paused():
            if due(save.save_every_n_epochs, None, update):
                self._attempt(lambda: self._exporter.after_epoch(*now), _SPACE)
            if due(None, save.save_every_n_steps, update):
                self._attempt(lambda: self._exporter.after_step(*now), _SPACE)
        if self._pictures and self._previews.due(update):
            self._show(update, _CONTINUES)

    def _attempt(self, write: Callable[[], object], otherwise: str) -> None:
        """Write something that the run can do without; where disk or memory refuse, say so, and what is true `otherwise`."""
        try:
            write()
        except Diverged:
            raise
        except NothingLearned as error:
            self._run.reporter.notice(f"no file is saved after step {self._at.step}: {error.message}")
        except UserError as error:
            if isinstance(error, CardError) and not error.kind.answers:
                raise
            self._run.reporter.notice(f"{error}\n{otherwise}")

    def _show(self, update: Update, otherwise: str) -> None:
        """The sample pictures of this step, where there are prompts."""
        pictures = self._pictures
        if pictures:
            with self._progress.aside():
                self._attempt(lambda: pictures.make(update, self._progress.running_loss), otherwise)

    def _finished(self) -> Result:
        run, at, say = self._run, self._at, self._run.reporter.say
        file = self._save_last(self._folder.final)
        run.reporter.heading(f"Done: {plural(at.step, 'step')}")
        self._tell_skipped()
        say(f"file         {file} ({file.stat().st_size / 2**20:.1f} MiB)")
        try:
            self._show(at, "the LoRA itself is saved")
        except Interrupted:
            run.reporter.notice("the last sample pictures were not made")
        if self._pictures:
            say(f"pictures     {self._pictures.page}")
        words = facts.trigger_words(run.plan.order.scan)
        say(f"words        {', '.join(words) or 'none: the captions were empty'}")
        lines = [line for method in self._networks.methods for line in method.advice(self._folder.name, file)]
        for number, (program, how) in enumerate(lines):
            say(f"{'to use it' if number == 0 else '':<12} {program}: {how}")
        return Result(file, at.step, self._progress.losses, False)

    def _interrupted(self) -> Result:
        run, at = self._run, self._at
        if at.step == 0:
            raise KeyboardInterrupt
        try:
            file = self._save_last(self._folder.at_step(at.step))
        except NothingLearned as error:
            run.reporter.notice(f"stopped after step {at.step}; no file is saved: {error.message}")
            raise KeyboardInterrupt from error
        run.reporter.heading(f"Stopped after step {at.step} of {run.plan.total_steps}; what was trained is saved")
        self._tell_skipped()
        run.reporter.say(f"file         {file}")
        run.reporter.say(f"to go on     run again with network_weights = {file} (the optimizer starts afresh)")
        return Result(file, at.step, self._progress.losses, True)

    def _save_last(self, path: Path) -> Path:
        """Save what the run leaves behind; the way to it counts from anywhere. Raises NothingLearned where that is nothing."""
        self._progress.count_rest()
        self._require_effect()
        with self._stop.saving():
            self._saved = self._exporter.last(path, self._at.epoch, self._at.step)[0].resolve()
        return self._saved

    def _require_effect(self) -> None:
        """Raise NothingLearned where no step of the run can have changed anything."""
        steps, optimization = self._at.step, self._optimization
        if self._progress.skipped >= steps:
            told = f"nothing was learned: {plural(steps, 'step')} of {steps} left out, whose gradient overflowed in fp16"
            raise NothingLearned(told, "set mixed_precision = bf16 (RTX 30 and newer) or no", where="mixed_precision")
        if optimization.follows_rule and not any(rate for step in range(steps) for rate in optimization.rates(step)):
            told = f"nothing was learned: the learning rate was 0 until the end of step {steps}"
            raise NothingLearned(told, "train for more steps, or change lr_warmup_steps or lr_scheduler", where="lr_scheduler")

    def _tell_skipped(self) -> None:
        """How many steps changed nothing."""
        skipped = self._progress.skipped
        if skipped:
            self._run.reporter.say(f"left out     {plural(skipped, 'step')} of {self._at.step}, whose gradient overflowed in fp16")

    def _rescue(self, error: Exception) -> None:
        """Save what was trained, before the error that ends the run is raised again."""
        if self._at.step == 0:
            return
        traceback.clear_frames(error.__traceback__)  # they hold the activations of the step that failed
        with contextlib.suppress(RuntimeError):
            allocation.give_back(self._run.compute.device)
        path = self._folder.at_step(self._at.step)
        try:
            with self._stop.saving():
                self._exporter.save(path, self._at.epoch, self._at.step)
        except NothingLearned as lacking:
            self._run.reporter.notice(f"no file is saved: {lacking.message}")
        except UserError as refusal:
            self._run.reporter.notice(f"what was trained could not be saved: {refusal}")
        except (RuntimeError, MemoryError) as silence:  # a card that does not answer any more
            told = f"what was trained since the last file is lost: it could not be read ({cuda_errors.reported(silence)})"
            self._run.reporter.notice(told)
        else:
            self._saved = path.resolve()
            self._run.reporter.notice(f"what was trained until step {self._at.step} is saved: {self._saved}")

    def _leave(self, error: BaseException) -> None:
        """The log says what ended the run; a run that trained nothing leaves its name free for the next try."""
        if self._at.step == 0:
            self._folder.give_up()
        else:
            self._run.reporter.record(f"ended by: {error or type(error).__name__}")

    def _told_of_files(self) -> str:
        """What there is of the steps that were made."""
        if self._saved is not None:
            return f"what was trained until step {self._at.step} is saved: {self._saved}"
        if self._at.step == 0:
            return "nothing had been trained yet"
        kept = [str(path) for path in self._exporter.kept]
        return f"files of earlier steps are kept: {', '.join(kept)}" if kept else "no file had been saved yet"


def _facts(run: Run, name: str, optimization: Optimization) -> Facts:
    """What the saved files say of the run."""
    row = find_optimizer(run.config.optimizer.optimizer_type)
    return facts.gather(run, name, row, optimization.rule.warmup)


def _log(run: Run, name: str) -> Log | None:
    """TensorBoard's log, in a folder that no other run has written to: two runs in one would be drawn as one."""
    settings = run.config.log
    if not settings.logging_dir:
        return None
    wanted = Path(settings.logging_dir) / f"{settings.log_prefix or ''}{name}"
    folder, number = wanted, 1
    while files.is_there(folder):
        number += 1
        folder = wanted.with_name(f"{wanted.name}_{number}")
    return Log(folder, run.reporter.notice)
