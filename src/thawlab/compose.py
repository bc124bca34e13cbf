"""What the command line means, before Hydra runs it: every job's config, or one message saying what is wrong."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import product
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from thawlab.errors import UserError, nearest
from thawlab.naming import run_name, slug, sweep_name
from thawlab.record import Record
from thawlab.schema import Config


@dataclass(frozen=True)
class Job:
    """One run that the command line asks for."""

    name: str
    overrides: tuple[str, ...]
    config: dict[str, Any]


def config_folder() -> Path:
    """Where conf/ is: in the installed package, or beside src/ in a checkout."""
    packaged = Path(__file__).parent / "conf"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[2] / "conf"


def register_resolvers() -> None:
    """Let Hydra name output folders as we do."""
    OmegaConf.register_new_resolver("thawlab.run", lambda _root_: run_name(_plain(_root_)), replace=True)
    OmegaConf.register_new_resolver("thawlab.sweep", lambda _root_: slug(_root_.sweep or "runs"), replace=True)


def _plain(config: DictConfig) -> dict[str, Any]:
    """The config as plain containers, without Hydra's own part."""
    own = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
    return OmegaConf.to_container(own, resolve=True, throw_on_missing=True)  # pyright: ignore[reportReturnType]


def is_multirun(arguments: Sequence[str]) -> bool:
    """Whether the command line asks for a sweep."""
    return any(argument in ("-m", "--multirun") for argument in arguments)


def overrides_of(arguments: Sequence[str]) -> list[str]:
    """The words of a command line that set a value."""
    return [word for word in arguments if not word.startswith("-")]


def is_finished(folder: Path) -> bool:
    """Whether a run's folder holds the record of a finished run."""
    try:
        return (folder / "result.json").exists() and Record.read(folder).status == "finished"
    except UserError:
        return False  # a broken record is no result: the run is done again


def jobs(arguments: Sequence[str], multirun: bool) -> list[Job]:
    """Every run of a command line, composed. Raises UserError for what no config can be made of."""
    words = overrides_of(arguments)
    parsed = [_parsed(word) for word in words]
    _check_sweeps(parsed, multirun)
    if multirun and not any(override.key_or_group == "sweep" for override in parsed):
        words = [*words, f"sweep={sweep_name(words)}"]
        parsed = [*parsed, _parsed(words[-1])]
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        found = [_job(list(combination), multirun) for combination in _combinations(parsed)]
    GlobalHydra.instance().clear()
    return found


def _parsed(word: str) -> Override:
    try:
        return OverridesParser.create().parse_override(word)
    except (OverrideParseException, HydraException) as error:
        raise UserError(f"{word!r} is no setting: {str(error).splitlines()[0]}. Write key=value, or group=choice.") from None


def _check_sweeps(parsed: Sequence[Override], multirun: bool) -> None:
    for override in parsed:
        if override.is_sweep_override() and not multirun:
            raise UserError(
                f"{override.input_line!r} gives several values, but this is one run. "
                "For a run of each add -m; for a list write [a,b]."
            )


def _combinations(parsed: Sequence[Override]) -> Iterator[tuple[str, ...]]:
    """The overrides of each job, in the order in which Hydra's basic sweeper takes them."""
    choices = []
    for override in parsed:
        if override.is_hydra_override() or not override.is_sweep_override():
            choices.append([override.input_line or ""])
        else:
            choices.append([f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()])
    return product(*choices)


def _job(overrides: list[str], multirun: bool) -> Job:
    try:
        config = compose("config", [word for word in overrides if not word.startswith("hydra")])
        plain = _plain(config)
    except MissingConfigException as error:
        raise _unknown_choice(error, overrides) from None
    except MissingMandatoryValue as error:
        raise UserError(_missing_value(error)) from None
    except (ConfigCompositionException, OmegaConfBaseException) as error:
        raise _unknown_or_misfit(error, overrides) from None
    name = run_name(plain)
    return Job(name, tuple(word for word in overrides if not word.startswith("sweep=")), plain)


def _unknown_choice(error: MissingConfigException, overrides: Sequence[str]) -> UserError:
    """`strategy=frezee`."""
    group, _, choice = str(error.missing_cfg_file).rpartition("/")
    choices = error.options or []
    if not group or not choices:
        return UserError(f"{error}")
    more = " Any timm architecture: backbone=timm backbone.name=NAME." if group == "backbone" else ""
    return UserError(f"{group} is {choice!r}, but there is no such {group}. {nearest(choice, choices)}{more}")


def _missing_value(error: MissingMandatoryValue) -> str:
    key = error.full_key or str(error).rpartition(" ")[2]
    example = {"dataset.root": "dataset.root=photos", "backbone.name": "backbone.name=regnety_004"}.get(key, f"{key}=VALUE")
    return f"{key} is not set, and has no default here. Give it: {example}"


def _unknown_or_misfit(error: Exception, overrides: Sequence[str]) -> UserError:
    """A key that does not exist, or a value of another type than its key's."""
    for cause in (error, error.__cause__):
        key = getattr(cause, "full_key", None)
        if isinstance(cause, OmegaConfBaseException) and key and _exists(key):
            return UserError(f"{key}: {str(cause).splitlines()[0]}. Give a {_kind_of(key)}.")
    for word in overrides:
        key = re.split(r"[=@]", word, maxsplit=1)[0].lstrip("+~")
        if not _exists(key) and not key.startswith("hydra"):
            return UserError(f"{word!r} sets {key!r}, but there is no such key. {_nearest_keys(key)}")
    return UserError(str(error).splitlines()[0])


def _keys() -> dict[str, str]:
    """Every key of the schema, dotted, with the type of its value."""
    found: dict[str, str] = {}

    def walk(node: Mapping[str, Any] | DictConfig, prefix: str) -> None:
        for name in node:
            key = f"{prefix}{name}"
            value = None if OmegaConf.is_missing(node, name) else node[name]  # pyright: ignore[reportArgumentType]
            inner = isinstance(value, DictConfig) and OmegaConf.get_type(value) is not dict
            found[key] = "group" if inner else _type_of(node, str(name))
            if inner:
                walk(value, f"{key}.")

    walk(OmegaConf.structured(Config), "")
    return found


def _type_of(node: Any, name: str) -> str:
    kind = node._get_node(name)._metadata.ref_type
    return getattr(kind, "__name__", str(kind)).replace("typing.", "")


def _exists(key: str) -> bool:
    known = _keys()
    return key in known or key == "experiment" or key.rpartition(".")[0] in ("strategy.rates", "strategy.thaw.schedule")


def _kind_of(key: str) -> str:
    return {"int": "whole number", "float": "number", "bool": "true or false", "str": "word"}.get(
        _keys().get(key, "value"), "value of its kind"
    )


def _nearest_keys(key: str) -> str:
    known = list(_keys())
    group, _, field = key.rpartition(".")
    siblings = [name for name in known if name.rpartition(".")[0] == group]
    if group and siblings:
        return nearest(field, [name.rpartition(".")[2] for name in siblings])
    close = get_close_matches(key, known, n=3, cutoff=0.5) or [name for name in known if name.endswith(f".{key}")]
    return f"Did you mean {' or '.join(close)}?" if close else "python train.py --cfg job prints every key."
