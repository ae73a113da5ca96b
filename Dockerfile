# fergan for CPUs, with a C++ compiler for the fast kernels and the extra "serve".
FROM python:3.12-slim AS build
WORKDIR /src
COPY . .
RUN python -m pip install --no-cache-dir build && python -m build --wheel --outdir /dist

FROM python:3.12-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
RUN python -m pip install --no-cache-dir torch torchvision --index-url https://download.pytorch.org/whl/cpu
COPY --from=build /dist /dist
RUN python -m pip install --no-cache-dir "$(ls /dist/*.whl)[serve]" && rm -rf /dist
RUN useradd --create-home fergan && mkdir /data && chown fergan /data
USER fergan
# the kernels are compiled now, so that no container does it again; the cache must belong to who uses it
RUN fergan doctor --build
WORKDIR /data
EXPOSE 8501
ENTRYPOINT ["fergan"]
CMD ["--help"]
