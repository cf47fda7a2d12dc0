"""A record whose header name is not UTF-8: the Python client cannot produce one, the C library in its wheel can."""

import ctypes
from typing import Final

import confluent_kafka

_PRODUCER: Final = 0
_FLUSH_MS: Final = 10_000
_ERROR_BYTES: Final = 512
# enum rd_kafka_vtype_t of librdkafka's rdkafka.h
_END, _TOPIC, _VALUE, _KEY, _FLAGS, _HEADERS = 0, 1, 4, 5, 7, 10
_COPY: Final = 2  # RD_KAFKA_MSG_F_COPY


def produce_with_header_name(bootstrap_servers: str, topic: str, key: bytes, value: bytes, name: bytes) -> None:
    """Produce one record with one header of this name. Raises AssertionError."""
    library = ctypes.CDLL(confluent_kafka.cimpl.__file__)
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    library.rd_kafka_conf_new.restype = pointer
    library.rd_kafka_conf_set.argtypes = [pointer, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, size]
    library.rd_kafka_new.restype = pointer
    library.rd_kafka_new.argtypes = [ctypes.c_int, pointer, ctypes.c_char_p, size]
    library.rd_kafka_headers_new.restype = pointer
    library.rd_kafka_headers_new.argtypes = [size]
    library.rd_kafka_header_add.argtypes = [
        pointer,
        ctypes.c_char_p,
        ctypes.c_ssize_t,
        ctypes.c_char_p,
        ctypes.c_ssize_t,
    ]
    library.rd_kafka_flush.argtypes = [pointer, ctypes.c_int]
    library.rd_kafka_destroy.argtypes = [pointer]
    problem = ctypes.create_string_buffer(_ERROR_BYTES)
    configuration = library.rd_kafka_conf_new()
    given = bootstrap_servers.encode()
    assert library.rd_kafka_conf_set(configuration, b"bootstrap.servers", given, problem, _ERROR_BYTES) == 0, (
        problem.value
    )
    producer = library.rd_kafka_new(_PRODUCER, configuration, problem, _ERROR_BYTES)
    assert producer, problem.value
    headers = library.rd_kafka_headers_new(1)
    assert library.rd_kafka_header_add(headers, name, len(name), b"v", 1) == 0
    error = library.rd_kafka_producev(
        pointer(producer),
        *(_TOPIC, ctypes.c_char_p(topic.encode())),
        *(_VALUE, ctypes.c_char_p(value), size(len(value))),
        *(_KEY, ctypes.c_char_p(key), size(len(key))),
        *(_FLAGS, _COPY),
        *(_HEADERS, pointer(headers)),
        _END,
    )
    assert error == 0, error
    assert library.rd_kafka_flush(producer, _FLUSH_MS) == 0
    library.rd_kafka_destroy(producer)
