"""The composition root of a run: settings in, a trained file out. Sample pictures come with it.

Read `train` for the order of things: whatever can be refused is refused first, and what needs memory is dropped before the next is loaded.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from engine import allocation, device, files, models
from engine.config.report import dump
from engine.config.schema import Config
from engine.console import Reporter
from engine.data.batches import Batch, Collator, Reader
from engine.data.order import Order
from engine.data.scan import require_usable
from engine.diffusion.objective import Draw, Objective, draw
from engine.diffusion.schedule import schedule
from engine.errors import UserError
from engine.models.base_model import Base, open_base
from engine.optimization.optimizers import find_optimizer
from engine.optimization.schedules import find_schedule
from engine.tools.pictures import read_pictures
from engine.training import attention, forecast, methods, runfolder
from engine.training.assembly import Networks, assemble
from engine.training.encoding import TextEncoder, cache_latents, prepare_text
from engine.training.introduction import introduce
from engine.training.optim import (
    Optimization,
    RateRule,
    chooses_own_rate,
    make_optimizer,
    notices,
    require_available,
)
from engine.training.plan import Plan, make_plan
from engine.training.previews import Previews, plan_shots, prepare_previews
from engine.training.run import Run
from engine.training.runfolder import RunFolder
from engine.training.session import Result, Session
from engine.training.step import Step
from engine.training.stop import Stop, stop_on_ctrl_c
from engine.vram import less


@dataclass(frozen=True)
class Ready:
    """A run with everything in memory that its steps need."""

    run: Run
    networks: Networks
    step: Step
    collate: Collator
    previews: Previews


def train(config: Config, told: Sequence[str] = (), reporter: Reporter | None = None) -> Result:
    """Run one training. `told` are notices from loading the settings. Raises UserError for whatever the user can mend."""
    run = understand(config, told, reporter or Reporter(plain=config.log.console_log_simple))
    hint = less.for_steps(config, on_card=run.compute.device.type == "cuda")
    with stop_on_ctrl_c(run.reporter.notice) as stop, allocation.explained(run.compute.device, hint):
        folder = claim_folder(run)
        try:
            introduce(run, folder.name)
            return go(load(run), folder, stop)
        except BaseException:
            if not stop.gentle:  # nothing was trained: the name stays free for the next try
                folder.give_up()
            raise


def load(run: Run) -> Ready:
    """Encode what the caches lack, then load what is trained.

    A network that is no longer needed is dropped before the next is loaded, and what it took of the card is given back.
    """
    config, scan = run.config, run.plan.order.scan
    latents = cache_latents(config, run.base, run.compute, scan, run.reporter)
    allocation.new_phase(run.compute.device)
    encoder = TextEncoder(config, run.base, run.compute)
    text = prepare_text(config, encoder, run.compute, run.plan, run.trained_text, run.reporter)
    previews = prepare_previews(run, text, encoder)
    encoder.drop()
    allocation.new_phase(run.compute.device)
    networks = assemble(config, run.base, run.compute, text.encoders, run.chosen.rates)
    allocation.new_phase(run.compute.device)
    collate = Collator(
        scan,
        latents,
        _draw(config),
        config.training.seed,
        run.plan.total_steps,
        condition=text.condition,
        tokenize=text.tokenize,
        prior_loss_weight=config.data.prior_loss_weight,
    )
    return Ready(run, networks, make_step(run, networks), collate, previews)


def go(loaded: Ready, folder: RunFolder, stop: Stop) -> Result:
    """Train, preview and save into the run's folder."""
    run = loaded.run
    session = Session(run, folder, loaded.networks, make_optimization(run, loaded.networks), loaded.previews, stop)
    with batches(loaded) as made:
        first = next(made)
        forecast.tell(run, loaded.step, loaded.networks.methods, first, session.size)
        return session.train(loaded.step, itertools.chain([first], made))


@contextmanager
def batches(loaded: Ready) -> Iterator[Iterator[Batch]]:
    """The run's batches in order. With a GPU a thread makes them one ahead; on a CPU each is made before its step.

    A thread would gain nothing on a CPU, and would cost a tenth of a step of full-size SD 1.5 on two cores. Once there are more computing
    threads than cores, torch's own (GNU OpenMP) sleep between two operations, and waking them takes time.
    """
    plan = loaded.run.plan.order.batches()
    if loaded.run.compute.device.type == "cpu":
        yield map(loaded.collate, plan)
        return
    with Reader(plan, loaded.collate, pin=True) as reader:
        yield iter(reader)


def fill_caches(config: Config, told: Sequence[str] = (), reporter: Reporter | None = None) -> None:
    """Encode pictures, and captions where the text encoders are not trained, for later runs; train nothing."""
    reporter = reporter or Reporter(plain=config.log.console_log_simple)
    run = understand(config, told, reporter)
    with allocation.explained(run.compute.device, less.for_latents(config)):
        cache_latents(config, run.base, run.compute, run.plan.order.scan, reporter)
        if run.trained_text:
            reporter.notice("captions are not cached: their encoders are to be trained (network_train_unet_only = true leaves them alone)")
            return
        allocation.new_phase(run.compute.device)
        prepare_text(config, TextEncoder(config, run.base, run.compute), run.compute, run.plan, frozenset(), reporter)


