"""What mkdocs does not find in docs/: pages made of the schema and conf/, the navigation's folders, drawn diagrams.

A hook of mkdocs (see mkdocs.yml), which calls the functions named `on_...`.
"""

import ast
import hashlib
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
CONF = ROOT / "conf"
SCHEMA = ROOT / "src" / "thawlab" / "schema.py"
# Those that are no group of their own -> where they stand.
CLASSES = {"Config": "", "ThawConfig": "strategy.thaw", "SourceCostConfig": "study.source"}
MERMAID = re.compile(r"^```mermaid\n(.*?)^```\n", re.DOTALL | re.MULTILINE)
REDRAW = "Draw it again: scripts/draw_diagrams.sh"


@dataclass(frozen=True)
class Key:
    """One setting, as schema.py has it."""

    name: str  # dotted, as on the command line
    kind: str
    default: str  # as YAML; empty: must be given
    meaning: str


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages of a folder in its place in the navigation: `How to: howto/`."""
    docs = Path(config.docs_dir)
    config.nav = [found for entry in config.nav or [] if (found := _expanded(entry, docs))]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each config group."""
    for path, text in group_pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Show each diagram as it was drawn beforehand: mermaid's own script would come from the network.

    The overview of the configuration gets its tables.
    """
    if page.file.src_uri == "config/index.md":
        return _with_tables(markdown)
    name = Path(page.file.src_uri).stem
    return MERMAID.sub(lambda found: _drawn(name, found[1], Path(config.docs_dir)), markdown)


def _drawn(name: str, source: str, docs: Path) -> str:
    picture = docs / "img" / f"{name}.svg"
    if not picture.is_file() or digest(source) not in picture.read_text(encoding="utf-8"):
        raise PluginError(f"{picture} does not show the diagram in {name}.md as it is now. {REDRAW}")
    return f"![Diagram: {name}](img/{name}.svg){{ .diagram }}\n"


def digest(source: str) -> str:
    """What a drawing carries, so that it is known of which source it was made."""
    return hashlib.sha256(source.encode()).hexdigest()


def _expanded(entry: dict[str, str], docs: Path) -> dict[str, Any]:
    """An entry of the navigation with the pages of its folder; empty for a folder without pages."""
    ((title, place),) = entry.items()
    if place == "config/":
        return {title: [f"{place}index.md", *group_pages()]}
    if not place.endswith("/"):
        return entry
    pages = sorted((docs / place).glob("*.md"), key=lambda path: (path.stem != "index", _sorted_by(path, place)))
    return {title: [path.relative_to(docs).as_posix() for path in pages]} if pages else {}


def _sorted_by(path: Path, place: str) -> str:
    """Decisions stand by number; how-tos by title, since nobody knows their file names."""
    return path.name if place == "adr/" else path.read_text(encoding="utf-8").partition("\n")[0].lower()


def group_pages() -> dict[str, str]:
    """Path in docs/ -> Markdown: a page for each config group."""
    keys = _keys()
    groups = sorted({*(path.name for path in CONF.iterdir() if path.is_dir()), *keys} - {""})
    return {f"config/{group}.md": _group(group, keys.get(group, [])) for group in groups}


def _with_tables(markdown: str) -> str:
    groups = [Path(path).stem for path in group_pages()]
    rows = [f"| [`{group}`]({group}.md) | {_purpose(group)} | {_choices(group)} |" for group in groups]
    table = "\n".join(["| group | what it is | choices |", "|---|---|---|", *rows])
    return markdown.replace("<!-- groups -->", table).replace("<!-- keys -->", "\n".join(_table(_keys()[""], {})))


def _keys() -> dict[str, list[Key]]:
    """Group -> its keys; "" holds those of a run as a whole."""
    text = SCHEMA.read_text(encoding="utf-8")
    comments = _comments(text)
    found: dict[str, list[Key]] = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.ClassDef):
            place = CLASSES.get(node.name, node.name.removesuffix("Config").lower())
            fields = [field for field in node.body if isinstance(field, ast.AnnAssign)]
            own = [_key(field, place, comments) for field in fields if not _is_group(field)]
            found.setdefault(place.partition(".")[0], []).extend(own)
    return {group: sorted(keys, key=lambda key: key.name.count(".")) for group, keys in found.items()}


def _is_group(field: ast.AnnAssign) -> bool:
    return ast.unparse(field.annotation).endswith("Config")


def _key(field: ast.AnnAssign, place: str, comments: dict[int, str]) -> Key:
    name = ".".join(part for part in (place, ast.unparse(field.target)) if part)
    meaning = comments.get(field.end_lineno or 0)
    assert meaning, f"{SCHEMA}: {name} has no comment that says what it means"
    return Key(name, _kind(field.annotation), _default(field.value), meaning)


def _comments(text: str) -> dict[int, str]:
    """Line -> the comment on it."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}


