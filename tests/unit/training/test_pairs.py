"""Edit pairs of the planner, from people's edits to what DPO compares."""

import planner_town
from bakeoff.datasets.model import Row, Split
from bakeoff.inference.encode import closed_values
from bakeoff.task import Example
from bakeoff.training.run import training_pairs, training_rows
from planner import policies
from planner.prompt import NO, YES, property_names
from planner.task import PlannerTask

TASK = PlannerTask()


def _rows() -> list[Row]:
    episodes = planner_town.live(25, 2, lambda *given: policies.heuristic(given[3], seed=0))
    found = (example for example in TASK.examples(episodes) if isinstance(example, Example))
    return [Row(example=example, split=Split.TRAIN, slice=None, request_digest="") for example in found]


def test_a_pair_is_two_labelings_of_one_schema() -> None:
    rows = _rows()
    pairs = training_pairs(TASK, rows, Split.TRAIN)
    edited = [row.example for row in rows if TASK.preference(row.example) is not None]
    assert len(pairs) == len(edited) > 5
    for pair, example in zip(pairs, edited, strict=True):
        allowed = closed_values(pair.schema)
        names = property_names(example.request)
        for labels in (pair.chosen, pair.rejected):
            assert all(value in allowed[key] for key, value in labels.items())
            assert {names[key] for key in labels} == set(names.values()) - set(example.request["anchors"])
        kept = {names[key] for key, value in pair.chosen.items() if value == YES}
        assert kept <= set(example.target["accepted_meals"])
        differing = [key for key in pair.chosen if pair.chosen[key] != pair.rejected[key]]
        assert differing  # else there is nothing to learn
        taken_out = {names[key] for key in differing if pair.chosen[key] == NO}
        assert not taken_out & set(example.target["accepted_meals"])


def test_pairs_carry_the_supervised_labels_of_their_row_and_only_their_split() -> None:
    rows = _rows()
    pairs = training_pairs(TASK, rows, Split.TRAIN)
    by_prompt = {row.messages[-1].content: row.labels for row in training_rows(TASK, rows, Split.TRAIN)}
    assert all(pair.labels == by_prompt[pair.messages[-1].content] for pair in pairs if pair.labels)
    assert training_pairs(TASK, rows, Split.VALIDATION) == []
