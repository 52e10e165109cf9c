# One image for the exchange, the holders and the one-shot provisioning.
FROM python:3.11-slim-bookworm
RUN useradd --create-home --uid 10001 shuyao
WORKDIR /opt/shuyao
COPY requirements.lock ./
RUN pip install --no-cache-dir --require-hashes -r requirements.lock
COPY api api
COPY cli cli
COPY client client
COPY contracts/artifacts contracts/artifacts
COPY examples examples
COPY exchange exchange
COPY holder holder
COPY ledger ledger
COPY privacy privacy
# Each folder may be a volume: an empty one takes over its owner and mode from here.
RUN for part in cache market market/exchange market/holders market/holders/1 market/holders/2 market/holders/3 market/passphrases \
        market/passphrases/exchange market/passphrases/holders-1 market/passphrases/holders-2 market/passphrases/holders-3; \
    do mkdir --parents --mode 700 "/state/$part"; done && chown --recursive shuyao:shuyao /state
ENV PYTHONPATH=/opt/shuyao SHUYAO_ROOT=/opt/shuyao SHUYAO_HOME=/state PYTHONUNBUFFERED=1
USER shuyao
ENTRYPOINT ["python", "-m", "cli"]
