"""A study by one command: every job checked, rates searched, the chosen ones run with every seed, a report written."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from thawlab import compose, launch, sweep
from thawlab.compose import Job
from thawlab.crashes import Ended
from thawlab.errors import UserError, visible
from thawlab.job import folder_of
from thawlab.naming import sweep_name
from thawlab.processes import launched_as_one_of_several
from thawlab.study.choosing import Chosen, choose, left_out
from thawlab.study.depth import body_stages
from thawlab.study.grid import check_free, key_of, sizes, targets
from thawlab.study.jobs import Laid, lay, unique
from thawlab.study.source import source_cost
from thawlab.study.spec import StudySpec
from thawlab.study_record import StudyRecord


def carry_out(arguments: Sequence[str], asked: Job, multirun: bool) -> int:
    """Do what is missing of a study, and write its report; the exit status: 0 if every planned run is finished, else 1.

    `asked` is the command line composed as one run. Raises UserError where any job cannot work, before the first
    starts, and `Stopped` after a signal: the same command goes on.
    """
    _check_command(multirun)
    spec, laid = _laid(compose.overrides_of(arguments), asked)
    if asked.config["audit"] == "only":
        return _audit(laid)
    folder = folder_of(laid.choices[0].searched).parent
    record = _added(_record(spec, laid, asked), folder)
    laid = replace(laid, earlier=tuple(record.rates))
    everything, searching = laid.any(), unique(laid.search())
    sweep.say(f"{_count(laid, searching)} -> {folder}")
    found = sweep.check(everything)
    record.write(folder)
    ended = sweep.do(searching, found)
    chosen = choose(laid)
    _tell(chosen)
    _added(replace(record, chosen=[one.plain() for one in chosen]), folder).write(folder)
    measured = unique([job for one in chosen if one.rate is not None for job in laid.measured(one.choice, one.rate)])
    names = {job.name for job in searching}
    rest = [job for job in measured if job.name not in names]
    ended |= sweep.do(rest, found) if rest else {}
    return _end(folder, [*searching, *rest], ended, chosen)


def _check_command(multirun: bool) -> None:
    if multirun:
        raise UserError("-m makes a run of each value, but a study is a sweep by itself. Leave -m out.")
    if launched_as_one_of_several():
        raise UserError(
            "A launcher (torchrun, srun) started several processes of this study, but it starts its runs itself. "
            "Start the command once; trainer.devices=2 gives each run so many devices."
        )


def _laid(words: Sequence[str], asked: Job) -> tuple[StudySpec, Laid]:
    spec = StudySpec.of(asked.config["study"])
    check_free([word for word in words if key_of(word) != "study"])
    name = compose.sweep_folder(asked.config["sweep"] or sweep_name(words))
    return spec, lay(spec, words, targets(spec), sizes(spec, words), name, _stages)


def _stages(config: Mapping[str, Any]) -> Sequence[str]:
    if not sweep.in_processes():
        return body_stages(config)
    launch.get_ready()
    try:
        return launch.apart(_answered, config, limit=lambda _: sweep.CHECK)
    except launch.Died as died:
        raise UserError(f"No run was started: the process that builds the network ended: {died}.") from None


def _answered(config: Mapping[str, Any], _begins: Callable[[str], None]) -> Sequence[str]:
    return body_stages(config)


def _audit(laid: Laid) -> int:
    from thawlab.run import audit_only

    for job in (job for choice in laid.choices for job in choice.members):
        print(visible(f"{job.name}\n{audit_only(job.config)}\n"), flush=True)
    return 0


def _count(laid: Laid, searching: Sequence[Job]) -> str:
    one = laid.choices
    later = sum(len(choice.members) for choice in one) * len(laid.seeds)
    return (
        f"{len(searching)} runs search a rate for {len(one)} combinations of target, size and strategy, "
        f"then up to {later} runs measure at the rates that validation images choose"
    )


def _record(spec: StudySpec, laid: Laid, asked: Job) -> StudyRecord:
    jobs = {choice.size: choice.searched.config["trainer"] for choice in laid.choices}
    return StudyRecord(
        kind=spec.kind,
        command=[Path(sys.argv[0]).name, *sys.argv[1:]],
        source=source_cost(asked.config["backbone"], spec.source),
        targets={choice.dataset: choice.target.case for choice in laid.choices},
        sizes=[
            {"per_class": size.per_class, "share": size.share, "label": size.label}
            | {"epochs": trainer["epochs"], "batch_size": trainer["batch_size"]}
            for size, trainer in jobs.items()
        ],
        strategies=[asdict(method) for method in laid.methods],
        rates=[float(rate) for rate in laid.rates],
        search_seeds=laid.search_seeds,
        seeds=laid.seeds,
    )


def _added(record: StudyRecord, folder: Path) -> StudyRecord:
    """The study with what earlier launches into its folder did."""
    try:
        return record.added_to(StudyRecord.read(folder))
    except ValueError as error:
        raise UserError(
            f"sweep={folder.name} cannot take this study: {error}. Give it a folder of its own: sweep=NAME."
        ) from None


def _tell(chosen: Sequence[Chosen]) -> None:
    sweep.say("\nRates, by mean validation score:")
    for one in chosen:
        sweep.say(f"  {one.line}")
    sweep.say("")


def _end(folder: Path, jobs: Sequence[Job], ended: Mapping[str, Ended], chosen: Sequence[Chosen]) -> int:
    """Say what has no result, and write the report of what has."""
    status = sweep.tell_unfinished(folder, jobs, ended)
    for one in left_out(chosen):
        sweep.say(f"Left out, since no rate finished: {one.choice.title}")
    from thawlab.report.report import write_report

    sweep.say(f"\nReport: {write_report(folder)}")
    return status
