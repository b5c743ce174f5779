// Begin: everything above is there.

function begin() {
  const data = JSON.parse(document.getElementById("data").textContent);
  if (data.compare) {
    buildCompared(data);
    return;
  }
  if (live) {
    VIEWS.scenario = "Scenario";
    current = { id: 0, parent: null, label: live.options.scenario, text: live.text, options: live.options, data };
    runs.push(current);
  }
  open(data);
  if (live?.error) say(live.error);
  if (location.hash) followAddress();
  else show();
}

begin();
