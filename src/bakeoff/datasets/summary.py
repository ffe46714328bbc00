"""What people want to know about a dataset first, as numbers; also the row's `summary` in the database.

Read off the file that is about to become visible: counts over all rows, in batches of a few columns. What needs whole
rows looks at a sample."""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bakeoff.datasets import counts, reads, views
from bakeoff.datasets.build import versions
from bakeoff.datasets.model import Proposer, Row, Split
from bakeoff.datasets.profile import profile
from bakeoff.datasets.schema import undocumented
from bakeoff.task import Task

CHECKS = (
    "enough rows in every split",
    "no example twice",
    "every row inside the window",
    "no unit in two splits",
    "every request as the log stored it",
    "every field that the prompt reads is there",
    "no target in the request",
)
"""What a dataset has passed before it is written; see `datasets.check` and `datasets.reads`."""
SAMPLED = 1_000  # train rows that are looked at as a whole
WATCHED = 25  # of these, rows whose reading is watched
VALUES = 20  # of a class balance; the others are counted together


def summarise(
    task: Task,
    file: pq.ParquetFile,
    sample: Iterable[Row],
    *,
    excluded: Mapping[str, int],
    proposers: Mapping[str, Proposer],
) -> dict[str, Any]:
    """JSON values, the same for the same file and sample. `sample`: rows of the train split, some `SAMPLED`;
    `excluded`: episodes left out, by reason; `proposers`: known policy versions, by id."""
    counted, described = counts.groups(file), profile(file)
    proposed_by = counts.by(counted, lambda group: group.proposed_by)
    return {
        "title": str(getattr(task, "title", task.name)),
        **versions(task),
        "rows": described["rows"],
        "units": described["units"],
        "splits": {split.value: _in_split(counted, split) for split in Split},
        "units_by_split": {split.value: described["units_by_split"].get(split.value, 0) for split in Split},
        "slices": counts.by(counted, lambda group: group.slice),
        "proposed_by": proposed_by,
        "names": {ident: proposers[ident].name for ident in proposed_by if ident in proposers},
        "origin": counts.by(counted, lambda group: group.origin),
        "fell_back": counts.rows(counted, lambda group: group.fell_back),
        "targets": _targets(file.schema_arrow),
        "excluded": {reason: count for reason, count in sorted(excluded.items()) if count},
        "first_to_last": counts.first_to_last(file),
        "neutral": counts.neutral(counted),
        "self_generated": self_generated(counted, {ident for ident, each in proposers.items() if each.is_trained}),
        "outside_options": counts.total(file, "outside_options"),
        **_of_sample(task, sample),
        "undocumented": undocumented(file.schema_arrow, task),
        "checks": list(CHECKS),
        "profile": described,
    }


def self_generated(counted: counts.Groups, trained: Collection[str]) -> dict[str, Any]:
    """Rows whose plan began as the answer of a model that we trained. A model that learns from too many of them learns
    from itself (Shumailov et al. 2024, Nature 631); what people built without a proposal is their own."""
    own = counts.rows(counted, lambda group: group.proposed_by in trained and not group.unaided)
    return {"rows": own, "share": own / max(sum(counted.values()), 1)}


def class_balance(task: Task, rows: Sequence[Row]) -> dict[str, Any]:
    """How often each value is the right one in the supervised view of `rows` (a sample), as shares of all labels, and
    the share of the answer's places that carry no loss: None where the schema does not list its places."""
    found = [view for view in (views.sft(task, row) for row in rows) if view is not None]
    values = Counter(value for view in found for value in view.labels.values())
    labels, places = values.total(), sum(len(view.schema.get("properties", ())) for view in found)
    ranked = sorted(values.items(), key=lambda pair: (-pair[1], pair[0]))
    return {
        "sample": len(rows),
        "rows": len(found),
        "labels": labels,
        "values": {str(json.loads(value)): count / labels for value, count in ranked[:VALUES]},
        "other_values": sum(count for _, count in ranked[VALUES:]) / max(labels, 1),
        "unsupervised": 1 - labels / places if places else None,
    }


def _of_sample(task: Task, rows: Iterable[Row]) -> dict[str, Any]:
    learnt = list(views.learnable(rows))
    balance = class_balance(task, learnt)
    costs = [found.cost for found in views.edit_costs(task, learnt)]
    return {
        "class_balance": balance,
        "views": {
            "sample": len(learnt),
            "supervised": balance["rows"],
            "preferences": sum(task.preference(row.example) is not None for row in learnt),
            "edit_costs": len(costs),
            "mean_edit_cost": fmean(costs) if costs else None,
        },
        "unread": list(reads.unused(task, learnt[:WATCHED])),
    }


def _in_split(counted: counts.Groups, split: Split) -> int:
    return counts.rows(counted, lambda group: group.split == split)


def _targets(schema: pa.Schema) -> list[str]:
    kind = schema.field("target").type
    return sorted(part.name for part in kind) if pa.types.is_struct(kind) else []
