FROM python:3.12-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY server server
COPY clients/python clients/python
RUN python -m venv /opt/tradewind && /opt/tradewind/bin/pip install --no-cache-dir .

FROM python:3.12-slim
RUN useradd --create-home --uid 10001 tradewind
COPY --from=build /opt/tradewind /opt/tradewind
ENV PATH=/opt/tradewind/bin:$PATH PYTHONUNBUFFERED=1
USER tradewind
WORKDIR /home/tradewind
EXPOSE 7233
ENTRYPOINT ["tradewind"]
# Loopback inside of the container: another address needs a certificate, or --insecure. See compose.yaml.
CMD ["server"]
