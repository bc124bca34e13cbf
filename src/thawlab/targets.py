"""What Hydra would make of a composed config before a run begins, held to what is trusted.

Hydra instantiates the `_target_` of callbacks, sweeper and launcher, and lets logging call whatever `class` and `()`
name; a config file anywhere on its search path can set them. Nothing of ours is made from a `_target_`.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NoReturn

from thawlab.errors import UserError
from thawlab.trust import VARIABLE, covers, trusted

_CALLED = ("_target_", "()")
_LOGGING = ("hydra.job_logging", "hydra.hydra_logging")
_LOGGERS = (
    "logging.Formatter", "logging.StreamHandler", "logging.FileHandler", "logging.NullHandler",
    "logging.handlers.RotatingFileHandler", "logging.handlers.TimedRotatingFileHandler", "colorlog.ColoredFormatter",
)  # fmt: skip
# By where it stands, and whole names: past a module's name, what it imported itself could be named as well.
_ALLOWED = {
    "hydra.callbacks": (
        "hydra.experimental.callbacks.LogJobReturnCallback",
        "hydra.experimental.callbacks.PickleJobInfoCallback",
    ),
    "hydra.launcher": (
        "hydra._internal.core_plugins.basic_launcher.BasicLauncher",
        "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher",
        "hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher",
        "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher",
    ),
    "hydra.sweeper": ("hydra._internal.core_plugins.basic_sweeper.BasicSweeper",),
    **dict.fromkeys(_LOGGING, _LOGGERS),
}
# What the command line alone may set: where is written, what other programs see, what is run besides.
_TYPED_ALONE = {
    "hydra.output_subdir": ".hydra",
    **dict.fromkeys(
        (
            "hydra.mode", "hydra.job.env_set", "hydra.sweeper.params",
            "hydra.launcher.setup", "hydra.launcher.additional_parameters",  # words of a shell and of sbatch
            "hydra.launcher.srun_args", "hydra.launcher.python",
        )
    ),
}  # fmt: skip
_LOG_FILE = re.compile(r"\$\{hydra\.runtime\.output_dir\}/(?!.*\.\.)([^$]|\$\{hydra\.job\.name\})+")
_PLAIN = re.compile(r"\$\{hydra\.[a-z_.]+\}")  # another entry of Hydra's own part, which is looked at as well
_STREAMS = ("ext://sys.stdout", "ext://sys.stderr")


def check_targets(config: Mapping[str, Any], typed: Collection[str]) -> None:
    """Refuse a composed config, its `hydra` part included and interpolations left as written, with UserError.

    `typed`: the keys that the command line itself sets. They are the user's word, except for what is to be called.
    """
    for key, value in _entries(config):
        place = next((one for one in _ALLOWED if f"{key}.".startswith(f"{one}.") or one.startswith(f"{key}.")), None)
        name = key.rpartition(".")[2]
        if name in _CALLED or (name == "class" and place in _LOGGING):
            _check_called(key, value, place)
        elif place is not None and isinstance(value, str):
            _check_text(key, value, place, typed)
    for key, usual in _TYPED_ALONE.items():
        value = _at(config, key)
        if value and value != usual and not _is_typed(key, typed):
            _refuse(key, value, "it stands in a config file, and only the command line may set it", "type it yourself")


def _entries(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is no container, by its dotted key; of what is to be called, a container as well."""
    if not isinstance(node, Mapping | list):
        yield prefix, node
        return
    for name, value in node.items() if isinstance(node, Mapping) else enumerate(node):
        key = f"{prefix}.{name}" if prefix else str(name)
        if name in _CALLED and isinstance(value, Mapping | list):
            yield key, value
        if name == "." and prefix.startswith(_LOGGING):
            _refuse(prefix, value, "its '.' sets attributes of what logging makes", "leave it out")
        yield from _entries(value, key)


def _check_called(key: str, value: Any, place: str | None) -> None:
    allowed = _ALLOWED.get(place or "", ())
    if value in allowed or (isinstance(value, str) and any(covers(entry, value) for entry in trusted())):
        return
    known = f"that would be called. Trusted here: {', '.join(allowed)}" if allowed else "nothing here is made from it"
    _refuse(
        key, value, known, f"leave it out, or, if you trust it, set {VARIABLE}={value}" if allowed else "leave it out"
    )


def _check_text(key: str, value: str, place: str, typed: Collection[str]) -> None:
    """Refuse what turns into something else: an interpolation, a module's attribute, a file that is written."""
    if place in _LOGGING and value.startswith(("ext://", "cfg://")) and value not in _STREAMS:
        _refuse(key, value, "that would import a module", f"give {' or '.join(_STREAMS)}")
    if key.endswith(".filename"):
        if not (_LOG_FILE.fullmatch(value) or _is_typed(key, typed)):
            fact = "a log is written in the run's own folder, unless the command line says otherwise"
            _refuse(key, value, fact, "give ${hydra.runtime.output_dir}/NAME.log")
    elif "${" in _PLAIN.sub("", value):
        _refuse(key, value, "what it stands for cannot be seen before it is used", "write the value itself")


def _at(config: Mapping[str, Any], key: str) -> Any:
    node: Any = config
    for name in key.split("."):
        node = node.get(name) if isinstance(node, Mapping) else None
    return node


def _is_typed(key: str, typed: Collection[str]) -> bool:
    return any(f"{key}.".startswith(f"{one}.") or one.startswith(f"{key}.") for one in typed)


def _refuse(key: str, value: Any, fact: str, remedy: str) -> NoReturn:
    raise UserError(f"{key} is {value!r:.200}, but {fact}. Remedy: {remedy}.")
