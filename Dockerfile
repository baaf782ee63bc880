# One image for fronts and workers.
#
#   docker build -t gischat .
#   docker run --init -p 8000:8000 -e CHANNELS=QGIS,Geotribu -v gischat:/data gischat
#
# As it is, it runs everything under supervisord, as `gischat up` does: fronts, workers, and a Valkey unless REDIS_URL or
# REDIS_HOST names a server. compose.yaml runs each part by itself instead.

FROM python:3.13-slim-trixie AS build

WORKDIR /build
COPY requirements.txt constraints.txt ./
# Wheels only, at exactly these versions: nothing is compiled, and the same comes out tomorrow.
RUN python -m venv --without-pip /venv && \
    python -m pip --python /venv install --no-cache-dir --no-compile --only-binary :all: \
        --constraint constraints.txt --requirement requirements.txt

COPY setup.py pyproject.toml deno.json deno.lock MANIFEST.in README.md LICENSE .env.example supervisord.conf ./
COPY gischat gischat
COPY worker worker
COPY deploy deploy
# The files are read-only where it runs: compiled now, by content, since times differ from build to build.
RUN python -m pip --python /venv install --no-cache-dir --no-compile --no-deps . && \
    python -m compileall -q --invalidation-mode unchecked-hash /venv


FROM python:3.13-slim-trixie

RUN useradd --uid 10001 --home-dir /data --no-create-home --shell /usr/sbin/nologin gischat && \
    install -d -o gischat -m 0700 /data
COPY --from=build /venv /venv

ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    STATE_DIR=/data
USER 10001
WORKDIR /data
EXPOSE 8000

# Of a front, or of a whole chat. A worker needs none: one that takes no jobs ends itself and is started again.
HEALTHCHECK --interval=10s --timeout=8s --start-period=60s --retries=3 CMD ["gischat", "ready"]
CMD ["gischat", "up"]
