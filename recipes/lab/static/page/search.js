// Search: words, and tests such as role=vote or term>2; an event must fulfil all of them.

const NUMBERED = new Set(["term", "epoch", "ballot", "fence"]);

function searcher(text) {
  const tests = text.trim().split(/\s+/).filter(Boolean).map(tester);
  return tests.length ? (run, at) => tests.every((test) => test(run, at)) : null;
}

function tester(word) {
  const found = /^([\w:-]+)(<=|>=|!=|=|<|>)(.+)$/.exec(word);
  if (!found) {
    const wanted = word.toLowerCase();
    return (run, at) => `${run.events[at].n} ${run.data.said[at]}`.toLowerCase().includes(wanted);
  }
  const [, key, sign, wanted] = found;
  return (run, at) => {
    const facts = run.facts(at);
    let value = Object.hasOwn(facts, key) ? facts[key] : undefined;
    if (value === undefined && NUMBERED.has(key) && facts.k === "state") value = facts.number;
    if (value === undefined) return false;
    return compares(value, sign, wanted);
  };
}

function compares(value, sign, wanted) {
  if (sign === "=") return brief(value) === wanted;
  if (sign === "!=") return brief(value) !== wanted;
  const number = Array.isArray(value) ? value[0] : value;
  const limit = Number(wanted);
  if (typeof number !== "number" || Number.isNaN(limit)) return false;
  return sign === "<" ? number < limit : sign === ">" ? number > limit : sign === "<=" ? number <= limit : number >= limit;
}
