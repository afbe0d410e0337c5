# The page on any host: docker build -t lawm-explorer . && docker run -p 7860:7860 lawm-explorer
FROM python:3.11-slim
WORKDIR /space

# The simulated robots are drawn without a screen.
COPY packages.txt .
RUN apt-get update && xargs apt-get install -y --no-install-recommends < packages.txt && rm -rf /var/lib/apt/lists/*

# Every one of them has a wheel: nothing is compiled, so the image needs no compiler.
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt

COPY . .

# A user without rights, as the page needs none; it writes under its home and /tmp alone.
RUN useradd --create-home visitor
USER visitor
ENV GRADIO_SERVER_NAME=0.0.0.0
EXPOSE 7860
CMD ["python", "app/main.py"]
