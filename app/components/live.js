const root = element.querySelector(".live");
const find = (selector) => root.querySelector(selector);
const input = find(".live-input"), output = find(".live-output"), status = find(".live-status");
const strength = find(".live-strength"), smoothing = find(".live-smoothing"), mirror = find(".live-mirror");
const small = new OffscreenCanvas(1, 1), pen = small.getContext("2d", { willReadFrequently: true });
const INTERVAL = 1000 / 12; // milliseconds between frames, at least
const KEEP_ALIVE = 5000; // milliseconds between messages of a paused session, which would otherwise end
const KEYS = { ArrowLeft: [-0.01, 0], ArrowRight: [0.01, 0], ArrowUp: [0, -0.01], ArrowDown: [0, 0.01] };
let session = null, socket = null, source = null, isPaused = false, hasSeat = false, isWaiting = false, isRecording = false;
let sent = 0, times = [], delays = [];

// ---- sources of motion: each draws its current frame on the input canvas --------------------------------------------

async function openCamera() {
  const stream = await navigator.mediaDevices.getUserMedia({ video: { width: 320, height: 240, frameRate: 15 }, audio: false });
  const video = Object.assign(document.createElement("video"), { srcObject: stream, muted: true, playsInline: true });
  await video.play();
  return {
    name: "camera",
    draw(context, size) {
      const side = Math.min(video.videoWidth, video.videoHeight);
      if (mirror.checked) { context.translate(size, 0); context.scale(-1, 1); }
      context.drawImage(video, (video.videoWidth - side) / 2, (video.videoHeight - side) / 2, side, side, 0, 0, size, size);
    },
    close: () => stream.getTracks().forEach((track) => track.stop()),
  };
}

// The source clip plays forward and backward, so that it has no cut.
async function openClip(clip) {
  const sheet = await loadPicture(clip.sheet), start = performance.now();
  return {
    name: clip.name,
    draw(context, size) {
      const at = Math.floor(((performance.now() - start) / 1000) * clip.rate) % Math.max(1, 2 * clip.frames - 2);
      const frame = at < clip.frames ? at : 2 * clip.frames - 2 - at, side = clip.tile;
      context.drawImage(sheet, (frame % clip.columns) * side, Math.floor(frame / clip.columns) * side, side, side, 0, 0, size, size);
    },
    close() {},
  };
}

// The target's picture is moved by hand: drag it, or use the wheel and the arrow keys.
async function openPointer(picture) {
  const image = await loadPicture(picture);
  let [x, y, zoom] = [0, 0, 1];
  const stop = new AbortController(), options = { signal: stop.signal };
  const shift = (dx, dy) => { x = Math.max(-0.6, Math.min(0.6, x + dx)); y = Math.max(-0.6, Math.min(0.6, y + dy)); };
  input.addEventListener("pointerdown", (event) => input.setPointerCapture(event.pointerId), options);
  input.addEventListener("pointermove", (event) => { if (event.buttons) shift(event.movementX / input.clientWidth, event.movementY / input.clientHeight); }, options);
  input.addEventListener("wheel", (event) => { zoom = Math.max(0.5, Math.min(3, zoom * Math.exp(-event.deltaY / 800))); event.preventDefault(); }, { ...options, passive: false });
  input.addEventListener("keydown", (event) => {
    if (KEYS[event.key]) shift(...KEYS[event.key]);
    else if (event.key === "+" || event.key === "-") zoom *= event.key === "+" ? 1.02 : 1 / 1.02;
    else return;
    event.preventDefault();
  }, options);
  input.focus({ preventScroll: true });
  return {
    name: "pointer: drag this picture; wheel zooms",
    draw(context, size) {
      const side = size * zoom, left = (size - side) / 2 + x * size, top = (size - side) / 2 + y * size;
      for (const i of [-1, 0, 1]) for (const j of [-1, 0, 1]) { // mirrored copies fill what comes into view
        context.save();
        context.translate(left + (i ? i + 1 : 0) * side, top + (j ? j + 1 : 0) * side);
        context.scale(i ? -1 : 1, j ? -1 : 1);
        context.drawImage(image, 0, 0, side, side);
        context.restore();
      }
    },
    close: () => stop.abort(),
  };
}

async function loadPicture(url) {
  const picture = new Image();
  picture.src = url;
  await picture.decode();
  return picture;
}

// ---- the stream: one frame is on its way at a time --------------------------------------------------------------------

function drawSource() {
  const size = session.size, context = pen;
  small.width = small.height = size;
  context.save();
  source.draw(context, size);
  context.restore();
  input.width = input.height = size;
  input.getContext("2d").drawImage(small, 0, 0);
}

function rawFrame() {
  const rgba = pen.getImageData(0, 0, session.size, session.size).data, rgb = new Uint8Array((rgba.length / 4) * 3);
  for (let i = 0, j = 0; i < rgba.length; i += 4) { rgb[j++] = rgba[i]; rgb[j++] = rgba[i + 1]; rgb[j++] = rgba[i + 2]; }
  return rgb;
}

