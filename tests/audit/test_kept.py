"""What the last audit has found is kept beside the views, whoever ran it, where its role may."""

import psycopg
import pytest
from psycopg import sql

from eventsourcing_kafka.compose.audit import kept as kept_audits
from eventsourcing_kafka.compose.audit.kept import last_audit
from eventsourcing_kafka.compose.servers.postgres import Postgres
from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.views import activity, fts

from .audited import Audited


def stores(audited: Audited) -> list[ViewStore]:
    return [ViewStore.of(view, audited.environment) for view in (fts.VIEW, activity.VIEW)]


async def test_it_is_kept_with_who_ran_it_and_the_latest_is_told(viewed: Audited) -> None:
    assert await last_audit(stores(viewed)) is None

    await viewed.audit(by="Ann")
    report = await viewed.audit("activity", by="Bob")

    kept = await last_audit(stores(viewed))
    assert kept
    assert (kept.by, kept.report) == ("Bob", report)
    assert kept.seconds > 0
    of_fts = await last_audit(stores(viewed)[:1])
    assert of_fts
    assert of_fts.by == "Ann"


async def test_it_is_kept_for_those_who_say_by_whom_it_was_run(viewed: Audited) -> None:
    await viewed.audit()

    assert await last_audit(stores(viewed)) is None


async def test_many_findings_are_counted_and_some_are_kept_in_full(
    viewed: Audited, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_audits, "MOST_FINDINGS", 1)
    await viewed.change("fts", "DELETE FROM {schema}.pages WHERE slug = 'page-3'")
    await viewed.change("fts", "DELETE FROM {schema}.pages WHERE slug = 'page-0'")
    report = await viewed.audit("fts", by="Ann")

    kept = await last_audit(stores(viewed))
    assert kept
    assert kept.report.counts == {"missing": 2}
    assert kept.report.findings == report.findings[:1]


@pytest.mark.parametrize("may_write", [True, False], ids=["kept", "not kept"])
async def test_an_audit_by_who_may_not_write_is_none_the_worse(
    viewed: Audited, postgres: Postgres, token: str, may_write: bool
) -> None:
    role = sql.Identifier(f"{token}_reader")
    views = viewed.environment["FTS_POSTGRES_DBNAME"]
    with psycopg.connect(postgres.dsn(views), autocommit=True) as owner:
        owner.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'x'").format(role))
        for schema in map(sql.Identifier, ("fts", "activity")):
            usage = sql.SQL("USAGE, CREATE" if may_write else "USAGE")
            owner.execute(sql.SQL("GRANT {} ON SCHEMA {} TO {}").format(usage, schema, role))
            tables = sql.SQL("GRANT SELECT, MAINTAIN ON ALL TABLES IN SCHEMA {} TO {}")
            owner.execute(tables.format(schema, role))
        as_role = {
            f"{view}_POSTGRES_{name}": value
            for view in ("FTS", "ACTIVITY")
            for name, value in (("USER", f"{token}_reader"), ("PASSWORD", "x"))
        }
        reader = Audited({**viewed.environment, **as_role}, viewed.wiki)

        report = await reader.audit(by="Ann")

        assert report.success
        assert bool(await last_audit(stores(reader))) is may_write
        owner.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(role))
