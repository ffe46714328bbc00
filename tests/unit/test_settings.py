"""Settings: each variable, its default, and what a wrong value is told."""

from pathlib import Path

import pytest

from bakeoff.errors import UsageError
from bakeoff.settings import (
    FILE_NAME,
    EndpointSettings,
    ModelPrice,
    ServeSettings,
    Settings,
    endpoint,
    endpoint_key,
    find_file,
    load,
    origin,
)

HOUSE = EndpointSettings(base_url="http://h/v1")
VARIABLES = {
    "BAKEOFF_HOME": ("home", "/srv/b", Path("/srv/b")),
    "BAKEOFF_DATABASE_URL": ("database_url", "postgresql://h/d", "postgresql://h/d"),
    "BAKEOFF_SCHEMA": ("schema_name", "other", "other"),
    "MLFLOW_TRACKING_URI": ("mlflow_tracking_uri", "http://m:5000", "http://m:5000"),
    "BAKEOFF_DATASETS_ROOT": ("datasets_root", "s3://b/d", "s3://b/d"),
    "BAKEOFF_MODEL_CACHE": ("model_cache", "/m", Path("/m")),
    "BAKEOFF_DTYPE": ("dtype", "bfloat16", "bfloat16"),
    "BAKEOFF_THREADS": ("threads", "2", 2),
    "BAKEOFF_ENDPOINTS": ("endpoints", '{"house": {"base_url": "http://h/v1"}}', {"house": HOUSE}),
    "BAKEOFF_SERVE": ("serve", '{"threads": 4, "burst": 9}', ServeSettings(threads=4, burst=9)),
    "BAKEOFF_GATES": ("gates", '{"planner": "/g.toml"}', {"planner": Path("/g.toml")}),
}


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without a settings file in it or above."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


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


# ---- the file ------------------------------------------------------------------------------------------------------


def write(folder: Path, text: str) -> Path:
    file = folder / FILE_NAME
    file.write_text(text)
    return file


@pytest.mark.parametrize("variable", VARIABLES)
def test_each_key_of_the_file_sets_its_field_as_its_variable_does(variable: str, tmp_path: Path) -> None:
    _, text, value = VARIABLES[variable]
    key = variable.removeprefix("BAKEOFF_").lower()
    write(tmp_path, f"{key} = {text if isinstance(value, int) else repr(text)}\n")
    from_variable = load({"BAKEOFF_HOME": "/h", variable: text})
    assert load({} if key == "home" else {"BAKEOFF_HOME": "/h"}) == from_variable


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    write(tmp_path, 'schema = "filed"\nthreads = 2\n')
    found = load({"BAKEOFF_SCHEMA": "typed"})
    assert (found.schema_name, found.threads) == ("typed", 2)


def test_the_nearest_file_above_counts_and_its_paths_are_relative_to_it(tmp_path: Path) -> None:
    write(tmp_path, 'home = "far"\n')
    near, below = tmp_path / "near", tmp_path / "near" / "src" / "deep"
    below.mkdir(parents=True)
    file = write(near, 'home = "data/b"\nmodel_cache = "m"\ndatasets_root = "d"\n')
    assert find_file(below) == file
    found = load({}, below)
    assert (found.home, found.model_cache) == (near / "data/b", near / "m")
    assert found.datasets == str(near / "d")
    write(near, 'datasets_root = "s3://bucket/d"\n')
    assert load({}, below).datasets_root == "s3://bucket/d"


def test_a_file_without_home_keeps_its_data_beside_itself_wherever_one_stands(tmp_path: Path) -> None:
    """Else each folder in which somebody types a command would get a database of its own."""
    write(tmp_path, 'schema = "exp"\n')
    below = tmp_path / "src"
    below.mkdir()
    assert load({}, below).home == load({}, tmp_path).home == tmp_path / ".bakeoff"


def test_an_unknown_key_is_refused_with_the_one_that_was_meant_and_all_known_ones(tmp_path: Path) -> None:
    file = write(tmp_path, 'databse_url = "postgresql://h/d"\n')
    with pytest.raises(UsageError, match=f"{file} has a setting 'databse_url'.*did you mean 'database_url'") as caught:
        load({})
    assert "mlflow_tracking_uri" in str(caught.value)
    with pytest.raises(UsageError, match="'schema_name'.*did you mean 'schema'"):
        load({}, write(tmp_path, 'schema_name = "x"\n').parent)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("schema = ", "is not TOML"),
        ('schema = "My Schema"', "schema in .*bakeoff.toml is 'My Schema'"),
        ("threads = 0", "threads in .*bakeoff.toml is 0"),
        ("home = 3", "home in .*bakeoff.toml is 3"),
    ],
)
def test_a_mistake_in_the_file_is_named_with_file_and_key(tmp_path: Path, text: str, said: str) -> None:
    write(tmp_path, text)
    with pytest.raises(UsageError, match=said):
        load({})


def test_a_mistake_in_the_file_shows_even_where_a_variable_overrules_it(tmp_path: Path) -> None:
    write(tmp_path, "threads = 0")
    with pytest.raises(UsageError, match="threads in .* is 0"):
        load({"BAKEOFF_THREADS": "2"})


def test_a_wrong_variable_is_named_and_not_the_file(tmp_path: Path) -> None:
    write(tmp_path, "threads = 2")
    with pytest.raises(UsageError, match="BAKEOFF_THREADS is 'many'"):
        load({"BAKEOFF_THREADS": "many"})


