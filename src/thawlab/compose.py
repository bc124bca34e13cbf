"""What the command line means, before Hydra runs it: every job's config, or one message saying what is wrong."""

import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from thawlab.data.roots import check_there
from thawlab.errors import UserError, nearest
from thawlab.explain import explained, unknown_key, unknown_keys
from thawlab.naming import run_name, slug, sweep_name
from thawlab.schema import GROUPS
from thawlab.targets import check_targets
from thawlab.trust import check_function
from thawlab.words import spelled

_FLAGS = ("-m", "--multirun", "-r", "--run")
_NAME = re.compile(r"[\w./-]*[^\W\d][\w./-]*")  # of a file in conf/; a number or a list is none
AUDITS = ("on", "only")
# Where runs land is ours to say: the comparison looks for them there.
_TAKEN = {"hydra.sweep.dir": "sweep=NAME", "hydra.sweep.subdir": "sweep=NAME", "hydra.mode": "-m, or nothing"}
_STARTERS = re.compile(r"hydra[./](launcher|sweeper)\b")


@dataclass(frozen=True)
class Job:
    """One run that the command line asks for."""

    name: str
    overrides: tuple[str, ...]
    config: dict[str, Any]
    composed: DictConfig = field(repr=False, compare=False)  # with Hydra's part; conf/ may change while it waits


def config_folder() -> Path:
    """Where conf/ is: in the installed package, or beside src/ in a checkout."""
    packaged = Path(__file__).parent / "conf"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[2] / "conf"


def register_resolvers() -> None:
    """Let Hydra name output folders as we do."""
    OmegaConf.register_new_resolver("thawlab.run", lambda _root_: run_name(_plain(_root_)), replace=True)
    OmegaConf.register_new_resolver("thawlab.sweep", lambda _root_: sweep_folder(_root_.sweep), replace=True)


def sweep_folder(sweep: str | None) -> str:
    """Name of the folder under outputs/ for a value of `sweep`."""
    return slug(sweep or "") or "runs"


def _plain(config: DictConfig) -> dict[str, Any]:
    """The config as plain containers, without Hydra's own part."""
    own = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    return OmegaConf.to_container(own, resolve=True, throw_on_missing=True)  # pyright: ignore[reportReturnType]


def is_multirun(arguments: Sequence[str]) -> bool:
    """Whether the command line asks for a sweep."""
    return any(argument in ("-m", "--multirun") for argument in arguments)


def overrides_of(arguments: Sequence[str]) -> list[str]:
    """The words of a command line that set a value."""
    return [word for word in arguments if not word.startswith("-")]


def jobs(arguments: Sequence[str], multirun: bool) -> list[Job]:
    """Every run of a command line, composed. Raises UserError for what no config can be made of."""
    _check_flags(arguments)
    words = [spelled(word) for word in overrides_of(arguments)]
    if multirun and not any(word.startswith("sweep=") for word in words):
        words = [*words, f"sweep={sweep_name(words)}"]
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        parsed = [_parsed(word) for word in words]
        for override in parsed:
            _check(override, multirun)
        found = [_job(words, number, multirun) for number, words in enumerate(_combinations(parsed))]
        if multirun:
            _check_master(parsed)
    GlobalHydra.instance().clear()
    return found


def only_job(words: Sequence[str]) -> Job:
    """The one run that the words of a command line ask for. Raises UserError for a sweep, and where no images are."""
    if is_multirun(words):
        raise UserError("-m makes a run of each value, but this is asked of one run. Leave it out, and give one value.")
    (job,) = jobs(words, multirun=False)
    if (kind := job.config["study"]["kind"]) != "none":
        raise UserError(f"study.kind is {kind}, which is many runs, but this is asked of one. Leave the study out.")
    check_there(job.config["dataset"])
    return job


def with_values(job: Job, values: Mapping[str, Any]) -> Job:
    """The same job with other values of settings that it sets, as if composed with them, in a hundredth of the time.

    Good for what no other setting is made of: `seed`, `optimizer.lr`.
    """
    composed = deepcopy(job.composed)
    words = [f"{key}={value!r}" for key, value in values.items()]
    with read_write(composed):
        for key, value in values.items():
            OmegaConf.update(composed, key, value)
        task = [word for word in composed.hydra.overrides.task if word.partition("=")[0] not in values]
        composed.hydra.overrides.task = [*task, *words]
    plain = _plain(composed)
    kept = [word for word in job.overrides if word.partition("=")[0] not in values]
    return Job(run_name(plain), (*kept, *words), plain, composed)


def check_looking(arguments: Sequence[str], known: Collection[str]) -> None:
    """Refuse a flag beside those that only look: Hydra's --experimental-rerun would read a pickle."""
    for word in arguments:
        flag = word.partition("=")[0]
        if flag.startswith("-") and flag not in (*known, "--package", "-p"):
            raise UserError(f"{flag!r} goes with no flag that only looks. Leave it out.")


