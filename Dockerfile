# A server with PyTorch for CPUs. Build it, and serve a run directory:
#   docker build -t bertwright .
#   docker run --rm -p 8000:8000 -v "$PWD/runs/mine:/models/mine:ro" bertwright /models/mine --host 0.0.0.0
FROM python:3.12-slim AS build
RUN python -m venv /opt/bertwright
ENV PATH=/opt/bertwright/bin:$PATH
COPY constraints.txt /source/
# first the largest package, so that a change of the code does not install it again
RUN pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu -c /source/constraints.txt torch
COPY pyproject.toml README.md LICENSE /source/
COPY src /source/src
RUN pip install --no-cache-dir -c /source/constraints.txt "/source[serve]" && pip uninstall --yes pip

FROM python:3.12-slim
RUN useradd --uid 10001 --create-home bertwright
COPY --from=build /opt/bertwright /opt/bertwright
ENV PATH=/opt/bertwright/bin:$PATH PYTHONDONTWRITEBYTECODE=1
USER 10001
WORKDIR /home/bertwright
EXPOSE 8000
HEALTHCHECK --start-period=60s CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/ready', timeout=3)"]
# the exec form lets the server receive SIGTERM and answer what it has accepted
ENTRYPOINT ["bertwright", "serve"]
CMD ["--help"]
