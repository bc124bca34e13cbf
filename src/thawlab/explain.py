"""What Hydra and OmegaConf object to in a command line, said in the user's words."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from typing import Any

from hydra.core.override_parser.types import Override
from hydra.errors import MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, ValidationError
from yaml import MarkedYAMLError

from thawlab.errors import UserError, nearest
from thawlab.schema import OPEN_ENTRIES, Config

_EXAMPLES = {
    "dataset.root": "dataset.root=photos",
    "dataset.table": "dataset.table=labels.csv",
    "backbone.name": "backbone.name=regnety_004",
    "backbone.function": "backbone.function=nets.py:build",
}
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a word",
    "List": "a list of numbers, such as [1,2]",
    "Dict": "stage names with values, such as {layer4: 1}",
    "Union": "a share such as 0.5, a count such as 2, or a stage's name",
    "group": "keys of its own",
    "modules": "a list of modules, such as [conv1, layer1]",
    "parts": "stage names with lists of modules, such as {stem: [conv1, bn1], layer1: [layer1]}",
    "words": "a list of words, such as [dataset=folder,dataset.root=photos]",
    "sizes": "a list of images per class, such as [5,80], or of shares, such as [0.1,1.0]",
    "choices": "a list of strategies, such as [freeze,full]",
    "options": "names of arguments with values, such as {betas: [0.9, 0.99]}",
    "argument": "a number, true, false, a word, or a list of them, such as [0.9, 0.99]",
}
# Mappings whose keys are the user's: what an entry takes, and what the whole takes where that is no mapping of numbers.
_ENTRY_KINDS = {
    "strategy.rates": "float", "strategy.thaw.schedule": "int",
    "backbone.parts": "modules", "optimizer.options": "argument",
}  # fmt: skip
_OWN_KINDS = {
    "backbone.parts": "parts", "optimizer.options": "options",
    "study.similar": "words", "study.different": "words", "study.strategies": "choices", "study.sizes": "sizes",
}  # fmt: skip


def explained(error: Exception, overrides: Sequence[Override]) -> UserError:
    """Turn what composing a config raised into one message that names key, value, fact and remedy."""
    if isinstance(error, MissingConfigException):
        return _unknown_choice(error)
    if isinstance(error, MissingMandatoryValue):
        return _missing_value(error)
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        return UserError(
            f"{error.problem_mark.name}, line {error.problem_mark.line + 1}: {error.problem}. Mend the file."
        )
    for cause in (error, error.__cause__):
        key = _whole(str(getattr(cause, "full_key", None) or "").partition("[")[0], overrides)
        if not key or key.isdecimal():  # in a list whose entries are of several types OmegaConf tells the place alone
            key = _not_merged(error, overrides)
        if exists(key) and isinstance(cause, ValidationError):
            return _misfit(key, str(cause).splitlines()[0], overrides)
        if key and not exists(key) and not key.startswith("hydra"):
            return unknown_key(key)
    for override in overrides:
        if not override.is_hydra_override() and not exists(override.key_or_group):
            return unknown_key(override.key_or_group)
    if key := _not_merged(error, overrides):
        return _misfit(key, "", overrides)
    return UserError(_in_one_line(error))


def _whole(key: str, overrides: Sequence[Override]) -> str:
    """The key with its groups: of a list among the user's own entries, OmegaConf tells the last part alone."""
    given = [override.key_or_group for override in overrides]
    return next((one for one in given if key and not exists(key) and one.endswith(f".{key}") and exists(one)), key)


def _not_merged(error: Exception, overrides: Sequence[Override]) -> str:
    """The key of the override at which Hydra says that it stopped; empty if it says none."""
    given = [override.key_or_group for override in overrides]
    return next((key for key in given if str(error).startswith(f"Error merging override {key}=")), "")


def _unknown_choice(error: MissingConfigException) -> UserError:
    """`strategy=frezee`."""
    group, _, choice = str(error.missing_cfg_file).rpartition("/")
    if not group or not error.options:
        return UserError(_in_one_line(error))
    more = " Any timm architecture: backbone=timm backbone.name=NAME." if group == "backbone" else ""
    return UserError(f"{group} is {choice!r}, but there is no such {group}. {nearest(choice, error.options)}{more}")


def _missing_value(error: MissingMandatoryValue) -> UserError:
    key = error.full_key or str(error).rpartition(" ")[2]
    return UserError(f"{key} is not set, and has no default here. Give it: {_EXAMPLES.get(key, f'{key}=VALUE')}")


def _misfit(key: str, complaint: str, overrides: Sequence[Override]) -> UserError:
    """A value of another type than its key's, from the command line or from a file in conf/."""
    kind = _KINDS.get(_kind(key), "a value of its kind")
    for override in overrides:
        if override.key_or_group == key:
            value = str(override.input_line).partition("=")[2]
            return UserError(f"{key} is {value or 'empty'}, but it takes {kind}.")
    return UserError(f"{key}: {complaint.rstrip('.')}. It takes {kind}.")


def unknown_key(key: str) -> UserError:
    """A setting that nothing would read."""
    return UserError(f"{key} is set, but there is no such key. {_nearest_keys(key)}")


def unknown_keys(config: Mapping[str, Any]) -> Iterator[str]:
    """Keys of a composed config that the schema lacks: Hydra's `+key=value` lets any through."""
    for key in _dotted(config):
        if not exists(key):
            yield key


def _dotted(config: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in config.items():
        yield f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from _dotted(value, f"{prefix}{name}.")


@cache
def keys() -> Mapping[str, str]:
    """Every key of the schema, dotted, with the type of its value."""
    found: dict[str, str] = {}

    def walk(node: Any, prefix: str) -> None:
        for name in node:
            value = None if OmegaConf.is_missing(node, name) else node[name]
            inner = isinstance(value, DictConfig) and OmegaConf.get_type(value) is not dict
            found[f"{prefix}{name}"] = "group" if inner else _type_of(node, str(name))
            if inner:
                walk(value, f"{prefix}{name}.")

    walk(OmegaConf.structured(Config), "")
    return found


def _type_of(node: Any, name: str) -> str:
    kind = node._get_node(name)._metadata.ref_type
    return getattr(kind, "__name__", str(kind)).replace("typing.", "")


def _kind(key: str) -> str:
    entries, _, _ = key.rpartition(".")
    return _ENTRY_KINDS.get(entries) or _OWN_KINDS.get(key) or keys().get(key, "")


def exists(key: str) -> bool:
    """Whether the schema has this key, or it names a stage where stages have values of their own."""
    return key in keys() or key == "experiment" or key.startswith(tuple(f"{entries}." for entries in OPEN_ENTRIES))


def _nearest_keys(key: str) -> str:
    known = list(keys())
    group, _, field = key.rpartition(".")
    siblings = [name.rpartition(".")[2] for name in known if name.rpartition(".")[0] == group]
    if group and siblings:
        return nearest(field, siblings)
    close = [name for name in known if name.endswith(f".{key}")] or get_close_matches(key, known, n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(close)}?" if close else "python train.py --cfg job prints every key."


def _in_one_line(error: Exception) -> str:
    """Hydra's own words, without the lines that say where it looked."""
    lines = [line for cause in (error, error.__cause__) if cause for line in str(cause).splitlines()]
    said = [line.strip() for line in lines if line.strip() and not line.startswith((" ", "\t", "Config search path"))]
    return " ".join(dict.fromkeys(said)) or type(error).__name__
