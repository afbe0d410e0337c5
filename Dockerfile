# The page on any host: docker build -t lawm-explorer . && docker run -p 7860:7860 lawm-explorer
FROM python:3.11-slim

# The simulated robots are drawn without a screen.
RUN apt-get update && apt-get install -y --no-install-recommends libegl1 && rm -rf /var/lib/apt/lists/*

WORKDIR /space
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt
COPY . .

# A user without rights, as the page needs none; what it writes goes under its home.
RUN useradd --create-home visitor
USER visitor
ENV GRADIO_SERVER_NAME=0.0.0.0
EXPOSE 7860
CMD ["python", "app/main.py"]
