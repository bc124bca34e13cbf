"""One run: config → record."""

import logging
import signal
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from thawlab import advising, batch_finder, beforehand, checkpoints, disk, mistakes, show
from thawlab.advice import Advice
from thawlab.batch_finder import Found
from thawlab.checkpoints import Checkpoint
from thawlab.data.splits import load_splits, rows
from thawlab.diverging import Diverged
from thawlab.errors import UserError, causes, in_words
from thawlab.files import sweep_up
from thawlab.halving import halved, lost_a_worker, prepared_for, release, runs_out_of_memory
from thawlab.prepare import CheckpointSpec, Prepared, prepare, specs_anywhere
from thawlab.processes import from_main_process, is_main_process, launched_here, spread
from thawlab.quiet import quieten
from thawlab.record import Record, is_finished
from thawlab.run_files import MISTAKES, WEIGHTS, checksums, write_curves, write_images, write_predictions
from thawlab.saving import Journey, OtherRun
from thawlab.stopping import Stopped, by_signal, heeding
from thawlab.trainer import AUTO
from thawlab.training import Trained, cpu_threads, train

Config = Mapping[str, Any]
log = logging.getLogger(__name__)


def run(config: Config, folder: Path) -> Record:
    """Do one run, or go on with it where an earlier attempt was cut short, and leave its record in `folder`.

    Returns the record, however the run ended; of several processes, each returns the first one's. A UserError is
    recorded as refused and raised: nothing was trained. Ctrl-C and SIGTERM are recorded, what was reached is saved, and
    Stopped is raised.
    """
    quieten()
    record = Record(
        name=folder.name, status="running", config=dict(config), started=_now(), versions=beforehand.versions_of(config)
    )
    if launched_here(config["trainer"]):
        return spread(_for_each_process(record, config, folder), config, folder)
    with heeding(config["launch"]["timeout_minutes"]) as stops:
        return _attempt(record, config, Journey(folder, CheckpointSpec(**config["checkpoint"]), stops))


def _attempt(record: Record, config: Config, journey: Journey) -> Record:
    folder = journey.folder
    if not is_finished(folder):
        _begin(record, folder, anew=config["rerun"])
    try:
        record = _carry_out(record, config, journey)
    except UserError as error:
        _write_unless_finished(replace(_latest(record, folder), status="refused", reason=str(error)), folder)
        raise
    except (Stopped, KeyboardInterrupt, SystemExit) as error:
        stopped = error if isinstance(error, Stopped) else by_signal(signal.SIGINT)
        record = replace(_latest(record, folder), status=stopped.status, reason=stopped.reason)
        _write_unless_finished(record, folder)
        if stopped.status == "timeout":
            return record
        raise
    except Exception as error:  # a run that fails is recorded, and must not take the rest of a sweep with it
        log.error("%s", traceback.format_exc())
        status, reason = _how_it_failed(error, folder)
        record = replace(_latest(record, folder), status=status, reason=reason)
    if record.costs:
        record.costs["seconds"]["total"] = journey.seconds
    record = replace(record, ended=_now())
    if record.status == "finished":
        _write(record, folder)
    else:
        _write_unless_finished(record, folder)
    if record.status == "finished" and is_main_process():
        checkpoints.clear(folder)
    return record


def _how_it_failed(error: Exception, folder: Path) -> tuple[str, str]:
    if isinstance(error, Diverged):
        return "diverged", str(error)
    if runs_out_of_memory(error):
        return "out_of_memory", f"{in_words(error)}. Take a smaller trainer.batch_size, or trainer.checkpointing=true."
    if lost_a_worker(error):
        return "out_of_memory", (
            "a worker that loads images was killed, as the kernel does where memory is used up. "
            "Take fewer trainer.workers (0: none), or a smaller trainer.batch_size."
        )
    said = (disk.fault(cause, folder) for cause in causes(error) if _may_be_of(folder, cause))
    return "failed", next(filter(None, said), None) or f"{type(error).__name__}: {error}"


def _may_be_of(folder: Path, error: BaseException) -> bool:
    """Whether an error names no file, or one of this folder."""
    name = error.filename if isinstance(error, OSError) else None
    return name is None or Path(name).resolve().is_relative_to(folder.resolve())


def _write_unless_finished(record: Record, folder: Path) -> None:
    """A run again that never trains must not cost an earlier result."""
    if not is_finished(folder):
        _write(replace(record, ended=_now()), folder)


def _for_each_process(record: Record, config: Config, folder: Path) -> Callable[[Config, Path], Record]:
    """What each of several processes carries out: `run`, knowing what is automatic, which one alone can find."""
    if config["trainer"]["batch_size"] == AUTO or config["strategy"]["auto"]:
        try:
            prepare(config)
        except UserError as error:
            if not is_finished(folder):
                _write(replace(record, status="refused", reason=str(error), ended=_now()), folder)
            raise
    return partial(_run_knowing, batch_finder.known(), advising.known())


def _run_knowing(found: Mapping[str, Found], advised: Mapping[str, Advice], config: Config, folder: Path) -> Record:
    batch_finder.remember(found)
    advising.remember(advised)
    return run(config, folder)


def audit_only(config: Config) -> str:
    """The audit's table, without training."""
    prepared = prepare(config)
    splits = prepared.splits
    of = show.images(len(splits.train), len(splits.val), len(splits.test), len(splits.classes))
    return show.plan(beforehand.audit_rows(prepared), [of, *beforehand.lines(prepared)])


