# syntax=docker/dockerfile:1
ARG PYTHON_IMAGE=python:3.13-slim-bookworm

# ---- build: everything from the hashed lock files, into one virtual environment
FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/embedding-worker /opt/build
WORKDIR /src
COPY requirements.lock requirements-build.lock ./
RUN /opt/embedding-worker/bin/pip install --require-hashes -r requirements.lock \
 && /opt/build/bin/pip install --require-hashes -r requirements-build.lock
COPY pyproject.toml README.md LICENSE ./
COPY schemas schemas
COPY worker worker
RUN /opt/build/bin/python -m hatchling build -t wheel -d /wheel \
 && /opt/embedding-worker/bin/pip install --no-deps /wheel/*.whl \
 && /opt/embedding-worker/bin/python -m compileall -q /opt/embedding-worker/lib \
 && rm -rf /opt/embedding-worker/lib/python*/site-packages/pip*

# ---- run: the interpreter and that environment, nothing else
FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="embedding-worker" \
      org.opencontainers.image.description="Kafka text events in, Segmind embeddings out" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/embedding-worker /opt/embedding-worker
ENV PATH=/opt/embedding-worker/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
WORKDIR /tmp
EXPOSE 8080
# For compose; Kubernetes probes /livez and /readyz itself.
HEALTHCHECK --interval=30s --timeout=3s --start-period=60s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/livez', timeout=2)"]
ENTRYPOINT ["embedding-worker"]
CMD ["run"]
