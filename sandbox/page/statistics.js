// How long the queue waits, and whether Genesys has statistics at all.

import { at, post } from "./document.js";

const show = (seconds) => { at("wait-shown").textContent = `${Math.round(seconds / 60)} min`; };

export function forgetStatistics() {
  at("wait").value = "120";
  at("statistics-service").value = "AVAILABLE";
  show(120);
}

at("wait").addEventListener("input", (event) => show(Number(event.target.value)));
at("wait").addEventListener("change", (event) => post("/sandbox/statistic", { name: "AverageWaitingTime", type: "Queue", id: "VQ_Sales", value: Number(event.target.value) }));
at("statistics-service").addEventListener("change", (event) => post("/sandbox/service", { state: event.target.value }));