def test_origin_says_what_comes_from_where(tmp_path: Path) -> None:
    assert "defaults only" in str(origin({}))
    file = write(tmp_path, 'schema = "filed"\nthreads = 2\n')
    found = origin({"BAKEOFF_SCHEMA": "typed", "MLFLOW_TRACKING_URI": "http://m"})
    assert (found.file, found.in_file, found.overruled) == (file, ("threads",), ("schema",))
    assert found.variables == ("BAKEOFF_SCHEMA", "MLFLOW_TRACKING_URI")
    assert str(found) == (
        f"{file} (threads) and the environment (BAKEOFF_SCHEMA, MLFLOW_TRACKING_URI); "
        "the environment overrules schema of the file"
    )


def test_a_gate_file_is_named_relative_to_the_settings_file(nowhere: Path) -> None:
    (nowhere / "bakeoff.toml").write_text('[gates]\nplanner = "gates/mine.toml"\n', encoding="utf-8")
    assert load({}).gates == {"planner": nowhere / "gates" / "mine.toml"}
    with pytest.raises(UsageError, match="gates.planner in .* is 3"):
        load({}, _filed(nowhere / "other", "[gates]\nplanner = 3\n"))


def _filed(folder: Path, text: str) -> Path:
    folder.mkdir()
    (folder / "bakeoff.toml").write_text(text, encoding="utf-8")
    return folder


# ---- endpoints -----------------------------------------------------------------------------------------------------

ENDPOINTS = """
threads = 2
[endpoints.house]
base_url = "http://house:8000/v1"
requests_per_minute = 90
[endpoints.hosted]
base_url = "https://api.example.com/v1"
key_variable = "HOSTED_KEY"
[endpoints.hosted.prices]
"big-1" = { prompt = 0.15, completion = 0.6, currency = "USD" }
"""


def test_what_an_answer_may_cost_is_said_by_policy(nowhere: Path) -> None:
    (nowhere / "bakeoff.toml").write_text("[serve.cost_limits]\nplanner_policy = 0.01\n", encoding="utf-8")
    assert load({}).serve.cost_limits == {"planner_policy": 0.01}
    with pytest.raises(UsageError, match="serve.cost_limits.planner_policy in .* is 0"):
        load({}, _filed(nowhere / "wrong", "[serve.cost_limits]\nplanner_policy = 0\n"))


def test_servers_are_tables_of_the_file(tmp_path: Path) -> None:
    write(tmp_path, ENDPOINTS)
    found = load({})
    assert set(found.endpoints) == {"house", "hosted"}
    assert endpoint(found, "house").requests_per_minute == 90
    assert endpoint(found, "hosted").prices["big-1"] == ModelPrice(prompt=0.15, completion=0.6, currency="USD")


def test_the_environments_servers_stand_in_place_of_the_files(tmp_path: Path) -> None:
    write(tmp_path, ENDPOINTS)
    assert load({"BAKEOFF_ENDPOINTS": '{"h": {"base_url": "http://h/v1"}}'}).endpoints == {"h": HOUSE}


def test_an_endpoint_that_nobody_knows_comes_with_the_lines_to_add(tmp_path: Path) -> None:
    write(tmp_path, ENDPOINTS)
    with pytest.raises(UsageError, match="no endpoint 'horse' in the settings; known: hosted, house") as caught:
        endpoint(load({}), "horse")
    assert "[endpoints.horse]" in str(caught.value)


def test_a_key_comes_from_the_variable_that_the_file_names(tmp_path: Path) -> None:
    write(tmp_path, ENDPOINTS)
    hosted, house = (endpoint(load({}), name) for name in ("hosted", "house"))
    assert endpoint_key("hosted", hosted, {"HOSTED_KEY": "s3cret"}) == "s3cret"
    assert endpoint_key("house", house, {}) is None
    with pytest.raises(UsageError, match="from the variable HOSTED_KEY, which is not set"):
        endpoint_key("hosted", hosted, {"HOSTED_KEY": ""})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[endpoints.h]\nretries = 1", r"endpoints.h.base_url in .*bakeoff.toml is missing"),
        (
            '[endpoints.h]\nbase_url = "localhost:8000"',
            r"endpoints.h.base_url in .* 'localhost:8000': expected for inst",
        ),
        ('[endpoints.h]\nbase_url = "http://me:secret@h/v1"', "is 'http://...@h/v1': .*no login in it"),
        ('[endpoints.h]\nbase_url = "http://h"\nretrys = 1', "endpoints.h.retrys in .* a setting that nobody knows"),
        ('[endpoints.h]\nbase_url = "http://h"\ntimeout_s = 0', r"endpoints.h.timeout_s in .* is 0"),
        ('[endpoints."a b"]\nbase_url = "http://h"', "endpoints.a b"),
        ("endpoints = 3", "endpoints in .* is 3"),
        ("[endpoint.h]\n", "did you mean 'endpoints'"),
    ],
)
def test_a_mistake_in_an_endpoint_is_named_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    write(tmp_path, text)
    with pytest.raises(UsageError, match=said):
        load({})


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "BAKEOFF_ENDPOINTS is '{': "), ('{"h": {"base_url": "h"}}', r"BAKEOFF_ENDPOINTS \(h.base_url\) is 'h'")],
)
def test_a_mistake_in_the_variable_is_named_too(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        load({"BAKEOFF_ENDPOINTS": text})
