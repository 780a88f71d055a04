# The course in a container, for readers: JupyterLab at the page that says what to do next.
#   docker build -t cs336lite .
#   docker run --rm -it -p 127.0.0.1:8888:8888 -v cs336lite:/course cs336lite
# Work stays in the volume `cs336lite`. With an NVIDIA GPU: --build-arg TORCH_INDEX=https://pypi.org/simple, and
# `docker run --gpus all`. What the tests need is left out; grading wants bubblewrap and a machine of its own.
FROM python:3.12-slim-bookworm

# g++: torch.compile of lecture 07; fonts-noto-cjk: the Chinese terms and figures; git: `cs336lite reset`
RUN apt-get update \
 && apt-get install -y --no-install-recommends make git g++ fonts-noto-cjk \
 && rm -rf /var/lib/apt/lists/*

RUN useradd --create-home --uid 1000 --shell /bin/bash reader \
 && mkdir /course && chown reader: /course \
 && python -m venv /opt/venv && chown -R reader: /opt/venv \
 && echo 'export PATH=/opt/venv/bin:$PATH' > /etc/profile.d/cs336lite.sh
ENV PATH=/opt/venv/bin:$PATH SHELL=/bin/bash
USER reader
WORKDIR /course

# torch goes first and by its exact version; by default the build for CPUs, which is small
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY --chown=reader requirements.lock /tmp/
RUN sed '/^# >>> not in the student edition/,/^# <<< not in the student edition/d' /tmp/requirements.lock > /tmp/light.lock \
 && pip install --no-cache-dir --extra-index-url "$TORCH_INDEX" "$(grep '^torch==' /tmp/light.lock)" \
 && pip install --no-cache-dir --extra-index-url "$TORCH_INDEX" -r /tmp/light.lock

COPY --chown=reader . /course
RUN pip install --no-cache-dir --no-deps -e .

EXPOSE 8888
CMD ["cs336lite", "lab", "--", "--ip=0.0.0.0", "--port=8888", "--no-browser"]
