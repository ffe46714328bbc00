"""What a summary counts, on a file small enough to count by hand, and how it reads."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import dataset_files as made
import toy
from bakeoff.datasets import build, summary, table
from bakeoff.datasets.counts import PAIRED
from bakeoff.datasets.model import SCHEMA_VERSION, Proposer, Split
from bakeoff.datasets.report import markdown
from bakeoff.datasets.schema import schema_json
from bakeoff.task import Example, Field, Preference, Request

MODEL, OLD = "model", "old"  # policy versions
KNOWN = {MODEL: Proposer(name="bar_policy/2", is_trained=True), OLD: Proposer(name="bar_policy/1", is_trained=False)}


class Bar(toy.ToyTask):
    """Sells drinks, and knows what was shown."""

    title = "drinks (supervised)"
    fields = {  # noqa: RUF012
        "request.likes": Field(meaning="what they like"),
        "request.day": Field(meaning="day of the week", unit="0 to 6"),
        "request.flags": Field(meaning="wishes"),
        "request.flags.*": Field(meaning="whether they wish it", unit="yes, no"),
        "target.drink": Field(meaning="what they drank"),
        "target.shown": Field(meaning="what was offered"),
        "metadata.region": Field(meaning="where"),
        "metadata.built_by": Field(meaning="how"),
    }

    def answer_schema(self, request: Request) -> Mapping[str, Any]:
        return {"type": "object", "properties": {name: {"enum": list(toy.DRINKS)} for name in ("drink", "second")}}

    def supervise(self, example: Example) -> Mapping[str, str] | None:
        return None if example.request["day"] == 9 else {"drink": f'"{example.target["drink"]}"'}

    def preference(self, example: Example) -> Preference | None:
        shown, kept = ({"drink": example.target[name]} for name in ("shown", "drink"))
        return None if shown == kept else Preference(chosen=kept, rejected=shown)

    def edit_cost(self, example: Example) -> float | None:
        return float(example.target["shown"] != example.target["drink"])


def guest(number: int, **changes: Any) -> dict[str, Any]:
    """Eight guests: the model serves the odd ones, one in four is unaided, every third explores."""
    likes = toy.DRINKS[number % 2]
    return made.row(
        number,
        request={"likes": likes, "day": number % 7, "flags": {"hot": "yes"}, "mood": "fine"},
        target={"drink": likes, "shown": "tea"},
        metadata={
            "region": "north" if number % 4 else "south",
            "built_by": "unaided" if number % 4 == 3 else "edited",
            "proposed_by": MODEL if number % 2 else OLD,
            "action_propensity": 0.25 if number % 3 == 0 else None,
            "fell_back": number == 4,
        } | changes,
    )  # fmt: skip


GUESTS = [guest(number) for number in range(8)]


def summarised(path: Path, rows: list[dict[str, Any]] = GUESTS, **how: Any) -> dict[str, Any]:
    arguments = {"excluded": {"nobody answered": 2, "never": 0}, "proposers": KNOWN} | how
    return of_file(made.write(path / "training.parquet", rows), **arguments)


def of_file(file: pq.ParquetFile, task: toy.ToyTask | None = None, **how: Any) -> dict[str, Any]:
    """With all rows of the train split as the sample."""
    train = table.read(file, "here", frozenset({Split.TRAIN}))
    return summary.summarise(task or Bar(), file, train, **{"excluded": {}, "proposers": {}} | how)


def about(found: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    plain = {
        "digest": "sha256:abc", "task": "toy", "since": "2025-01-01T00:00:00+00:00",
        "until": "2025-02-01T00:00:00+00:00", "rows": found["rows"], "splits": found["splits"], "date": "2025-02-01",
        "summary": found,
    }  # fmt: skip
    return plain | changes


def test_a_small_summary(tmp_path: Path) -> None:
    """Guests 0 to 3 train, 4 and 5 validate, 6 and 7 test; two guests are one unit."""
    found = summarised(tmp_path)
    profile = found.pop("profile")
    assert found == {
        "title": "drinks (supervised)",
        "schema_version": SCHEMA_VERSION,
        "request_version": "1",
        "prompt_version": "1",
        "rows": 8,
        "units": 4,
        "splits": {"train": 4, "validation": 2, "test": 2},
        "units_by_split": {"train": 2, "validation": 1, "test": 1},
        "slices": {"1": 2},
        "proposed_by": {MODEL: 4, OLD: 4},
        "names": {MODEL: "bar_policy/2", OLD: "bar_policy/1"},
        "origin": {"live": 8},
        "fell_back": 1,
        "targets": ["drink", "shown"],
        "excluded": {"nobody answered": 2},
        "first_to_last": ["2025-01-06T08:00:00+00:00", "2025-01-06T15:00:00+00:00"],
        "neutral": {
            "unaided": 2,
            "explorer": 3,
            "to_one": {MODEL: {"rows": 6, "test": 2}, OLD: {"rows": 4, "test": 1}},
            "to_both": [{"versions": [MODEL, OLD], "rows": 2, "test": 1}],
            "versions_not_paired": 0,
        },
        "self_generated": {"rows": 2, "share": 0.25},
        "outside_options": None,
        "class_balance": {
            "sample": 4,
            "rows": 4,
            "labels": 4,
            "values": {"coffee": 0.5, "tea": 0.5},
            "other_values": 0.0,
            "unsupervised": 0.5,
        },
        "views": {"sample": 4, "supervised": 4, "preferences": 2, "edit_costs": 4, "mean_edit_cost": 0.5},
        "unread": ["request.flags", "request.mood"],
        "undocumented": ["request.mood"],
        "checks": list(summary.CHECKS),
    }
    assert profile["columns"]["metadata.region"]["top"] == [["north", 6], ["south", 2]]
    json.dumps(found | {"profile": profile}, allow_nan=False)


def test_neutral_rows_are_those_of_the_gate(tmp_path: Path) -> None:
    """Counted from columns, they are as many as the gate will find row by row."""
    file = made.write(tmp_path / "training.parquet", GUESTS)
    rows = list(table.read(file, "here"))
    counted = of_file(file)["neutral"]
    for pair in counted["to_both"]:
        assert pair["rows"] == sum(build.is_neutral(row, *pair["versions"]) for row in rows)
    for name, one in counted["to_one"].items():
        assert one["rows"] == sum(build.is_neutral(row, name) for row in rows)


def test_of_many_versions_the_most_frequent_are_paired(tmp_path: Path) -> None:
    rows = [guest(n, proposed_by=f"v{n // (1 + (n < 20))}") for n in range(40)]
    found = summarised(tmp_path, rows)["neutral"]
    assert len(found["to_one"]) == PAIRED
    assert {f"v{n}" for n in range(PAIRED)} == set(found["to_one"])
    assert len(found["to_both"]) == PAIRED * (PAIRED - 1) / 2
    assert found["versions_not_paired"] == 30 - PAIRED


def test_the_split_decides_where_a_row_is_counted_whatever_the_row_groups(tmp_path: Path) -> None:
    rows = [guest(n) for n in range(100)]
    files = [made.write(tmp_path / f"{size}.parquet", rows, row_group=size) for size in (5_000, 9)]
    first, again = (of_file(file, proposers=KNOWN) for file in files)
    assert first == again


def test_options_from_outside_are_added_up(tmp_path: Path) -> None:
    assert summarised(tmp_path, [guest(n, outside_options=n % 3) for n in range(8)])["outside_options"] == 7


def test_a_task_that_says_nothing_more_has_a_summary(tmp_path: Path) -> None:
    """Without supervision, meanings, preferences."""
    file = made.write(tmp_path / "training.parquet", [guest(n) for n in range(8)])
    found = of_file(file, toy.ToyTask())
    assert (found["title"], found["class_balance"]["unsupervised"]) == ("toy", None)
    assert found["views"] == {"sample": 4, "supervised": 0, "preferences": 0, "edit_costs": 0, "mean_edit_cost": None}
    text = markdown(file.schema_arrow, toy.ToyTask(), about(found), None)
    assert "class balance" not in text
    assert "9 fields have no meaning in `Task.fields`: `request.likes`" in text


def test_schema_json_says_what_each_field_means(tmp_path: Path) -> None:
    file = made.write(tmp_path / "training.parquet", GUESTS)
    found = schema_json(file.schema_arrow, Bar(), {"digest": "d"})
    fields = {field["name"]: field for field in found["fields"]}
    assert fields["request.day"] == {
        "name": "request.day", "type": "int64", "nullable": True, "meaning": "day of the week", "unit": "0 to 6"
    }  # fmt: skip
    assert fields["request.flags.*"]["meaning"] == "whether they wish it"
    assert fields["occurred_at"]["unit"] == "UTC, microseconds"
    assert fields["metadata.proposed_by"]["meaning"]
    assert found["undocumented"] == ["request.mood"]
    assert (found["task"], found["dataset"]) == ("toy", {"digest": "d"})
    versions = [found[f"{name}_version"] for name in ("schema", "request", "prompt")]
    assert versions == [SCHEMA_VERSION, "1", "1"]


def test_keys_that_are_data_are_one_field_in_structs_and_in_maps() -> None:
    """Whether such an object is a struct or a map depends on how many keys were seen."""
    nested = pa.struct([pa.field("yes", pa.int64(), nullable=False), pa.field("no", pa.int64())])
    flags = pa.map_(pa.string(), pa.struct([("n", pa.int64())]))
    schema = pa.schema([pa.field("request", pa.struct([("flags", nested), ("others", flags)]))])
    fields = {field["name"]: field for field in schema_json(schema, Bar(), {})["fields"]}
    assert sorted(fields) == ["request", "request.flags", "request.flags.*", "request.others", "request.others.*.n"]
    assert fields["request.flags.*"]["nullable"] is True
    assert fields["request.others"]["type"] == "map<string, struct>"


def test_lists_of_plain_values_and_of_objects() -> None:
    kinds = {"tags": pa.list_(pa.string()), "slots": pa.list_(pa.struct([("day", pa.string())]))}
    schema = pa.schema([pa.field("request", pa.struct(list(kinds.items())))])
    names = [field["name"] for field in schema_json(schema, Bar(), {})["fields"]]
    assert names == ["request", "request.tags", "request.tags[]", "request.slots", "request.slots[].day"]


def test_the_markdown_states_what_the_guide_asks_for_and_what_a_reader_should_know(tmp_path: Path) -> None:
    found = summarised(tmp_path)
    text = markdown(pq.read_schema(tmp_path / "training.parquet"), Bar(), about(found), None)
    for part in (
        "# Dataset toy / 2025-02-01",
        "- **Rows**: 8 of 4 units",
        "- **Fields**: `example_id`, ",
        "- **Tasks**: drinks (supervised)",
        "- **Targets**: drink, shown",
        "- **Notes**:",
        "self-generated: 2 rows (25 %)",
        "nothing of the task reads `request.flags`, `request.mood`",
        "1 field has no meaning in `Task.fields`: `request.mood`",
        "no unit in two splits",
        "| train | 4 | 2 |",
        "| `tea` | 50 % |",
        "Of the answer's places 50 % carry no loss",
        "| preference pair | 2 |",
        "| bar_policy/2 | bar_policy/1 | 2 | 1 |",
        "| region | north 75 %, south 25 % |",
        "| nobody answered | 2 |",
    ):
        assert part in text, part
    assert "What changed" not in text


def test_the_markdown_tells_what_moved_in_plain_words(tmp_path: Path) -> None:
    before = summarised(tmp_path, [guest(n) for n in range(2_000)])
    after = summarised(tmp_path, [guest(n, region="north" if n % 2 else "islands") for n in range(2_000)])
    schema = pq.read_schema(tmp_path / "training.parquet")
    text = markdown(schema, Bar(), about(after), about(before, date="2025-01-01"))
    assert "## What changed since 2025-01-01" in text
    assert "- region: 'islands' rose from 0 % to 50 %; 'north' fell from 75 % to 50 %; " in text
    assert "new: 'islands'; no longer there: 'south' (moved much)" in text
    assert "| region | moved much |" in text
    assert "| likes |" not in text


def test_nothing_moved_is_said_too(tmp_path: Path) -> None:
    found = summarised(tmp_path)
    schema = pq.read_schema(tmp_path / "training.parquet")
    text = markdown(schema, Bar(), about(found), about(found, date="2025-01-01"))
    assert "columns 0 moved; " in text and "PSI below" not in text


def test_a_value_with_a_bar_does_not_break_a_table(tmp_path: Path) -> None:
    found = summarised(tmp_path, excluded={"a | b": 1})
    text = markdown(pq.read_schema(tmp_path / "training.parquet"), Bar(), about(found), None)
    assert "| a \\| b | 1 |" in text
