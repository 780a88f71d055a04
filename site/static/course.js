// Answers and folded code on request; and no summaries of search results where a browser reads no files (file://).
if (location.protocol === "file:" && typeof DOCUMENTATION_OPTIONS !== "undefined") {
  DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
}
document.addEventListener("DOMContentLoaded", () => {
  const button = document.querySelector("button.all-answers");
  const answers = [...document.querySelectorAll("details.answer")];
  if (!button || !answers.length) return;
  const say = () => {
    button.textContent = answers.every((answer) => answer.open) ? "Hide all answers" : "Show all answers";
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    const open = !answers.every((answer) => answer.open);
    for (const answer of answers) answer.open = open;
    say();
  });
  for (const answer of answers) answer.addEventListener("toggle", say);
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let part = target; part; part = part.parentElement) if (part.tagName === "DETAILS") part.open = true;
});
