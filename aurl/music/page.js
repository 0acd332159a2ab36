"use strict";
// Each card: the playhead follows its player, a click in the roll plays from there, one player sounds at a time.
const players = [];
for (const sample of document.querySelectorAll(".sample")) {
  const audio = sample.querySelector("audio");
  if (!audio) continue;
  const roll = sample.querySelector(".roll");
  const svg = roll.querySelector("svg");
  const head = svg.querySelector(".playhead");
  const left = Number(svg.dataset.left);
  const scale = Number(svg.dataset.scale); // units of the drawing a second
  const notes = [...svg.querySelectorAll(".n")].map((note) => {
    const from = Number(note.getAttribute("x"));
    return { note, from, to: from + Number(note.getAttribute("width")) };
  });

  function show() {
    const x = left + audio.currentTime * scale;
    head.setAttribute("x1", x);
    head.setAttribute("x2", x);
    const sounding = !audio.paused;
    for (const { note, from, to } of notes) note.classList.toggle("on", sounding && from <= x && x < to);
    follow(x);
  }

  function follow(x) {
    const at = (x * svg.clientWidth) / svg.viewBox.baseVal.width;
    const far = roll.scrollLeft + roll.clientWidth * 0.85;
    if (!audio.paused && svg.clientWidth > roll.clientWidth && (at > far || at < roll.scrollLeft)) {
      roll.scrollLeft = at - roll.clientWidth * 0.15;
    }
  }

  function step() {
    show();
    if (!audio.paused) requestAnimationFrame(step);
  }

  audio.addEventListener("play", () => {
    for (const other of players) if (other !== audio) other.pause();
    step();
  });
  for (const event of ["pause", "seeked", "timeupdate", "ended"]) audio.addEventListener(event, show);
  svg.addEventListener("click", (event) => {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    audio.currentTime = Math.min(Math.max((point.x - left) / scale, 0), audio.duration || 0);
    audio.play();
  });
  players.push(audio);
}
