FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY requirements.lock pyproject.toml README.md ./
# The build tools are part of the lock; the image below gets only what the wheel needs.
RUN python -m venv /opt/cpo \
    && /opt/cpo/bin/python -m pip install --no-cache-dir --disable-pip-version-check \
        --require-hashes -r requirements.lock
COPY cpo cpo
COPY chargers_sim chargers_sim
RUN /opt/cpo/bin/python -m pip install --no-cache-dir --disable-pip-version-check \
        --no-deps --no-build-isolation . \
    && /opt/cpo/bin/python -m pip uninstall --yes --quiet \
        hypothesis mypy pytest pytest-asyncio pytest-randomly pytest-timeout pytest-xdist ruff \
        import-linter openapi-spec-validator trustme

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="cpo" \
      org.opencontainers.image.description="CPO backend that bridges OCPP charge points to OCPI partners"
RUN groupadd --system --gid 10001 cpo \
    && useradd --system --uid 10001 --gid cpo --home-dir /var/lib/cpo --create-home cpo
COPY --from=build /opt/cpo /opt/cpo
ENV PATH=/opt/cpo/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    CPO_DATABASE__URL=sqlite:////var/lib/cpo/cpo.db \
    CPO_OPERATOR__HOST=0.0.0.0
USER 10001:10001
WORKDIR /var/lib/cpo
VOLUME /var/lib/cpo
EXPOSE 9000 8080 8081
HEALTHCHECK --interval=10s --timeout=5s --start-period=15s CMD ["cpo", "health", "--json"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["cpo"]
CMD ["serve"]
