"""Two replays over the same rows become the pairs that a gate judges."""

from collections.abc import Callable, Sequence

from bakeoff.errors import Refused
from bakeoff.gates.model import PairedRow
from bakeoff.replay.model import ReplayReport, ReplayRow


def check_comparable(candidate: ReplayReport, incumbent: ReplayReport) -> None:
    """Raises Refused unless both are deterministic and were made over the same rows of one dataset."""
    if candidate.policy_version_id == incumbent.policy_version_id:
        raise Refused("a policy version is not judged against itself", cure="name the incumbent's replay as the other")
    for report in (candidate, incumbent):
        if not report.certificate.deterministic:
            raise Refused(
                f"replay {report.replay_id} is not deterministic: {report.certificate.equal} of "
                f"{report.certificate.rows} answers were the same the second time",
                cure="pin model, seed, dtype and threads; sampled decoding needs a seed",
            )
    if candidate.dataset_digest != incumbent.dataset_digest or candidate.selection != incumbent.selection:
        raise Refused("the two replays do not cover the same rows", cure="replay both over one dataset and sample")


def subject(candidate: ReplayReport, incumbent: ReplayReport) -> dict[str, str]:
    """Digests of what is judged: a signature on the report covers them."""
    return {
        "dataset": candidate.dataset_digest,
        "candidate": candidate.fingerprint,
        "candidate_version": candidate.policy_version_id,
        "candidate_replay": candidate.digest,
        "incumbent": incumbent.fingerprint,
        "incumbent_version": incumbent.policy_version_id,
        "incumbent_replay": incumbent.digest,
    }


def paired_rows(
    candidate: Sequence[ReplayRow], incumbent: Sequence[ReplayRow], *, neutral: Callable[[str], bool]
) -> list[PairedRow]:
    """One pair per example. `neutral` tells whether an example's logged proposal came from neither policy. Raises
    Refused where a side lacks an example of the other."""
    other = {row.example_id: row for row in incumbent}
    alone = sorted({row.example_id for row in candidate} ^ set(other))
    if alone:
        raise Refused(
            f"{len(alone)} examples were answered by one policy only, for instance {alone[0]}",
            cure="replay both over one dataset and sample",
        )
    return [
        PairedRow(
            example_id=row.example_id,
            unit_id=row.unit_id,
            neutral=neutral(row.example_id),
            candidate=_values(row),
            incumbent=_values(other[row.example_id]),
        )
        for row in candidate
    ]


def _values(row: ReplayRow) -> dict[str, float | None]:
    return {**row.metrics, "latency_s": row.latency_s, "cost": row.cost}
