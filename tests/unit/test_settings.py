"""Settings: each variable, its default, and what a wrong value is told."""

from pathlib import Path

import pytest

from bakeoff.errors import UsageError
from bakeoff.settings import Settings, load

VARIABLES = {
    "BAKEOFF_HOME": ("home", "/srv/b", Path("/srv/b")),
    "BAKEOFF_DATABASE_URL": ("database_url", "postgresql://h/d", "postgresql://h/d"),
    "BAKEOFF_SCHEMA": ("schema_name", "other", "other"),
    "MLFLOW_TRACKING_URI": ("mlflow_tracking_uri", "http://m:5000", "http://m:5000"),
    "BAKEOFF_DATASETS_ROOT": ("datasets_root", "s3://b/d", "s3://b/d"),
    "BAKEOFF_MODEL_CACHE": ("model_cache", "/m", Path("/m")),
    "BAKEOFF_DTYPE": ("dtype", "bfloat16", "bfloat16"),
    "BAKEOFF_THREADS": ("threads", "2", 2),
}


@pytest.mark.parametrize("variable", VARIABLES)
def test_each_variable_sets_its_field_and_no_other(variable: str) -> None:
    name, text, value = VARIABLES[variable]
    changed = {
        field: found
        for field in Settings.model_fields
        if (found := getattr(load({variable: text}), field)) != getattr(Settings(), field)
    }
    assert changed == {name: value}


def test_every_field_has_its_variable_here() -> None:
    assert {name for name, _, _ in VARIABLES.values()} == set(Settings.model_fields)


def test_nothing_set_and_set_to_nothing_are_the_same() -> None:
    assert load({}) == load(dict.fromkeys(VARIABLES, "")) == Settings()
    assert Settings().schema_name == "exp"


def test_other_variables_are_nobodys_business() -> None:
    assert load({"HOME": "/root", "SCHEMA": "x", "BAKEOFF_MLFLOW_TRACKING_URI": "x"}) == Settings()


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("BAKEOFF_DTYPE", "float16"),
        ("BAKEOFF_THREADS", "0"),
        ("BAKEOFF_THREADS", "many"),
    ],
)
def test_a_wrong_value_is_named_with_its_variable(variable: str, text: str) -> None:
    with pytest.raises(UsageError, match=f"{variable} is '{text}': "):
        load({variable: text})


@pytest.mark.parametrize("name", ["Exp", "my-schema", "1st", "a b", "a,public", "x" * 64])
def test_a_schema_that_a_search_path_would_misread_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="BAKEOFF_SCHEMA is"):
        load({"BAKEOFF_SCHEMA": name})


def test_what_is_not_set_lies_below_home(tmp_path: Path) -> None:
    assert Settings(home=tmp_path).datasets == str(tmp_path / "datasets")
    assert Settings(home=tmp_path).models == tmp_path / "models"
    assert Settings(home=tmp_path, datasets_root="s3://b/d").datasets == "s3://b/d"
    assert Settings(home=tmp_path, model_cache=Path("/m")).models == Path("/m")
