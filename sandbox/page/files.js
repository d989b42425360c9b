// Pictures on the page: in a bubble, and chosen for the next message.

import { at, make, say } from "./document.js";

const MOST = 5_000_000; // bytes

// A file of another kind than a picture is a link.
// The lists are drawn anew whenever something changes, and their pictures stay.
const drawn = new Map();
function picture(url) {
  if (drawn.has(url)) return drawn.get(url);
  const image = make("img", { alt: "a file" });
  const link = make("a", { href: url, target: "_blank", rel: "noopener" }, image);
  image.addEventListener("error", () => link.replaceChildren(make("span", { text: "a file" })));
  image.addEventListener("load", () => {
    const list = image.closest("ol");
    if (list?.dataset.end === "yes") list.scrollTop = list.scrollHeight;
  });
  image.src = url;
  drawn.set(url, link);
  if (drawn.size > 400) drawn.delete(drawn.keys().next().value);
  return link;
}

// A picture makes its list longer while it loads: whoever has read to the end stays there, until they scroll up.
export function stayAtTheEnd(list) {
  let last = 0;
  list.dataset.end = "yes";
  list.addEventListener("scroll", () => {
    if (list.scrollHeight - list.scrollTop - list.clientHeight < 60) list.dataset.end = "yes";
    else if (list.scrollTop < last - 1) list.dataset.end = "no";
    last = list.scrollTop;
  });
}

// A bubble with its text and its pictures.
export function bubble(text, media = []) {
  const pictures = media.map(picture);
  return make("div", { class: `bubble${pictures.length ? " pictured" : ""}` }, ...pictures, text && make("span", { text }));
}

// The file that a form sends besides its text: `value()` is {} or {file}, for the body of a request.
export function attachment(fileId, textId) {
  const input = at(fileId);
  const mark = () => {
    const file = input.files[0];
    if (file && file.size > MOST) {
      say("A picture has 5 MB at most here.");
      input.value = "";
    }
    input.parentElement.classList.toggle("chosen", input.files.length > 0);
    input.parentElement.title = input.files[0]?.name ?? "Attach a picture";
    at(textId).required = !input.files.length;
  };
  input.addEventListener("change", () => { mark(); at(textId).focus(); });
  return {
    clear() { input.value = ""; mark(); },
    async value() {
      const file = input.files[0];
      if (!file) return {};
      const bytes = new Uint8Array(await file.arrayBuffer());
      let binary = "";
      for (let begin = 0; begin < bytes.length; begin += 0x8000) binary += String.fromCharCode(...bytes.subarray(begin, begin + 0x8000));
      return { file: { type: file.type, name: file.name, data: btoa(binary) } };
    },
  };
}