def understand(config: Config, told: Sequence[str], reporter: Reporter) -> Run:
    """Decide everything that needs no network, and refuse what cannot work. Nothing is written."""
    compute, on_device = device.choose(config.training.device, config.training.mixed_precision)
    require_available(find_optimizer(config.optimizer.optimizer_type), compute.device)
    config, on_attention = attention.settle(config, compute)
    base, on_base = open_base(
        config.model.pretrained_model_name_or_path or "",
        Path(config.data.cache_dir),
        family=config.model.family,
        vae=config.model.vae,
        v_parameterization=config.model.v_parameterization,
        zero_terminal_snr=config.model.zero_terminal_snr,
        clip_skip=config.model.clip_skip,
    )
    _objective(config, base).check(schedule(base.zero_terminal_snr), config.objective.min_timestep, config.objective.max_timestep)
    chosen, on_parts = methods.chosen(config, base)
    row = models.row_of(base.checkpoint)
    pictures = require_usable(read_pictures(config.data, row.default_resolution, row.max_bucket))
    shots = plan_shots(config, pictures.datasets[0].buckets.resolution)
    order = Order(pictures, config.training.seed, accumulation=config.training.gradient_accumulation_steps)
    plan = make_plan(order, config.training.max_train_steps, config.training.max_train_epochs)
    for notice in (*told, *on_device, *on_attention, *on_base, *on_parts, *pictures.notes):
        reporter.notice(notice)
    return Run(config, compute, base, plan, chosen, shots, reporter)


def claim_folder(run: Run) -> RunFolder:
    """A folder for this run alone, in which its settings and its log lie already."""
    config, given = run.config, run.config.save.output_name
    wanted = runfolder.file_name(given or _default_name(config, run.plan))
    folder = runfolder.claim(Path(config.save.output_dir), wanted)
    try:
        folder.require_names(run.plan.total_steps, run.shots)
        run.reporter.log_to(folder.path / runfolder.LOG)
        files.write_text(folder.path / runfolder.SETTINGS, dump(config))
    except UserError:
        folder.give_up()
        raise
    if given and wanted not in (given, given[: -len(".safetensors")]):
        run.reporter.notice(f"output_name `{given}` cannot be the name of a file: this run is called `{wanted}`")
    if folder.name != wanted:
        earlier = folder.path.parent / wanted
        run.reporter.notice(f"{earlier} holds an earlier run and is kept; this one is called `{folder.name}` (output_name chooses a name)")
    return folder


def make_step(run: Run, networks: Networks) -> Step:
    """The micro-step of this run."""
    config, base, compute = run.config, run.base, run.compute
    return Step(
        base.family,
        networks.unet,
        networks.encoders,
        _objective(config, base),
        schedule(base.zero_terminal_snr).to(compute.device),
        compute.device,
        compute.dtype,
        config.model.clip_skip,
        run.chosen.trains,
    )


def _objective(config: Config, base: Base) -> Objective:
    """What the settings and the base model make of the loss."""
    settings = config.objective
    return Objective(base.prediction, min_snr_gamma=settings.min_snr_gamma, debiased_estimation=settings.debiased_estimation_loss)


def make_optimization(run: Run, networks: Networks) -> Optimization:
    """The optimizer over the method's parameters, with its schedule."""
    settings, compute = run.config.optimizer, run.compute
    groups = [group for method in networks.methods for group in method.parameter_groups()]
    row = find_optimizer(settings.optimizer_type)
    optimizer = make_optimizer(row, groups, settings.optimizer_args)
    for notice in notices(row, settings.optimizer_args, groups, settings.lr_scheduler):
        run.reporter.notice(notice)
    rule = RateRule(
        find_schedule(settings.lr_scheduler),
        run.plan.total_steps,
        settings.warmup(run.plan.total_steps),
        settings.lr_scheduler_num_cycles,
        settings.lr_scheduler_power,
    )
    return Optimization(
        optimizer,
        groups,
        rule,
        max_grad_norm=settings.max_grad_norm,
        scaler=compute.make_scaler(),
        follows_rule=not chooses_own_rate(row, settings.optimizer_args),
    )


def _draw(config: Config) -> Callable[[int, tuple[int, ...]], Draw]:
    """What draws timestep and noise of a sample, by its number in the run."""
    objective = config.objective
    return functools.partial(
        draw,
        config.training.seed,
        min_timestep=objective.min_timestep,
        max_timestep=objective.max_timestep,
        noise_offset=objective.noise_offset,
    )


def _default_name(config: Config, plan: Plan) -> str:
    """The text of the only concept folder, else the name of the folder that holds them."""
    texts = [subset.class_tokens for subset in plan.order.scan.subsets if not subset.is_reg and subset.class_tokens]
    if len(set(texts)) == 1:
        return texts[0]
    return Path(config.data.train_data_dir or config.data.datasets[0].subsets[0].image_dir).resolve().stem