function tick() {
  if (!session || !source || !root.isConnected) return;
  if (isPaused && performance.now() - sent > KEEP_ALIVE) {
    sent = performance.now();
    send({});
  }
  if (!document.hidden && !isPaused) {
    drawSource();
    if (hasSeat && !isWaiting && performance.now() - sent >= INTERVAL && socket.readyState === WebSocket.OPEN) {
      isWaiting = true;
      sent = performance.now();
      socket.send(rawFrame());
    }
  }
  requestAnimationFrame(tick);
}

async function show(buffer) {
  const carried = new DataView(buffer).getFloat32(0, true);
  const picture = await createImageBitmap(new Blob([buffer.slice(4)], { type: "image/jpeg" }));
  output.width = picture.width;
  output.height = picture.height;
  output.getContext("2d").drawImage(picture, 0, 0);
  isWaiting = false;
  times = [...times, performance.now()].slice(-20);
  delays = [...delays, performance.now() - sent].slice(-20);
  const rate = times.length > 2 ? (1000 * (times.length - 1)) / (times[times.length - 1] - times[0]) : 0;
  const delay = delays.reduce((sum, one) => sum + one, 0) / delays.length;
  status.textContent = `${rate.toFixed(1)} frames per second · delay ${(delay / 1000).toFixed(2)} s · ${Math.round(100 * carried)} % carried over`;
  find(".tag").textContent = isRecording ? "recording" : "predicted";
  root.dataset.frames = Number(root.dataset.frames || 0) + 1;
  root.dataset.rate = rate.toFixed(2);
  root.dataset.delay = (performance.now() - sent).toFixed(0);
}

function hear(text) {
  const message = JSON.parse(text);
  if (message.seat) {
    hasSeat = true;
    status.textContent = "Live.";
    sendSettings();
  } else if (message.before !== undefined) {
    const before = message.before ? `${message.before} before you` : "you are next";
    status.textContent = `All seats are taken: ${before}, at most about ${message.seconds} s.`;
  } else if (message.end !== undefined) end(message.end || "Stopped.");
}

const send = (values) => { if (hasSeat && socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(values)); };
function sendSettings() {
  send({ strength: Number(strength.value), smoothing: Number(smoothing.value), family: props.setting.family, capacity: props.setting.capacity, recording: isRecording });
}

// ---- start and end ----------------------------------------------------------------------------------------------------

async function start() {
  stop();
  const mine = props.value;
  if (!mine) return;
  [times, delays, isPaused, isRecording, isWaiting] = [[], [], false, false, false];
  root.dataset.frames = 0;
  let opened;
  status.textContent = mine.kind === "camera" ? "Waiting for the camera …" : "Connecting …";
  try {
    opened = await { camera: openCamera, clip: () => openClip(mine.clip), pointer: () => openPointer(mine.picture) }[mine.kind]();
  } catch (error) {
    status.textContent = `The camera cannot be used (${error.name}). Allow it in the browser, or choose another source of motion.`;
    return;
  }
  if (props.value !== mine) return opened.close();
  [session, source] = [mine, opened];
  find(".live-source").textContent = source.name;
  const first = await loadPicture(mine.picture);
  output.width = output.height = first.naturalWidth;
  output.getContext("2d").drawImage(first, 0, 0);
  find(".tag").textContent = "real frame";
  const page = new URL(fullUrl("live"), location.href);
  page.protocol = page.protocol.replace("http", "ws");
  page.searchParams.set("token", mine.token);
  socket = new WebSocket(page);
  socket.binaryType = "arraybuffer";
  socket.addEventListener("message", ({ data }) => (typeof data === "string" ? hear(data) : show(data)));
  socket.addEventListener("close", () => { if (session === mine) end(hasSeat ? "The connection was lost. Press Start to continue." : "The server did not accept the connection."); });
  update();
  tick();
}

function end(reason) {
  if (isRecording) finishRecording();
  stop();
  status.textContent = reason;
  update();
}

function stop() {
  const [oldSocket, oldSource] = [socket, source];
  [session, socket, source, hasSeat] = [null, null, null, false];
  oldSocket?.close();
  oldSource?.close();
}

function finishRecording() {
  isRecording = false;
  trigger("stop_recording", { token: session.token });
}

function update() {
  const isLive = Boolean(session);
  for (const name of ["pause", "restart", "record", "stop"]) find(`.live-${name}`).disabled = !isLive;
  find(".live-pause").textContent = isPaused ? "Continue" : "Pause";
  find(".live-record").textContent = isRecording ? "Stop recording" : "Record";
  find(".live-record").setAttribute("aria-pressed", String(isRecording));
  root.classList.toggle("empty", !props.value);
  root.classList.toggle("running", isLive);
}

find(".live-pause").addEventListener("click", () => { isPaused = !isPaused; update(); });
find(".live-restart").addEventListener("click", () => send({ restart: true }));
find(".live-stop").addEventListener("click", () => end("Stopped."));
find(".live-record").addEventListener("click", () => {
  if (isRecording) { finishRecording(); sendSettings(); }
  else { isRecording = true; sendSettings(); }
  update();
});
for (const control of [strength, smoothing]) control.addEventListener("input", sendSettings);
document.addEventListener("visibilitychange", () => { if (document.hidden && session) end("Stopped, because the page was hidden. Press Start to continue."); });

find(".live-empty").textContent = props.invitation;
find(".hint").textContent = props.hint;
watch("value", start);
watch("setting", sendSettings);
update();
