"""What goes over the wire: bodies as pydantic reads them, with examples that the documentation shows."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
ID = "6f8d2f3e-0f43-5c0e-9d6c-2f6b7a1e4b51"
ANSWER: dict[str, Any] = {"drink": "coffee"}
CONTEXT: dict[str, Any] = {
    "decision_id": ID,
    "experiment_id": "0b0c3a2e-5d0e-5a53-8f9b-3f3c1f0e7a10",
    "variant_id": "3f5b1b0a-52c7-5c0a-b6d1-9f2a4f0f7c55",
    "policy_version_id": "a54f8f0e-7a0c-5d0b-8a53-6d1d0d5e9a11",
}
EVENT: dict[str, Any] = {
    "event_id": "0192f5c4-8a53-7c0e-9d6c-2f6b7a1e4b51",
    "event_type": "accepted",
    "unit_id": "shopper-7",
    "context": CONTEXT,
    "occurred_at": "2025-01-06T08:05:00Z",
    "payload": {"accepted_by": "user", "drink": "coffee"},
}

LINE: dict[str, Any] = {
    "policy_id": "planner_policy",
    "task": "planner",
    "incumbent": "planner_policy/3",
    "last_resort": "planner_policy/1",
}
VERSION: dict[str, Any] = {
    "name": "planner_policy/3",
    "status": "production",
    "what": "smollm2",
    "model": "planner_model/3",
}
TEST: dict[str, Any] = {
    "experiment_id": CONTEXT["experiment_id"],
    "name": "shorter-prompt",
    "treated": "planner_policy/4",
    "phase": 2,
    "treated_share": 0.25,
}
READY: dict[str, Any] = {
    "ready": True,
    "database": True,
    "last_poll_at": "2025-01-06T08:00:00Z",
    "missing": [],
}
NOT_READY: dict[str, Any] = {
    **READY,
    "ready": False,
    "missing": ["planner_policy/3: it is being loaded"],
}

PolicyName = Annotated[str, Field(min_length=1, max_length=100, pattern=NAME, examples=["planner_policy"])]
Key = Annotated[
    str,
    Field(
        min_length=1,
        max_length=200,
        pattern=r"^[!-~]([ -~]*[!-~])?$",
        description="Your own name of this decision: printable ASCII. The same key again gets the stored answer.",
        examples=["shopper-7/2025-01-06"],
    ),
]


def _is_text(value: object) -> object:
    """Numbers are no moments, though pydantic would read them as seconds."""
    if not isinstance(value, str) or not value[:4].isdigit() or value[4:5] != "-":
        raise ValueError("expected for instance 2025-01-06T08:05:00Z")
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_is_text)]
Text = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]+$")]
Object = Annotated[dict[str, Any], Field(description="Any JSON object without NaN and NUL.")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Need(_Body):
    """Which request the task builds from the application's own tables."""

    need_id: Text = Field(description="Which need of the unit it is for, as the task says it: 2025-01-06.")
    as_of: Moment | None = Field(default=None, description="What was known at this moment; default: now.")


class DecideBody(_Body):
    """Who asks, and for what: either the whole `request`, or the `need` that the task builds it of."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"unit_id": "shopper-7", "request": {"likes": "coffee", "day": 1}}],
            "oneOf": [{"required": ["request"]}, {"required": ["need"]}],
        },
    )

    unit_id: Text = Field(description="Who is randomised: the household, the shopper, the account.")
    request: Object | None = Field(default=None, description="Everything that the policy decides on; kept as it is.")
    need: Need | None = None
    deadline_s: float | None = Field(
        default=None,
        gt=0,
        le=600,
        strict=True,
        description="Seconds that this may take, at most the server's own limit.",
    )

    @model_validator(mode="after")
    def _is_one(self) -> "DecideBody":
        if (self.request is None) == (self.need is None):
            raise ValueError("give either request or need")
        return self


class ContextBody(_Body):
    """What comes back with every outcome, exactly as `decide` gave it."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [CONTEXT]})

    decision_id: str = Field(min_length=1, max_length=200)
    experiment_id: str = Field(min_length=1, max_length=200)
    variant_id: str = Field(min_length=1, max_length=200)
    policy_version_id: str = Field(min_length=1, max_length=200)


