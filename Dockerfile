# Two images. `docker build .` makes the one for production; `docker build --target trial .` adds the sandbox, for the
# chart's trial. All stages begin with the same base, so that the virtual environment fits. Its digest is that of an index
# of all architectures; docs/operations/upgrade.md says how it is renewed.
ARG BASE=python:3.13.14-slim-bookworm@sha256:67a1e1f215ccda113cfc024e8639049257e88f273898f595b61476d128d387e8

FROM ${BASE} AS build
RUN apt-get update && apt-get install --yes --no-install-recommends tini && rm -rf /var/lib/apt/lists/*
WORKDIR /src
# Versions and hashes as locked, wheels alone: nothing is compiled, and nothing that was changed on its way is installed.
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_REQUIRE_HASHES=1 PIP_ONLY_BINARY=:all: PIP_NO_COMPILE=1
COPY requirements/image.txt requirements/build.txt requirements/
RUN python3 -m venv /opt/build && /opt/build/bin/python -m pip install --requirement requirements/build.txt
RUN python3 -m venv --without-pip /opt/dcbridge \
    && /opt/build/bin/python -m pip --python /opt/dcbridge/bin/python install --requirement requirements/image.txt
COPY pyproject.toml README.md LICENSE ./
COPY service service
COPY workers workers
COPY dcbridge dcbridge
# The wheel is made of what is here, without the sandbox. Nobody here asks where a number is or who carries it; that data
# would be a sixth of the image.
RUN /opt/build/bin/python -m hatchling build --target wheel \
    && PIP_REQUIRE_HASHES= /opt/build/bin/python -m pip --python /opt/dcbridge/bin/python install --no-deps --no-index dist/*.whl \
    && rm -r /opt/dcbridge/lib/python3*/site-packages/phonenumbers/geodata \
        /opt/dcbridge/lib/python3*/site-packages/phonenumbers/carrierdata \
    && /opt/dcbridge/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/dcbridge/lib

FROM build AS build-trial
COPY requirements/trial.txt requirements/
RUN /opt/build/bin/python -m pip --python /opt/dcbridge/bin/python install --requirement requirements/trial.txt
COPY sandbox sandbox
RUN rm -r dist && /opt/build/bin/python -m hatchling build --target wheel \
    && PIP_REQUIRE_HASHES= /opt/build/bin/python -m pip --python /opt/dcbridge/bin/python install --no-deps --no-index --force-reinstall dist/*.whl \
    && /opt/dcbridge/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/dcbridge/lib

FROM ${BASE} AS runtime
ARG VERSION=0.1.0
ARG REVISION=""
LABEL org.opencontainers.image.title="dcbridge" \
    org.opencontainers.image.description="Carries messages between Genesys Digital Channels and SMS and email providers, and loses none" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"
COPY --from=build /usr/bin/tini /usr/bin/tini
# Written once, above; the root file system may be read-only.
ENV PATH=/opt/dcbridge/bin:/usr/local/bin:/usr/bin:/bin PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /etc/dcbridge
USER 10001:10001
EXPOSE 8080 8081 8082
STOPSIGNAL SIGTERM
# For plain Docker; Kubernetes has its own probes and does not look at this.
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 CMD ["python", "-m", "dcbridge.cli.health"]
# tini is PID 1: it hands signals on, also in the moment before Python listens for them, and buries what nobody waits for.
ENTRYPOINT ["/usr/bin/tini", "--", "dcbridge"]
CMD ["--help"]

FROM runtime AS trial
COPY --from=build-trial /opt/dcbridge /opt/dcbridge

FROM runtime AS production
COPY --from=build /opt/dcbridge /opt/dcbridge
