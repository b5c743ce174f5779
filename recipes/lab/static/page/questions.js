// Questions: what happens next?

function questionsHere() {
  return run.data.questions.map((question, number) => [question, number]).filter(([question]) => question.event === at);
}

function veiled() {
  return asking && questionsHere().some(([, number]) => !given.has(number));
}

function setAsking(on) {
  asking = on;
  parts.ask.setAttribute("aria-pressed", String(on));
  show();
}

function showQuestion() {
  const all = run.data.questions;
  parts.facts.textContent = `${facts()}${asking && given.size < all.length ? "" : `: ${verdict()}`}`;
  const here = asking ? questionsHere() : [];
  parts.question.hidden = !here.length;
  parts.question.replaceChildren(...here.flatMap(([question, number]) => {
    const chosen = given.get(number);
    const choices = question.choices.map((choice, place) => {
      const mark = chosen === undefined ? "" : place === question.answer ? "✓ " : place === chosen ? "✗ " : "";
      const choose = make("button", { type: "button", lang: language, disabled: chosen !== undefined, click: () => answer(number, place) }, mark + choice[language]);
      return make("li", {}, choose);
    });
    const right = chosen === question.answer;
    const said = chosen === undefined ? null : make("p", { role: "status" }, right ? "Right. " : `Wrong. It is: ${question.choices[question.answer][language]}. `,
      make("button", { type: "button", click: () => go(question.shown_at) }, `event ${question.shown_at} shows it`));
    return [make("p", { lang: language }, question.text[language]), make("ul", { class: "choices" }, ...choices), said].filter(Boolean);
  }));
}

function answer(number, place) {
  given.set(number, place);
  show();
  parts.question.querySelector("button:not([disabled])")?.focus();
}

function showQuestions() {
  const all = run.data.questions;
  const right = [...given].filter(([number, place]) => all[number].answer === place).length;
  const rows = all.map((question, number) => [
    make("button", { type: "button", class: "plain", "aria-label": `ask after event ${question.event}`, click: () => { at = question.event; setAsking(true); } }, String(question.event)),
    make("td", { lang: language }, question.text[language]),
    given.has(number) ? (given.get(number) === question.answer ? "right" : "wrong") : "",
  ]);
  parts.panels.questions.replaceChildren(
    make("h2", {}, "Questions"),
    all.length ? scrolls("Questions", table(`${right} right of ${given.size} answered; the answers are read from this run`, ["after event", "question", "answer"], rows))
      : make("p", {}, "There is no question about this run."),
  );
}