def changed(config: Config, folder: Path) -> str | None:
    """What the finished run in `folder` was made of that is another now; None: it would come out the same.

    Its config needs no comparison: it is in the folder's name. Raises UserError where the images are gone.
    """
    specs, data = specs_anywhere(config), Record.read(folder).data
    if load_splits(specs.dataset, specs.seed).fingerprint != data.get("fingerprint"):
        return "other images"
    # Records from before the digest was kept say nothing of their source.
    if data.get("source_digest", digest := beforehand.source_digest(config)) != digest:
        return "other source weights"
    return None


def _carry_out(record: Record, config: Config, journey: Journey) -> Record:
    """Train; where memory does not hold a batch, with half of it at a time from the last checkpoint on."""
    folder, anew, parts = journey.folder, config["rerun"], None
    while True:
        journey.go_on_from(None if anew else _sound_checkpoint(folder))
        journey.versions = record.versions
        prepared = _noted(prepared_for(config, journey.start, parts), journey)
        advice = prepared.advice.to_plain() if prepared.advice is not None else {}
        record = replace(record, plan=beforehand.plan_rows(prepared), data=beforehand.data_of(prepared), advice=advice)
        _begin(record, folder, anew=journey.start is None)
        if is_main_process():
            write_images(folder.parent, prepared.splits.fingerprint, rows(prepared.splits))
            _tell_of_beginning(record, prepared, journey)
        try:
            return _trained(record, prepared, journey)
        except Exception as error:
            parts = halved(prepared) if runs_out_of_memory(error) else None
            if parts is None:
                raise
            log.warning("%s", traceback.format_exc())
        anew = False
        del prepared
        release()


def _sound_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest checkpoint that is sound; those that are not are put aside, so that they are told of once."""
    return checkpoints.newest(folder, show.say if is_main_process() else log.info)


def _noted(prepared: Prepared, journey: Journey) -> Prepared:
    """With a note on what computes now and did not before: then the same bits cannot be promised."""
    before = journey.start.about["versions"] if journey.start is not None else journey.versions
    changed = [
        f"{name} {before.get(name)}, now {now}" for name, now in journey.versions.items() if before.get(name) != now
    ]
    if not changed:
        return prepared
    line = f"went on under other versions, so that the last bits may differ: before {'; '.join(changed)}"
    return replace(prepared, splits=replace(prepared.splits, notes=(*prepared.splits.notes, line)))


def _tell_of_beginning(record: Record, prepared: Prepared, journey: Journey) -> None:
    show.say(show.run_title(record, beforehand.lines(prepared)))
    show.say(show.plan(beforehand.audit_rows(prepared)))
    if journey.start is not None:
        epoch, step = journey.start.state["epoch"] + 1, journey.start.state["global_step"]
        saved, epochs = journey.start.about["saved"], prepared.specs.trainer.epochs
        place = "after its training" if journey.start.state["position"]["ended"] else f"in epoch {epoch}/{epochs}"
        show.say(f"  goes on {place} after optimizer step {step:,}, as saved at {saved}")


def _trained(record: Record, prepared: Prepared, journey: Journey) -> Record:
    try:
        with cpu_threads(prepared.specs.trainer.threads):
            trained = train(prepared, journey)
    except OtherRun:
        raise
    except UserError as error:  # an image that broke meanwhile: too late to refuse
        return replace(_latest(record, journey.folder), status="failed", reason=str(error))
    return from_main_process(lambda: _concluded(record, trained, journey.folder))


def _concluded(record: Record, trained: Trained, folder: Path) -> Record:
    if is_main_process():
        _leave_files(trained, folder)
        record = replace(record, files=checksums(folder, record.data["fingerprint"]))
    record = _with_results(record, trained)
    if not trained.audit.passed:
        broken = "; ".join(line for line in trained.audit.checks if "BROKEN" in line)
        return replace(record, status="failed", reason=f"the audit found a broken promise: {broken}")
    return replace(record, status="finished")


def _with_results(record: Record, trained: Trained) -> Record:
    return replace(
        record,
        metrics=trained.metrics,
        per_class=trained.per_class,
        confusion=trained.confusion,
        best_epoch=trained.best_epoch,
        costs=trained.costs,
        audit={"passed": trained.audit.passed, "checks": list(trained.audit.checks)},
    )


def _leave_files(trained: Trained, folder: Path) -> None:
    write_curves(folder, trained.curves)
    write_predictions(folder, trained.predictions)
    mistakes.leave(folder, trained.predictions, trained.prepared.splits.test.load)
    trained.save_weights(folder / WEIGHTS)


def _write(record: Record, folder: Path) -> None:
    if is_main_process():
        folder.mkdir(parents=True, exist_ok=True)
        record.write(folder)


def _latest(record: Record, folder: Path) -> Record:
    """What is recorded of this attempt: a run that fails keeps its plan and its data's fingerprint."""
    recorded = Record.read(folder) if is_main_process() else record
    return recorded if recorded.status == "running" else record


def _begin(record: Record, folder: Path, anew: bool) -> None:
    """Record a run as begun, without what an earlier attempt left: its curves must not mix with this one's.

    Unless it begins `anew`, with the checkpoints and TensorBoard's events up to them.
    """
    _write(record, folder)  # first: no record of a finished run may name files that are gone
    if is_main_process():
        sweep_up(folder)
        sweep_up(folder / checkpoints.FOLDER)
        sweep_up(folder / MISTAKES)
        sweep_up(folder.parent, idle=3600)  # seconds: others write there
        anew = anew or not checkpoints.exist(folder)
        for pattern in ("*.csv", f"{MISTAKES}/*", WEIGHTS, *(("events.out.tfevents.*",) if anew else ())):
            for path in folder.glob(pattern):
                path.unlink()
        if anew:
            checkpoints.clear(folder, aside=False)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
