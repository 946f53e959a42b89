# The gateway in a container: the core with PostgreSQL and OpenTelemetry, no compiler, no root.
#
#   docker build -t prefroute .
#   docker run --rm -p 127.0.0.1:8000:8000 -e OPENAI_API_KEY -v "$PWD/mine:/etc/prefroute:ro" \
#       -v prefroute:/var/lib/prefroute prefroute
#
# where mine/gateway.yaml keeps its journal in /var/lib/prefroute; with PostgreSQL beside it: deploy/compose.yaml.
#
# Pin the base by digest where builds must repeat: python:3.12-slim-bookworm@sha256:...
FROM python:3.12-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
RUN python -m venv /opt/prefroute
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY src ./src
RUN /opt/prefroute/bin/pip install --constraint constraints.txt ".[postgres,otel]"

FROM python:3.12-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /var/lib/prefroute --create-home prefroute
COPY --from=build /opt/prefroute /opt/prefroute
ENV PATH=/opt/prefroute/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001
WORKDIR /var/lib/prefroute
VOLUME /var/lib/prefroute
EXPOSE 8000
# SIGTERM drains: streams may finish for `drain_s` before the gateway stops. Give the orchestrator a longer grace time.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
ENTRYPOINT ["prefroute"]
CMD ["serve", "/etc/prefroute/gateway.yaml", "--host", "0.0.0.0"]
