# One image for fronts and workers.
#
#   docker build -t gischat .
#   docker run --init -p 8000:8000 -e CHANNELS=QGIS,Geotribu -v gischat:/data gischat
#
# As it is, it runs everything under supervisord, as `make run` does: fronts, workers, and a Valkey unless REDIS_URL or
# REDIS_HOST names a server. compose.yaml runs each part by itself instead.

FROM python:3.13-slim-trixie AS build

WORKDIR /build
COPY requirements.txt deploy/docker/constraints.txt ./
# Wheels only, at exactly these versions: nothing is compiled, and the same comes out tomorrow.
RUN python -m venv --without-pip /venv && \
    python -m pip --python /venv install --no-cache-dir --no-compile --only-binary :all: \
        --constraint constraints.txt --requirement requirements.txt

COPY gischat /app/gischat
COPY worker /app/worker
COPY deploy/*.py deploy/valkey.conf /app/deploy/
COPY deploy/nginx /app/deploy/nginx
COPY supervisord.conf /app/
# The files are read-only where it runs: compiled now, by content, since times differ from build to build.
RUN python -m compileall -q --invalidation-mode unchecked-hash /venv /app


FROM python:3.13-slim-trixie

RUN useradd --uid 10001 --home-dir /app --no-create-home --shell /usr/sbin/nologin gischat && \
    install -d -o gischat -m 0700 /data
COPY --from=build /venv /venv
COPY --from=build /app /app

ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    STATE_DIR=/data
USER 10001
WORKDIR /app
EXPOSE 8000

# Of a front, or of a whole chat. A worker needs none: one that takes no jobs ends itself and is started again.
HEALTHCHECK --interval=10s --timeout=8s --start-period=60s --retries=3 CMD ["python", "-m", "deploy", "ready"]
CMD ["python", "-m", "deploy", "run"]
