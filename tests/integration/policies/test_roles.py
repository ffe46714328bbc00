"""Two roles on a real PostgreSQL, by direct SQL: who builds does not sign, who signs does not build."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import sql

import rows
from bakeoff.adapters import postgres, roles
from bakeoff.adapters.postgres import Connection
from bakeoff.adapters.roles import Roles
from bakeoff.errors import Refused, UsageError
from bakeoff.plugins import migration_folders
from bakeoff.policies import store as policies
from rows import Shop, refused

DENIED = psycopg.errors.InsufficientPrivilege


@pytest.fixture
def conn(scratch: Connection) -> Connection:
    """Nothing is committed, the roles neither."""
    return scratch


@pytest.fixture
def shop(conn: Connection) -> Shop:
    return Shop(conn)


@pytest.fixture
def pair(conn: Connection) -> Roles:
    mark = uuid.uuid4().hex[:8]
    made = Roles(writer=f"writer {mark}", approver=f"approver_{mark}")  # a name that has to be quoted
    for _ in range(2):  # the second time changes nothing
        for statement in roles.statements(conn, "exp", made, postgres.task_schemas(conn, migration_folders())):
            conn.execute(statement.encode())
    return made


@contextmanager
def working_as(conn: Connection, role: str) -> Iterator[None]:
    with conn.transaction():
        conn.execute(sql.SQL("set local role {}").format(sql.Identifier(role)))
        yield
        conn.execute("reset role")


def test_the_writer_does_not_sign(conn: Connection, shop: Shop, pair: Roles) -> None:
    third = rows.version(conn, 3)
    digest = rows.report(conn, third, 3)
    with working_as(conn, pair.writer):
        assert not policies.is_advisory(conn)
        with refused(conn, "permission denied for table approvals", DENIED):
            rows.approval(conn, third, 3, report_digest=digest)
        with refused(conn, "permission denied for table rejections", DENIED):
            rows.rejection(conn, third, digest)
        with refused(conn, "permission denied for table waivers", DENIED):
            conn.execute("insert into waivers select")
        for change in ("update approvals set expires_at = null", "delete from approvals", "truncate approvals"):
            with refused(conn, "permission denied for table approvals", DENIED):
                conn.execute(change.encode())
        with refused(conn, "p/3 is not approved by anybody"):
            conn.execute("update policy_versions set status = 'approved' where policy_version_id = %s", (third,))


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize(
    "change",
    [
        "alter table approvals disable trigger all",
        "alter table phases disable trigger phase_guard",
        "drop trigger phase_guard on phases",
        "create or replace function has_valid_approval(target uuid, moment timestamptz) returns boolean "
        "language sql as 'select true'",
        "create table exp.elsewhere ()",
        "set session_replication_role = replica",
        "insert into policy_status_moves values ('rejected', 'approved')",
        "update bakeoff_migrations set digest = 'x'",
        "set local bakeoff.erasure = 'on'; update phases set treated_bp = 5000",
        "set local bakeoff.erasure = 'on'; delete from policy_versions",
        "set local bakeoff.erasure = 'on'; update gate_reports set verdict = 'PASS'",
    ],
)
def test_no_role_changes_the_rules(conn: Connection, pair: Roles, change: str) -> None:
    for role in (pair.writer, pair.approver):
        with working_as(conn, role), refused(conn, "permission denied|must be owner", DENIED):
            conn.execute(change.encode())


def test_the_writer_starts_no_traffic_without_a_signature(conn: Connection, shop: Shop, pair: Roles) -> None:
    third = rows.version(conn, 3)
    with working_as(conn, pair.writer):
        treated = rows.variant(conn, shop.test, "treated", third)
        with refused(conn, "p/3 has no valid approval"):
            rows.phase(conn, shop.test, shop.control, treated, 1)
        shop.begin(conn)  # version 2 is signed


def test_a_temporary_table_of_the_writer_is_no_signature(conn: Connection, shop: Shop, pair: Roles) -> None:
    third = rows.version(conn, 3)
    with working_as(conn, pair.writer):
        treated = rows.variant(conn, shop.test, "treated", third)
        conn.execute("create temporary table approvals on commit drop as select * from exp.approvals")
        conn.execute("update pg_temp.approvals set policy_version_id = %s, fingerprint = %s, kind = 'adopted', "
                     "expires_at = null", (third, rows.fingerprint(3)))  # fmt: skip
        with refused(conn, "p/3 has no valid approval"):
            rows.phase(conn, shop.test, shop.control, treated, 1)


def test_the_writer_may_end_an_approval_and_nothing_else_of_it(conn: Connection, shop: Shop, pair: Roles) -> None:
    with working_as(conn, pair.writer):
        policies.void_approval(conn, shop.second, now=rows.at(1), reason="the dataset changed")
        assert policies.live_approval(conn, shop.second) is None
        with refused(conn, "p/2 has no valid approval"):
            shop.begin(conn)


def test_the_writer_writes_everything_else(conn: Connection, shop: Shop, pair: Roles) -> None:
    with working_as(conn, pair.writer):
        rows.report(conn, rows.version(conn, 4), 4)
        rows.event(conn, role="decision", **shop.context())
        rows.event(conn, **shop.context())
        rows.snapshot(conn, shop.test, 2)
        policies.lock(conn, rows.POLICY)
        conn.execute("insert into planner.households values (gen_random_uuid(), 'north', '{}', '{}', 'low', %s)",
                     (rows.START,))  # fmt: skip
        assert conn.execute("select count(*) as n from event_log").fetchone() == {"n": 2}


def test_the_approver_signs_and_rejects_and_writes_nothing_else(conn: Connection, shop: Shop, pair: Roles) -> None:
    third, fourth = rows.version(conn, 3), rows.version(conn, 4)
    reports = [rows.report(conn, third, 3), rows.report(conn, fourth, 4)]
    with working_as(conn, pair.approver):
        assert not policies.is_advisory(conn)
        rows.approval(conn, third, 3, report_digest=reports[0])
        rows.rejection(conn, fourth, reports[1])
        found = conn.execute("select version, status from policy_versions order by version").fetchall()
        assert [row["status"] for row in found][2:] == ["approved", "rejected"]
        for change in ("insert into policies values ('q', 'toy')", "update policies set last_resort = null",
                       "update policy_versions set status = 'candidate'", "delete from approvals",
                       "update approvals set note = 'x'"):  # fmt: skip
            with refused(conn, "permission denied", DENIED):
                conn.execute(change.encode())
        with refused(conn, "permission denied for table events", DENIED):
            rows.event(conn, **shop.context())
        with refused(conn, "permission denied for table phases", DENIED):
            shop.begin(conn)
        policies.void_approval(conn, third, now=rows.at(1), reason="I was wrong")
        assert policies.live_approval(conn, third) is None


def test_a_guard_binds_the_approver_too(conn: Connection, shop: Shop, pair: Roles) -> None:
    third = rows.version(conn, 3)
    failed = rows.report(conn, third, 3, verdict="FAIL")
    with working_as(conn, pair.approver):
        with refused(conn, "says FAIL, only PASS can be approved"):
            rows.approval(conn, third, 3, report_digest=failed)
        with refused(conn, "policy p serves already"):
            rows.approval(conn, third, 3)


@pytest.mark.usefixtures("shop")
def test_strangers_may_not_even_end_an_approval(conn: Connection, pair: Roles) -> None:
    stranger = f"stranger_{uuid.uuid4().hex[:8]}"
    conn.execute(sql.SQL("create role {}").format(sql.Identifier(stranger)))
    conn.execute(sql.SQL("grant usage on schema exp to {}").format(sql.Identifier(stranger)))
    with working_as(conn, stranger), refused(conn, "permission denied for function void_approval", DENIED):
        conn.execute("select void_approval(gen_random_uuid(), now(), 'x')")


def test_roles_that_separate_nothing_are_refused(conn: Connection) -> None:
    owner = conn.info.user
    with pytest.raises(UsageError, match="writer and approver at once"):
        roles.statements(conn, "exp", Roles(writer="one", approver="one"), [])
    with pytest.raises(Refused, match=f"{owner} owns the tables or is superuser"):
        roles.statements(conn, "exp", Roles(writer="one", approver=owner), [])
    with pytest.raises(UsageError, match="no tables yet"):
        roles.statements(conn, "nowhere", Roles(writer="one", approver="two"), [])
