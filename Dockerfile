# Two images of one build: --target cpu and --target gpu (docs/docker.md).
FROM python:3.12-slim AS uv
RUN pip install --no-cache-dir "uv>=0.9,<1"
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy VIRTUAL_ENV=/opt/reasonir
RUN uv venv /opt/reasonir
WORKDIR /src
COPY requirements.lock ./
# torch and what only its CUDA build needs, apart from the rest; an entry is a line with its indented hashes
RUN awk '/^[^ ]/ { cuda = /^(torch==|triton|nvidia-|cuda-)/ } { print > (cuda ? "cuda.lock" : "rest.lock") }' requirements.lock \
    && grep -oE '^torch==[0-9.]+' cuda.lock > torch.txt
RUN --mount=type=cache,target=/root/.cache/uv uv pip install --no-deps --require-hashes --requirement rest.lock

FROM uv AS with-cpu
RUN --mount=type=cache,target=/root/.cache/uv \
    uv pip install --no-deps --index-url https://download.pytorch.org/whl/cpu --requirement torch.txt
COPY . .
RUN --mount=type=cache,target=/root/.cache/uv uv pip install --no-deps .

FROM uv AS with-gpu
RUN --mount=type=cache,target=/root/.cache/uv uv pip install --no-deps --require-hashes --requirement cuda.lock
COPY . .
RUN --mount=type=cache,target=/root/.cache/uv uv pip install --no-deps .

FROM python:3.12-slim AS run
RUN apt-get update && apt-get install --no-install-recommends -y libgomp1 && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 reasonir
ENV PATH=/opt/reasonir/bin:$PATH REASONIR_HOME=/home/reasonir/home HF_HUB_DISABLE_TELEMETRY=1
USER reasonir
WORKDIR /home/reasonir
RUN mkdir home
CMD ["reasonir-train", "--help"]

FROM run AS cpu
COPY --from=with-cpu /opt/reasonir /opt/reasonir

FROM run AS gpu
COPY --from=with-gpu /opt/reasonir /opt/reasonir
