"""Recipes from outside, drawn from the schema and beyond it: none is a server error, none takes long.

SFUMATO_FUZZED_RECIPES sets how many are drawn (300 by default).
"""

import base64
import io
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from live import Live, live
from sfumato.apps.server import Settings
from sfumato.core.expression import Expression
from sfumato.core.filters import FILTERS
from sfumato.core.solvers import SOLVERS
from sfumato.core.views import VIEWS
from sfumato.recipe import Recipe
from sfumato.serving import Limits
from toy_models import TrivialModel


def drawn() -> bytes:
    """A small PNG."""
    file = io.BytesIO()
    Image.new("L", (16, 16), 200).save(file, "PNG")
    return file.getvalue()


PICTURE = base64.b64encode(drawn()).decode()
EXAMPLES = int(os.environ.get("SFUMATO_FUZZED_RECIPES", "300"))
SECONDS = 20.0  # a recipe within the limits of this server takes milliseconds
NODES = {key: node for key, node in Expression.known.items() if node.__module__.startswith("sfumato.")}


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([10**400, -(10**400), 2**63, 0, 1e300, -0.0, 0.9999]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.sampled_from(["nan", "inf", "1e999", "0" * 64, "solver Heun", "view x"]),
)
junk = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=5,
)

# ------------------------------------------------------------------------------------- expressions

names = st.sampled_from([*VIEWS, *FILTERS, *(f"~{name}" for name in FILTERS)])
numbers = st.sampled_from(["2", "0", "-1", "1e300", "nan", str(10**30), "0.5", "64", "x"])
options = st.tuples(st.sampled_from(["sigma", "low", "high", "patches", "seed", "amount", "length"]), numbers)
texts = st.one_of(
    names,
    st.builds(
        lambda name, given: f"{name}:" + ",".join(f"{key}={value}" for key, value in given),
        names,
        st.lists(options, min_size=1, max_size=2),
    ),
)
plain = st.one_of(
    texts,
    st.floats(-2, 9),
    st.integers(-1, 12),
    st.sampled_from(["3", True, {"curve": [[0, 1], [1, 3]]}, {"cfg++": 0.5}, {"prompt": "1"}, [0.2, 0.8]]),
)


