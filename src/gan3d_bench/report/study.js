// Gathers the answers, keeps them while the page is open elsewhere, and hands them out as a file.
"use strict";
(() => {
  const { study, questions: words } = document.querySelector("main").dataset;
  const questions = words.split(" ");
  const items = [...document.querySelectorAll(".item")];
  const annotator = document.getElementById("annotator");
  const button = document.getElementById("download");
  const place = `gan3d-bench study ${study}`;

  const chosen = (item, question) =>
    document.querySelector(`input[name="${question}-${item}"]:checked`)?.value;

  // items of which not every question is answered are left out
  function answers() {
    return items
      .map(({ dataset }) => {
        const item = Number(dataset.item);
        return { item, ...Object.fromEntries(questions.map(q => [q, chosen(item, q)])) };
      })
      .filter(answer => questions.every(question => answer[question]));
  }

  function content() {
    return { study, annotator: annotator.value.trim(), answers: answers() };
  }

  function show() {
    const { annotator: name, answers: given } = content();
    button.disabled = !name || !given.length;
    document.getElementById("status").textContent =
      `${given.length} of ${items.length} answered${name ? "" : "; a name is missing"}`;
  }

  function keep() {
    try {
      localStorage.setItem(place, JSON.stringify(content()));
    } catch { /* a browser may forbid it: the answers are still on the page */ }
    show();
  }

  function recall() {
    try {
      const kept = JSON.parse(localStorage.getItem(place));
      annotator.value = kept?.annotator ?? "";
      for (const answer of kept?.answers ?? [])
        for (const question of questions)
          for (const radio of document.getElementsByName(`${question}-${Number(answer.item)}`))
            radio.checked = radio.value === answer[question];
    } catch { /* nothing that can be read was kept */ }
  }

  button.addEventListener("click", () => {
    const file = new Blob([JSON.stringify(content(), null, 1)], { type: "application/json" });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(file);
    link.download = `answers-${study}-${annotator.value.trim().replace(/[^\w-]+/g, "-")}.json`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  });
  document.addEventListener("input", keep);
  recall();
  show();
})();
