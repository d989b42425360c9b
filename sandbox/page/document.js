// What the page's scripts have in common. Data reaches the document through textContent only.

export const at = (id) => document.getElementById(id);

export function make(tag, options = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(options)) {
    if (name === "text") node.textContent = value;
    else if (name === "class") node.className = value;
    else node.setAttribute(name, value);
  }
  node.append(...children.filter(Boolean));
  return node;
}

export function clock(seconds) {
  const time = new Date(seconds * 1000);
  return make("time", { datetime: time.toISOString(), text: time.toLocaleTimeString([], { hour12: false }) });
}

export function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    if (/^[\w%.]+=[^\s]*$/.test(text)) {
      return [...new URLSearchParams(text)].map(([name, value]) => `${name} = ${value}`).join("\n");
    }
    return text;
  }
}

export async function post(path, body) {
  try {
    const answer = await fetch(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
    const value = await answer.json();
    if (!answer.ok) say(value.error ?? `The sandbox answered ${answer.status}.`);
    return answer.ok ? value : null;
  } catch {
    say("The sandbox does not answer.");
    return null;
  }
}

let hush;
export function say(text) {
  at("toast").textContent = text;
  at("toast").hidden = false;
  clearTimeout(hush);
  hush = setTimeout(() => { at("toast").hidden = true; }, 5000);
}