def _check_flags(arguments: Sequence[str]) -> None:
    """Refuse Hydra's other flags: what they change would be unknown to us, who compose every job before Hydra does."""
    for word in arguments:
        if word.startswith("-") and word not in _FLAGS:
            raise UserError(
                f"{word!r} is no flag of this program, which takes -m for a sweep, and --help or --cfg job to look. "
                "For config files in a folder of your own: hydra.searchpath=[file:///path/to/FOLDER]."
            )


def _parsed(word: str) -> Override:
    try:
        override = OverridesParser.create().parse_override(word)
    except (OverrideParseException, HydraException) as error:
        reason = str(error).splitlines()[0]
        if "'<EOF>'" in reason:  # followed by all that the grammar would take
            reason = "a value is missing at its end"
        raise UserError(f"{word!r} is no setting: {reason}. Write key=value, or group=choice.") from None
    override.config_loader = GlobalHydra.instance().config_loader()  # it knows what `strategy=glob(*)` stands for
    return override


def _check(override: Override, multirun: bool) -> None:
    """Refuse what is well-formed for Hydra, but has no meaning here."""
    word, key = override.input_line, override.key_or_group
    if not key or override.package is not None:
        raise UserError(f"{word!r} is no setting of this program. Write key=value, or group=choice.")
    if override.is_delete():
        raise UserError(f"{word!r} takes {key} away, but a run needs every setting. Give it a value: {key}=VALUE.")
    if key in _TAKEN:
        raise UserError(f"{word!r} would hide the runs from the comparison. Give {_TAKEN[key]} instead.")
    if starter := _STARTERS.match(key):
        raise UserError(
            f"{word!r} gives a {starter[1]} of Hydra's, but this program starts the runs of a sweep itself, "
            "each in a process of its own. How many at a time: launch.jobs=2."
        )
    if override.is_sweep_override() and not override.is_discrete_sweep():
        raise UserError(f"{word!r} is a range without steps. Name the values: {key}=1,2,3 or {key}=range(1,4).")
    if override.is_sweep_override() and not multirun:
        raise UserError(
            f"{word!r} gives several values, but this is one run. For a run of each add -m; "
            f"for a list write {key}=[a,b]."
        )
    if key in GROUPS and not all(map(_NAME.fullmatch, _values(override))):
        raise UserError(f"{word!r} gives no name of a {key}. One run: {key}=NAME. A run for each: -m {key}=NAME,NAME.")


def _values(override: Override) -> list[str]:
    if override.is_sweep_override():
        return list(override.sweep_string_iterator())
    return [override.get_value_element_as_str()]


def _combinations(parsed: Sequence[Override]) -> list[list[str]]:
    """The overrides of each job, as Hydra's basic sweeper takes them; Hydra's own settings are the same for all."""
    swept = [override for override in parsed if not override.is_hydra_override()]
    same = [override.input_line or "" for override in parsed if override.is_hydra_override()]
    (batch,) = BasicSweeper.split_arguments(swept, max_batch_size=None)
    return [[*words, *same] for words in batch]


def _job(words: list[str], number: int, multirun: bool) -> Job:
    try:
        composed = compose("config", words, return_hydra_config=True)
        _check_trust(composed, words)
        plain = _plain(composed)
    except UserError:
        raise
    except (HydraException, OmegaConfBaseException, YAMLError, ValueError) as error:
        raise explained(error, OverridesParser.create().parse_overrides(words)) from None
    for key in unknown_keys(plain):
        raise unknown_key(key)
    if plain["audit"] not in AUDITS:
        raise UserError(f"audit is {plain['audit']!r}. {nearest(plain['audit'], AUDITS)}")
    _check_code(plain, words)
    with read_write(composed.hydra), open_dict(composed.hydra):
        composed.hydra.mode = RunMode.MULTIRUN if multirun else RunMode.RUN
        if multirun:
            composed.hydra.job.id = composed.hydra.job.num = number
    return Job(run_name(plain), tuple(word for word in words if not word.startswith("sweep=")), plain, composed)


def _check_master(parsed: Sequence[Override]) -> None:
    """Hydra makes a sweep's sweeper and callbacks from a config of its own, without the words that are swept."""
    words = [override.input_line or "" for override in parsed if not override.is_sweep_override()]
    with suppress(HydraException, OmegaConfBaseException, YAMLError):  # nothing is made where nothing is composed
        _check_trust(compose("config", words, return_hydra_config=True), words)


def _check_trust(config: DictConfig, words: Sequence[str]) -> None:
    """Refuse what Hydra would call that nobody trusts, before Hydra does."""
    content = OmegaConf.to_container(config, resolve=False)
    check_targets(content, _typed(words))  # pyright: ignore[reportArgumentType]


def _check_code(config: Mapping[str, Any], words: Sequence[str]) -> None:
    """A function that the command line itself names is the user's word; one from a config file has to be trusted."""
    function, typed = config["backbone"]["function"], _typed(words).get("backbone.function")
    if function is not None and (typed is None or "$" in typed):  # $ stands for a value from elsewhere
        check_function(function, "a config file", remedy=f"type backbone.function={function}, or ")


def _typed(words: Sequence[str]) -> dict[str, str]:
    """The keys that the command line sets, with their values as typed."""
    pairs = (word.lstrip("+").partition("=") for word in words)
    return {key.partition("@")[0]: value for key, _, value in pairs}