def _kind(annotation: ast.expr) -> str:
    """A type in words: `Optional[list[float]]` is "list of float, or null"."""
    if not isinstance(annotation, ast.Subscript):
        return {"str": "text", "bool": "true, false"}.get(ast.unparse(annotation), ast.unparse(annotation))
    outer, inner = ast.unparse(annotation.value), annotation.slice
    parts = [_kind(part) for part in (inner.elts if isinstance(inner, ast.Tuple) else [inner])]
    forms = {"Optional": "{0}, or null", "list": "list of {0}", "dict": "mapping of {0} to {1}"}
    return forms[outer].format(*parts) if outer in forms else ", ".join(parts[:-1]) + f" or {parts[-1]}"


def _default(value: ast.expr | None) -> str:
    if value is None or ast.unparse(value) == "MISSING":
        return ""
    if isinstance(value, ast.Call):
        return {"list": "[]", "dict": "{}"}[ast.unparse(value.keywords[0].value)]
    return _yaml(ast.literal_eval(value))


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True).removesuffix("\n").removesuffix("\n...")


def _purpose(group: str) -> str:
    wanted = f"{group.title()}Config"
    tree = ast.parse(SCHEMA.read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == wanted:
            return (ast.get_docstring(node) or "").partition("\n")[0]
    return "Whole runs, with a choice of every group."


def _choices(group: str) -> str:
    return ", ".join(f"`{path.stem}`" for path in _presets(group))


def _presets(group: str) -> list[Path]:
    return sorted((CONF / group).glob("*.yaml"))


def _group(group: str, keys: list[Key]) -> str:
    chosen = _default_choice(group)
    lines = [f"# `{group}`", "", _purpose(group), ""]
    if keys:
        lines += [f"Where nothing is said, `{group}={chosen}` is taken.", ""] if chosen else []
        lines += ["## Keys", "", *_table(keys, _values(group, chosen) if chosen else {})]
    lines += ["", "## Choices", ""]
    for path in _presets(group):
        lines += [f"### `{group}={path.stem}`", "", "```yaml", path.read_text(encoding="utf-8").rstrip(), "```", ""]
    return "\n".join(lines)


def _default_choice(group: str) -> str | None:
    defaults = yaml.safe_load((CONF / "config.yaml").read_text(encoding="utf-8"))["defaults"]
    return next((entry[group] for entry in defaults if isinstance(entry, dict) and group in entry), None)


def _values(group: str, choice: str) -> dict[str, str]:
    """What a choice sets: dotted key -> value as YAML."""
    content = yaml.safe_load((CONF / group / f"{choice}.yaml").read_text(encoding="utf-8"))
    return dict(_flat(content, group))


def _flat(values: dict[str, Any], place: str) -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{place}.{key}")
        else:
            yield f"{place}.{key}", _yaml(value)


def _table(keys: list[Key], chosen: dict[str, str]) -> list[str]:
    rows = [
        f"| `{key.name}` | {key.kind} | {_shown(chosen.get(key.name, key.default))} | {_escaped(key.meaning)} |"
        for key in keys
    ]
    head = ["| key | type | default | what it means |", "|---|---|---|---|"]
    return ['<div class="keys" markdown>', "", *head, *rows, "", "</div>"]


def _shown(value: str) -> str:
    return f"`{value}`" if value else "must be given"


def _escaped(text: str) -> str:
    """A meaning as a table's cell: a bar would end it, and stars or angles would be taken for markup."""
    return re.sub(r"([|*<>_])", r"\\\1", text)