def node(children: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An object that begins with the key of a node and holds some of its fields."""

    def of(key: str) -> st.SearchStrategy[dict[str, Any]]:
        held = st.lists(children, max_size=3) if key == "sum" else plain | junk
        optional = dict.fromkeys(NODES[key].fields - {"of"}, plain | junk)
        required = {key: held} | ({"of": children} if "of" in NODES[key].fields else {})
        return st.fixed_dictionaries(required, optional=optional)

    return st.sampled_from(sorted(NODES)).flatmap(of)


leaf = st.sampled_from([{"prompt": "3"}, {"label": 4}, {"unconditional": True}, {"known": "mine"}])
expressions = st.recursive(leaf | junk, node, max_leaves=6)

# ------------------------------------------------------------------------------------------- recipes


def of_schema(schema: dict[str, Any], root: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that a schema of pydantic allows, or nearly."""
    if "$ref" in schema:
        return of_schema(root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    if "anyOf" in schema:
        return st.one_of([of_schema(option, root) for option in schema["anyOf"]])
    if "const" in schema or "enum" in schema:
        return st.sampled_from(schema.get("enum", [schema.get("const")]))
    match schema.get("type"):
        case "integer":
            return st.integers(schema.get("minimum"), schema.get("maximum")) | st.integers(1, 5)
        case "number":
            return st.floats(0, schema.get("maximum", 10.0), allow_subnormal=False)
        case "string":
            return st.text(max_size=6) | st.sampled_from([*SOLVERS, "karras", "trailing", "mine"])
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
        case "array":
            inner = [of_schema(item, root) for item in schema.get("prefixItems", ())]
            return st.tuples(*inner).map(list) if inner else st.lists(junk, max_size=2)
    keys = st.sampled_from(["eta", "order", "variance", "direction", "prompt"])
    return st.dictionaries(keys, scalars, max_size=2)


SCHEMA = Recipe.model_json_schema()
FIELDS = {name: of_schema(field, SCHEMA) | junk for name, field in SCHEMA["properties"].items()}
REQUIRED = {"expression": expressions, "steps": st.integers(1, 5)}
recipes = st.fixed_dictionaries(
    REQUIRED, optional={name: field for name, field in FIELDS.items() if name not in REQUIRED}
)


@pytest.fixture(scope="module")
def server() -> Iterator[Live]:
    limits = Limits(job_rows=500, picture_rows=100)  # so that what is run is soon made
    with live(TrivialModel(), settings=Settings(limits=limits, canvas_pixels=64 * 64)) as running:
        yield running


@given(recipe=recipes, background=st.booleans(), named=st.booleans())
@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
def test_no_recipe_is_a_server_error(
    server: Live, recipe: dict[str, Any], background: bool, named: bool
) -> None:
    body: dict[str, Any] = {"recipe": recipe, "background": background}
    if named:
        body["pictures"] = {"mine": {"b64": PICTURE}}
    start = time.monotonic()
    answer = server.client.post("/v1/recipes", json=body)
    if background and answer.status_code == 202:
        answer = ended(server, answer.json()["id"])
        error = answer.json().get("error") or {}
        assert error.get("type") != "server_error", (recipe, error)
    assert answer.status_code < 500, (recipe, answer.text)
    assert time.monotonic() - start < SECONDS, recipe


def ended(server: Live, name: str) -> Any:
    """The answer about a job once it is over."""
    while True:
        answer = server.client.get(f"/v1/jobs/{name}")
        if answer.json()["status"] not in {"queued", "running"}:
            return answer
        time.sleep(0.002)


def test_every_node_is_drawn() -> None:
    others = {"seen", "filter", "mask", "sum", "guided", "clipped", "crops"}
    assert set(NODES) >= {"prompt", "label", "unconditional", "known"} | others


THREE = {"prompt": "3"}
HUGE = 10**400
OF: dict[str, list[Any]] = {  # of a node, what its key cannot hold
    "seen": [5, None, [], {}, True, "skew:amount=1e300"],
    "filter": [None, 5, [1], "low_pass:sigma=nan"],
    "mask": [{}, [1], 5],
    "guided": [HUGE, [], "nan", {"curve": 5}, {"curve": []}, {"custom": [1]}],
    "clipped": [HUGE, None, "x", 0],
    "crops": [HUGE, None, [], 1],
}
LEAVES: dict[str, list[Any]] = {
    "known": [[1], {}, 5, None],
    "custom": [[1], {}, 5, "x"],
    "sum": [5, [], "ab", {"a": 1}],
    "prompt": [3, None, []],
    "label": [HUGE, -1, "x", []],
}
EXTRA: dict[str, list[Any]] = {  # of a guided node
    "negative": [[], None, "x"],
    "guide": [[], 5, {}],
    "between": [[], 5, [HUGE, 1], [1, 0]],
    "projected": [[], 5, {"radius": "x"}, {"momentum": HUGE}, {"speed": 1}],
}
FIELD: dict[str, list[Any]] = {  # of the recipe
    "solver": ["x", "solver x"],
    "spacing": ["x"],
    "start": ["x"],
    "low": ["x"],
    "start_time": [5, HUGE],
    "jump": [HUGE],
}
MALFORMED: list[dict[str, Any]] = [
    *({"expression": {key: value, "of": THREE}} for key, values in OF.items() for value in values),
    *({"expression": {key: value}} for key, values in LEAVES.items() for value in values),
    *(
        {"expression": {"guided": 3, "of": THREE, key: value}}
        for key, values in EXTRA.items()
        for value in values
    ),
    *({"expression": THREE, key: value} for key, values in FIELD.items() for value in values),
    *({"expression": THREE | {"network": network}} for network in ([1], {}, 5, "x")),
    *({"expression": {"clipped": 1, "quantile": q, "of": THREE}} for q in ("x", [], HUGE)),
    {"expression": {"sum": [THREE], "weights": [HUGE]}},
    *({"expression": THREE, "solver": "ddim", "options": {"eta": eta}} for eta in ("x", HUGE, -1)),
    *({"expression": THREE, "solver": "unipc", "options": {"order": order}} for order in ("x", 2.5)),
]


@pytest.mark.parametrize("recipe", MALFORMED, ids=lambda recipe: repr(recipe)[:80])
def test_what_is_malformed_is_the_clients_mistake(server: Live, recipe: dict[str, Any]) -> None:
    refused = server.client.post("/v1/recipes", json={"recipe": recipe})
    assert refused.status_code == 400, refused.text
    assert len(refused.json()["error"]["message"]) < 500
