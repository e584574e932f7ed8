// Keeps the numbers of the overview live. Every page works without it.
"use strict";

const cells = (name) => document.querySelectorAll(`[data-live="${CSS.escape(name)}"]`);

const show = (name, value) => {
  for (const cell of cells(name)) {
    cell.textContent = value;
  }
};

const row = (status, count) => {
  const line = document.createElement("tr");
  const tag = document.createElement("span");
  tag.className = `tag ${status}`;
  tag.textContent = status;
  line.insertCell().append(tag);
  const number = line.insertCell();
  number.className = "number";
  number.textContent = count;
  return line;
};

const update = (overview) => {
  show("stations", overview.stations.all);
  show("online", overview.stations.online);
  show("pending", overview.stations.pending);
  show("charging", overview.charging);
  const statuses = document.getElementById("statuses");
  if (statuses) {
    statuses.replaceChildren(...Object.entries(overview.evses).map(([s, n]) => row(s, n)));
  }
  for (const partner of overview.partners) {
    show(`waiting-${partner.id}`, partner.waiting);
    show(`parked-${partner.id}`, partner.parked);
    for (const cell of cells(`status-${partner.id}`)) {
      cell.textContent = partner.status;
      cell.className = `tag ${partner.status}`;
    }
  }
};

if (document.querySelector("[data-live]")) {
  const source = new EventSource("/live");
  source.addEventListener("overview", (event) => update(JSON.parse(event.data)));
  addEventListener("pagehide", () => source.close());
}

// A command under way: look again until it is done.
if (document.querySelector("[data-again]")) {
  setTimeout(() => location.reload(), 1000);
}

// Instants are in UTC; the tooltip says them in the reader's time.
for (const time of document.querySelectorAll("time[datetime]")) {
  const at = new Date(time.dateTime);
  if (!Number.isNaN(at.getTime())) {
    time.title = at.toLocaleString();
  }
}
