"""RegisteredModel and the port to the model registry."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

DIGEST_TAG = "bundle_digest"


@dataclass(frozen=True, kw_only=True, slots=True)
class RegisteredModel:
    """One version of a registered model."""

    name: str  # for instance 'planner_model'
    version: str  # '1', '2', ...
    uri: str  # 'models:/planner_model/1'
    digest: str  # of the bundle's files, see `bundle.folder_digest`


class ModelRegistry(Protocol):
    """All methods raise Unreachable where the registry does not answer, and UsageError for unknown names."""

    def register(self, name: str, run_id: str, folder: Path, tags: Mapping[str, str]) -> RegisteredModel:
        """A new version of `name` that holds the files of `folder`, whose digest is ``tags[DIGEST_TAG]``: where
        a version with this digest exists, that one is returned and nothing is written."""
        ...

    def set_tag(self, name: str, version: str, key: str, value: str) -> None: ...

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Moves `alias`. Not a compare-and-swap: whoever promotes holds the lock in our own database."""
        ...

    def delete_alias(self, name: str, alias: str) -> None:
        """One that is not there is nothing."""
        ...

    def stage(self, name: str, version: str) -> str | None:
        """MLflow's own field of a version ('None', 'Staging', 'Production', 'Archived'), deprecated; None where the
        registry has no such field."""
        ...

    def set_stage(self, name: str, version: str, stage: str) -> bool:
        """False where the registry no longer takes it; that is no error, since alias and tag say the same."""
        ...

    def aliases(self, name: str) -> Mapping[str, str]:
        """Version by alias; empty for an unknown model."""
        ...

    def tags(self, name: str, version: str) -> Mapping[str, str]: ...

    def download(self, name: str, version: str, to: Path) -> Path:
        """Copies the version's files into `to`, which is made where it is missing, and returns it."""
        ...
