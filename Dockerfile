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
# the kernels are compiled now, so that no container does it again
ENV FERGAN_CACHE=/opt/fergan-cache
RUN fergan doctor --build && chmod -R a+rwX /opt/fergan-cache
RUN useradd --create-home fergan && mkdir /work && chown fergan /work
USER fergan
WORKDIR /work
EXPOSE 8501
ENTRYPOINT ["fergan"]
CMD ["--help"]
