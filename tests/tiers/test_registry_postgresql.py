"""The registry passes its contract on a PostgreSQL server as well, where one is at hand."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pytest
from sqlalchemy import create_engine, make_url

from rag2_memory.testing.consolidation import ConsolidationContract
from rag2_memory.testing.registry import RegistryContract
from rag2_memory.tiers.registry_sql import SqlRegistry

SERVER = os.environ.get("RAG2_TEST_POSTGRESQL", "")

pytestmark = pytest.mark.skipif(
    not SERVER, reason="set RAG2_TEST_POSTGRESQL to the URL (postgresql+psycopg://…) of a server on which databases may be made"
)


@pytest.fixture
def registry() -> Iterator[SqlRegistry]:
    name, server = f"rag2_{uuid.uuid4().hex}", create_engine(SERVER, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    registry = SqlRegistry(make_url(SERVER).set(database=name).render_as_string(hide_password=False))
    yield registry
    registry.close()
    with server.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    server.dispose()


class TestRegistry(RegistryContract):
    pass


class TestConsolidation(ConsolidationContract):
    pass
