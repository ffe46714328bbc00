"""The settings file that ``bakeoff init`` writes says what was chosen, and is nobody else's business."""

import tomllib
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from bakeoff.cli import init

LETTERS = st.text(st.characters(exclude_categories=("Cs",)))
PRICES = st.dictionaries(LETTERS, st.fixed_dictionaries({"prompt": st.floats(0, 9)}))
SERVER = st.fixed_dictionaries({"base_url": LETTERS}, optional={"timeout_s": st.floats(1, 999), "prices": PRICES})
OTHERS = {"threads": st.integers(1, 99), "endpoints": st.dictionaries(LETTERS, SERVER, min_size=1)}


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(init.KEYS, LETTERS) | OTHERS))
def test_whatever_was_chosen_is_read_back(chosen: dict[str, object]) -> None:
    assert tomllib.loads(init.as_toml(chosen)) == chosen


def test_what_was_not_chosen_is_there_to_be_seen() -> None:
    text = init.as_toml({"schema": "loop"})
    assert 'schema = "loop"' in text.splitlines()
    assert "# [endpoints.house]" in text
    assert all(f"# {key} = " in text for key in ("database_url", "mlflow_tracking_uri", "datasets_root", "home"))


def test_the_file_is_for_its_owner_only_and_not_written_twice(tmp_path: Path) -> None:
    file = tmp_path / "bakeoff.toml"
    assert init.write(file, "a = 1\n") is True
    assert file.stat().st_mode & 0o777 == 0o600
    assert init.write(file, "a = 1\n") is False
    assert init.write(file, "a = 2\n") is True
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["bakeoff.toml"]


def test_the_next_commands_fit_what_was_chosen() -> None:
    own, here = {"database_url": "postgresql://h/d"}, Path()
    assert init.following({}, None, here) == ["bakeoff status"]
    assert init.following(own, None, here) == ["bakeoff db migrate", "bakeoff status"]
    typed = init.following(own, "checkout", here)
    assert typed[:2] == ["bakeoff db migrate", "pip install -e ./checkout"]
    assert typed[2].startswith("bakeoff task check --task checkout --requests checkout/sample.jsonl")
    assert init.following({}, "checkout", Path("/srv/my app"))[:2] == ["cd '/srv/my app'", "pip install -e ./checkout"]