class Decided(_Body):
    """An answer, and what to send back with what people do with it. It is durable when you read it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"decision_id": ID, "answer": ANSWER, "context": CONTEXT}]},
    )

    decision_id: str
    answer: dict[str, Any]
    context: ContextBody


class EventBody(_Body):
    """What people did with one decision."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EVENT]})

    event_id: Text = Field(description="Made once per event, for instance a uuid. The same again is one event.")
    event_type: Text = Field(description="One that the task declares.")
    unit_id: Text
    context: ContextBody
    occurred_at: Moment = Field(description="With time zone.")
    payload: Object = Field(default={}, description="What the event type declares; other fields are kept too.")


class OneEventBody(EventBody):
    """One event, with its task."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"task": "planner", **EVENT}]})

    task: PolicyName = Field(description="Whose event types count.", examples=["planner"])


class BatchBody(_Body):
    """Many events of one task, in one transaction. A wrong one does not hold up the others."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"task": "planner", "events": [EVENT]}]})

    task: PolicyName = Field(examples=["planner"])
    events: list[EventBody] = Field(min_length=1)


class ReceiptBody(_Body):
    """What became of one event."""

    event_id: str = Field(description="As the log knows it.")
    status: Literal["stored", "known", "refused"] = Field(description="known: the same event was there already.")
    reason: str | None = Field(default=None, description="Of a refusal.")
    cure: str | None = Field(default=None, description="What to change.")


class ReceiptsBody(_Body):
    """What became of a batch, in its order. Everything that is not refused is durable when you read this."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "stored": 1,
                    "known": 0,
                    "refused": 0,
                    "receipts": [{"event_id": EVENT["event_id"], "status": "stored"}],
                }
            ]
        },
    )

    stored: int
    known: int
    refused: int
    receipts: list[ReceiptBody]


class FieldError(_Body):
    """One thing that is wrong with a request."""

    where: str = Field(examples=["body unit_id"])
    detail: str = Field(examples=["Field required"])


class ProblemBody(BaseModel):
    """A refusal (RFC 9457)."""

    type: str = Field(description="Which kind; open it to read more.", examples=["/problems/invalid"])
    title: str
    status: int
    detail: str = Field(description="What is wrong this time.")
    instance: str = Field(description="This one refusal; the server's log knows it.")
    cure: str = Field(description="What to do about it.")
    errors: list[FieldError] | None = Field(default=None, description="Each wrong field, where fields are wrong.")


class PolicyLineBody(_Body):
    """One policy."""

    model_config = ConfigDict(extra="forbid", from_attributes=True)

    policy_id: str = Field(examples=["planner_policy"])
    task: str = Field(examples=["planner"])
    incumbent: str | None = Field(description="Serves everyone that no test takes.", examples=["planner_policy/3"])
    last_resort: str | None = Field(description="Answers when all else fails.", examples=["planner_policy/1"])


class PoliciesBody(_Body):
    """All policies, by name."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"policies": [LINE]}]})

    policies: list[PolicyLineBody]


class VersionLineBody(_Body):
    """One version of a policy."""

    model_config = ConfigDict(extra="forbid", from_attributes=True)

    name: str = Field(examples=["planner_policy/3"])
    status: str = Field(examples=["production"])
    what: str | None = Field(examples=["smollm2"])
    model: str | None = Field(examples=["planner_model/3"])


class TestLineBody(_Body):
    """A running test."""

    model_config = ConfigDict(extra="forbid", from_attributes=True)

    experiment_id: str
    name: str | None
    treated: str = Field(examples=["planner_policy/4"])
    phase: int
    treated_share: float = Field(description="Of all units, 0 to 1.")


class StandingBody(_Body):
    """A policy with its versions, newest first."""

    model_config = ConfigDict(
        extra="forbid",
        from_attributes=True,
        json_schema_extra={"examples": [{"policy": LINE, "versions": [VERSION], "test": TEST}]},
    )

    policy: PolicyLineBody
    versions: list[VersionLineBody]
    test: TestLineBody | None


class HealthBody(_Body):
    """This process runs."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"status": "alive"}]})

    status: Literal["alive"] = "alive"


class ReadyBody(_Body):
    """Whether to send requests to this process."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [READY, NOT_READY]})

    ready: bool
    database: bool
    last_poll_at: datetime | None = Field(description="When it last saw what serves.")
    missing: list[str] = Field(description="What stands in the way.")
