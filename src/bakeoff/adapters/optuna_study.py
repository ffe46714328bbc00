"""Studies in Optuna, kept in a schema of their own in our PostgreSQL. The only module that imports optuna.

A worker holds a session-level advisory lock for as long as it lives. The server frees it when the process ends,
however it ends, so whoever asks next sees at once which running trials nobody works on any more: no heartbeat, no
waiting. Asking is serialised by another such lock, so that workers never take the same trial, nor one too many.
A pooler between us must keep sessions apart (pgbouncer: pool_mode = session).

Each trial draws from a random stream of its own, seeded by the study's seed and the trial's place in the study. So
one worker always makes the same trials, and one that was killed and started again makes those of an unbroken run."""

import hashlib
import json
import logging
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import optuna
import psycopg
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.pruners import SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from psycopg import sql
from sqlalchemy.exc import SQLAlchemyError

from bakeoff.errors import Refused, Unreachable, UsageError
from bakeoff.training.compare import Scored
from bakeoff.training.tuning.model import Asked, Full, OneOf, Params, Range, Space, State, Study, Trial

ATTEMPTS = 3
"""A trial is begun at most this often: hyperparameters that kill every worker must not stop the study."""
STARTUP_TRIALS = 5
"""Drawn at random before the sampler learns from the others."""
KEEP_ONE_OF = 2
"""Successive halving: the better half goes on. Gentler than the usual 4, as the early loss is measured on few rows."""
_STATES: Mapping[TrialState, State] = {
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.WAITING: "waiting",
}
_ABOUT, _RUN, _WORKER, _ATTEMPT, _RETRIED, _ROWS, _PROBLEM = (
    "about", "run_id", "worker", "attempt", "retried", "rows", "problem"
)  # fmt: skip


