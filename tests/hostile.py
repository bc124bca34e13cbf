"""Files that run code where they are loaded carelessly: each payload leaves a marker, and nothing else."""

import functools
import io
import operator
import os
import pickle
import runpy
import subprocess
import tarfile
import warnings
import webbrowser
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch


class Calls:
    """Unpickled, this is what calling `function` with `arguments` gives."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def payload(marker: Path) -> Calls:
    """The plainest: a folder is made."""
    return Calls(os.mkdir, str(marker))


def _code(marker: Path) -> str:
    return f"import os; os.mkdir({str(marker)!r})"


def payloads(marker: Path) -> dict[str, Calls]:
    """Ways to run something that makes `marker`, by name; two run a file beside it."""
    code, folder = _code(marker), marker.parent
    browser = webbrowser.GenericBrowser(["mkdir", "%s"])
    return {
        "os.system": Calls(os.system, f"mkdir {marker}"),
        "builtins.exec": Calls(exec, code),
        "builtins.eval": Calls(eval, f"__import__('os').mkdir({str(marker)!r})"),
        "subprocess": Calls(subprocess.check_call, ["mkdir", str(marker)]),
        "webbrowser.open": Calls(operator.methodcaller("open", str(marker)), browser),
        "torch.hub.load": Calls(functools.partial(torch.hub.load, str(folder / "hub"), "go", source="local")),
        "runpy": Calls(runpy.run_path, str(folder / "script.py")),
        "pathlib": Calls(Path.mkdir, marker),
    }


def _saved(content: Any, **options: Any) -> Callable[[Path], None]:
    return lambda path: torch.save(content, path, **options)


def _bytes(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content)


def _zip_of(members: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return content.getvalue()


def _old_tar(marker: Path) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name in ("storages", "tensors", "pickle"):
            data = pickle.dumps(payload(marker), 2)
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return content.getvalue()


class _Persistent(pickle.Pickler):
    """A tensor's storage is named by what torch calls a persistent id: here it holds more than names."""

    def persistent_id(self, obj: Any) -> Any:
        return ("storage", torch.FloatStorage, "0", "cpu", self.hidden) if obj == "tensor" else None


def _persistent(marker: Path) -> bytes:
    content = io.BytesIO()
    pickler = _Persistent(content, 2)
    pickler.hidden = payload(marker)
    pickler.dump({"weight": "tensor"})
    return _zip_of({"archive/data.pkl": content.getvalue(), "archive/version": b"3", "archive/data/0": b"\0" * 4})


def hostile_pickles(marker: Path) -> dict[str, tuple[str, Callable[[Path], None]]]:
    """Name → (file name, what writes such a file at a path). Whoever unpickles one makes `marker`."""
    evil, tensors = payload(marker), {"weight": torch.zeros(2)}
    lightning = {"state_dict": tensors, "pytorch-lightning_version": "2.6.6", "hyper_parameters": {"net": evil}}
    inside = pickle.dumps(evil, 2)
    script = {"archive/constants.pkl": inside, "archive/data.pkl": inside, "archive/version": b"3"}
    exported = {"archive/archive_format": b"pt2", "archive/data/sample_inputs/model.pt": inside}
    return {
        **{name: ("net.pt", _saved({"state_dict": one})) for name, one in payloads(marker).items()},
        "the whole file": ("net.pth", _saved(evil)),
        "among the tensors": ("net.pth", _saved({**tensors, "evil": evil})),
        "behind an OrderedDict": ("net.bin", _saved(OrderedDict(tensors, evil=[(evil,)]))),
        "in Lightning's hparams": ("last.ckpt", _saved(lightning)),
        "in an optimizer's state": ("last.ckpt", _saved({"model": tensors, "optimizer": {"state": {0: evil}}})),
        "in an array of objects": ("net.pt", _saved({"array": np.array([evil], dtype=object)})),
        "before 1.6": ("net.pt", _saved({"state_dict": evil}, _use_new_zipfile_serialization=False)),
        "pickle, protocol 0": ("net.pkl", _bytes(pickle.dumps({"state_dict": evil}, 0))),
        "pickle, protocol 4": ("net.bin", _bytes(pickle.dumps({"state_dict": evil}, 4))),
        "a tar of 2016": ("net.tar", _bytes(_old_tar(marker))),
        "TorchScript": ("net.torchscript", _bytes(_zip_of(script))),
        "torch.export": ("net.pt2", _bytes(_zip_of(exported))),
        "in a persistent id": ("net.pt", _bytes(_persistent(marker))),
        "called safetensors": ("net.safetensors", _bytes(inside)),
        "called .npy": ("net.npy", lambda path: np.save(path, np.array([evil], dtype=object), allow_pickle=True)),
    }


def hostile_file(name: str, folder: Path) -> tuple[Path, Path]:
    """Write the file of a name of `HOSTILE_PICKLES`; returns it, and the marker that unpickling it would make."""
    marker = folder / "marker"
    (folder / "script.py").write_text(_code(marker))
    (folder / "hub").mkdir()
    (folder / "hub" / "hubconf.py").write_text(f"def go():\n    {_code(marker)}\n")
    file, write = hostile_pickles(marker)[name]
    write(folder / file)
    return folder / file, marker


def load_carelessly(path: Path) -> None:
    """Unpickle everything in a file, as a program that trusts it would; what it raises is of no interest."""
    with suppress(Exception), warnings.catch_warnings(action="ignore"):
        torch.load(path, weights_only=False)
    for content in _pickles_in(path):
        file = io.BytesIO(content)
        with suppress(Exception):
            while True:  # several follow each other in files of torch before 1.6
                _Careless(file).load()


def _pickles_in(path: Path) -> list[bytes]:
    content = path.read_bytes()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return [archive.read(name) for name in archive.namelist() if name.endswith((".pkl", ".pt"))]
    if tarfile.is_tarfile(path):
        with tarfile.open(path) as archive:
            return [found.read() for member in archive.getmembers() if (found := archive.extractfile(member))]
    return [content[content.index(b"\n") + 1 :] if content.startswith(b"\x93NUMPY") else content]


class _Careless(pickle.Unpickler):
    def persistent_load(self, pid: Any) -> Any:
        return pid


HOSTILE_PICKLES = tuple(hostile_pickles(Path("marker")))
