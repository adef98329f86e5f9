"""Whatever the OpenAPI document allows, and much that it forbids, is answered without a server error."""

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import CHECKS

from live import Live, live
from sfumato.apps.server import create_app
from toy_models import WatchedModel, loader

schema = schemathesis.openapi.from_dict(create_app({"toy": loader(WatchedModel())}).openapi())
NO_5XX = [check for check in CHECKS.get_all() if check.__name__ == "not_a_server_error"]


@pytest.fixture(scope="module")
def server() -> Iterator[Live]:
    with live(WatchedModel()) as running:
        yield running


@schema.parametrize()
@settings(
    max_examples=25,
    derandomize=True,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_no_server_error(case: schemathesis.Case, server: Live) -> None:
    case.call_and_validate(base_url=server.url, checks=NO_5XX)


def test_the_check_is_there() -> None:
    assert len(NO_5XX) == 1
    assert len(list(schema.get_all_operations())) >= 12
