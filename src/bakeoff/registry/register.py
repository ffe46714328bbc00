"""From a finished run to a registered model: read back, enforce the contract, register, load, compare."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from bakeoff.errors import Refused
from bakeoff.fingerprint import short
from bakeoff.registry.bundle import folder_digest
from bakeoff.registry.model import DIGEST_TAG, ModelRegistry, RegisteredModel
from bakeoff.training import contract
from bakeoff.training.tracker import Tracker


def register(
    tracker: Tracker,
    registry: ModelRegistry,
    *,
    name: str,
    run_id: str,
    folder: Path,
    requested: Mapping[str, object],
    tags: Mapping[str, str],
) -> RegisteredModel:
    """Registers the files in `folder` as the next version of `name`; the same files give the same version.

    `requested` are the parameters that the run was asked for; `tags` are added to the version. Raises Refused
    where the run does not fulfil the contract, where it logged another bundle, or where the registry gives
    back other files than it got."""
    record = tracker.read_run(run_id)
    contract.enforce(record, requested)
    digest = folder_digest(folder)
    logged = record.tags.get(DIGEST_TAG, digest)
    if logged != digest:
        raise Refused(
            f"run {run_id} logged bundle {short(logged)}, but {folder} holds {short(digest)}",
            cure="register the folder that this run wrote",
        )
    model = registry.register(name, run_id, folder, {**tags, DIGEST_TAG: digest})
    _check_stored(registry, model, digest)
    return model


def _check_stored(registry: ModelRegistry, model: RegisteredModel, digest: str) -> None:
    with TemporaryDirectory(prefix="bakeoff-") as scratch:
        stored = folder_digest(registry.download(model.name, model.version, Path(scratch)))
    if stored != digest:
        raise Refused(
            f"{model.uri} holds {short(stored)}, registered was {short(digest)}",
            cure="look at the artefact store; the version must not be used",
        )
