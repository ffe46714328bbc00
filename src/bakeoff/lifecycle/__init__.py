"""The loop, one short function per arrow: load -> pure verb -> store. The page to read first.

    events -> build_dataset -> train -> register -> replay -> gate -> write_report -> approve | reject
           -> start_experiment -> monitor -> ramp | roll_back | promote -> (events again)

The command line, the demo and later the HTTP API and the orchestrator call these functions and nothing below
them. Each may be run again: what is there already, known by content, is returned and not made anew."""

from bakeoff.lifecycle.access import create_key, list_keys, revoke_key
from bakeoff.lifecycle.approve import approve, check_approval, find_report, reject
from bakeoff.lifecycle.deps import Deps, Progress
from bakeoff.lifecycle.experiment import (
    act_on,
    create_experiment,
    force_variant,
    look,
    monitor,
    plan_experiment,
    ramp,
    start_experiment,
    stop_experiment,
    waive,
)
from bakeoff.lifecycle.judge import gate
from bakeoff.lifecycle.learn import build_dataset, check_skew, create_policy, register, train
from bakeoff.lifecycle.log import decide, import_events, log_outcome
from bakeoff.lifecycle.promote import adopt, already, follow_registry, name_last_resort, plan, plan_back, promote
from bakeoff.lifecycle.replay import replay, replay_shard
from bakeoff.lifecycle.reporting import write_report
from bakeoff.lifecycle.slices import open_slices
from bakeoff.promotion.model import Carried

__all__ = [
    "Carried",
    "Deps",
    "Progress",
    "act_on",
    "adopt",
    "already",
    "approve",
    "build_dataset",
    "check_approval",
    "check_skew",
    "create_experiment",
    "create_key",
    "create_policy",
    "decide",
    "find_report",
    "follow_registry",
    "force_variant",
    "gate",
    "import_events",
    "list_keys",
    "log_outcome",
    "look",
    "monitor",
    "name_last_resort",
    "open_slices",
    "plan",
    "plan_back",
    "plan_experiment",
    "promote",
    "ramp",
    "register",
    "reject",
    "replay",
    "replay_shard",
    "revoke_key",
    "start_experiment",
    "stop_experiment",
    "train",
    "waive",
    "write_report",
]
