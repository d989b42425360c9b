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

// A request that is refused says why at the field that it names, where the form has one: `fields` are ids by its names.
export async function post(path, body, fields = {}) {
  try {
    const answer = await fetch(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
    const value = await answer.json();
    Object.values(fields).forEach(rightAgain);
    if (!answer.ok) {
      const [, name, why] = /^([a-zA-Z]+)(?:\[\d+\])?: (.*)$/s.exec(value.error ?? "") ?? [];
      if (fields[name]) wrong(fields[name], why);
      else say(value.error ?? `The sandbox answered ${answer.status}.`);
    }
    return answer.ok ? value : null;
  } catch {
    say("The sandbox does not answer.");
    return null;
  }
}

// What is wrong with a field stands below it until it is written anew.
export function wrong(id, why) {
  const field = at(id);
  rightAgain(id);
  field.setAttribute("aria-invalid", "true");
  field.setAttribute("aria-describedby", `${id}-wrong`);
  const words = make("p", { class: "wrong", id: `${id}-wrong`, text: why === "a non-empty string" ? "Fill this in." : `Expected: ${why}.` });
  (field.closest(".composer, .phone-form") ?? field).after(words);
  field.focus();
  field.addEventListener("input", () => rightAgain(id), { once: true });
}

function rightAgain(id) {
  at(`${id}-wrong`)?.remove();
  at(id).removeAttribute("aria-invalid");
  at(id).removeAttribute("aria-describedby");
}

let hush;
export function say(text) {
  at("toast").textContent = text;
  at("toast").hidden = false;
  clearTimeout(hush);
  hush = setTimeout(() => { at("toast").hidden = true; }, 5000);
}
