"""The registry follows our table: what it must say, where it differs, and how it is put right.

Promotion, rollback and `bakeoff doctor --repair` use the same few functions, so whatever was interrupted (a crash
after the database's commit, a registry that was away) is healed by any of them."""

from collections.abc import Iterator, Mapping, Sequence

from bakeoff.promotion.model import Drift, Registered
from bakeoff.registry.model import ModelRegistry

ALIAS = "production"
TAG = "stage"
FIELD = {"production": "Production", "retired": "Archived"}
"""Status -> MLflow's own field `stage`, deprecated since 2.9 and still there in 3.17."""
Place = tuple[str, str]
"""Model name and version."""


def expected_tag(status: str) -> str | None:
    """The tag ``stage`` of a model version, by its policy version's status; None: whatever is there."""
    return {"candidate": "candidate", "approved": "candidate", "registered": None}.get(status, status)


def drifts(
    known: Sequence[Registered],
    aliases: Mapping[str, Mapping[str, str]],
    tags: Mapping[Place, str | None],
    fields: Mapping[Place, str | None] | None = None,
) -> list[Drift]:
    """Differences, by model name and version. `aliases`: of each model; `tags`: its tag ``stage``; `fields`: MLflow's
    own stage, None where the server has no such thing."""
    return [
        drift
        for name in sorted({str(each.version.mlflow_model_name) for each in known})
        for drift in _of_model(name, known, aliases.get(name, {}), tags, fields or {})
    ]


def _of_model(
    name: str,
    known: Sequence[Registered],
    aliases: Mapping[str, str],
    tags: Mapping[Place, str | None],
    fields: Mapping[Place, str | None],
) -> Iterator[Drift]:
    mine = [each for each in known if each.version.mlflow_model_name == name]
    serving = next((str(each.version.mlflow_model_version) for each in mine if each.serves), None)
    alias = aliases.get(ALIAS)
    if alias != serving:
        yield Drift(model=name, model_version=alias or "", key="alias", found=alias, expected=serving)
    for each in mine:
        place = (name, str(each.version.mlflow_model_version))
        tag, wanted = tags.get(place), expected_tag(each.version.status)
        if wanted is not None and tag != wanted:
            yield Drift(model=name, model_version=place[1], key="tag", found=tag, expected=wanted)
        field, stage = fields.get(place), FIELD.get(each.version.status)
        if field is not None and stage is not None and field != stage:
            yield Drift(model=name, model_version=place[1], key="stage", found=field, expected=stage)


def look(models: ModelRegistry, known: Sequence[Registered]) -> list[Drift]:
    """Where the registry differs now. Raises Unreachable, and UsageError for a model that it does not know."""
    names = sorted({str(each.version.mlflow_model_name) for each in known})
    places = [(str(each.version.mlflow_model_name), str(each.version.mlflow_model_version)) for each in known]
    return drifts(
        known,
        {name: models.aliases(name) for name in names},
        {place: models.tags(*place).get(TAG) for place in places},
        {place: models.stage(*place) for place in places},
    )


def repair(models: ModelRegistry, drift: Drift) -> bool:
    """Lets the registry say what our table says; again is harmless. False where it no longer can: a server without
    the deprecated field. Raises as `look`."""
    if drift.key == "stage":
        return models.set_stage(drift.model, drift.model_version, str(drift.expected))
    if drift.key == "tag":
        models.set_tag(drift.model, drift.model_version, TAG, str(drift.expected))
    elif drift.expected is None:
        models.delete_alias(drift.model, ALIAS)
    else:
        models.set_alias(drift.model, ALIAS, drift.expected)
    return True


def follow(models: ModelRegistry, known: Sequence[Registered]) -> tuple[Drift, ...]:
    """Puts right whatever differs, and says what did. Raises as `look`."""
    return tuple(drift for drift in look(models, known) if repair(models, drift))