class OptunaStudies:
    """`bakeoff.training.tuning.model.Studies` in the database at `dsn`, in schema ``{schema}_tuning``."""

    def __init__(self, dsn: str, schema: str) -> None:
        self._dsn = dsn
        self._schema = f"{schema[:56]}_tuning"

    @contextmanager
    def open(
        self, name: str, about: Mapping[str, Any], space: Space, *, first: Sequence[Params], seed: int
    ) -> Iterator[Study]:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        with _answering(), self._session() as session:
            locks = _Locks(session)
            with locks.held("tuning"):
                storage = self._storage(session)
            try:
                with locks.held(f"study {name}"):
                    study = _made(storage, name, about, first, seed)
                with locks.held(f"worker {(worker := uuid.uuid4().hex)}"):
                    yield _Study(study, locks, worker, distributions(space))
            finally:
                storage.remove_session()
                storage.engine.dispose()

    @contextmanager
    def _session(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection that carries the locks. The server notices within minutes when the machine behind it is gone."""
        options = "-c tcp_keepalives_idle=60 -c tcp_keepalives_interval=15 -c tcp_keepalives_count=4"
        with psycopg.connect(self._dsn, autocommit=True, options=options) as session:
            yield session

    def _storage(self, session: psycopg.Connection[Any]) -> RDBStorage:
        """Optuna's tables, made where they are missing."""
        if session.execute("select 1 from pg_namespace where nspname = %s", (self._schema,)).fetchone() is None:
            session.execute(sql.SQL("create schema {}").format(sql.Identifier(self._schema)))
        # psycopg reads the DSN itself: SQLAlchemy would split one with a socket's path in its own way.
        parts = psycopg.conninfo.conninfo_to_dict(self._dsn)
        options = f"{parts.pop('options', '')} -c search_path={self._schema} -c timezone=UTC".strip()
        return RDBStorage(
            "postgresql+psycopg://",
            engine_kwargs={"connect_args": {**parts, "options": options}, "pool_pre_ping": True},
        )


class _Study:
    """`Study` for one worker."""

    def __init__(
        self, study: optuna.Study, locks: "_Locks", worker: str, space: Mapping[str, BaseDistribution]
    ) -> None:
        self._study, self._locks, self._worker, self._space = study, locks, worker, dict(space)
        self._asked: dict[int, optuna.Trial] = {}

    @property
    def name(self) -> str:
        return self._study.study_name

    @property
    def workers(self) -> int:
        running = (each for each in self._frozen() if each.state is TrialState.RUNNING)
        return sum(each.number not in self._asked and self._lives(each) for each in running)

    def run_id(self, make: Callable[[], str]) -> str:
        with self._exclusive():
            if _RUN not in self._study.user_attrs:
                self._study.set_user_attr(_RUN, make())
            return str(self._study.user_attrs[_RUN])

    def ask(self, limit: int) -> Asked | None:
        with self._exclusive():
            self._give_up_dead()
            frozen = self._frozen()
            used = sum(
                each.state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING) or _is_lost(each)
                for each in frozen
            )
            if used >= limit:
                return None
            trial = self._study.ask(self._space)
            trial.set_user_attr(_WORKER, self._worker)
            self._asked[trial.number] = trial
            return Asked(number=trial.number, params=dict(trial.params), place=used + 1)

    def prunes(self, number: int, loss: float) -> bool:
        trial = self._asked[number]
        with self._exclusive():
            trial.report(-loss, step=1)  # the study maximises
            return bool(trial.should_prune())

    def prune(self, number: int, run_id: str) -> None:
        self._tell(number, TrialState.PRUNED, {_RUN: run_id})

    def complete(self, number: int, full: Full) -> None:
        rows = [[row.example_id, row.unit_id, row.value] for row in full.rows]
        self._tell(number, TrialState.COMPLETE, {_RUN: full.run_id, _ROWS: json.dumps(rows)}, full.score)

    def fail(self, number: int, problem: str) -> None:
        with self._exclusive():
            self._asked.pop(number, None)
            self._give_up(next(each for each in self._frozen() if each.number == number), problem[:500])

    def trials(self) -> Sequence[Trial]:
        return [_trial(each) for each in self._frozen()]

    def _tell(self, number: int, state: TrialState, attrs: Mapping[str, str], score: float | None = None) -> None:
        with self._exclusive():
            trial = self._asked.pop(number)
            if self._frozen()[number].state is not TrialState.RUNNING:
                return  # our connection was lost for a while, and another worker took the trial for dead
            for key, value in attrs.items():
                trial.set_user_attr(key, value)
            self._study.tell(trial, score, state=state)

    def _frozen(self) -> list[FrozenTrial]:
        with _answering():
            return self._study.get_trials()

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        with _answering(), self._locks.held(f"study {self.name}"):
            yield

    def _lives(self, trial: FrozenTrial) -> bool:
        """A trial without a worker was cut off between being made and being taken."""
        worker = trial.user_attrs.get(_WORKER)
        return worker is not None and (worker == self._worker or not self._locks.is_free(f"worker {worker}"))

    def _give_up_dead(self) -> None:
        for trial in self._frozen():
            if trial.state is TrialState.RUNNING and not self._lives(trial):
                self._give_up(trial, "its worker is gone")

    def _give_up(self, trial: FrozenTrial, problem: str) -> None:
        """Fails the trial, and has the same hyperparameters begun again by whoever asks next."""
        attempt = _attempt(trial) + 1
        params = trial.system_attrs.get("fixed_params", trial.params)
        drawn = set(params) >= set(self._space)  # else it was cut off while it was drawn, and its place is free
        if drawn and attempt <= ATTEMPTS and not self._is_retried(trial.number):
            self._study.enqueue_trial(dict(params), user_attrs={_ATTEMPT: attempt, _RETRIED: trial.number})
        storage, ident = self._study._storage, trial._trial_id
        storage.set_trial_user_attr(ident, _PROBLEM, problem)
        if not drawn:
            storage.set_trial_user_attr(ident, _RETRIED, trial.number)
        self._study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)

    def _is_retried(self, number: int) -> bool:
        """A worker may die between the two steps of giving up."""
        return any(each.user_attrs.get(_RETRIED) == number for each in self._frozen())


