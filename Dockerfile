# The server and the command line; docs/containers.md says how it is run.
FROM python:3.12-slim AS build
WORKDIR /src
ENV PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1
# What seldom changes comes first. Nothing but this layer needs the network.
COPY pyproject.toml constraints.txt ./
RUN pip install -c constraints.txt setuptools \
 && python -m venv --without-pip /opt/tradewind \
 && python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" > requirements.txt \
 && pip --python /opt/tradewind/bin/python install -c constraints.txt -r requirements.txt
COPY README.md LICENSE ./
COPY server server
COPY clients/python clients/python
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
 && pip --python /opt/tradewind/bin/python install --no-deps /wheels/*.whl

FROM python:3.12-slim
LABEL org.opencontainers.image.title="Tradewind" \
      org.opencontainers.image.source="https://github.com/tradewind/tradewind" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 tradewind \
 && useradd --uid 10001 --gid 10001 --home-dir /var/lib/tradewind --no-create-home --shell /usr/sbin/nologin tradewind \
 && install -d -m 750 -o tradewind -g tradewind /var/lib/tradewind
COPY --from=build /opt/tradewind /opt/tradewind
# Others may reach every address of a container, so the server asks for a certificate, or for --insecure.
ENV PATH=/opt/tradewind/bin:$PATH PYTHONUNBUFFERED=1
ENV TRADEWIND_LISTEN=0.0.0.0:7233 TRADEWIND_DATABASE=/var/lib/tradewind/tradewind.db
# By number, or Kubernetes would not know that it is not root.
USER 10001:10001
WORKDIR /var/lib/tradewind
VOLUME /var/lib/tradewind
EXPOSE 7233
ENTRYPOINT ["tradewind"]
CMD ["server"]
