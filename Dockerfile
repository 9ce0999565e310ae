# One image for page, API, worker and the CPU model server. Build arguments: REGISTRY, APT_MIRROR and PIP_INDEX_URL name
# mirrors where the usual sources are slow or out of reach; empty, the usual ones are asked.
ARG REGISTRY=library
FROM ${REGISTRY}/python:3.12-slim-bookworm AS build
ARG APT_MIRROR=
ARG PIP_INDEX_URL=
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY rag rag
COPY graph graph
COPY agents agents
COPY eval eval
COPY ui ui
RUN python -m venv /venv \
    && if [ -n "$PIP_INDEX_URL" ]; then export PIP_INDEX_URL; else unset PIP_INDEX_URL; fi \
    && /venv/bin/pip install --prefer-binary -c constraints.txt '.[local,postgres,ocr,otel]'

FROM ${REGISTRY}/python:3.12-slim-bookworm
ARG APT_MIRROR=
RUN if [ -n "$APT_MIRROR" ]; then sed -i "s|http://deb.debian.org|$APT_MIRROR|g" /etc/apt/sources.list.d/*.sources; fi \
    && apt-get update && apt-get install --yes --no-install-recommends libgomp1 libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 ragstone && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp ragstone \
    && mkdir /data /models && chown 10001:10001 /data /models
COPY --from=build /venv /venv
COPY deploy /app/deploy
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp RAGSTONE_HOME=/data RAGSTONE_MODELS=/models
WORKDIR /tmp
USER 10001:10001
CMD ["ragstone", "serve", "--host", "0.0.0.0"]
