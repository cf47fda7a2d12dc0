import json
import math
from array import array
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.vectors import extract
from worker.emulator.shapes import SHAPES
from worker.errors import InvalidResult

VECTOR = [0.5, -0.25, 3, 1e-40]
PLAIN: list[Any] = [
    VECTOR,
    [VECTOR],
    {"embedding": VECTOR},
    {"embedding": {"values": VECTOR}},
    {"values": VECTOR},
    {"embeddings": [VECTOR]},
    {"embeddings": [{"values": VECTOR}]},
    {"data": [{"embedding": VECTOR, "index": 0}], "model": "m"},
    {"predictions": [{"embeddings": {"values": VECTOR, "statistics": {}}}]},
]
LARGEST = 3.4028234663852886e38


@pytest.mark.parametrize("output", PLAIN + [json.dumps(shape) for shape in PLAIN])
def test_each_shape_of_the_contract_is_accepted_plain_and_as_a_json_string(output: object) -> None:
    vector = extract(output, 4)
    assert vector == array("f", VECTOR)
    assert vector.typecode == "f"


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_each_shape_of_the_emulator_is_accepted(shape: str) -> None:
    assert extract(json.loads(SHAPES[shape](b"[1.5,2,-3]")), None) == array("f", [1.5, 2, -3])


@pytest.mark.parametrize(
    ("output", "says"),
    [
        (None, "null"),
        (True, "boolean"),
        (3.0, "number"),
        ("", "string of 0 characters"),
        ("sk-secret", "string of 9 characters"),
        ('"[1.0]"', "string"),
        ("[" * 100_000, "string of 100000 characters"),
        ("1" * 5000, "string of 5000 characters"),
        ([], "empty"),
        ([[]], "empty"),
        ({}, "object of 0 members"),
        ({"embedding": []}, "empty"),
        ({"embedding": "sk-secret"}, "embedding: string"),
        ({"sk-secret": [1.0]}, "object of 1 members"),
        ({"embeddings": []}, "embeddings: list"),
        ({"embeddings": [[1.0], [2.0]]}, "embeddings: list"),
        ({"embeddings": [1.0, 2.0]}, "embeddings: list"),
        ([[1.0], [2.0]], "holds a list"),
        ([[[1.0]]], "holds a list"),
        ([1.0, None], "holds null"),
        ([1.0, True, "sk-secret"], "holds a boolean, a string where a number belongs"),
        ([{"embedding": [1.0]}], "holds an object"),
        ([1.0, math.nan], "not finite"),
        ([1.0, math.inf, -math.inf], "not finite"),
        ([LARGEST, 3.41e38], "finite"),
        ([10**400], "outside float32"),
        ([10**39], "float32"),
        ("[NaN]", "not finite"),
        ([0.0] * 65_537, "65537"),
    ],
)
def test_anything_else_is_an_invalid_result_that_tells_the_shape_and_not_the_data(output: object, says: str) -> None:
    with pytest.raises(InvalidResult) as refused:
        extract(output, None)
    text = str(refused.value)
    assert says in text or (says == "float32" and "finite" in text)
    assert "secret" not in text
    assert len(text) < 200


def test_the_dimension_asked_for_is_the_one_accepted() -> None:
    assert len(extract([1.0] * 768, 768)) == 768
    with pytest.raises(InvalidResult, match="has 768 numbers where 3072 were asked for"):
        extract([1.0] * 768, 3072)


def test_the_longest_vector_of_the_largest_numbers_is_accepted() -> None:
    assert len(extract([LARGEST] * 65_536, None)) == 65_536


def test_a_member_of_another_shape_does_not_hide_the_vector() -> None:
    assert extract({"embedding": None, "values": [1.0]}, None) == array("f", [1.0])


def test_a_deeply_nested_output_is_refused_without_being_walked() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(InvalidResult):
        extract(deep, None)


NUMBERS = st.floats(width=32, allow_nan=False, allow_infinity=False) | st.integers(-(2**24), 2**24)
KEYS = st.sampled_from(["embedding", "embeddings", "values", "data", "predictions", "other"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
JSON = st.recursive(
    SCALARS | st.lists(NUMBERS, max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)


@given(JSON | JSON.map(json.dumps), st.none() | st.integers(1, 4))
def test_any_json_is_an_invalid_result_or_a_valid_vector(output: object, dimension: int | None) -> None:
    try:
        vector = extract(output, dimension)
    except InvalidResult:
        return
    assert vector.typecode == "f"
    assert dimension in (None, len(vector))
    assert 1 <= len(vector) <= 65_536
    assert all(map(math.isfinite, vector))


@given(st.lists(NUMBERS, min_size=1, max_size=30))
def test_the_numbers_come_out_as_they_went_in(numbers: list[float]) -> None:
    assert list(extract(numbers, len(numbers))) == numbers
