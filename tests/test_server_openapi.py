"""Whatever the OpenAPI document allows, and much that it forbids, is answered without an error of the server."""

import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import CHECKS

from sfumato.apps.server import Settings, create_app
from sfumato.serving import Limits
from toy_models import WatchedModel, loader

APP = create_app({"toy": loader(WatchedModel())}, Settings(limits=Limits(queue=10_000, queue_share=1)))
schema = schemathesis.openapi.from_asgi("/openapi.json", APP)
NO_5XX = [check for check in CHECKS.get_all() if check.__name__ == "not_a_server_error"]


@schema.parametrize()
@settings(
    max_examples=25,
    derandomize=True,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_no_server_error(case: schemathesis.Case) -> None:
    case.call_and_validate(checks=NO_5XX, headers={"host": "localhost"})
