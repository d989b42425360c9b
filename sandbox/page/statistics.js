// How long the queue waits, and whether Genesys has statistics at all.

import { at, post } from "./document.js";

const show = (seconds) => { at("wait-shown").textContent = `${Math.round(seconds / 60)} min`; };

// As the sandbox has them now; without statistics there is nothing to show.
export function showStatistics(now) {
  if (!now) return;
  at("wait").value = String(now.wait ?? 0);
  at("statistics-service").value = now.available ? "AVAILABLE" : "UNAVAILABLE";
  show(now.wait ?? 0);
}

at("wait").addEventListener("input", (event) => show(Number(event.target.value)));
at("wait").addEventListener("change", (event) => post("/sandbox/statistic", { name: "AverageWaitingTime", type: "Queue", id: "VQ_Sales", value: Number(event.target.value) }));
at("statistics-service").addEventListener("change", (event) => post("/sandbox/service", { state: event.target.value }));
