# Everything on a CPU: the rtseg command and the C++ program. For Ascend see docs/deployment.md.
FROM python:3.11-slim-bookworm

# To compile the C++ program; g++ brings libgomp too, which MindSpore loads.
RUN apt-get update \
    && apt-get install -y --no-install-recommends cmake g++ libjpeg-dev libpng-dev make \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/rtseg
# Before the sources, so that an edited source does not install MindSpore again.
COPY requirements.txt constraints.txt ./
RUN pip install --no-cache-dir -r requirements.txt -c constraints.txt

COPY . .
RUN pip install --no-cache-dir --no-deps . \
    && rm -rf build src/rtseg.egg-info
RUN bash ascend310_infer/build.sh -DRUNTIME=openvino \
    && ln -s /opt/rtseg/ascend310_infer/build/main /usr/local/bin/rtseg-infer

RUN useradd --create-home --uid 1000 rtseg \
    && install --directory --owner=rtseg /work
USER rtseg
WORKDIR /work
ENTRYPOINT ["rtseg"]
CMD ["--help"]
