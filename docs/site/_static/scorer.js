// How the search orders what it finds: lessons and guides before the API reference.
var Scorer = {
  score: ([name, , , , score]) => (/^(api|genindex|py-modindex)/.test(name) ? score - 100 : score),
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
