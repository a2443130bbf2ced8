"""The view ``v_merge_conflict_hotspots`` on a real server: the rows derived by hand, in any session."""

from __future__ import annotations

import pytest

from pggit_analytics.postgres.connection import Database
from tests.parity.dashboard_cases import assert_view_gives_the_fixture


@pytest.mark.parametrize("time_zone", ["UTC", "America/St_Johns", "Europe/Berlin"])
def test_the_fixture_gives_the_rows_derived_by_hand_in_any_time_zone(shared_database: Database, time_zone: str) -> None:
    with shared_database.connect() as connection:
        assert_view_gives_the_fixture(connection, "v_merge_conflict_hotspots", time_zone)
