"""Two replays over the same rows become the pairs that a gate judges."""

from collections.abc import Mapping

import numpy as np

from bakeoff.errors import Refused
from bakeoff.gates.columns import Pairs
from bakeoff.gates.slices import ALL, Reading
from bakeoff.replay.model import ReplayReport
from bakeoff.replay.scores import Scores
from bakeoff.stats.paired import unit_codes


def check_comparable(candidate: ReplayReport, incumbent: ReplayReport) -> None:
    """Raises Refused unless both were made over the same rows of one dataset, and a local engine's answers are the
    same each time. Those of a remote engine may differ; by how much is compared with the margins."""
    if candidate.policy_version_id == incumbent.policy_version_id:
        raise Refused("a policy version is not judged against itself", cure="name the incumbent's replay as the other")
    for report in (candidate, incumbent):
        if report.certificate.kind == "exact" and not report.certificate.deterministic:
            raise Refused(
                f"replay {report.replay_id} is not deterministic: {report.certificate.equal} of "
                f"{report.certificate.rows} answers were the same the second time",
                cure="pin model, seed, dtype and threads; sampled decoding needs a seed",
            )
    if candidate.dataset_digest != incumbent.dataset_digest or candidate.selection != incumbent.selection:
        raise Refused("the two replays do not cover the same rows", cure="replay both over one dataset and sample")


def check_covers(report: ReplayReport, reading: Reading) -> None:
    """Raises Refused where a replay leaves out slices that the gate reads: who saw answers could have chosen."""
    covered = report.selection.get("slices") or ALL
    if report.selection.get("split", "test") != "test" or not set(reading.slices) <= set(covered):
        raise Refused(
            f"replay {report.replay_id} covers slices {', '.join(map(str, covered))} of the "
            f"{report.selection.get('split', 'test')} split; the gate reads {reading} of the test split",
            cure="replay both versions over what is open: bakeoff gate does it by itself",
        )


def subject(candidate: ReplayReport, incumbent: ReplayReport, reading: Reading) -> dict[str, str]:
    """Digests of what is judged, and which slices were read: a signature on the report covers them."""
    return {
        "dataset": candidate.dataset_digest,
        "candidate": candidate.fingerprint,
        "candidate_version": candidate.policy_version_id,
        "candidate_replay": candidate.digest,
        "incumbent": incumbent.fingerprint,
        "incumbent_version": incumbent.policy_version_id,
        "incumbent_replay": incumbent.digest,
        **reading.as_subject(),
    }


def noise(candidate: ReplayReport, incumbent: ReplayReport) -> dict[str, float] | None:
    """How far the mean advantage may move from run to run, by metric: the sum over remote sides. None where the
    answers of both are the same in every run; a metric that one of them was not measured on is left out."""
    remote = [r.certificate.noise for r in (candidate, incumbent) if r.certificate.kind == "noise"]
    if not remote:
        return None
    known = set(remote[0]).intersection(*remote)
    return {name: sum(each[name] for each in remote) for name in sorted(known)}


def pair_scores(candidate: Scores, incumbent: Scores, *, neutral: Mapping[str, bool]) -> Pairs:
    """One pair per example that `neutral` names: example id -> whether its logged proposal came from neither policy.
    Raises Refused where a side lacks an example of the other, or has none of these."""
    if candidate.example_ids != incumbent.example_ids:
        alone = sorted(set(candidate.example_ids) ^ set(incumbent.example_ids))
        raise Refused(
            f"{len(alone)} examples were answered by one policy only, for instance {alone[0]}",
            cure="replay both over one dataset and sample",
        )
    at = np.array([n for n, name in enumerate(candidate.example_ids) if name in neutral], dtype=np.intp)
    ids = [candidate.example_ids[n] for n in at]
    unit_ids = [candidate.unit_ids[n] for n in at]
    return Pairs(
        example_ids=ids,
        unit_ids=unit_ids,
        units=unit_codes(unit_ids),
        neutral=np.array([neutral[name] for name in ids], dtype=np.bool_),
        candidate={name: column[at] for name, column in candidate.values.items()},
        incumbent={name: column[at] for name, column in incumbent.values.items()},
    )
