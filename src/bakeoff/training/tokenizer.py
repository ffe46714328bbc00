"""The tokenizer that travels with a model, and the chat template in both places where servers look for it."""

import json
import shutil
from pathlib import Path
from typing import Any

from bakeoff.errors import UsageError

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json")
TEMPLATE, CONFIG = "chat_template.jinja", "tokenizer_config.json"


def copy_tokenizer(base: Path, to: Path) -> None:
    """Copies the tokenizer files of `base` into the folder `to`.

    Newer libraries keep the template in a file of its own, older servers read it only inside tokenizer_config.json:
    it is written to both, the same. Raises UsageError for a base without tokenizer.json or without template."""
    problem = tokenizer_problem(base)
    if problem:
        raise UsageError(problem)
    for name in TOKENIZER_FILES:
        if (base / name).is_file():
            shutil.copy(base / name, to / name)
    template = _template(base)
    (to / TEMPLATE).write_text(template, encoding="utf-8")
    _write_config(to, _config(base) | {"chat_template": template})


def tokenizer_problem(base: Path) -> str | None:
    """What a registered model could not bring along, with what to do about it."""
    if not (base / "tokenizer.json").is_file():
        return (
            f"{base} has no tokenizer.json, which must travel with the adapter: load it once with AutoTokenizer and "
            "save_pretrained into the same folder"
        )
    if not _template(base):
        return f"{base} has no chat template: choose an instruct model, or put a {TEMPLATE} there"
    return None


def _template(base: Path) -> str:
    """As transformers picks it: the file wins; of several named ones, the one called default. '' for none."""
    if (base / TEMPLATE).is_file():
        return (base / TEMPLATE).read_text(encoding="utf-8")
    inline = _config(base).get("chat_template") or ""
    if isinstance(inline, list):
        inline = next((each["template"] for each in inline if each.get("name") == "default"), "")
    return str(inline)


def _config(base: Path) -> dict[str, Any]:
    path = base / CONFIG
    body: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return body


def _write_config(to: Path, body: dict[str, Any]) -> None:
    (to / CONFIG).write_text(json.dumps(body, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
