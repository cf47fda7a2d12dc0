"""Vectors that look like embeddings: deterministic, dense, of length 1, and close for texts that share words.

Feature hashing (Weinberger et al., 2009): every word and every letter n-gram of it adds a signed weight at a few
hashed places. That alone is sparse, so it is laid over a small dense background that is chosen by the whole text.
The cost grows with the words, not with the dimensions: one factor for the hashed part makes the sum unit length.
"""

import math
import random
import re
import zlib
from collections import Counter, defaultdict

BACKGROUND_ENERGY = 0.12
"""Share of the squared length that is background; two different texts have about a quarter of it in common."""

_SEGMENTS = 16
_VARIANTS = 4
# More places for a feature: less harm when two features of short texts fall on the same one.
_WORD_PLACES = 6
_GRAM_PLACES = 1
_MAX_CACHED_WORDS = 50_000
_MAX_CACHED_DIMENSIONS = 8
_WORD = re.compile(r"\w+")
# fmt: off
_COMMON = frozenset({
    "a", "an", "and", "are", "as", "at", "be", "but", "by", "can", "do", "for", "from", "had",
    "has", "have", "he", "her", "his", "how", "i", "if", "in", "into", "is", "it", "its", "just",
    "me", "my", "no", "not", "of", "on", "or", "our", "out", "over", "she", "so", "some", "such",
    "than", "that", "the", "their", "them", "then", "there", "these", "they", "this", "those", "to", "up", "us",
    "was", "we", "were", "what", "when", "which", "while", "who", "will", "with", "would", "you", "your",
})
# fmt: on

Contribution = tuple[int, float]
Background = list[list[list[float]]]


class Vectorizer:
    """Makes vectors; keeps bounded caches of words and backgrounds, which change speed only, never a value."""

    def __init__(self) -> None:
        self._words: dict[tuple[str, int], tuple[Contribution, ...]] = {}
        self._backgrounds: dict[int, Background] = {}

    def vector(self, text: str, dimensions: int, task_type: str = "") -> list[float]:
        """The embedding of `text`: `dimensions` floats, L2 norm 1 within 1e-6. The task type shifts it slightly."""
        vector = self._background(dimensions, zlib.crc32(f"{task_type}\0{text}".encode("utf-8", "surrogatepass")))
        hashed: defaultdict[int, float] = defaultdict(float)
        for word, count in Counter(_words(text)).items():
            frequency = 1.0 + math.log(count)
            for place, weight in self._contributions(word, dimensions):
                hashed[place] += frequency * weight
        # |b + f h|^2 = 1 solved for the positive f, where |b|^2 is BACKGROUND_ENERGY.
        energy = sum([value * value for value in hashed.values()])
        if energy < 1e-12:
            scale = 1.0 / math.sqrt(BACKGROUND_ENERGY)
            return [value * scale for value in vector]
        overlap = sum([vector[place] * value for place, value in hashed.items()])
        root = math.sqrt(overlap * overlap + energy * (1.0 - BACKGROUND_ENERGY))
        factor = (root - overlap) / energy
        for place, value in hashed.items():
            vector[place] += factor * value
        return vector

    def _contributions(self, word: str, dimensions: int) -> tuple[Contribution, ...]:
        key = (word, dimensions)
        cached = self._words.get(key)
        if cached is None:
            if len(self._words) >= _MAX_CACHED_WORDS:
                self._words.clear()
            cached = self._words[key] = _hashed(word, dimensions)
        return cached

    def _background(self, dimensions: int, choice: int) -> list[float]:
        background = self._backgrounds.get(dimensions)
        if background is None:
            if len(self._backgrounds) >= _MAX_CACHED_DIMENSIONS:
                self._backgrounds.clear()
            background = self._backgrounds[dimensions] = _segments(dimensions)
        vector: list[float] = []
        for variants in background:
            vector += variants[choice % _VARIANTS]
            choice //= _VARIANTS
        return vector


def _words(text: str) -> list[str]:
    """Lower-case words; for a text without any (only signs), its characters."""
    return _WORD.findall(text.lower()) or text.split()


def _hashed(word: str, dimensions: int) -> tuple[Contribution, ...]:
    """Places and signed weights of a word: the word itself, and its n-grams so that inflections stay close."""
    # Without corpus statistics, a list stands in for "occurs in every text".
    importance = 0.1 if word in _COMMON else 1.0
    size = 3 if word.isascii() else 2
    marked = f"<{word}>"
    grams = [marked[i : i + size] for i in range(len(marked) - size + 1)]
    gram_weight = 0.6 * importance / math.sqrt(len(grams) * _GRAM_PLACES)
    features = [(word, importance / math.sqrt(_WORD_PLACES), _WORD_PLACES)]
    features += [(f"#{gram}", gram_weight, _GRAM_PLACES) for gram in grams]
    places: list[Contribution] = []
    for feature, weight, count in features:
        bits = zlib.crc32(feature.encode("utf-8", "surrogatepass"))
        for _ in range(count):
            # Multiplication by 2^64 / golden ratio (Knuth, TAOCP 6.4) spreads the 32 bits of the checksum.
            bits = (bits * 0x9E3779B97F4A7C15 + 1) & 0xFFFFFFFFFFFFFFFF
            sign = 1.0 if bits >> 63 else -1.0
            places.append(((bits >> 24 & 0xFFFFFFFF) % dimensions, sign * weight))
    return tuple(places)


def _segments(dimensions: int) -> Background:
    """For each segment of the vector its variants; any choice of variants has energy BACKGROUND_ENERGY."""
    count = min(_SEGMENTS, dimensions)
    rng = random.Random(f"background of {dimensions}")
    background: Background = []
    for index in range(count):
        size = (index + 1) * dimensions // count - index * dimensions // count
        variants: list[list[float]] = []
        for _ in range(_VARIANTS):
            raw = [rng.gauss(0.0, 1.0) for _ in range(size)]
            scale = math.sqrt(BACKGROUND_ENERGY * size / dimensions / sum(value * value for value in raw))
            # Nine significant digits are a float32 exactly, and a third less to send than seventeen.
            variants.append([float(f"{value * scale:.9g}") for value in raw])
        background.append(variants)
    return background
