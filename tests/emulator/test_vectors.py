"""Vectors that behave like embeddings."""

import math
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.emulator.vectors import Vectorizer

SIMILAR = [
    ("The cat sat on the mat in the sun", "A cat is sitting on a mat in the sunshine"),
    ("Kafka consumer groups rebalance partitions", "Rebalancing partitions of Kafka consumer groups"),
    ("Preheat the oven, then bake the bread", "Bake bread in a preheated oven"),
    ("今天天气很好", "今天的天气非常好"),
]


def cosine(first: list[float], second: list[float]) -> float:
    return sum(a * b for a, b in zip(first, second, strict=True))


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=300), dimensions=st.sampled_from([1, 2, 7, 16, 100, 768, 1536, 3072]))
def test_any_text_has_a_finite_vector_of_length_one(text: str, dimensions: int) -> None:
    vector = Vectorizer().vector(text, dimensions)
    assert len(vector) == dimensions
    assert math.isclose(math.hypot(*vector), 1.0, abs_tol=1e-6)


def test_vectors_are_dense() -> None:
    vector = Vectorizer().vector("hello", 3072)
    assert sum(value == 0.0 for value in vector) < 3
    assert len(set(vector)) > 3000


def test_one_text_has_one_vector_whatever_was_asked_before() -> None:
    busy = Vectorizer()
    for number in range(20):
        busy.vector(f"other text {number}", 10 + number)
    assert busy.vector("hello world", 768) == Vectorizer().vector("hello world", 768)


def test_another_process_makes_the_same_vector() -> None:
    code = "from worker.emulator.vectors import Vectorizer; print(Vectorizer().vector('hello world', 64))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert printed.stdout.strip() == str(Vectorizer().vector("hello world", 64))


@pytest.mark.parametrize("dimensions", [768, 3072])
def test_similar_texts_are_closer_than_texts_of_different_topics(dimensions: int) -> None:
    vectorizer = Vectorizer()
    pairs = [[vectorizer.vector(text, dimensions) for text in pair] for pair in SIMILAR]
    for index, (first, second) in enumerate(pairs):
        others = [vector for other, pair in enumerate(pairs) if other != index for vector in pair]
        assert cosine(first, second) > 0.15
        assert cosine(first, second) > max(cosine(first, vector) for vector in others) + 0.05
        assert max(abs(cosine(first, vector)) for vector in others) < 0.15


def test_small_changes_move_a_text_little() -> None:
    vectorizer = Vectorizer()
    text = "The quarterly report shows that revenue grew in every region but one"
    changed = vectorizer.vector(text.replace("grew", "rose"), 3072)
    assert 0.7 < cosine(vectorizer.vector(text, 3072), changed) < 0.999


def test_the_task_type_changes_the_vector_slightly() -> None:
    vectorizer = Vectorizer()
    first, second = (vectorizer.vector("hello world", 768, task) for task in ("RETRIEVAL_QUERY", "CLUSTERING"))
    assert first != second
    assert cosine(first, second) > 0.8