class _Streams(BaseSampler):
    """TPE with a random stream per trial: the same draws, whichever process makes them. A retry takes the place of
    the trial that it repeats, so it moves nobody's stream."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._inner = TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        retries = sum(each.number < trial.number and _RETRIED in each.user_attrs for each in study.get_trials())
        text = f"{self._seed}/{trial.number - retries}"
        stream = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
        self._inner = TPESampler(seed=stream, n_startup_trials=STARTUP_TRIALS)
        self._inner.before_trial(study, trial)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._inner.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._inner.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        self._inner.after_trial(study, trial, state, values)


class _Locks:
    """Session-level advisory locks: held until they are given back, or until the session ends."""

    def __init__(self, session: psycopg.Connection[Any]) -> None:
        self._session = session

    @contextmanager
    def held(self, name: str) -> Iterator[None]:
        self._session.execute("select pg_advisory_lock(%s)", (_key(name),))
        try:
            yield
        finally:
            if not self._session.closed:
                self._session.execute("select pg_advisory_unlock(%s)", (_key(name),))

    def is_free(self, name: str) -> bool:
        # Shared: two that ask at the same moment do not take each other for the holder.
        row = self._session.execute("select pg_try_advisory_lock_shared(%s)", (_key(name),)).fetchone()
        if row is None or not row[0]:
            return False
        self._session.execute("select pg_advisory_unlock_shared(%s)", (_key(name),))
        return True


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """The space in Optuna's words."""
    return {each.name: _distribution(each) for each in space}


def _distribution(each: Range | OneOf) -> BaseDistribution:
    if isinstance(each, OneOf):
        return CategoricalDistribution(each.values)
    if each.whole:
        return IntDistribution(int(each.low), int(each.high), log=each.log)
    return FloatDistribution(each.low, each.high, log=each.log)


def _made(storage: RDBStorage, name: str, about: Mapping[str, Any], first: Sequence[Params], seed: int) -> optuna.Study:
    study = optuna.create_study(
        study_name=name,
        storage=storage,
        direction="maximize",
        load_if_exists=True,
        sampler=_Streams(seed),
        pruner=SuccessiveHalvingPruner(min_resource=1, reduction_factor=KEEP_ONE_OF),
    )
    if _ABOUT not in study.user_attrs:  # new, or its maker was killed right here
        for params in first:
            study.enqueue_trial(dict(params), skip_if_exists=True)
        study.set_user_attr(_ABOUT, dict(about))
    was = study.user_attrs[_ABOUT]
    other = sorted(key for key in {*was, *about} if was.get(key) != about.get(key))
    if other:
        key = other[0]
        raise UsageError(
            f"study {name} is about something else: its {', '.join(other)} differ, for instance {key} "
            f"{was.get(key)} there and {about.get(key)} here",
            cure="another --workers-share NAME, or the same options as the worker that began it",
        )
    return study


def _trial(frozen: FrozenTrial) -> Trial:
    attrs = frozen.user_attrs
    rows = json.loads(attrs.get(_ROWS, "[]"))
    early = frozen.intermediate_values.get(1)
    return Trial(
        number=frozen.number,
        state=_STATES[frozen.state],
        params=cast(Params, frozen.params or frozen.system_attrs.get("fixed_params", {})),
        early_loss=None if early is None else -early,
        score=frozen.value if frozen.state is TrialState.COMPLETE else None,
        rows=tuple(Scored(example_id=example, unit_id=unit, value=value) for example, unit, value in rows),
        run_id=attrs.get(_RUN),
        attempt=_attempt(frozen),
        problem=attrs.get(_PROBLEM),
    )


def _attempt(frozen: FrozenTrial) -> int:
    return int(frozen.user_attrs.get(_ATTEMPT, 1))


def _is_lost(frozen: FrozenTrial) -> bool:
    """Failed for good."""
    return frozen.state is TrialState.FAIL and _attempt(frozen) >= ATTEMPTS


def _key(name: str) -> int:
    """64 bits with a sign, as PostgreSQL counts."""
    return int.from_bytes(hashlib.sha256(f"bakeoff {name}".encode()).digest()[:8], "big", signed=True)


@contextmanager
def _answering() -> Iterator[None]:
    """Outages of the database become Unreachable, missing rights Refused."""
    try:
        yield
    except psycopg.errors.InsufficientPrivilege as error:
        raise Refused(
            f"PostgreSQL refuses this user: {error.diag.message_primary}",
            cure="studies are kept in a schema of their own: grant create on database ... to the user of "
            "BAKEOFF_DATABASE_URL",
        ) from error
    except (psycopg.OperationalError, SQLAlchemyError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise Unreachable(f"PostgreSQL: {first}", cure="run the same command again: the study goes on") from error
