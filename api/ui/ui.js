// Asks for this same page again when something has changed, and puts what differs in its place.
const live = document.querySelector("#live");
const main = document.querySelector("main");
const zone = new Intl.DateTimeFormat(undefined, {
  month: "short", day: "numeric", hour: "numeric", minute: "2-digit", second: "2-digit",
});

function localTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    time.title = time.textContent + " UTC";
    time.textContent = zone.format(new Date(time.dateTime));
  }
}

// What the reader has opened, typed or chosen stays.
function keeps(element, name) {
  return (name === "open" && element.tagName === "DETAILS") || name === "tabindex";
}

function same(a, b) {
  return a.nodeType === b.nodeType && a.nodeName === b.nodeName && (a.id || "") === (b.id || "");
}

function attributes(old, fresh) {
  for (const name of fresh.getAttributeNames()) {
    const value = fresh.getAttribute(name);
    if (!keeps(old, name) && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const name of old.getAttributeNames()) {
    if (!keeps(old, name) && !fresh.hasAttribute(name)) old.removeAttribute(name);
  }
}

// The children that stay, by id. Those that are gone go at once: the others then stand in their
// places, and nothing is moved.
function staying(old, fresh) {
  const byId = new Map();
  const wanted = new Set();
  for (let child = fresh.firstElementChild; child; child = child.nextElementSibling) {
    if (child.id) wanted.add(child.id);
  }
  for (let child = old.firstElementChild; child;) {
    const next = child.nextElementSibling;
    if (child.id && wanted.has(child.id)) byId.set(child.id, child);
    else if (child.id) child.remove();
    child = next;
  }
  return byId;
}

function morph(old, fresh) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  if (old.isEqualNode(fresh) || (old === document.activeElement && old.matches("input,select,textarea"))) return;
  attributes(old, fresh);
  const byId = staying(old, fresh);
  let at = old.firstChild;
  for (let child = fresh.firstChild, later; child; child = later) {
    later = child.nextSibling; // it may go from there to here
    const known = child.id ? byId.get(child.id) : null;
    if (known && same(known, child)) {
      if (known === at) at = at.nextSibling;
      else old.insertBefore(known, at);
      morph(known, child);
    } else if (at && !(at.id && byId.has(at.id)) && same(at, child)) {
      const next = at.nextSibling;
      morph(at, child);
      at = next;
    } else {
      old.insertBefore(child, at);
    }
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

function say(words) {
  if (live.textContent !== words) live.textContent = words;
  live.dataset.state = words;
}

let asking = null;
let again = false;
// Whether the page is as it is at the service; what changes meanwhile is asked for behind it.
function refresh() {
  again = asking !== null;
  asking ??= askUntilKnown().finally(() => { asking = null; });
  return asking;
}

async function askUntilKnown() {
  let isFresh;
  do {
    again = false;
    isFresh = await ask();
  } while (isFresh && again);
  return isFresh;
}

async function ask() {
  try {
    const told = await fetch(location.href, { headers: { accept: "text/html" } });
    if (told.redirected) { // the key is over
      location.reload();
      return true;
    }
    if (!told.ok) throw new Error(told.statusText);
    const page = new DOMParser().parseFromString(await told.text(), "text/html");
    const fresh = page.querySelector("main");
    localTimes(fresh);
    const began = performance.now();
    const updates = Number(main.dataset.updates || 0) + 1;
    morph(main, fresh);
    document.title = page.title;
    main.dataset.updates = updates;
    performance.measure("update", { start: began, end: performance.now() });
    return true;
  } catch {
    say("reconnecting");
    return false;
  }
}

const AGAIN_MS = 2000;
// As the page now says: a run that was queued when it was opened has begun since, or ended.
function watch() {
  if (main.dataset.events) follow(main.dataset.events);
  else if (main.dataset.every) setTimeout(poll, main.dataset.every * 1000);
  else say("");
}

async function rejoin() {
  if (await refresh()) watch();
  else setTimeout(rejoin, AGAIN_MS);
}

function follow(address) {
  const source = new EventSource(address);
  source.addEventListener("open", () => say("live"));
  source.addEventListener("error", () => {
    say("reconnecting");
    // After an answer that is an error the browser gives up: a proxy's, say, while we are away.
    if (source.readyState === EventSource.CLOSED) setTimeout(rejoin, AGAIN_MS);
  });
  source.addEventListener("change", async () => {
    if ((await refresh()) || source.readyState === EventSource.CLOSED) return;
    source.close();
    setTimeout(rejoin, AGAIN_MS);
  });
  source.addEventListener("end", async () => {
    source.close();
    say("");
    // The run's own row is written a moment after its last step.
    if (await refresh()) setTimeout(watch, main.dataset.events ? 500 : 0);
    else setTimeout(rejoin, AGAIN_MS);
  });
}

async function poll() {
  if (!document.hidden && (await refresh()) && main.dataset.every) say("live");
  watch();
}

localTimes(document);
watch();
